"""A saved student loads in plain sentence-transformers and does there what it did in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from densespec.distillation.objective import ListCollator, TrainingLists
from densespec.distillation.saving import save_student
from densespec.retrieval.config import StudentConfig
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import NOTE, _revision_of_code, load_student, student_fingerprint
from tests.tiny_models import PROMPTS, tiny_bi_encoder

torch.set_num_threads(1)
TEXTS = ["open a file", "a socket. It waits for a server!", "heart disease", "the river " * 80]
MAX_TOKENS = 32


def student(folder):
    return load_student(str(folder), max_tokens=MAX_TOKENS, device="cpu")


def changed(model, by=0.05):
    """The model after some training, say."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn(parameter.shape, generator=random)
    return model


STUDENTS = {
    "prompts": {"prompts": PROMPTS},
    "older name of a prompt": {"prompts": {"query": "query: ", "passage": "passage: "}},
    "no prompts": {},
    "CLS pooling": {"prompts": PROMPTS, "pooling": "cls"},
    "last token": {"prompts": PROMPTS, "pooling": "lasttoken"},
    "prompt not pooled": {"prompts": PROMPTS, "include_prompt": False},
}


@pytest.fixture(scope="module", params=STUDENTS)
def base(request, tmp_path_factory):
    """Folder of an untuned student."""
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", **STUDENTS[request.param])


@pytest.fixture(scope="module")
def untuned(base):
    return student(base)


@pytest.fixture(scope="module")
def trained(base):
    return changed(student(base))


@pytest.fixture(scope="module")
def saved(trained, untuned, tmp_path_factory):
    """Side → folder."""
    folders = {}
    for side in ("query", "both"):
        folders[side] = tmp_path_factory.mktemp(side)
        save_student(folders[side], trained, untuned, side, "tiny")
    return folders


def equal(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_training_changed_something(trained, untuned):
    assert np.abs(trained.encode_query(TEXTS) - untuned.encode_query(TEXTS)).max() > 1e-2
    assert np.abs(trained.encode_document(TEXTS) - untuned.encode_document(TEXTS)).max() > 1e-2


def test_side_query_answers_with_the_trained_and_indexes_with_the_untuned_model(saved, trained, untuned):
    model = SentenceTransformer(str(saved["query"]), device="cpu")
    equal(model.encode_query(TEXTS), trained.encode_query(TEXTS))
    equal(model.encode_document(TEXTS), untuned.encode_document(TEXTS))
    equal(model.encode(TEXTS), untuned.encode(TEXTS))


def test_side_both_is_the_trained_model(saved, trained):
    model = SentenceTransformer(str(saved["both"]), device="cpu")
    equal(model.encode_query(TEXTS), trained.encode_query(TEXTS))
    equal(model.encode_document(TEXTS), trained.encode_document(TEXTS))
    equal(model.encode(TEXTS), trained.encode(TEXTS))


@pytest.mark.parametrize("side", ["query", "both"])
def test_our_own_loading_gives_the_same(saved, trained, untuned, side, tmp_path):
    model = load_student(str(saved[side]), device="cpu")
    passages = untuned if side == "query" else trained
    for task, texts, original in (("query", TEXTS, trained), ("document", TEXTS, passages)):
        expected = encode(original, f"{side} {task}", texts, tmp_path, task=task, label="x")
        equal(encode(model, "saved", texts, tmp_path, task=task, label="x"), expected)


@pytest.mark.parametrize("side", ["query", "both"])
def test_prompts_and_limits_survive(saved, trained, side):
    model = SentenceTransformer(str(saved[side]), device="cpu")
    assert {name: prompt for name, prompt in model.prompts.items() if prompt} == {
        name: prompt for name, prompt in trained.prompts.items() if prompt
    }
    assert model.max_seq_length == MAX_TOKENS
    assert model.similarity_fn_name == trained.similarity_fn_name
    note = {"side": side, "student": "tiny", "losses": ["kl", "infonce"]}
    assert json.loads((saved[side] / NOTE).read_text()) == note


def test_the_note_says_which_dimensions_serve_alone(tmp_path, trained, untuned):
    save_student(tmp_path, trained, untuned, "query", "tiny", (16, 8))
    assert json.loads((tmp_path / NOTE).read_text())["dims"] == [16, 8]


def test_mining_training_and_serving_apply_the_same_prompt_and_pooling(saved, trained, untuned, tmp_path):
    """The users' loudest complaint about others: prompts that differ between training and serving."""
    lists = TrainingLists(TEXTS, [[0, 1, 2, 3]] * 4, [[1.0, 0.5, 0.2, 0.1]] * 4, [0] * 4, 4)
    batch = ListCollator(untuned, lists, TEXTS, MAX_TOKENS)([{"list": n} for n in range(4)])
    served = SentenceTransformer(str(saved["query"]), device="cpu")
    for task, final in (("query", trained), ("document", untuned)):
        features = {n.removeprefix(f"{task}_"): v for n, v in batch.items() if n.startswith(f"{task}_")}
        with torch.no_grad():
            training = untuned({**features})["sentence_embedding"].numpy()
            after = final({**features})["sentence_embedding"].numpy()
        equal(encode(untuned, "untuned", TEXTS, tmp_path, task=task, label="x"), training)
        method = served.encode_query if task == "query" else served.encode_document
        equal(method(TEXTS), after)
        for model in (untuned, served):
            by_hand = [model.prompts[task] + text for text in TEXTS]
            assert torch.equal(model.preprocess(by_hand, task=task)["input_ids"], features["input_ids"])


@pytest.mark.parametrize("side", ["query", "both"])
def test_saving_twice_gives_the_same_bytes(saved, trained, untuned, side, tmp_path):
    for model in (trained, untuned):  # what was done with a model between must not show
        model.preprocess(["one", "two words"], max_length=3)
    save_student(tmp_path, trained, untuned, side, "tiny")
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) > 5
    assert files == sorted(p.relative_to(saved[side]) for p in saved[side].rglob("*") if p.is_file())
    for file in files:
        assert (tmp_path / file).read_bytes() == (saved[side] / file).read_bytes(), file
    assert student_fingerprint(str(tmp_path)) == student_fingerprint(str(saved[side]))


@pytest.mark.parametrize("side", ["query", "both"])
def test_saved_files_say_nothing_of_this_machine(saved, base, side):
    folders = {str(folder) for folder in (base, base.parent, saved[side], Path.home(), Path.cwd())}
    for path in saved[side].rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [folder for folder in folders if len(folder) > 3 and folder.encode() in content], path


@pytest.mark.parametrize("side", ["query", "both"])
def test_weights_are_safetensors(saved, side):
    suffixes = {path.suffix for path in saved[side].rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".bin", ".pt", ".pkl", ".pickle"}


def test_a_saved_student_can_be_trained_again(saved, tmp_path):
    """A specialised model as the student of another domain: side both is an ordinary model."""
    again = load_student(str(saved["both"]), device="cpu")
    save_student(tmp_path, changed(again), student(saved["both"]), "query", "tiny again")
    equal(SentenceTransformer(str(tmp_path), device="cpu").encode_query(TEXTS), again.encode_query(TEXTS))


def test_a_student_with_two_encoders_has_two_when_trained_again(saved, tmp_path):
    before = student(saved["query"])
    again = changed(student(saved["query"]))
    save_student(tmp_path, again, before, "query", "tiny again")
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    equal(loaded.encode_query(TEXTS), again.encode_query(TEXTS))
    equal(loaded.encode_document(TEXTS), before.encode_document(TEXTS))
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in before.named_parameters()]


@pytest.mark.parametrize("side", ["query", "both"])
def test_a_student_with_code_of_its_own_can_be_evaluated_when_trained(tmp_path, monkeypatch, side):
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tiny_bi_encoder(tmp_path / "own")
    (folder / "modeling_own.py").write_text(
        "from transformers import BertModel\n\n\nclass Own(BertModel):\n    pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_own.Own"}}))
    params = StudentConfig(model=str(folder), revision="read", trust_remote_code=True, precision="float32")
    untuned = load_student(**params.model_dump(), device="cpu")
    trained = changed(load_student(**params.model_dump(), device="cpu"))
    assert type(trained[0].auto_model).__name__ == "Own"
    out = tmp_path / "out"
    out.mkdir()
    save_student(out, trained, untuned, side, params.model)
    again = load_student(str(out), **params.of_trained(), device="cpu")
    equal(again.encode_query(TEXTS), trained.encode_query(TEXTS))


def test_code_that_stayed_with_the_base_model_is_of_its_revision(tmp_path):
    (tmp_path / "query").mkdir()
    (tmp_path / NOTE).write_text('{"student": "acme/encoder"}')
    config = tmp_path / "query" / "config.json"
    for repository, expected in (("acme/encoder", {"code_revision": "read"}), ("acme/code", {})):
        config.write_text(json.dumps({"auto_map": {"AutoModel": f"{repository}--modeling.Own"}}))
        assert _revision_of_code(tmp_path, "read") == expected
    config.write_text("{}")
    assert _revision_of_code(tmp_path, "read") == {}
