"""The order that runs are read in, and their measures as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from densespec.records import Qrel, Run, Scored
from densespec.retrieval.measures import MEASURES, per_query

Array = np.ndarray[Any, Any]


def ranked(passage_ids: Sequence[str], scores: Sequence[float] | Array) -> list[Scored]:
    """A candidate list in the order in which trec_eval reads it back from a run file.

    Scores are rounded to the six decimals of the file and compared, like there, in single precision;
    ties go to the larger passage id. So file, measures and report agree on one order.

    Args:
        passage_ids: the list's passages, any order, each once.
        scores: one per passage, higher is better.
    """
    entries = [Scored(p, round(float(s), 6)) for p, s in zip(passage_ids, scores, strict=True)]
    entries.sort(key=lambda entry: entry.passage_id, reverse=True)
    entries.sort(key=lambda entry: -float(np.float32(entry.score)))
    return entries


def measure_run(run: Run, qrels: Sequence[Qrel], query_ids: Sequence[str]) -> dict[str, Array]:
    """The measures of one run, query by query.

    Args:
        run: candidate lists, best first.
        qrels: judgements of these queries (others are left out).
        query_ids: judged queries, in the order of the result.

    Returns:
        Name of the measure → float64 (queries,). A query that the run does not answer counts as 0.
    """
    wanted = set(query_ids)
    values = per_query(
        {query_id: run[query_id] for query_id in query_ids if query_id in run},
        [qrel for qrel in qrels if qrel.query_id in wanted],
    )
    return {
        name: np.asarray([values[name].get(query_id, 0.0) for query_id in query_ids], dtype=np.float64)
        for name in MEASURES
    }


def measure_runs(
    runs: Mapping[str, Run], qrels: Sequence[Qrel], query_ids: Sequence[str]
) -> dict[str, dict[str, Array]]:
    """The same for several rows: row → measure → float64 (queries,)."""
    return {row: measure_run(run, qrels, query_ids) for row, run in runs.items()}
