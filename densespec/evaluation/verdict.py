"""Ship, no evidence, regression, or not tested: one word, and the sentence that says why."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from densespec.evaluation.significance import detectable_effect, queries_needed

Array = np.ndarray[Any, Any]

SHIP, NO_EVIDENCE, REGRESSION, NOT_TESTED = "ship", "no evidence", "regression", "not tested"


class Verdict(NamedTuple):
    """The word and its reason, a full sentence."""

    verdict: str
    reason: str


def judge(
    differences: Array, *, low: float, high: float, p: float, p_holm: float, alpha: float, min_queries: int
) -> Verdict:
    """Whether the specialised model may replace the untuned one.

    Args:
        differences: nDCG@10 of the specialised minus the untuned model, float (queries,).
        low: lower limit of the mean's 95 % interval.
        high: upper limit.
        p: of the paired randomisation test of the mean. It decides: this is the one comparison the
            verdict is about, whatever else is measured beside it.
        p_holm: the same, Holm-corrected over all rows and measures; reported beside it.
        alpha: what p must be below.
        min_queries: fewer queries than this are no test.
    """
    queries = len(differences)
    if queries < min_queries:
        return untested(queries, min_queries)
    mean = float(differences.mean())
    interval = f"95 % interval {low:+.3f} to {high:+.3f}"
    evidence = f"{interval}, p {_p(p)}, Holm-corrected over all comparisons {_p(p_holm)}"
    if p < alpha and mean > 0:
        return Verdict(SHIP, f"nDCG@10 rises by {mean:.3f} on {queries:,} test queries ({evidence}).")
    if p < alpha and mean < 0:
        return Verdict(REGRESSION, f"nDCG@10 falls by {-mean:.3f} on {queries:,} test queries ({evidence}).")
    needed, detectable = queries_needed(differences), detectable_effect(differences)
    if needed is None or detectable is None:
        same = "the same on all" if not differences.any() else "on average the same on"
        return Verdict(NO_EVIDENCE, f"nDCG@10 is {same} {queries:,} test queries ({evidence}).")
    reason = (
        f"A difference of {mean:+.3f} nDCG@10 on {queries:,} test queries can be chance ({evidence}). "
        f"This test set shows differences of {detectable:.3f} and more"
    )
    if needed > queries:
        reason += f"; one of {abs(mean):.3f} would need about {_rough(needed)} queries."
    else:
        reason += "."
    return Verdict(NO_EVIDENCE, reason)


def untested(queries: int, min_queries: int) -> Verdict:
    """The verdict for none or too few judged test queries."""
    if not queries:
        return Verdict(
            NOT_TESTED,
            "There are no judged test queries, so whether the specialised model is better is unknown. "
            "Give the domain queries.jsonl and qrels/test.tsv to find out.",
        )
    return Verdict(
        NOT_TESTED,
        f"{queries:,} judged test {'query is' if queries == 1 else 'queries are'} too few to tell "
        f"(evaluate.min_queries is {min_queries:,}). Judge more queries to find out.",
    )


def _p(p: float) -> str:
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def _rough(count: int) -> str:
    """Two significant digits: an estimate from one sample carries no more."""
    digits = max(0, len(str(count)) - 2)
    return f"{-(-count // 10**digits) * 10**digits:,}"
