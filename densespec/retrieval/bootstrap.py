"""How sure means over queries are."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Cells of the largest matrix held at once.
CELLS = 4_000_000


def bootstrap_interval(values: Array, *, resamples: int, seed: int) -> tuple[Array, Array]:
    """95 % percentile bootstrap intervals of column means; all columns share the resampled queries.

    Efron, 1979; for measures of retrieval Sakai, SIGIR 2006.

    Args:
        values: float (queries, columns).
        resamples: how often queries are drawn with replacement.
        seed: of the draws.

    Returns:
        Lower and upper limits, float64 (columns,) each.
    """
    queries = len(values)
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, CELLS // queries))
    means = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, queries, size=(size, queries))
        cells = drawn + np.arange(size)[:, None] * queries
        counts = np.bincount(cells.ravel(), minlength=size * queries).reshape(size, queries)
        means.append(counts.astype(np.float64) @ values / queries)
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high
