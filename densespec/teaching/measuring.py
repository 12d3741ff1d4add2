"""How sure a mean difference is."""

from __future__ import annotations

from typing import Any

import numpy as np

from densespec.runtime.seeds import generator_for

Array = np.ndarray[Any, Any]
RESAMPLES = 10_000


def mean_difference(differences: Array, seed: int) -> dict[str, float]:
    """Mean of differences per query (queries,), and its 95 % bootstrap interval: difference, low, high."""
    picks = generator_for(seed, "audit").integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), [2.5, 97.5])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}
