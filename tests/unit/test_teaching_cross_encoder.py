"""The cross-encoder as teacher."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Passage
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.teaching import cross_encoder as module
from densespec.teaching.config import CrossEncoderConfig, HybridConfig, ScoreConfig
from densespec.teaching.cross_encoder import cross_encoder_scores, load_cross_encoder
from densespec.teaching.teachers import TEACHERS, Material
from tests.tiny_models import tiny_cross_encoder

PASSAGES = ["open a file", "a socket connects to a server " * 9, "vaccine dose", "a wing", "the river " * 20]
QUERIES = ["read files", "server", "children", "supersonic wing"]
CANDIDATES = [[0, 1, 4], [], [2], [3, 0, 1, 2, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_cross_encoder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_cross_encoder(str(folder), revision=None, max_tokens=64, trust_remote_code=False)


def expected_scores(model):
    import torch

    return [
        model.predict(
            [(query, PASSAGES[row]) for row in rows],
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        if rows
        else []
        for query, rows in zip(QUERIES, CANDIDATES, strict=True)
    ]


def score(model, folder, fingerprint="f", passages=PASSAGES):
    return cross_encoder_scores(model, fingerprint, passages, QUERIES, CANDIDATES, folder, 2)


@pytest.mark.parametrize("shard", [1, 2, 16])
def test_scores_are_the_logits_of_predict(model, tmp_path, monkeypatch, shard):
    monkeypatch.setattr(module, "SHARD_QUERIES", shard)
    found = score(model, tmp_path)
    for scores, expected in zip(found, expected_scores(model), strict=True):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert max(values.max() for values in found if len(values)) > 1, "logits, not probabilities"


def test_shards_are_found_again_until_something_changes(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    first, pairs = score(model, tmp_path), []
    predict = model.predict

    def counted(given, **options):
        pairs.append(len(given))
        return predict(given, **options)

    monkeypatch.setattr(model, "predict", counted)
    again = score(model, tmp_path)
    assert pairs == []
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    score(model, tmp_path, passages=[*PASSAGES[:2], "other", *PASSAGES[3:]])
    assert pairs == [1, 5], "the two queries that list the changed passage"
    score(model, tmp_path, fingerprint="g")
    assert pairs == [1, 5, 3, 1, 5]


def test_as_a_teacher_it_names_its_model(folder, tmp_path, model):
    config = ScoreConfig(
        hybrid=HybridConfig(weights=None, min_dev_queries=1),
        cross_encoder=CrossEncoderConfig(
            model=str(folder), revision=None, max_tokens=64, batch_size=4, trust_remote_code=False
        ),
        allow_weaker=False,
        batch_size=4,
        seed=1,
    )
    material = Material(
        [Passage(str(n), "", text) for n, text in enumerate(PASSAGES)],
        list("wxyz"), QUERIES, ["dev"] * 4, [""] * 4, CANDIDATES, [],
        Bm25Config(k1=1, b=0, language=""), np.zeros((4, 2)), [],
    )  # fmt: skip
    scores, details = TEACHERS["cross-encoder"](
        material, config, StudentConfig(model="unused"), tmp_path / "scores", tmp_path / "encode"
    )
    assert set(details) == {"model", "fingerprint", "max_tokens"}
    for found, expected in zip(scores, expected_scores(model), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def load(model, **changes):
    return load_cross_encoder(
        str(model), **{"revision": None, "max_tokens": 64, "trust_remote_code": False, **changes}
    )


def test_texts_are_cut(folder):
    short = load(folder, max_tokens=16)
    assert short.max_length == 16
    one, two = short.predict([("a", "the river " * 50), ("a", "the river " * 90)], show_progress_bar=False)
    assert one == pytest.approx(two)


def test_no_model_and_unpinned_code_are_refused(folder):
    with pytest.raises(InputError, match="a model \\(folder or hub id\\)"):
        load("")
    with pytest.raises(InputError, match="a pinned revision"):
        load(folder, trust_remote_code=True)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="safetensors"):
        load(tmp_path / "empty")


def test_several_labels_are_refused(folder, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "three")
    settings = json.loads((copy / "config.json").read_text())
    settings["id2label"] = {str(n): f"LABEL_{n}" for n in range(3)}
    settings["label2id"] = {f"LABEL_{n}": n for n in range(3)}
    (copy / "config.json").write_text(json.dumps(settings))
    weights = load_file(copy / "model.safetensors")
    weights["classifier.weight"] = torch.zeros(3, weights["classifier.weight"].shape[1])
    weights["classifier.bias"] = torch.zeros(3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="3 labels"):
        load(copy)
