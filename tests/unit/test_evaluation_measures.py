"""Measures against hand-computed values, and the order of runs."""

from __future__ import annotations

import math

import pytest

from densespec.evaluation.measures import measure_run, measure_runs, ranked
from densespec.io.trec import read_run, write_run
from densespec.records import Qrel, Scored


def run_of(*passages: str) -> list[Scored]:
    return [Scored(passage, 1.0 - 0.01 * place) for place, passage in enumerate(passages)]


def test_graded_ndcg_by_hand():
    qrels = [Qrel("q", "a", 2), Qrel("q", "b", 1), Qrel("q", "c", 1), Qrel("q", "n", 0)]
    values = measure_run({"q": run_of("n", "b", "x", "a")}, qrels, ["q"])
    gained = 1 / math.log2(3) + 2 / math.log2(5)  # grades are gains: b at rank 2, a at rank 4
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert values["ndcg_at_10"][0] == pytest.approx(gained / ideal)
    assert values["mrr_at_10"][0] == pytest.approx(1 / 2)
    assert values["recall_at_100"][0] == pytest.approx(2 / 3)


def test_cutoffs():
    others = [f"x{n:03}" for n in range(120)]
    qrels = [Qrel("q", "a", 1)]
    at_11 = measure_run({"q": run_of(*others[:10], "a")}, qrels, ["q"])
    assert (at_11["ndcg_at_10"][0], at_11["mrr_at_10"][0], at_11["recall_at_100"][0]) == (0, 0, 1)
    at_101 = measure_run({"q": run_of(*others[:100], "a")}, qrels, ["q"])
    assert at_101["recall_at_100"][0] == 0


def test_queries_missing_from_the_run_count_as_0():
    qrels = [Qrel("q1", "a", 1), Qrel("q2", "a", 1), Qrel("q3", "a", 1)]
    values = measure_run({"q1": run_of("a"), "q3": []}, qrels, ["q1", "q2", "q3"])
    assert all(value.tolist() == [1.0, 0.0, 0.0] for value in values.values())
    nothing = measure_run({}, qrels, ["q1", "q2", "q3"])
    assert all(value.tolist() == [0.0, 0.0, 0.0] for value in nothing.values())


def test_order_of_the_result_is_that_of_the_ids():
    qrels = [Qrel("b", "p", 1), Qrel("a", "q", 1)]
    values = measure_runs({"row": {"a": run_of("q"), "b": run_of("x")}}, qrels, ["b", "a"])
    assert values["row"]["ndcg_at_10"].tolist() == [0.0, 1.0]


def test_ties_and_rounding_follow_the_run_file(tmp_path):
    entries = ranked(["a", "c", "b", "d"], [0.5, 0.5000001, 0.5, 0.9])
    assert [entry.passage_id for entry in entries] == ["d", "c", "b", "a"]  # 0.5000001 is a tie in the file
    write_run(tmp_path / "run.trec", {"q": entries}, "row")
    again = read_run(tmp_path / "run.trec")["q"]
    assert again == entries


def test_trec_eval_reads_the_same_order_from_the_file(tmp_path):
    import ir_measures

    entries = ranked([f"p{n}" for n in range(30)], [round(n / 7) / 3 for n in range(30)])
    write_run(tmp_path / "run.trec", {"q": entries}, "row")
    qrels = [Qrel("q", "p3", 2), Qrel("q", "p22", 1), Qrel("q", "p27", 1)]
    ours = measure_run({"q": entries}, qrels, ["q"])
    theirs = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10, ir_measures.R @ 100],
        [ir_measures.Qrel(*qrel) for qrel in qrels],
        ir_measures.read_trec_run(str(tmp_path / "run.trec")),
    )
    assert ours["ndcg_at_10"][0] == pytest.approx(theirs[ir_measures.nDCG @ 10])
    assert ours["recall_at_100"][0] == pytest.approx(theirs[ir_measures.R @ 100])
