"""How sure a mean difference is."""

from __future__ import annotations

from typing import Any

import numpy as np

from densespec.retrieval.bootstrap import bootstrap_interval
from densespec.runtime.seeds import seed_for

Array = np.ndarray[Any, Any]
RESAMPLES = 10_000


def mean_difference(differences: Array, seed: int) -> dict[str, float]:
    """Mean of differences per query (queries,), and its 95 % bootstrap interval: difference, low, high."""
    column = differences[:, None]
    low, high = bootstrap_interval(column, resamples=RESAMPLES, seed=seed_for(seed, "audit"))
    return {"difference": float(differences.mean()), "low": float(low[0]), "high": float(high[0])}
