"""What the corpus stage tells the user: one line per kind of input, warnings for what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def summary(metrics: dict[str, Any]) -> Iterator[str]:
    """Lines about the metrics of the corpus stage."""
    passages, left_out = metrics["passages"], metrics["left_out"]
    yield f"{passages['total']:,} passages, {passages['seeds']:,} seeds{_but(passages['not_seeds'])}"
    for split, number in metrics["queries"].items():
        yield f"{split}: {number:,} queries, {metrics['judgements'][split]:,} judgements"
        without = left_out.get(f"{split}_queries_without_relevant", 0)
        if without:
            yield f"warning: {without:,} {split} queries have no relevant passage and are left out"
    if left_out["judgements_skipped"]:
        yield f"warning: {left_out['judgements_skipped']:,} judgements of passages not here are skipped"
    if left_out["empty_passages"]:
        yield f"warning: {left_out['empty_passages']:,} passages have neither title nor text and are left out"
    labels = metrics["train_judgements"]
    if labels["read"]:
        yield f"train: {labels['kept']:,} of {labels['read']:,} judgements of log queries kept"
    recorded = {f"recorded {kind}": counts for kind, counts in metrics["recordings"].items()}
    for label, counts in {"log": metrics["log"], **recorded}.items():
        dropped = {reason: n for reason, n in counts.items() if reason not in ("read", "kept")}
        yield f"{label}: {counts['kept']:,} of {counts['read']:,} queries kept{_but(dropped)}"


def _but(counts: dict[str, int]) -> str:
    parts = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items() if count]
    return f" (not: {', '.join(parts)})" if parts else ""
