"""What judged dev queries decide: the isotonic calibration and the teachers' weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.judged import Judged
from densespec.selection.calibration import TIE_BREAK, calibrate, comparable, isotonic, standardise
from densespec.selection.ensemble import choose_weights, ensemble


def pool_adjacent_violators(scores, grades):
    """Distinct scores, ascending, and the rising sequence of grades nearest to the mean grade at each."""
    blocks = []  # of [sum of grades, count, scores]
    for score in sorted(set(scores)):
        own = [grade for s, grade in zip(scores, grades, strict=True) if s == score]
        blocks.append([sum(own), len(own), [score]])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count, pooled = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count, blocks[-1][2] + pooled]
    values = [total / count for total, count, pooled in blocks for _ in pooled]
    return sorted(set(scores)), values


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_calibration_is_pool_adjacent_violators_and_a_tie_break(seed):
    random = np.random.default_rng(seed)
    lengths = (12, 1, 0, 30, 7)
    dev = [np.float32(random.integers(-20, 20, length) / 4) for length in lengths]
    grades = [np.maximum(0, np.round(scores / 4 + random.normal(size=len(scores)))) for scores in dev]
    scores = [np.float32(random.normal(0, 4, length)) for length in (40, 0, 25)]
    points, values = pool_adjacent_violators(np.concatenate(dev).tolist(), np.concatenate(grades).tolist())
    highest = max(np.concatenate(grades))
    straight = calibrate(scores)
    for raw, line, found in zip(scores, straight, isotonic(scores, dev, grades), strict=True):
        expected = [np.interp(score, points, values) / highest for score in raw] + TIE_BREAK * line
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32
        assert (np.argsort(found, kind="stable") == np.argsort(raw, kind="stable")).all(), "no order is lost"


def test_what_the_regression_ties_the_raw_score_orders_minutely():
    dev, grades = [np.array([0.0, 1, 2, 3])], [np.array([0.0, 0, 1, 1])]
    (found,) = isotonic([np.array([0.2, 0.1, 2.5, 9.0, 2.1])], dev, grades)
    assert np.argsort(found).tolist() == [1, 0, 4, 2, 3]
    np.testing.assert_allclose(found, [0, 0, 1, 1, 1], atol=2 * TIE_BREAK)


def test_a_teacher_that_contradicts_the_judgements_says_next_to_nothing():
    dev, grades = [np.array([3.0, 2, 1, 0])], [np.array([0.0, 0, 1, 2])]
    (found,) = isotonic(dev, dev, grades)
    assert np.ptp(found) < 2 * TIE_BREAK


@pytest.mark.parametrize("grades", [[], [np.zeros(3)]], ids=["no query", "nothing relevant"])
def test_isotonic_calibration_needs_relevant_candidates(grades):
    dev = [np.arange(3.0)] * len(grades)
    with pytest.raises(InputError, match=r"isotonic(.|\n)*percentile"):
        isotonic([np.arange(4.0)], dev, grades)


@pytest.mark.parametrize(("method", "to_scale"), [("percentile", calibrate), ("zscore", standardise)])
def test_dev_scores_go_to_the_scale_of_the_training_scores(method, to_scale):
    random = np.random.default_rng(0)
    scores = [np.float32(random.normal(3, 2, length)) for length in (50, 0, 9)]
    dev = [scores[2], np.zeros(0, dtype=np.float32), np.float32([7.0])]
    train, on_dev = comparable(method, scores, dev, [], [])
    np.testing.assert_array_equal(np.concatenate(train), np.concatenate(to_scale(scores)))
    np.testing.assert_array_equal(on_dev[0], train[2])
    assert [len(values) for values in on_dev] == [9, 0, 1]


@pytest.fixture
def judged() -> Judged:
    """Twenty queries with two relevant ones among nine candidates."""
    random = np.random.default_rng(5)
    ids = [f"q{number}" for number in range(20)]
    candidates = [[f"p{row}" for row in random.permutation(30)[:9]] for _ in ids]
    relevant = [
        Qrel(query, passage, 1) for query, own in zip(ids, candidates, strict=True) for passage in own[3:5]
    ]
    return Judged(ids, candidates, relevant)


def scores_of(judged: Judged, power: float, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [np.float32(power * own + random.normal(size=len(own))) for own in judged.grades()]


def test_weights_of_dev_are_the_best_of_all_on_the_grid(judged):
    dev = {
        name: scores_of(judged, power, n)
        for n, (name, power) in enumerate(zip("abc", (0.5, 1.5, 1), strict=True))
    }
    weights, rule = choose_weights("dev", dev, judged, 20)
    assert rule == "best nDCG@10 on 20 judged dev queries" and sum(weights.values()) == pytest.approx(1)
    grid = [counts for counts in itertools.product(range(11), repeat=3) if sum(counts) == 10]

    def quality(counts):
        mixed = [sum(c * dev[t][n] for c, t in zip(counts, dev, strict=True)) for n in range(20)]
        return judged.ndcg_at_10(mixed)

    best = max(quality(counts) for counts in grid)
    assert judged.ndcg_at_10(ensemble(dev, weights)) == pytest.approx(best, abs=1e-6)
    assert best > max(judged.ndcg_at_10(lists) for lists in dev.values()), "together they are better"


def test_without_a_difference_the_weights_are_even(judged):
    lists = scores_of(judged, 1, 0)
    assert choose_weights("dev", {"a": lists, "b": lists}, judged, 1)[0] == {"a": 0.5, "b": 0.5}


def test_the_rule_of_the_weights(judged):
    dev = {"a": scores_of(judged, 1, 0), "b": scores_of(judged, 1, 1)}
    even = {"a": 0.5, "b": 0.5}
    assert choose_weights(None, dev, judged, 1) == (even, "even")
    assert choose_weights({}, dev, judged, 1) == (even, "params")
    assert choose_weights({"b": 3}, dev, judged, 1) == ({"a": 0.25, "b": 0.75}, "params")
    assert choose_weights("dev", dev, judged, 21) == (even, "even: fewer than 21 judged dev queries")
    with pytest.raises(InputError, match=r"select\.teacher_weights"):
        choose_weights({"c": 1}, dev, judged, 1)
