"""Weights of several scorers, chosen by the quality of their mix."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

TENTHS = 10


def best_weights(
    names: Sequence[str], quality: Callable[[dict[str, float]], float]
) -> tuple[dict[str, float], float]:
    """The best weights in steps of a tenth; of equally good ones the most even.

    Args:
        names: what is weighed.
        quality: of weights that sum to 1.

    Returns:
        Weights (sum 1) and their quality.
    """
    best: tuple[float, float, dict[str, float]] | None = None
    for counts in itertools.product(range(TENTHS + 1), repeat=len(names)):
        if sum(counts) != TENTHS:
            continue
        weights = {name: count / TENTHS for name, count in zip(names, counts, strict=True)}
        found, evenness = round(quality(weights), 6), -sum(weight**2 for weight in weights.values())
        if best is None or (found, evenness) > best[:2]:
            best = (found, evenness, weights)
    assert best is not None
    return best[2], best[0]
