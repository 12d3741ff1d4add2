"""Effectiveness per query, computed by ir_measures (trec_eval's definitions), never by own formulas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from densespec.records import Qrel, Run

#: Our names (MLflow refuses an ``@``) → ir_measures' names.
MEASURES = {"ndcg_at_10": "nDCG@10", "recall_at_100": "R@100", "mrr_at_10": "RR@10"}
#: What people call them.
MEASURE_TITLES = {"ndcg_at_10": "nDCG@10", "recall_at_100": "Recall@100", "mrr_at_10": "MRR@10"}


def per_query(
    run: Run, qrels: Iterable[Qrel], names: Sequence[str] = tuple(MEASURES)
) -> dict[str, dict[str, float]]:
    """Measure → query id → value, for every query that has judgements.

    Args:
        run: candidate lists; a judged query missing from it counts 0.
        qrels: graded judgements; grade 0 and unjudged are both not relevant.
        names: keys of :data:`MEASURES`.
    """
    import ir_measures

    judged = list(qrels)
    parsed = {ir_measures.parse_measure(MEASURES[name]): name for name in names}
    values: dict[str, dict[str, float]] = {
        name: dict.fromkeys(sorted({q.query_id for q in judged}), 0.0) for name in names
    }
    rows = (
        # descending rank as score: ties keep the run's own order
        ir_measures.ScoredDoc(query_id, entry.passage_id, float(-rank))
        for query_id, entries in run.items()
        for rank, entry in enumerate(entries)
    )
    for metric in ir_measures.iter_calc(
        list(parsed), [ir_measures.Qrel(q.query_id, q.passage_id, q.grade) for q in judged], rows
    ):
        values[parsed[metric.measure]][metric.query_id] = float(metric.value)
    return values


def mean(values: Mapping[str, float]) -> float:
    """Mean over queries; 0 for none."""
    return sum(values.values()) / len(values) if values else 0.0
