"""Several teachers as one: how alike they rank, their weights, their weighted mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.agreement import kendall_tau
from densespec.retrieval.judged import Judged
from densespec.retrieval.weights import best_weights

Array = np.ndarray[Any, Any]


def agreement(scores: Mapping[str, Sequence[Array]]) -> dict[str, float]:
    """How alike several teachers rank: Kendall's τ-b per query, averaged.

    Args:
        scores: teacher → one array (candidates,) per query.

    Returns:
        ``"one, other"`` → mean τ from -1 to 1, for every two teachers, over the queries where neither
        scores all candidates alike; left out where there are none.
    """
    found = {}
    for one, other in itertools.combinations(scores, 2):
        taus = [kendall_tau(*pair) for pair in zip(scores[one], scores[other], strict=True)]
        taus = [tau for tau in taus if not math.isnan(tau)]
        if taus:
            found[f"{one}, {other}"] = float(np.mean(taus))
    return found


def choose_weights(
    given: Mapping[str, float] | Literal["dev"] | None,
    dev: Mapping[str, Sequence[Array]],
    judged: Judged,
    min_queries: int,
) -> tuple[dict[str, float], str]:
    """The teachers' weights, and the rule they come from.

    Args:
        given: the parameter: teacher → weight (one that is not named weighs 1), ``"dev"`` for the best mean
            nDCG@10 of the weighted scores on the judged dev queries, or None for even weights.
        dev: teacher → its calibrated scores (candidates,) of each judged dev query.
        judged: these queries.
        min_queries: with fewer of them ``"dev"`` gives even weights, too.

    Returns:
        Weights with the sum 1, and a few words.

    Raises:
        InputError: a weight of no teacher, a negative or infinite one, or none above 0.
    """
    even = dict.fromkeys(dev, 1 / len(dev))
    if given is None:
        return even, "even"
    if not isinstance(given, str):
        return shares(dev, given), "params"
    if len(judged.query_ids) < min_queries:
        return even, f"even: fewer than {min_queries} judged dev queries"

    def quality(weights: dict[str, float]) -> float:
        return judged.ndcg_at_10(ensemble(dev, weights))

    weights, _ = best_weights(list(dev), quality)
    return weights, f"best nDCG@10 on {len(judged.query_ids)} judged dev queries"


def shares(teachers: Iterable[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Weights as shares of their sum; a teacher that is not named weighs 1.

    Raises:
        InputError: a weight of no teacher, a negative or infinite one, or none above 0.
    """
    names = list(teachers)
    used = dict.fromkeys(names, 1.0) | dict(weights)
    total = sum(used.values())
    if set(used) != set(names) or min(used.values()) < 0 or not 0 < total < math.inf:
        raise InputError(
            "params.yaml: select.teacher_weights",
            expected=f"weights from 0 up, at least one above 0, of the teachers: {', '.join(names)}",
            found=", ".join(f"{name}: {weight:g}" for name, weight in used.items()),
            remedy="correct names and weights here or in the domain's file, or add the teacher to params "
            "'teachers'; one that is not named weighs 1",
        )
    return {name: weight / total for name, weight in used.items()}


def ensemble(scores: Mapping[str, Sequence[Array]], weights: Mapping[str, float]) -> list[Array]:
    """Weighted mean of several teachers' calibrated scores, per query (candidates,).

    Raises:
        InputError: see :func:`shares`.
    """
    share = shares(scores, weights)
    return [
        np.sum([share[name] * scores[name][number] for name in share], axis=0).astype(np.float32)
        for number in range(len(next(iter(scores.values()))))
    ]
