"""Rows of the comparison: fusion, reranking, missing scores; the leak audit; the summary."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.evaluation.audit import audit_leaks
from densespec.evaluation.runs import (
    as_run,
    dense_lists,
    fused_lists,
    judged_queries,
    model_note,
    teacher_lists,
)
from densespec.evaluation.summary import assess, kind_means, summarise
from densespec.records import Qrel, Query

SETTINGS = {"resamples": 300, "permutations": 2000, "seed": 1}


def test_dense_lists_are_the_nearest():
    passages = np.eye(4, dtype=np.float32)
    queries = np.asarray([[0.8, 0.6, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    lists = dense_lists(["q1", "q2"], queries, passages, 2)
    assert lists["q1"][0] == [0, 1]
    assert lists["q1"][1] == pytest.approx([0.8, 0.6])
    assert lists["q2"][0][0] == 3


def test_fusion_of_a_query_that_one_retriever_does_not_answer():
    fused = fused_lists({"q": ([5, 3], [0.9, 0.8])}, {}, depth=10, k=60)
    assert fused["q"][0] == [5, 3]
    assert fused["q"][1] == pytest.approx([1 / 61, 1 / 62])


def test_teacher_reranks_and_keeps_the_unscored_below_in_fused_order():
    scores = {"q": [0.1, None, 0.7, math.nan]}
    run = as_run(teacher_lists({"q": [4, 9, 2, 7, 1]}, scores, Path("s")), [f"p{n}" for n in range(10)], 100)
    assert [entry.passage_id for entry in run["q"]] == ["p2", "p4", "p9", "p7", "p1"]
    unscored = as_run(teacher_lists({"q": [4, 9]}, {"q": []}, Path("s")), [f"p{n}" for n in range(10)], 100)
    assert [entry.passage_id for entry in unscored["q"]] == ["p4", "p9"]


@pytest.mark.parametrize("scores", [{}, {"q": [1.0, 2.0, 3.0]}])
def test_scores_of_other_candidates_are_refused(scores):
    with pytest.raises(InputError, match="run the stage 'score' again"):
        teacher_lists({"q": [1, 2]}, scores, Path("scores.parquet"))


def test_judged_queries_need_something_to_find_and_must_be_mined():
    qrels = [Qrel("b", "p", 2), Qrel("a", "p", 1), Qrel("none", "p", 0)]
    assert judged_queries(qrels, {"a", "b", "c"}, Path("test.tsv")) == ["a", "b"]
    with pytest.raises(InputError, match="1 others, such as b"):
        judged_queries(qrels, {"a"}, Path("test.tsv"))


def test_note_of_a_model(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        model_note(tmp_path / "absent")
    # somebody else's model: encode everything with it
    assert model_note(tmp_path) == ("both", (), ("kl", "infonce"))
    (tmp_path / "densespec.json").write_text('{"side": "query", "dims": [8, 4], "losses": ["kl"]}')
    assert model_note(tmp_path) == ("query", (8, 4), ("kl",))


def test_leak_audit():
    judged = {"t1": "How do I read a CSV file?", "t2": "sort a list of very long words by length quickly"}
    training = [
        Query("a", "how do i read a csv file", "question", "p1"),
        Query("b", "sort a list of very long words by length", "question", "p2"),
        Query("c", "write a csv file", "question", "p9"),
        Query("d", "", "log"),
        Query("e", "unrelated", "log"),
    ]
    audit, leaks = audit_leaks(training, judged, {"p9", "p8"})
    assert audit == (5, 1, 1, 1)
    assert [leak.split(":")[0] for leak in leaks] == ["a", "b", "c"]
    assert "t1" in leaks[0]
    assert "t2" in leaks[1]
    assert "p9" in leaks[2]


def test_summary_has_every_number_and_one_holm_family():
    generator = np.random.default_rng(0)
    names = ("ndcg_at_10", "recall_at_100", "mrr_at_10")
    untuned = {name: generator.random(60) for name in names}
    rows = {
        "untuned": untuned,
        "specialised": {name: np.clip(untuned[name] + 0.1, 0, 1) for name in names},
        "bm25": {name: generator.random(60) for name in names},
    }
    summary = summarise(rows, **SETTINGS)
    assert set(summary) == set(rows)
    assert "vs_untuned" not in summary["untuned"]
    compared = summary["specialised"]["vs_untuned"]["ndcg_at_10"]
    assert set(compared) == {
        "difference", "low", "high", "p", "p_holm", "wins", "losses", "ties", "detectable",
    }  # fmt: skip
    assert compared["difference"] == pytest.approx(
        float(np.mean(rows["specialised"]["ndcg_at_10"] - untuned["ndcg_at_10"]))
    )
    assert compared["p"] == pytest.approx(1 / 2001)
    assert compared["p_holm"] >= compared["p"] * 4  # six tests, three of them as strong
    assert compared["wins"] + compared["losses"] + compared["ties"] == 60
    assert summary == summarise(rows, **SETTINGS)


def test_kinds_and_no_queries():
    scores = {"untuned": {"ndcg_at_10": np.asarray([1.0, 0.0, 0.5])}}
    assert kind_means(scores, ["task", "", "task"]) == {
        "task": {"queries": 2, "untuned": 0.75},
        "unspecified": {"queries": 1, "untuned": 0.0},
    }
    assert assess({}, [], **SETTINGS) == {"queries": 0, "rows": {}, "kinds": {}}
