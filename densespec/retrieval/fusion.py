"""Fusion of several retrievers' rankings, by rank or by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int] | Array],
    depth: int,
    k: int = 60,
    weights: Sequence[float] | None = None,
) -> tuple[list[int], list[float]]:
    """Fuse rankings of one query (Cormack, Clarke and Büttcher, SIGIR 2009).

    Args:
        rankings: row numbers, best first, one sequence per retriever.
        depth: length of the result.
        k: the constant of the method.
        weights: of each ranking; None weighs all 1, which is the method as published.

    Returns:
        Row numbers, best first (ties by row number), and their scores Σ weight / (k + rank).
    """
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, row in enumerate(ranking, start=1):
            scores[int(row)] = scores.get(int(row), 0.0) + weight / (k + rank)
    return _best(scores, depth)


def weighted_fusion(
    rankings: Sequence[Sequence[int] | Array],
    scores: Sequence[Sequence[float] | Array],
    depth: int,
    weights: Sequence[float],
    normalise: str = "min-max",
) -> tuple[list[int], list[float]]:
    """Fuse one query's lists by a weighted sum of their scores, each list's brought to one scale first.

    A passage that a list doesn't have counts there as that list's last one; where a list's scores are all
    equal, or it has a single one, those that it has count 1 and the others 0. (The families of these sums:
    Fox and Shaw, TREC-2, 1994; the scales: Bruch, Gai and Ingber, TOIS 2023.)

    Args:
        rankings: row numbers, best first, one sequence per retriever.
        scores: of each row, any scale.
        depth: length of the result.
        weights: of each retriever.
        normalise: ``"min-max"`` (a list's scores to [0, 1]) or ``"z-score"`` (to mean 0, deviation 1).

    Returns:
        Row numbers, best first (ties by row number), and their sums.
    """
    sums = {int(row): 0.0 for ranking in rankings for row in ranking}
    for ranking, given, weight in zip(rankings, scores, weights, strict=True):
        if len(ranking):
            values = np.asarray(given, dtype=np.float64)
            spread = np.ptp(values)
            if spread:
                of_z = normalise == "z-score"
                origin, unit = (values.mean(), values.std()) if of_z else (values.min(), spread)
                values = (values - origin) / unit
                last = float(values.min())
            else:
                values, last = np.ones(len(values)), 0.0
            own = dict(zip((int(row) for row in ranking), values.tolist(), strict=True))
            for row in sums:
                sums[row] += weight * own.get(row, last)
    return _best(sums, depth)


def _best(scores: dict[int, float], depth: int) -> tuple[list[int], list[float]]:
    best = sorted(scores, key=lambda row: (-scores[row], row))[:depth]
    return best, [scores[row] for row in best]
