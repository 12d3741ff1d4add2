"""What differences between two runs on the same queries mean: tests, and what could be seen.

Sources: paired randomisation test (Fisher; Smucker, Allan and Carterette, CIKM 2007), Holm's step-down
correction (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
Key = TypeVar("Key")

#: Differences of one query smaller than this are ties (measure units).
TIE = 1e-6
#: Standard normal quantiles of 97.5 % and 80 %: two-sided test at 5 % with 80 % power.
POWER_QUANTILES = 2.8
#: Cells of the largest matrix held at once.
CELLS = 4_000_000


class Counts(NamedTuple):
    """Queries on which the first run is better, worse, or equal."""

    wins: int
    losses: int
    ties: int


def randomisation_test(differences: Array, *, permutations: int, seed: int) -> Array:
    """Two-sided p of each column's mean under random signs: paired, no assumption on the distribution.

    Queries without a difference cannot change the sum and are left out. Where all sign patterns are no
    more than ``permutations``, they are enumerated and p is exact; otherwise p = (hits + 1) / (draws + 1),
    which is never 0.

    Args:
        differences: float (queries, columns), one run minus the other.
        permutations: sign patterns to draw.
        seed: of the draws.

    Returns:
        p, float64 (columns,).
    """
    p = np.ones(differences.shape[1])
    sampled = []
    for column in range(differences.shape[1]):
        moved = differences[:, column][np.abs(differences[:, column]) > 0]
        if not len(moved):
            continue
        if 2 ** len(moved) <= permutations:
            p[column] = _exact_p(moved)
        else:
            sampled.append(column)
    if sampled:
        p[sampled] = _sampled_p(differences[:, sampled], permutations, seed)
    return p


def _exact_p(moved: Array) -> float:
    sums = np.zeros(1)
    for value in moved:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= abs(moved.sum()) - _rounding(moved)))


def _sampled_p(differences: Array, permutations: int, seed: int) -> Array:
    queries = len(differences)
    generator = np.random.default_rng(seed)
    observed = np.abs(differences.sum(axis=0)) - _rounding(differences)
    hits = np.zeros(differences.shape[1])
    chunk = max(1, CELLS // queries)
    for start in range(0, permutations, chunk):
        size = min(chunk, permutations - start)
        raw = generator.integers(0, 256, size=(size, (queries + 7) // 8), dtype=np.uint8)
        positive = np.unpackbits(raw, axis=1, count=queries).astype(np.float64)
        sums = 2 * (positive @ differences) - differences.sum(axis=0)
        hits += (np.abs(sums) >= observed).sum(axis=0)
    return (hits + 1) / (permutations + 1)


def _rounding(values: Array) -> float:
    """Slack under which two sums of the same numbers are the same: order of addition must not decide."""
    return 1e-12 * max(1.0, float(np.abs(values).sum()))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's step-down correction over one family of tests; the corrected values keep their order."""
    corrected: dict[Key, float] = {}
    highest = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[key]))
        corrected[key] = highest
    return {key: corrected[key] for key in p_values}


def count_signs(differences: Array) -> Counts:
    """Wins, losses and ties of one column of differences, float (queries,)."""
    wins, losses = int((differences >= TIE).sum()), int((differences <= -TIE).sum())
    return Counts(wins, losses, len(differences) - wins - losses)


def detectable_effect(differences: Array) -> float | None:
    """Smallest true difference that this many queries show at p < 0.05 in 4 of 5 such tests.

    2.8 × the standard error of the paired difference, before any correction for several tests.

    Args:
        differences: float (queries,).

    Returns:
        The effect in units of the measure; None for fewer than two queries.
    """
    if len(differences) < 2:
        return None
    return float(POWER_QUANTILES * differences.std(ddof=1) / math.sqrt(len(differences)))


def queries_needed(differences: Array) -> int | None:
    """Queries of this sort that would show the observed mean difference with the same power.

    Returns:
        The number; None where the mean is 0 or there are fewer than two queries.
    """
    mean = abs(float(differences.mean())) if len(differences) else 0.0
    if len(differences) < 2 or mean < TIE:
        return None
    return math.ceil((POWER_QUANTILES * float(differences.std(ddof=1)) / mean) ** 2)
