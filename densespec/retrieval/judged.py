"""What is known to answer a query; judged queries with their candidates, which an order is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from densespec.records import Qrel, Scored
from densespec.retrieval.measures import mean, per_query

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Judged(NamedTuple):
    """Judged queries.

    Attributes:
        query_ids: of the queries.
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

    def ndcg_per_query(self, scores: Sequence[Array]) -> dict[str, float]:
        """nDCG@10 of each query's candidates in the order of ``scores``, arrays (candidates,)."""
        run = {}
        for query_id, passages, values in zip(self.query_ids, self.candidates, scores, strict=True):
            order = np.argsort(-values, kind="stable")
            run[query_id] = [Scored(passages[place], float(values[place])) for place in order[:10]]
        return per_query(run, self.qrels, ["ndcg_at_10"])["ndcg_at_10"]

    def ndcg_at_10(self, scores: Sequence[Array]) -> float:
        """The mean of :meth:`ndcg_per_query`."""
        return mean(self.ndcg_per_query(scores))


def judged_dev(query_ids: Sequence[str], splits: Sequence[str], qrels: Sequence[Qrel]) -> list[int]:
    """Numbers of the dev queries that have judgements.

    Args:
        query_ids: of all mined queries.
        splits: of each.
        qrels: judgements of the dev queries.
    """
    judged = {qrel.query_id for qrel in qrels}
    mined = enumerate(zip(query_ids, splits, strict=True))
    return [number for number, (query_id, split) in mined if split == "dev" and query_id in judged]


def judged_lists(
    numbers: Sequence[int],
    query_ids: Sequence[str],
    candidates: Sequence[Sequence[int]],
    passage_ids: Sequence[str],
    qrels: Sequence[Qrel],
) -> Judged:
    """Some of the mined queries with their candidates and judgements.

    Args:
        numbers: of these queries.
        query_ids: of all mined queries.
        candidates: row numbers of each one's candidates.
        passage_ids: id of each row of the corpus.
        qrels: judgements; those of other queries are left out.
    """
    ids = [query_ids[number] for number in numbers]
    lists = [[passage_ids[row] for row in candidates[number]] for number in numbers]
    wanted = set(ids)
    return Judged(ids, lists, [qrel for qrel in qrels if qrel.query_id in wanted])


def known_answers(texts: Sequence[str], sources: Sequence[T | None]) -> list[set[T]]:
    """Per query the passages that it was written or judged for, in whichever row of the table.

    Args:
        texts: of the queries.
        sources: the passage that each is there for, by row, id or hash; None for queries of users.
    """
    answers: dict[str, set[T]] = {}
    for text, source in zip(texts, sources, strict=True):
        answers.setdefault(text, set()).update(() if source is None else (source,))
    return [answers[text] for text in texts]
