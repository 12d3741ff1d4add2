"""Scores of different teachers on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from densespec.errors import InputError

Array = np.ndarray[Any, Any]

#: Share of the raw score in isotonic calibration: it orders what the regression ties, and no more.
TIE_BREAK = 0.01


def calibrate(scores: Sequence[Array], like: Sequence[Array] | None = None) -> list[Array]:
    """Map scores linearly so that their 1st and 99th percentiles become 0 and 1; if equal, the extremes.

    Not clipped: order and distances within a list are what the student learns from.

    Args:
        scores: one array (candidates,) per query; empty ones are passed through.
        like: scores whose percentiles count; None for these themselves.
    """
    filled = [values for values in (scores if like is None else like) if len(values)]
    if not filled:
        return list(scores)
    together = np.concatenate(filled)
    bottom, top = np.percentile(together, [1, 99])
    if top == bottom:  # most are equal
        bottom, top = together.min(), together.max()
    span = max(float(top - bottom), 1e-9)
    return [((values - bottom) / span).astype(np.float32) for values in scores]


def standardise(scores: Sequence[Array], like: Sequence[Array] | None = None) -> list[Array]:
    """Map scores linearly so that their mean is 0 and their standard deviation 1 (z-scores).

    Args:
        scores: one array (candidates,) per query; empty ones are passed through.
        like: scores whose mean and deviation count; None for these themselves.
    """
    filled = [values for values in (scores if like is None else like) if len(values)]
    if not filled:
        return list(scores)
    together = np.concatenate(filled).astype(np.float64)
    centre, spread = together.mean(), max(float(together.std()), 1e-9)
    return [((values - centre) / spread).astype(np.float32) for values in scores]


def isotonic(
    scores: Sequence[Array],
    dev: Sequence[Array],
    grades: Sequence[Array],
    like: Sequence[Array] | None = None,
    min_queries: int = 1,
) -> list[Array]:
    """Map scores to the mean grade of candidates with such scores on judged queries; 1 is the highest grade.

    By isotonic regression (Zadrozny and Elkan, KDD 2002), linear between its points, constant beyond them.
    It ties all scores of a block; a hundredth of the percentile-calibrated score breaks these ties, since KL
    and lists need an order.

    Args:
        scores: one array (candidates,) per query.
        dev: scores of the judged queries' candidates, (candidates,) per query.
        grades: of the same candidates; 0 where there is no judgement, as in measures.
        like: scores whose percentiles count; None for these themselves.
        min_queries: fewer judged queries are refused: a curve from a handful of them bends every list.

    Returns:
        One float32 array (candidates,) per query, about 0 to 1.

    Raises:
        InputError: no or too few judged queries, or none with a relevant candidate.
    """
    from sklearn.isotonic import IsotonicRegression

    known = np.concatenate([*grades, np.zeros(0)])
    if not known.any():
        relevant = "judged dev queries with a relevant passage among their candidates"
        raise _not_learnt(relevant, "none" if len(known) else "no judged dev query")
    if len(dev) < min_queries:
        enough = f"at least {min_queries} judged dev queries (select.min_dev_queries)"
        raise _not_learnt(enough, str(len(dev)))
    curve = IsotonicRegression(increasing=True, out_of_bounds="clip")
    curve.fit(np.concatenate(dev).astype(np.float64), known / known.max())
    return [
        (curve.predict(raw.astype(np.float64)) + TIE_BREAK * straight).astype(np.float32) if len(raw) else raw
        for raw, straight in zip(scores, calibrate(scores, like=like), strict=True)
    ]


def _not_learnt(expected: str, found: str) -> InputError:
    return InputError(
        "params.yaml: select.calibration = isotonic",
        expected=expected,
        found=found,
        remedy="bring judgements of dev queries (qrels/dev.tsv), or set select.calibration to percentile",
    )


def comparable(
    method: str,
    scores: Sequence[Array],
    held_out: Sequence[Array],
    dev: Sequence[Array],
    grades: Sequence[Array],
    min_queries: int = 1,
) -> tuple[list[Array], list[Array]]:
    """One teacher's scores, calibrated: those of the training queries, and of the dev and test queries alike.

    Args:
        method: ``"percentile"``, ``"zscore"`` or ``"isotonic"``.
        scores: of the training queries' candidates.
        held_out: of the dev and test queries' candidates.
        dev: of the judged dev queries' candidates.
        grades: of these.
        min_queries: see :func:`isotonic`.

    Raises:
        InputError: see :func:`isotonic`.
    """
    if method == "isotonic":
        learnt = partial(isotonic, dev=dev, grades=grades, min_queries=min_queries)
        return learnt(scores), learnt(held_out, like=scores)
    to_scale = calibrate if method == "percentile" else standardise
    return to_scale(scores), to_scale(held_out, like=scores)
