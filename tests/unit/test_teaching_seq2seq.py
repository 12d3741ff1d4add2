"""RankT5 and monoT5: one decoder step gives what ``generate`` gives, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densespec.errors import InputError
from densespec.teaching.pairs import pair_scores
from densespec.teaching.seq2seq import load_seq2seq
from tests.tiny_models import tiny_t5

PASSAGES = ["open a file", "a socket connects to a server " * 3, "vaccine dose", "a wing", "the river " * 9]
QUERIES = ["read files", "server", "children", "supersonic wing"]
CANDIDATES = [[0, 1, 4], [], [2], [3, 0, 1, 2, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_t5(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def documented(folder):
    """Logits of the first generated token (vocabulary,), one text at a time, as the model cards do."""
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = T5ForConditionalGeneration.from_pretrained(folder).eval()

    def logits(text):
        found = model.generate(
            **tokenizer(text, return_tensors="pt"), max_new_tokens=1, do_sample=False,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        return found.logits[0][0]

    return tokenizer, logits


def score(model, tmp_path, batch_tokens=128):
    return pair_scores(
        model, PASSAGES, QUERIES, CANDIDATES, tmp_path, batch_tokens=batch_tokens, label="seq2seq"
    )


def pairs():
    return [[(query, PASSAGES[row]) for row in rows] for query, rows in zip(QUERIES, CANDIDATES, strict=True)]


@pytest.mark.parametrize("batch_tokens", [8, 128, 4096])
def test_rankt5_is_the_logit_of_its_sentinel(folder, documented, tmp_path, batch_tokens):
    tokenizer, logits = documented
    sentinel = tokenizer.convert_tokens_to_ids("<extra_id_10>")
    found = score(load_seq2seq(str(folder), style="rankt5"), tmp_path, batch_tokens)
    for scores, texts in zip(found, pairs(), strict=True):
        expected = [logits(f"Query: {query} Document: {passage}")[sentinel] for query, passage in texts]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.ptp(found[3]) > 0.1


@pytest.mark.parametrize("batch_tokens", [8, 128, 4096])
def test_monot5_is_the_log_odds_of_true_against_false(folder, documented, tmp_path, batch_tokens):
    tokenizer, logits = documented
    both = tokenizer.convert_tokens_to_ids(["▁true", "▁false"])
    found = score(load_seq2seq(str(folder), style="monot5"), tmp_path, batch_tokens)
    for scores, texts in zip(found, pairs(), strict=True):
        expected = [
            torch.log_softmax(logits(f"Query: {query} Document: {passage} Relevant:")[both], dim=0)[0]
            for query, passage in texts
        ]
        np.testing.assert_allclose(-np.logaddexp(0, -scores), expected, atol=1e-4)


def test_the_name_of_a_model_tells_its_style(folder, tmp_path):
    for name, tokens in (("RankT5-base", 1), ("monot5-base-msmarco", 2)):
        (tmp_path / name).symlink_to(folder)
        model = load_seq2seq(str(tmp_path / name))
        assert model.replicas[0].lm_head.out_features == tokens
    (tmp_path / "unknown").symlink_to(folder)
    with pytest.raises(InputError, match="one of rankt5, monot5, or both a template and a positive token"):
        load_seq2seq(str(tmp_path / "unknown"))


def test_a_template_and_tokens_of_ones_own(folder, documented, tmp_path):
    tokenizer, logits = documented
    yes, no = tokenizer.convert_tokens_to_ids(["▁yes", "▁no"])
    model = load_seq2seq(
        str(folder), template="passage: {passage} query: {query}", positive="▁yes", negative="▁no"
    )
    for scores, texts in zip(score(model, tmp_path), pairs(), strict=True):
        expected = [
            found[yes] - found[no]
            for query, passage in texts
            for found in [logits(f"passage: {passage} query: {query}")]
        ]
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_long_passage_is_cut_and_the_question_behind_it_stays(folder, documented):
    tokenizer, _ = documented
    model = load_seq2seq(str(folder), style="monot5", max_tokens=16)
    (pair,) = model.tokenise(["server"], ["the river " * 50])
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == [
        "▁Query:", "▁server", "▁Document:", *["▁the", "▁river"] * 5, "▁the", "▁Relevant:", "</s>",
    ]  # fmt: skip


def test_in_bfloat16_scores_are_close_and_not_rounded_to_it(folder, tmp_path):
    exact = np.concatenate(score(load_seq2seq(str(folder), style="rankt5"), tmp_path))
    found = np.concatenate(score(load_seq2seq(str(folder), style="rankt5", dtype="bfloat16"), tmp_path))
    assert np.corrcoef(found, exact)[0, 1] > 0.98
    assert (torch.tensor(found).bfloat16().float().numpy() != found).any()


def test_a_model_of_another_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"score\.seq2seq\.model"):
        load_seq2seq(str(tmp_path), style="rankt5")
    with pytest.raises(InputError, match=r"score\.seq2seq"):
        load_seq2seq("")
