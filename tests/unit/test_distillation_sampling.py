"""Which candidates of a list are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.distillation.sampling import Lists, sample_lists

SCORES = [1.0, 0.9, 0.89, 0.88, 0.87, 0.5, 0.45, 0.1, 0.05, 0.0]
IDS = [f"q{number}" for number in range(40)]


def sampled(rule, length=4, positive=0, scores=SCORES, ids=("q",), seed=1):
    rows = [number + 100 for number in range(len(scores))]
    lists = Lists([rows] * len(ids), [scores] * len(ids), [positive] * len(ids))
    return sample_lists(lists, ids, range(len(ids)), length, rule, seed)


def kept(found, number=0):
    return [row - 100 for row in found.passages[number]]


def test_spread_goes_over_the_scores_not_the_ranks():
    assert kept(sampled("spread", 3)) == [0, 5, 9]
    assert kept(sampled("spread", 5)) == [0, 4, 5, 7, 9], "0.75 is nearest to 0.87, 0.25 to 0.1"
    assert kept(sampled("spread", 3, scores=[0.5] * 10)) == [0, 1, 2], "any will do"


def test_spread_gives_the_positive_the_place_of_its_neighbour():
    assert kept(sampled("spread", 3, positive=8)) == [0, 5, 8]
    assert kept(sampled("spread", 2, positive=1)) == [0, 1], "the best stays"


@pytest.mark.parametrize("rule", ["spread", "random"])
@pytest.mark.parametrize("positive", range(10))
@pytest.mark.parametrize("length", [2, 5, 9, 10, 30])
def test_every_rule_keeps_order_scores_the_best_and_the_positive(rule, positive, length):
    found = sampled(rule, length, positive)
    places = kept(found)
    assert places == sorted(set(places)) and len(places) == min(length, 10)
    assert places[0] == 0 and places[found.positive[0]] == positive
    assert found.scores[0] == [SCORES[place] for place in places]


def test_random_draws_the_rest_evenly_and_by_query():
    found = sampled("random", 4, positive=3, ids=[f"q{n}" for n in range(2000)])
    counts = np.bincount([place for n in range(2000) for place in kept(found, n)], minlength=10)
    assert counts[0] == counts[3] == 2000
    assert counts[[1, 2, 4, 5, 6, 7, 8, 9]] == pytest.approx(500, abs=100), "2 of the 8 others"
    other = sampled("random", 4, positive=3, ids=[f"q{n}" for n in reversed(range(2000))])
    assert other.passages[::-1] == found.passages, "a query's draw does not depend on its place"
    assert sampled("random", 4, 3, ids=IDS, seed=2) != sampled("random", 4, 3, ids=IDS)


def test_top_leaves_the_cut_to_the_training_lists():
    assert sampled("top", 4, positive=7) == sampled("spread", 10, positive=7)


@pytest.mark.parametrize("rule", ["spread", "random"])
def test_dev_lists_and_what_was_given_stay(rule):
    given = Lists([list(range(10))] * 2, [SCORES] * 2, [0, 8])
    found = sample_lists(given, ["a", "b"], [0], 3, rule, 1)
    assert len(found.passages[0]) == 3
    assert (found.passages[1], found.scores[1], found.positive[1]) == (list(range(10)), SCORES, 8)
    assert given == Lists([list(range(10))] * 2, [SCORES] * 2, [0, 8])
