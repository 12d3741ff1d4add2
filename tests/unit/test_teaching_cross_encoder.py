"""The cross-encoder as teacher: the scores are those of CrossEncoder.predict."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from densespec.errors import InputError
from densespec.records import Passage
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.student import require_positions
from densespec.teaching.cross_encoder import load_cross_encoder, relevance
from densespec.teaching.pairs import pair_scores
from densespec.teaching.teachers import TEACHERS, Material
from tests.teacher_params import score_config
from tests.tiny_models import tiny_cross_encoder, tiny_decoder

PASSAGES = ["open a file", "a socket connects to a server " * 9, "vaccine dose", "a wing", "the river " * 20]
QUERIES = ["read files", "server", "children", "supersonic wing"]
CANDIDATES = [[0, 1, 4], [], [2], [3, 0, 1, 2, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_cross_encoder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    return tiny_cross_encoder(tmp_path_factory.mktemp("model") / "graded", labels=3)


def score(model, tmp_path, batch_tokens=200):
    return pair_scores(
        model, PASSAGES, QUERIES, CANDIDATES, tmp_path, batch_tokens=batch_tokens, label="cross-encoder"
    )


def predicted(folder, max_tokens=64):
    """What the library says of one pair after the other: outputs (labels,), or a number."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), max_length=max_tokens, device="cpu")
    return [
        [model.predict((query, PASSAGES[row]), activation_fn=torch.nn.Identity()) for row in rows]
        for query, rows in zip(QUERIES, CANDIDATES, strict=True)
    ]


@pytest.mark.parametrize("batch_tokens", [8, 200, 4096])
def test_scores_are_the_logits_of_predict(folder, tmp_path, batch_tokens):
    found = score(load_cross_encoder(str(folder), max_tokens=64), tmp_path, batch_tokens)
    for scores, expected in zip(found, predicted(folder), strict=True):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert max(values.max() for values in found if len(values)) > 1, "logits, not probabilities"


def test_a_decoder_that_the_library_wraps_is_a_cross_encoder_too(tmp_path):
    folder = tiny_decoder(tmp_path / "tiny", "qwen3")
    found = score(load_cross_encoder(str(folder), max_tokens=64), tmp_path / "scratch")
    for scores, expected in zip(found, predicted(folder), strict=True):
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_of_several_labels_one_counts_against_all_others_or_the_mean_grade(graded, tmp_path):
    outputs = predicted(graded)
    for label in (0, 2, "expected"):
        found = score(load_cross_encoder(str(graded), max_tokens=64, label=label), tmp_path)
        for scores, logits in zip(found, outputs, strict=True):
            shares = [np.exp(values) / np.exp(values).sum() for values in logits]
            expected = [
                share @ [0, 1, 2] if label == "expected" else np.log(share[label] / (1 - share[label]))
                for share in shares
            ]
            np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_of_two_labels_it_is_the_difference_of_their_logits():
    assert relevance(torch.tensor([[1.0, 4.0], [2.0, 0.5]]), 1).tolist() == [3.0, -1.5]


@pytest.mark.parametrize(("labels", "label"), [(1, 0), (1, "expected"), (3, None), (3, 3), (3, -1)])
def test_a_label_must_fit_the_model(folder, graded, labels, label):
    with pytest.raises(InputError, match=r"score\.cross_encoder\.label"):
        load_cross_encoder(str(folder if labels == 1 else graded), label=label)


def test_in_bfloat16_scores_are_close_and_hardly_ever_tie(folder, tmp_path):
    exact = score(load_cross_encoder(str(folder), max_tokens=64), tmp_path)
    found = score(load_cross_encoder(str(folder), max_tokens=64, dtype="bfloat16"), tmp_path)
    for scores, expected in zip(found, exact, strict=True):
        np.testing.assert_allclose(scores, expected, rtol=0.05, atol=0.5)
    as_outputs = torch.tensor(np.concatenate(found)).bfloat16().float().numpy()
    assert (as_outputs != np.concatenate(found)).any(), "the last layer is not rounded to bfloat16"


def test_as_a_teacher_it_names_its_model(folder, tmp_path):
    config = score_config(cross_encoder={"model": str(folder), "max_tokens": 64, "dtype": "float32"})
    material = Material(
        [Passage(str(n), "", text) for n, text in enumerate(PASSAGES)],
        list("wxyz"), QUERIES, ["dev"] * 4, [""] * 4, CANDIDATES, [],
        Bm25Config(k1=1, b=0, language=""), np.zeros((4, 2)), [],
    )  # fmt: skip
    scores, details = TEACHERS["cross-encoder"](
        material, config, StudentConfig(model="unused"), tmp_path / "scores", tmp_path / "encode"
    )
    assert set(details) == {"model", "fingerprint", "max_tokens"}
    for found, expected in zip(scores, predicted(folder), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_texts_are_cut(folder):
    short = load_cross_encoder(str(folder), max_tokens=16)
    one, two = short.tokenise(["a", "a"], ["the river " * 50, "the river " * 90])
    assert one == two and len(one["input_ids"]) == 16
    assert set(one) == {"input_ids", "token_type_ids"}


def test_no_model_and_unpinned_code_are_refused(folder):
    with pytest.raises(InputError, match="a model \\(folder or hub id\\)"):
        load_cross_encoder("")
    with pytest.raises(InputError, match=r"set score\.cross_encoder\.revision"):
        load_cross_encoder(str(folder), trust_remote_code=True)


def test_weights_that_are_not_safetensors_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "pickled")
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    for place in (copy, tmp_path):
        with pytest.raises(InputError, match="safetensors"):
            load_cross_encoder(str(place))


def test_more_tokens_than_positions_are_refused(folder):
    with pytest.raises(InputError, match=r"score\.cross_encoder\.max_tokens(.|\n)*at most 512"):
        load_cross_encoder(str(folder), max_tokens=513)


def test_positions_are_counted_where_a_model_has_a_table_of_them():
    from transformers import BertConfig, DebertaV2Config, RobertaConfig, XLNetConfig, models

    small = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    roberta = models.roberta.RobertaForSequenceClassification(
        RobertaConfig(**small, intermediate_size=8, max_position_embeddings=66)
    )
    require_positions(roberta, 64, "score.x")
    with pytest.raises(InputError, match="at most 64"):
        require_positions(roberta, 65, "score.x")
    bert = models.bert.BertModel(BertConfig(**small, intermediate_size=8, max_position_embeddings=66))
    require_positions(bert, 66, "score.x")
    deberta = models.deberta_v2.DebertaV2Model(
        DebertaV2Config(**small, intermediate_size=8, max_position_embeddings=66, position_biased_input=False)
    )
    require_positions(deberta, 999, "score.x")
    xlnet = models.xlnet.XLNetModel(XLNetConfig(vocab_size=50, d_model=8, n_layer=1, n_head=2, d_inner=8))
    require_positions(xlnet, 999, "score.x")
