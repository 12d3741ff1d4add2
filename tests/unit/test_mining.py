"""Candidate lists of single queries."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from densespec.mining.candidates import Mined, mine_query
from densespec.mining.config import MineConfig

PASSAGES = np.eye(6, dtype=np.float32)
QUERY = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=np.float32)
STUDENT = [5, 4, 3, 2]


def mine(**changes):
    options = {"source": None, "depth": 10, "round_trip": 2, **changes}
    fused = options.pop("fused", [5, 0, 4, 1, 3, 2])
    return mine_query(QUERY, PASSAGES, lambda: fused, STUDENT, **options)


def test_a_users_query_gets_the_fused_list_with_the_students_cosines():
    assert mine() == Mined([5, 0, 4, 1, 3, 2], pytest.approx([0.6, 0.1, 0.5, 0.2, 0.4, 0.3]), 0)


def test_depth_cuts_the_list():
    assert mine(depth=2).passages == [5, 0]


@pytest.mark.parametrize(
    ("source", "round_trip", "rank", "kept"),
    [(5, 2, 1, True), (4, 2, 2, True), (3, 2, 3, False), (1, 2, 0, False), (3, 0, 3, True), (1, 0, 0, True)],
)
def test_the_round_trip_is_by_the_students_own_rank(source, round_trip, rank, kept):
    mined = mine(source=source, round_trip=round_trip)
    assert mined.source_rank == rank
    assert bool(mined.passages) == kept
    assert len(mined.dense) == len(mined.passages)


def test_a_source_that_no_list_has_takes_the_last_place():
    assert mine(source=2, round_trip=0, depth=3).passages == [5, 0, 2]
    lonely = mine(source=2, round_trip=0, fused=[5])
    assert lonely.passages == [5, 2]
    assert lonely.dense == pytest.approx([0.6, 0.3])


def test_a_source_in_the_list_is_there_once():
    assert mine(source=5, depth=3).passages == [5, 0, 4]


def test_the_students_ranking_may_be_an_array():
    mined = mine_query(QUERY, PASSAGES, lambda: [5, 0], np.array(STUDENT), source=5, depth=9, round_trip=1)
    assert mined == Mined([5, 0], pytest.approx([0.6, 0.1]), 1)
    assert all(type(score) is float for score in mined.dense)


def test_no_retriever_found_anything():
    assert mine(fused=[]) == Mined([], [], 0)


def test_lists_are_not_fused_where_the_round_trip_fails():
    def fused():
        raise AssertionError("nobody reads it")

    assert mine_query(QUERY, PASSAGES, fused, STUDENT, source=1, depth=9, round_trip=2) == Mined([], [], 0)


def test_settings_are_checked():
    values = {
        "depth": 10, "retrievers": ["student"], "rrf_k": 60, "round_trip": 0, "use_log": True,
        "token_vectors": False,
    }  # fmt: skip
    assert MineConfig(**values).depth == 10
    for change in (
        {"depth": 1}, {"rrf_k": 0}, {"round_trip": -1}, {"unknown": 1},
        {"fusion": "sum"}, {"normalise": "rank"}, {"index": "pq"}, {"dense": {"x": {}}},
        {"dense": {"x": {"model": "m", "batch_tokens": 0}}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            MineConfig(**{**values, **change})
