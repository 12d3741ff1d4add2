"""Weights of several scorers, chosen by nDCG@10 on judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from densespec.records import Qrel, Scored
from densespec.retrieval.measures import per_query

Array = np.ndarray[Any, Any]


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


def ndcg_of_lists(
    query_ids: Sequence[str],
    candidates: Sequence[Sequence[str]],
    scores: Sequence[Array],
    qrels: Sequence[Qrel],
) -> dict[str, float]:
    """nDCG@10 per query when its candidates are ordered by ``scores``."""
    run = {}
    for query_id, passages, values in zip(query_ids, candidates, scores, strict=True):
        order = np.argsort(-values, kind="stable")
        run[query_id] = [Scored(passages[place], float(values[place])) for place in order[:100]]
    return per_query(run, qrels, ["ndcg_at_10"])["ndcg_at_10"]
