"""From teacher scores to training lists: consistency filter, false negatives, split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from densespec.runtime.seeds import seed_for

Array = np.ndarray[Any, Any]

#: What can happen to a query, in the order in which it is checked.
OUTCOMES = ("round_trip", "too_few", "teacher_not_first", "low_score", "kept")


class Selected(NamedTuple):
    """One query that was kept.

    Attributes:
        number: its row in the candidates table.
        passages: row numbers of passages, best first by the teacher.
        scores: calibrated teacher score of each.
        positive: place of the positive in the list: the source passage, or the teacher's first.
        split: ``"train"`` or ``"dev"``.
        dropped: how many of its candidates were dropped as likely false negatives.
    """

    number: int
    passages: list[int]
    scores: list[float]
    positive: int
    split: str
    dropped: int


def false_negatives(
    scores: Array, source: int, max_margin: float | None = None, max_ratio: float | None = None
) -> Array:
    """Candidates that are likely to be relevant too, as their scores are near the source passage's or above.

    The rules are those of positive-aware mining (NV-Retriever, arXiv 2407.15831: TopK-MarginPos, where the
    margin is taken off the positive's score and not added, and TopK-PercPos), on the teacher's scores.

    Args:
        scores: calibrated teacher score of each candidate (candidates,).
        source: place of the source passage among them; never named itself.
        max_margin: named are candidates above the source's score plus this; None for none.
        max_ratio: named are candidates above this multiple of it (as far above it where it is negative, too);
            None for none.

    Returns:
        bool (candidates,).
    """
    own = float(scores[source])
    limits = [math.inf]
    if max_margin is not None:
        limits.append(own + max_margin)
    if max_ratio is not None:
        limits.append(own + (max_ratio - 1) * abs(own))
    named: Array = scores > min(limits)
    named[source] = False
    return named


def split_keys(texts: Sequence[str], source_hashes: Sequence[str | None]) -> list[str]:
    """What decides the split of each query: neither a source passage nor a query with one is on both sides.

    A query that is there for several passages ties them together, and these their other queries: all of
    them get the first of their hashes. A query of users has its own text.

    Args:
        texts: of the queries.
        source_hashes: of the passage that each is there for; None for queries of users.
    """
    tied: dict[str, str] = {}

    def first(key: str) -> str:
        while tied.setdefault(key, key) != key:
            key = tied[key]
        return key

    passage_of: dict[str, str] = {}
    for text, key in zip(texts, source_hashes, strict=True):
        if key is not None:
            low, high = sorted((first(key), first(passage_of.setdefault(text, key))))
            tied[high] = low
    return [text if key is None else first(key) for text, key in zip(texts, source_hashes, strict=True)]


def select_lists(
    candidates: Sequence[Sequence[int]],
    scores: Sequence[Array],
    sources: Sequence[int | None],
    split_keys: Sequence[str],
    *,
    list_length: int,
    min_candidates: int,
    source_rank: int,
    min_top_quantile: float,
    dev_share: float,
    seed: int,
    max_margin: float | None = None,
    max_ratio: float | None = None,
) -> tuple[list[Selected], list[str]]:
    """Filter queries and cut their lists.

    Args:
        candidates: row numbers per query; of a generated one none where the round trip failed.
        scores: calibrated teacher score of each candidate.
        sources: row of the passage a query was written for; None for queries of users.
        split_keys: queries with the same key fall into the same split (:func:`split_keys`).
        list_length: passages per list.
        min_candidates: fewer drop the query.
        source_rank: required teacher rank of the source; 0 = not required.
        min_top_quantile: generated queries whose best score is lower than this quantile of all
            generated queries' best scores are dropped.
        dev_share: expected share of keys that become dev.
        seed: of the split.
        max_margin: see :func:`false_negatives`; what it names leaves the lists of generated queries.
        max_ratio: the same.

    Returns:
        The kept queries, and for every query its outcome (one of :data:`OUTCOMES`).
    """
    tops = [
        float(values.max())
        for values, source in zip(scores, sources, strict=True)
        if source is not None and len(values)
    ]
    floor = float(np.quantile(tops, min_top_quantile)) if tops and min_top_quantile else -np.inf
    selected, outcomes = [], []
    for number, (rows, values, source) in enumerate(zip(candidates, scores, sources, strict=True)):
        if not len(rows) and source is not None:
            outcomes.append("round_trip")
            continue
        if len(rows) < min_candidates:
            outcomes.append("too_few")
            continue
        order = np.argsort(-values, kind="stable")
        ranked = [int(rows[place]) for place in order]
        rank = ranked.index(source) + 1 if source in ranked else 0
        if source is not None and source_rank and not 0 < rank <= source_rank:
            outcomes.append("teacher_not_first")
            continue
        if source is not None and values[order[0]] < floor:
            outcomes.append("low_score")
            continue
        named = np.zeros(len(order), dtype=bool)
        if rank:
            named = false_negatives(values[order], rank - 1, max_margin, max_ratio)
            rank -= int(named[: rank - 1].sum())
            order = order[~named]
        if len(order) < min_candidates:
            outcomes.append("too_few")
            continue
        outcomes.append("kept")
        kept = order[:list_length]
        positive = rank - 1 if 0 < rank <= len(kept) else 0
        in_dev = seed_for(seed, "split", split_keys[number]) / 2**32 < dev_share
        selected.append(
            Selected(
                number,
                [int(rows[place]) for place in kept],
                [float(values[place]) for place in kept],
                positive,
                "dev" if in_dev else "train",
                int(named.sum()),
            )
        )
    return selected, outcomes
