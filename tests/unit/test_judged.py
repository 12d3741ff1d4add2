"""Which queries are judged or answered, and what an order of their candidates is worth."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.records import Qrel
from densespec.retrieval.judged import Judged, judged_dev, judged_lists, known_answers


def test_judged_dev_queries_and_their_grades():
    ids, splits, candidates = ["a", "b", "c", "d"], ["dev", "train", "dev", "dev"], [[1, 0], [0], [2, 1], []]
    qrels = [Qrel("a", "x", 2), Qrel("b", "x", 1), Qrel("d", "y", 1), Qrel("a", "y", -1), Qrel("e", "x", 1)]
    numbers = judged_dev(ids, splits, qrels)
    assert numbers == [0, 3]
    judged = judged_lists(numbers, ids, candidates, ["x", "y", "z"], qrels)
    assert judged == Judged(["a", "d"], [["y", "x"], []], [qrels[0], qrels[2], qrels[3]])
    assert [values.tolist() for values in judged.grades()] == [[0, 2], []]
    assert judged.ndcg_at_10([np.array([0.0, 1.0]), np.zeros(0)]) == pytest.approx(0.5)


def test_candidates_are_ordered_by_score_and_ties_keep_their_order():
    judged = Judged(["a", "b"], [["x", "y", "z"], ["x", "y"]], [Qrel("a", "z", 1), Qrel("b", "x", 1)])
    found = judged.ndcg_per_query([np.array([0.0, 1.0, 1.0]), np.array([1.0, 1.0])])
    assert found == pytest.approx({"a": 1 / np.log2(3), "b": 1.0})


def test_known_answers_are_those_of_all_rows_with_the_text():
    found = known_answers(["a", "b", "a", "a", "c"], [3, 4, 7, None, None])
    assert found == [{3, 7}, {4}, {3, 7}, {3, 7}, set()]
