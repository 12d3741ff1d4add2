"""Candidate lists: fused rankings, with the round trip and the source passage always in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Mined(NamedTuple):
    """Candidates of one query.

    Attributes:
        passages: row numbers in fused order; empty when the round trip failed.
        dense: the untuned student's cosine of each.
        source_rank: rank of the source passage in the student's list, from 1; 0 if the query has no
            source or the source is not in the list.
    """

    passages: list[int]
    dense: list[float]
    source_rank: int


def mine_query(
    query_vector: Array,
    passage_vectors: Array,
    fused: Callable[[], Sequence[int]],
    student_ranking: Sequence[int] | Array,
    *,
    source: int | None,
    depth: int,
    round_trip: int,
) -> Mined:
    """The candidate list of one query.

    Args:
        query_vector: float32 (dimension,).
        passage_vectors: float32 (passages, dimension).
        fused: gives the row numbers, best first, of all retrievers together; not called where the round
            trip fails.
        student_ranking: the student's own list, for the round trip.
        source: row of the passage the query was written for; None for queries of users.
        depth: candidates to keep.
        round_trip: required rank of the source in the student's list; 0 = not required.
    """
    source_rank = 0
    if source is not None:
        found = np.flatnonzero(np.asarray(student_ranking) == source)
        source_rank = int(found[0]) + 1 if len(found) else 0
        if round_trip and not 0 < source_rank <= round_trip:
            return Mined([], [], source_rank)
    rows = list(fused()[:depth])
    if source is not None and source not in rows:
        rows = [*rows[: depth - 1], source]
    dense = passage_vectors[rows] @ query_vector
    return Mined(rows, [float(score) for score in dense], source_rank)
