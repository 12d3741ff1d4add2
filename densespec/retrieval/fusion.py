"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int] | Array], depth: int, k: int = 60
) -> tuple[list[int], list[float]]:
    """Fuse rankings of one query.

    Args:
        rankings: row numbers, best first, one sequence per retriever.
        depth: length of the result.
        k: the constant of the method.

    Returns:
        Row numbers, best first (ties by row number), and their scores Σ 1 / (k + rank).
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[int(row)] = scores.get(int(row), 0.0) + 1.0 / (k + rank)
    best = sorted(scores, key=lambda row: (-scores[row], row))[:depth]
    return best, [scores[row] for row in best]
