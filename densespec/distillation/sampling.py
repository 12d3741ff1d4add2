"""Which k of the teacher's K candidates a training list holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from densespec.runtime.seeds import generator_for


class Lists(NamedTuple):
    """Lists of queries, aligned.

    Attributes:
        passages: row numbers per query, the teacher's best first.
        scores: calibrated teacher scores.
        positive: place of the positive in each list.
    """

    passages: list[list[int]]
    scores: list[list[float]]
    positive: list[int]


def sample_lists(
    lists: Lists, query_ids: Sequence[str], training: Sequence[int], length: int, rule: str, seed: int
) -> Lists:
    """The lists, those for training reduced to ``length`` candidates by a rule; order and scores stay.

    Args:
        lists: all lists, training and dev.
        query_ids: aligned; a query's draw depends on nothing else.
        training: numbers of the training lists. The others stay, so that dev losses of the rules compare.
        length: candidates kept.
        rule: ``"spread"``: evenly over the range of the teacher's scores; ``"random"``: drawn; both keep its
            best and the positive. ``"top"`` leaves the lists as they are: their first ones are the best.
        seed: of ``"random"``.
    """
    if rule == "top":
        return lists
    passages, scores, positive = list(lists.passages), list(lists.scores), list(lists.positive)
    for number in training:
        if rule == "random":
            keep = _random(len(scores[number]), positive[number], length, seed, query_ids[number])
        else:
            keep = _spread(scores[number], positive[number], length)
        passages[number] = [lists.passages[number][place] for place in keep]
        scores[number] = [lists.scores[number][place] for place in keep]
        positive[number] = keep.index(positive[number])
    return Lists(passages, scores, positive)


def _random(count: int, positive: int, length: int, seed: int, query_id: str) -> list[int]:
    must = sorted({0, positive})
    others = [place for place in range(count) if place not in must]
    drawn = generator_for(seed, "list", query_id).permutation(others)[: max(0, length - len(must))]
    return sorted(must + drawn.tolist())


def _spread(scores: Sequence[float], positive: int, length: int) -> list[int]:
    """For each of ``length`` even steps from the highest to the lowest score, the nearest one left."""
    if len(scores) <= length:
        return list(range(len(scores)))
    left = np.array(scores, dtype=np.float64)
    keep = []
    for target in np.linspace(left[0], left[-1], length):
        nearest = int(np.nanargmin(np.abs(left - target)))
        keep.append(nearest)
        left[nearest] = np.nan
    if positive not in keep:  # in the place of the one whose score is nearest, but for the best
        gaps = [abs(scores[place] - scores[positive]) for place in keep[1:]]
        keep[1 + int(np.argmin(gaps))] = positive
    return sorted(keep)
