"""Weights of several scorers, chosen by the quality of their mix."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence


def best_weights(
    names: Sequence[str], quality: Callable[[dict[str, float]], float], step: float = 0.1
) -> tuple[dict[str, float], float]:
    """The best point of a grid over the simplex.

    Args:
        names: what is weighed.
        quality: of weights that sum to 1.
        step: distance of grid points; ties go to the most even weights.

    Returns:
        Weights (sum 1) and their quality.
    """
    points = round(1 / step)
    best: tuple[float, float, dict[str, float]] | None = None
    for counts in itertools.product(range(points + 1), repeat=len(names)):
        if sum(counts) != points:
            continue
        weights = {name: count / points for name, count in zip(names, counts, strict=True)}
        found, evenness = round(quality(weights), 6), -sum(weight**2 for weight in weights.values())
        if best is None or (found, evenness) > best[:2]:
            best = (found, evenness, weights)
    assert best is not None
    return best[2], best[0]
