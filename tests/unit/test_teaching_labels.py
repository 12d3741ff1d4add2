"""Which pairs a teacher is fine-tuned on: against plain loops, and what must never be a label."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.judged import Judged
from densespec.teaching.dev import choose_dev
from densespec.teaching.labels import (
    Labelled,
    draw_negatives,
    human_labels,
    labelled_pairs,
    split_by_passage,
    synthetic_labels,
)

IDS = [f"p{n}" for n in range(12)]
ROW_OF = {passage_id: row for row, passage_id in enumerate(IDS)}
HASHES = [f"h{n % 10}" for n in range(12)]  # p10 and p11 repeat p0 and p1


def test_human_labels_are_the_positive_judgements_of_training_queries():
    queries = ["q0", "log-a", "log-b", "log-c", "log-d"]
    splits = ["dev", "train", "train", "train", "train"]
    candidates = [[1, 2], [10, 3, 0, 4], [5, 6], [], [7]]
    qrels = [
        Qrel("q0", "p1", 1),  # a dev query
        Qrel("log-a", "p0", 1), Qrel("log-a", "p3", 2), Qrel("log-a", "p4", 0),
        Qrel("log-b", "p9", 1),  # its passage is not among the candidates
        Qrel("log-c", "p2", 1),  # no list
        Qrel("log-d", "p7", 1),  # nothing but the positive
        Qrel("log-x", "p2", 1),  # not mined
    ]  # fmt: skip
    assert human_labels(qrels, queries, splits, candidates, ROW_OF, HASHES) == [
        Labelled(1, 0, [4]), Labelled(1, 3, [4]), Labelled(2, 9, [5, 6]),
    ]  # fmt: skip


@pytest.mark.parametrize("margin", [None, 0.1, -0.2])
def test_synthetic_labels_have_no_negative_far_above_the_source(margin):
    random = np.random.default_rng(5)
    candidates = [random.permutation(12)[:8].tolist() for _ in range(30)]
    sources = ["" if n % 5 == 0 else IDS[candidates[n][3]] for n in range(30)]
    candidates[7] = []  # the round trip failed
    dense = [random.random(len(rows)).astype(np.float32) for rows in candidates]
    texts = [f"text {n // 2 if n < 10 else n}" for n in range(30)]  # some are written for two passages
    pairs, dropped = synthetic_labels(texts, sources, candidates, dense, ROW_OF, HASHES, margin)
    expected, left_out = [], 0
    for number, source in enumerate(sources):
        if source and candidates[number]:
            cosine = dict(zip(candidates[number], dense[number], strict=True))
            same = [s for s, text in zip(sources, texts, strict=True) if s and text == texts[number]]
            known = {HASHES[ROW_OF[s]] for s in same}
            others = [r for r in candidates[number] if HASHES[r] not in known]
            limit = np.inf if margin is None else cosine[ROW_OF[source]] + np.float32(margin)
            kept = [r for r in others if cosine[r] <= limit]
            left_out += len(others) - len(kept)
            expected += [Labelled(number, ROW_OF[source], kept)] if kept else []
    assert (pairs, dropped) == (expected, left_out)
    assert (dropped > 0) == (margin is not None)


def test_no_query_and_no_first_passage_is_on_both_sides():
    pairs = [Labelled(query, row, [9]) for query in range(40) for row in (query % 8, (query * 3) % 8)]
    train, held = split_by_passage(pairs, HASHES, 0.4, seed=2)
    assert train and held and sorted(train + held) == sorted(pairs)
    assert not {pair.query for pair in train} & {pair.query for pair in held}
    assert not {pair.query % 8 for pair in train} & {pair.query % 8 for pair in held}


def test_each_pass_draws_other_negatives_and_the_same_ones_again():
    pair = Labelled(3, 0, list(range(100, 150)))
    draws = [draw_negatives(pair, 5, seed=1, drawing=n) for n in range(4)]
    assert all(len(set(drawn)) == 5 and set(drawn) <= set(pair.negatives) for drawn in draws)
    assert len({tuple(drawn) for drawn in draws}) == 4
    assert draws[2] == draw_negatives(pair, 5, seed=1, drawing=2)
    assert sorted(draw_negatives(pair._replace(negatives=[7, 8]), 5, seed=1, drawing=0)) == [7, 8]


#: Two log queries with labels, a generated one, and three dev queries.
TABLE = {
    "query_id": ["log-a", "log-b", "gen", "d0", "d1", "d2"], "text": list("abcxyz"),
    "split": ["train"] * 3 + ["dev"] * 3, "source_id": ["", "", "p5", "", "", ""],
    "passages": [[0, 3, 4], [5, 6], [5, 2, 7], [1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "dense": [[0.9, 0.5, 0.1][:length] for length in (3, 2, 3, 3, 3, 3)],
}  # fmt: skip
CORPUS = {"id": IDS, "hash": HASHES}
LABELS = [Qrel("log-a", "p0", 1), Qrel("log-b", "p6", 1)]
HUMAN, SYNTHETIC = [Labelled(0, 0, [3, 4]), Labelled(1, 6, [5])], [Labelled(2, 5, [2, 7])]


@pytest.mark.parametrize(
    ("labels", "given", "pairs"),
    [
        ("human", LABELS, HUMAN),
        ("synthetic", LABELS, SYNTHETIC),
        ("both", LABELS, HUMAN + SYNTHETIC),
        ("auto", LABELS, HUMAN),
        ("auto", [], SYNTHETIC),
    ],
)
def test_pairs_are_of_the_labels_that_were_asked_for(labels, given, pairs):
    found, counts = labelled_pairs(TABLE, CORPUS, given, labels=labels, max_margin=None)
    assert found == pairs
    human = sum(pair in HUMAN for pair in pairs)
    assert counts == {"human": human, "synthetic": len(pairs) - human, "dropped": 0}
    with pytest.raises(InputError, match="train-labels"):
        labelled_pairs(TABLE, CORPUS, [], labels="human", max_margin=None)


def chosen(pairs, qrels, **changes):
    given = {"dev_share": 0.5, "eval_queries": 9, "eval_depth": 2, "seed": 3} | changes
    return choose_dev(pairs, TABLE, CORPUS, qrels, **given)


def test_judged_dev_queries_are_measured_on_a_sample_of_them_cut():
    qrels = [Qrel("d0", "p1", 1), Qrel("d2", "p9", 2), Qrel("log-a", "p0", 1)]
    pairs, dev = chosen(HUMAN, qrels)
    assert pairs == HUMAN and dev.basis == "judged dev queries"
    assert (dev.numbers, dev.queries, dev.candidates) == ([3, 5], ["x", "z"], [[1, 2], [7, 8]])
    assert dev.judged == Judged(["d0", "d2"], [["p1", "p2"], ["p7", "p8"]], qrels[:2])
    samples = [chosen(HUMAN, qrels, eval_queries=1, seed=seed)[1].numbers for seed in range(8)]
    assert sorted(map(tuple, set(map(tuple, samples)))) == [(3,), (5,)]


def test_without_judged_dev_queries_labelled_ones_are_held_out():
    pairs, dev = chosen(HUMAN + SYNTHETIC, [])
    assert dev.basis == "held-out labelled queries" and pairs and dev.numbers
    assert sorted([*dev.numbers, *(pair.query for pair in pairs)]) == [0, 1, 2]
    positives = {pair.query: IDS[pair.positive] for pair in HUMAN + SYNTHETIC}
    assert dev.judged.qrels == [Qrel(TABLE["query_id"][n], positives[n], 1) for n in dev.numbers]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_to_train_or_to_measure_on_is_refused(share):
    with pytest.raises(InputError, match=r"teacher_finetune\.dev_share"):
        chosen(HUMAN, [], dev_share=share)
