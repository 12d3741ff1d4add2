"""Several teachers as one: how alike they rank, their weights, their weighted mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.agreement import kendall_tau
from densespec.retrieval.measures import mean
from densespec.retrieval.weights import best_weights, ndcg_of_lists

Array = np.ndarray[Any, Any]


class Judged(NamedTuple):
    """The judged dev queries.

    Attributes:
        query_ids: of queries that have judgements.
        candidates: passage ids of each one's candidates.
        qrels: their judgements.
    """

    query_ids: Sequence[str]
    candidates: Sequence[Sequence[str]]
    qrels: Sequence[Qrel]

    def grades(self) -> list[Array]:
        """Grade of every candidate, 0 without a judgement: one array (candidates,) per query."""
        known = {(qrel.query_id, qrel.passage_id): qrel.grade for qrel in self.qrels}
        return [
            np.array([max(0, known.get((query_id, passage), 0)) for passage in passages], dtype=np.float64)
            for query_id, passages in zip(self.query_ids, self.candidates, strict=True)
        ]

    def ndcg_at_10(self, scores: Sequence[Array]) -> float:
        """Mean nDCG@10 of the candidates in the order of ``scores``."""
        return mean(ndcg_of_lists(self.query_ids, self.candidates, scores, self.qrels))


def judged_dev(
    table: Mapping[str, Sequence[Any]], passage_ids: Sequence[str], qrels: Sequence[Qrel]
) -> tuple[list[int], Judged]:
    """The dev queries that have judgements: their rows in the table of candidates, and what is judged.

    Args:
        table: of the stage mine: ``query_id``, ``split``, and ``passages`` as row numbers.
        passage_ids: id of each row of the corpus.
        qrels: judgements of the dev queries.
    """
    with_judgements = {qrel.query_id for qrel in qrels}
    numbers = [
        number
        for number, (query_id, split) in enumerate(zip(table["query_id"], table["split"], strict=True))
        if split == "dev" and query_id in with_judgements
    ]
    query_ids = [table["query_id"][number] for number in numbers]
    candidates = [[passage_ids[row] for row in table["passages"][number]] for number in numbers]
    mined = set(query_ids)
    return numbers, Judged(query_ids, candidates, [qrel for qrel in qrels if qrel.query_id in mined])


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
