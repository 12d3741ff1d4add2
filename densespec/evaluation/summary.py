"""From per-query measures to the numbers of the report: means, intervals, tests, per-kind means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from densespec.evaluation.significance import count_signs, detectable_effect, holm, randomisation_test
from densespec.retrieval.bootstrap import bootstrap_interval
from densespec.retrieval.measures import MEASURES
from densespec.retrieval.rows import row_of

Array = np.ndarray[Any, Any]
#: Row (``untuned``, ``bm25``, …) → measure → float64 (queries,).
Scores = Mapping[str, Mapping[str, Array]]
BASELINE = "untuned"


def assess(
    scores: Scores, kinds: Sequence[str], *, resamples: int, permutations: int, seed: int
) -> dict[str, Any]:
    """All numbers of one split.

    Args:
        scores: per-query measures of every row, float64 (queries,).
        kinds: kind of each query.
        resamples: bootstrap resamples.
        permutations: sign patterns of the paired tests.
        seed: of both.

    Returns:
        ``queries`` (count), ``rows`` (:func:`summarise`), ``kinds`` (:func:`kind_means`) and, with a control,
        ``specialised_vs_control`` (:func:`compare`); the last three empty for no queries.
    """
    if not kinds:
        return {"queries": 0, "rows": {}, "kinds": {}}
    block = {
        "queries": len(kinds),
        "rows": summarise(scores, resamples=resamples, permutations=permutations, seed=seed),
        "kinds": kind_means(scores, kinds),
    }
    if "control" in scores and "specialised" in scores:
        block["specialised_vs_control"] = compare(
            scores["specialised"], scores["control"], resamples, permutations, seed
        )
    return block


def summarise(scores: Scores, *, resamples: int, permutations: int, seed: int) -> dict[str, Any]:
    """Every row's means with 95 % intervals, and its paired comparison with the untuned model.

    The Holm family is every row but the untuned one, times every measure; short embeddings, which no
    other row should pay for, are a family of their own.

    Args:
        scores: per-query measures; needs the row ``untuned`` and at least one query.
        resamples: bootstrap resamples.
        permutations: sign patterns of the paired test.
        seed: of both.

    Returns:
        ``{row: {measure: {mean, low, high}, "vs_untuned": {measure: {difference, low, high, p, p_holm,
        wins, losses, ties, detectable}}}}``; the untuned row has no ``vs_untuned``.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row, values in scores.items():
        columns = np.stack([values[name] for name in MEASURES], axis=1)
        low, high = bootstrap_interval(columns, resamples=resamples, seed=seed)
        rows[row] = {
            name: {"mean": float(columns[:, i].mean()), "low": float(low[i]), "high": float(high[i])}
            for i, name in enumerate(MEASURES)
        }
    pairs = [(row, name) for row in scores if row != BASELINE for name in MEASURES]
    if not pairs:
        return rows
    compared = {
        row: compare(scores[row], scores[BASELINE], resamples, permutations, seed) for row, _ in pairs
    }
    short, whole = ([pair for pair in pairs if bool(row_of(pair[0]).dims) == cut] for cut in (True, False))
    corrected: dict[tuple[str, str], float] = {}
    for family in (short, whole):
        corrected |= holm({(row, name): compared[row][name]["p"] for row, name in family})
    for row, name in pairs:
        rows[row].setdefault("vs_untuned", {})[name] = compared[row][name] | {"p_holm": corrected[row, name]}
    return rows


def compare(
    first: Mapping[str, Array], second: Mapping[str, Array], resamples: int, permutations: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Paired comparison of two rows, measure by measure, without correction for several tests.

    Args:
        first: measure → float64 (queries,); differences are first − second.
        second: the same queries in the same order.
        resamples: bootstrap resamples.
        permutations: sign patterns of the paired test.
        seed: of both.
    """
    differences = np.stack([first[name] - second[name] for name in MEASURES], axis=1)
    low, high = bootstrap_interval(differences, resamples=resamples, seed=seed)
    p = randomisation_test(differences, permutations=permutations, seed=seed)
    return {
        name: {
            "difference": float(differences[:, i].mean()),
            "low": float(low[i]),
            "high": float(high[i]),
            "p": float(p[i]),
            **count_signs(differences[:, i])._asdict(),
            "detectable": detectable_effect(differences[:, i]),
        }
        for i, name in enumerate(MEASURES)
    }


def kind_means(scores: Scores, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Mean nDCG@10 per kind of query and row, and how many queries that is.

    Args:
        scores: per-query measures.
        kinds: kind of each query; ``""`` is shown as ``unspecified``.
    """
    names = np.asarray([kind or "unspecified" for kind in kinds])
    return {
        str(kind): {"queries": int((names == kind).sum())}
        | {row: float(values["ndcg_at_10"][names == kind].mean()) for row, values in scores.items()}
        for kind in sorted(set(names.tolist()))
    }
