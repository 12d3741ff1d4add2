"""Splitting a padded batch into groups of texts of like length, with little padding each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def by_length(
    features: Mapping[str, Any], *, tokens: float = math.inf, padding: float = 1.0
) -> list[tuple[Tensor, dict[str, Any]]]:
    """Groups of a batch's texts, the shortest first.

    Args:
        features: of a tokenizer, ``attention_mask`` (texts, tokens) among them.
        tokens: a group holds at most as many, padding included, or one text.
        padding: largest share of padding in a group.

    Returns:
        Of each group its texts' rows in the batch, int64, and their features without the columns that are
        padding in all of them.
    """
    lengths = features["attention_mask"].sum(dim=1)
    order = lengths.argsort(stable=True)
    starts, used = [0], 0
    for place, length in enumerate(lengths[order].tolist()):
        used += length
        size = (place + 1 - starts[-1]) * length
        if place > starts[-1] and (size > tokens or size * (1 - padding) > used):
            starts.append(place)
            used = length
    return [(rows, _rows(features, rows)) for rows in order.tensor_split(starts[1:])]


def _rows(features: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Features of some texts, without columns that are padding in all of them."""
    mask = features["attention_mask"]
    used = mask[rows].any(dim=0).nonzero().flatten().tolist() or [0]
    cut = {}
    for name, value in features.items():
        shape = getattr(value, "shape", ())
        if shape[:2] == mask.shape:  # cut first: a view of rows of full width would keep their padding
            value = value[:, used[0] : used[-1] + 1]
        # what there is one of per text, as sentence-transformers tells it, too
        cut[name] = value[rows] if shape[:1] == mask.shape[:1] else value
    return cut
