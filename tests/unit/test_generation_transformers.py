"""The writer ``transformers`` on a tiny random Llama: against a slow reference, and with its shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.generation.chat import Request, chat_requests
from densespec.generation.config import GenerateConfig
from densespec.generation.prompt import Example, Prompt
from densespec.generation.transformers import answers, load_engine
from densespec.generation.transformers import write as transformers
from densespec.generation.writer import Setting
from densespec.records import Passage
from densespec.runtime.answers import Answer
from tests.tiny_models import tiny_language_model

PROMPT = Prompt("question/1", "Ask.\n\nPassage:\n{passage}\n", (Example("ein Fluss", "was fließt?"),))
PASSAGES = [Passage(f"p{n}", "", f"Passage {n}, 第{n}章. " * (1 + n % 4)) for n in range(11)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny_language_model(tmp_path_factory.mktemp("llama") / "tiny-llama")


@pytest.fixture(scope="module")
def engine(llama):
    return load_engine(str(llama), None, "cpu", "float32", False)


@pytest.fixture(scope="module")
def requests():
    return chat_requests(
        PASSAGES, "question", PROMPT, language="de", examples=1, passage_chars=60, seed=3
    )  # fmt: skip


def given(engine, requests, **changes) -> list[Answer]:
    values = {"temperature": 0.8, "max_tokens": 24, "stop": [], "batch_size": 4, "template_options": {}}
    return answers(engine, requests, **{**values, **changes})


def setting(llama, scratch, passages=PASSAGES, *, llm=None, seed=0, **changes) -> Setting:
    parameters = GenerateConfig(
        llm={"model": str(llama), "shard_size": 4, "max_tokens": 12, **(llm or {})}, **changes
    )
    return Setting(
        passages, {}, PROMPT, "en", 20, 6, seed, lambda texts, task: np.zeros((len(texts), 2)), "tiny",
        parameters, scratch, {},
    )  # fmt: skip


def written(llama, scratch, passages=PASSAGES, **changes) -> list[str]:
    return [w.text for w in transformers(passages, "question", setting(llama, scratch, passages, **changes))]


@pytest.mark.parametrize("temperature", [0.8, 0.0])
def test_equals_one_request_and_one_whole_forward_pass_at_a_time(engine, requests, temperature):
    """Reference: no batch, no padding, no cache; each token is where the running sum passes its draw."""
    import torch

    for request, answer in zip(requests, given(engine, requests, temperature=temperature), strict=True):
        text = "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in request.messages) + "<|assistant|>"
        prompt = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens, draws = [], np.random.default_rng(request.seed).random(24)
        while len(tokens) < 24 and not (tokens and tokens[-1] in engine.stops):
            with torch.inference_mode():
                logits = engine.model(torch.tensor([prompt + tokens])).logits[0, -1].double().numpy()
            weights = np.exp((logits - logits.max()) / (temperature or 1.0))
            total, token = 0.0, -1
            while total <= draws[len(tokens)] * weights.sum():
                token += 1
                total += weights[token]
            tokens.append(token if temperature else int(logits.argmax()))
        assert answer.text == engine.tokenizer.decode(tokens, skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.completion_tokens) == (len(prompt), len(tokens))


def test_answers_end_at_the_turn_and_nowhere_else(engine, requests):
    many = [Request(request.messages, seed) for request in requests for seed in range(12)]
    found = given(engine, many, max_tokens=60)
    lengths = [answer.completion_tokens for answer in found]
    assert min(lengths) < 60 and max(lengths) == 60
    assert all(answer.cut for answer in found if len(answer.text.encode()) == 60)
    assert not any(answer.cut for answer in found if answer.completion_tokens < 60)
    assert any("\n" in answer.text.strip() for answer in found)  # the query may stand below a preamble
    assert len({answer.text for answer in found}) > 100


@pytest.mark.parametrize("stop", [["\n"], ["e", "n"], ["ab", "\n"]], ids=repr)
def test_a_stop_ends_an_answer_before_it_comes(engine, requests, stop):
    many = [Request(request.messages, seed) for request in requests for seed in range(4)]
    whole, found = (given(engine, many, max_tokens=60, stop=texts) for texts in ([], stop))
    ended = 0
    for one, other in zip(whole, found, strict=True):
        places = [one.text.index(text) for text in stop if text in one.text]
        assert other.text == one.text[: min(places, default=None)]
        assert other.cut == (one.cut and not places)
        assert other.completion_tokens <= one.completion_tokens
        ended += other.completion_tokens < one.completion_tokens
    assert ended > 5


def test_other_requests_do_not_matter(engine, requests):
    together = given(engine, requests, batch_size=len(requests))
    assert together == given(engine, requests, batch_size=1) == given(engine, requests, batch_size=3)
    assert together[::-1] == given(engine, requests[::-1])
    assert together[5:7] == given(engine, requests[5:7])


def test_batches_that_memory_does_not_hold_are_halved(engine, requests, monkeypatch, capsys):
    expected, whole, sizes = given(engine, requests), type(engine.model).generate, []

    def generate(model, input_ids, **options):
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return whole(model, input_ids=input_ids, **options)

    monkeypatch.setattr(type(engine.model), "generate", generate)
    assert given(engine, requests, batch_size=8) == expected
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1]
    assert capsys.readouterr().err.count("out of memory: batches of at most") == 2
    sizes.clear()
    monkeypatch.setattr(type(engine.model), "generate", lambda *_, **__: generate(None, [0] * 4))
    with pytest.raises(InputError, match="memory for a single answer"):
        given(engine, requests[:1])


def test_draws_follow_the_model(engine, requests):
    """First tokens of many seeds are distributed as the softmax says."""
    import torch

    many = [Request(requests[0].messages, seed) for seed in range(2000)]
    first = [answer.text for answer in given(engine, many, max_tokens=1, batch_size=500)]
    prompt = engine.tokenizer.apply_chat_template(
        requests[0].messages, add_generation_prompt=True, return_dict=True
    )["input_ids"]
    with torch.inference_mode():
        chances = (engine.model(torch.tensor([prompt])).logits[0, -1] / 0.8).softmax(-1)
    for token in chances.topk(5).indices.tolist():
        text = engine.tokenizer.decode([token], skip_special_tokens=True)
        same = [
            n for n in range(len(chances)) if engine.tokenizer.decode([n], skip_special_tokens=True) == text
        ]
        expected = float(chances[same].sum())
        spread = (expected * (1 - expected) / len(first)) ** 0.5
        assert abs(first.count(text) / len(first) - expected) < 5 * spread


def test_the_checkpoints_own_sampling_settings_do_not_count(llama, tmp_path, engine, requests):
    from transformers import GenerationConfig

    other = Path(shutil.copytree(llama, tmp_path / "other"))
    GenerationConfig(
        do_sample=True, temperature=0.1, top_k=1, repetition_penalty=5.0, eos_token_id=[1]
    ).save_pretrained(other)
    assert given(load_engine(str(other), None, "cpu", "float32", False), requests) == given(engine, requests)


def test_the_same_again_and_from_shards_without_the_model(llama, tmp_path, monkeypatch):
    first = written(llama, tmp_path / "a")
    assert first == written(llama, tmp_path / "b") and len(first) == len(PASSAGES)
    assert first != written(llama, tmp_path / "c", seed=1)
    monkeypatch.setattr("densespec.generation.transformers.load_engine", None)
    assert first == written(llama, tmp_path / "a")


def counted(monkeypatch, dies_after: int = 1000) -> list[Request]:
    """The requests that reach the model from now on; the run dies when they become too many."""
    asked: list[Request] = []

    def counting(engine, requests, **named):
        if len(asked) + len(requests) > dies_after:
            raise KeyboardInterrupt
        asked.extend(requests)
        return answers(engine, requests, **named)

    monkeypatch.setattr("densespec.generation.transformers.answers", counting)
    return asked


def test_a_run_that_dies_goes_on(llama, tmp_path, monkeypatch):
    complete = setting(llama, tmp_path / "complete")
    expected = list(transformers(PASSAGES, "question", complete))
    counted(monkeypatch, dies_after=9)
    with pytest.raises(KeyboardInterrupt):
        written(llama, tmp_path / "a")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert len(kept) == 2
    asked = counted(monkeypatch)
    resumed = setting(llama, tmp_path / "a")
    assert list(transformers(PASSAGES, "question", resumed)) == expected
    assert len(asked) == len(PASSAGES) - 8
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for use in (complete.usage["transformers"], resumed.usage["transformers"]):
        assert use.pop("seconds") > 0
    assert complete.usage == resumed.usage and complete.usage["transformers"]["requests"] == len(PASSAGES)


def test_a_corpus_that_changes_asks_for_its_new_passages_only(llama, tmp_path, monkeypatch):
    before = dict(zip(PASSAGES, written(llama, tmp_path), strict=True))
    asked = counted(monkeypatch)
    new = [Passage("a", "", "First of all."), Passage("z", "", "Last of all.")]
    grown = [new[0], *PASSAGES[:0:-1], new[1], new[1]._replace(id="zz")]
    after = written(llama, tmp_path, grown)
    assert [request.messages[-1]["content"] for request in asked] == [f"Passage:\n{p.text}" for p in new]
    assert after[1:-2] == [before[passage] for passage in PASSAGES[:0:-1]]
    assert after[-2] == after[-1]


def test_a_damaged_shard_is_written_again(llama, tmp_path, monkeypatch):
    expected = written(llama, tmp_path)
    sorted(tmp_path.glob("*.npz"))[0].write_bytes(b"PK damaged")
    asked = counted(monkeypatch)
    assert written(llama, tmp_path) == expected and 3 <= len(asked) <= 4


def test_what_changes_a_query_changes_its_shard(llama, tmp_path):
    def shards(**changes):
        passages = changes.pop("passages", PASSAGES[:4])
        prompt = changes.pop("prompt", PROMPT)
        made = setting(llama, tmp_path / "scratch", passages, **changes)._replace(prompt=prompt)
        before = set((tmp_path / "scratch").glob("*.npz"))
        list(transformers(passages, changes.get("kind", "question"), made))
        return set((tmp_path / "scratch").glob("*.npz")) - before

    assert len(shards()) == 1 and not shards()
    assert not shards(copy_ngram=2, transformers={"batch_size": 2})  # filters and speed
    for change in (
        {"seed": 1}, {"llm": {"temperature": 0.7}}, {"llm": {"max_tokens": 9}}, {"llm": {"examples": 0}},
        {"llm": {"stop": ["e"]}},
        {"llm": {"passage_chars": 100}, "passages": [Passage("p", "", "x" * 200)]},
        {"transformers": {"dtype": "bfloat16"}}, {"passages": PASSAGES[1:5]},
        {"prompt": PROMPT._replace(template="Ask!\n\n{passage}")},
        {"prompt": PROMPT._replace(examples=(Example("a", "b"),))},
    ):  # fmt: skip
        assert len(shards(**change)) == 1, change


def test_a_passage_of_other_scripts(llama, tmp_path):
    passages = [
        Passage("jp", "規則", "河川の水位が上がると、市は橋を閉鎖する。"),
        Passage("de", "", "Größe 🙂"),
    ]
    texts = written(llama, tmp_path, passages)
    assert all(isinstance(text, str) and text.encode("utf-8") for text in texts)


def test_names_what_is_wrong_with_a_model(llama, tmp_path):
    with pytest.raises(InputError, match=r"generate.llm.structured(.|\n)*vllm"):
        written(llama, tmp_path, llm={"structured": True})
    with pytest.raises(InputError, match=r"generate.llm.model\n(.|\n)*language model"):
        written("", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        written("models/none", tmp_path)
    with pytest.raises(InputError, match=r"set generate\.llm\.revision"):
        written(llama, tmp_path, llm={"trust_remote_code": True})
    base = tiny_language_model(tmp_path / "base", chat=False)
    with pytest.raises(InputError, match="chat template"):
        written(base, tmp_path)
    short = tiny_language_model(tmp_path / "short", max_tokens=64)
    with pytest.raises(InputError, match=r"within the model's 64 tokens(.|\n)*passage_chars"):
        written(short, tmp_path)
    weights = Path(shutil.copytree(llama, tmp_path / "pickled"))
    (weights / "model.safetensors").rename(weights / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        written(weights, tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there_is_named(llama, device):
    with pytest.raises(InputError, match=r"generate\.transformers\.device(?s:.*)cuda:1(?s:.*)" + device):
        load_engine(str(llama), None, device, "float32", False)
