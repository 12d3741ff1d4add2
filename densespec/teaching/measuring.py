"""nDCG@10 of candidate lists, and how sure a mean difference is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from densespec.records import Qrel, Scored
from densespec.retrieval.measures import per_query
from densespec.runtime.seeds import generator_for

Array = np.ndarray[Any, Any]
RESAMPLES = 10_000


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


def mean_difference(differences: Array, seed: int) -> dict[str, float]:
    """Mean of differences per query (queries,), and its 95 % bootstrap interval: difference, low, high."""
    picks = generator_for(seed, "audit").integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), [2.5, 97.5])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}
