"""From teacher scores to training lists."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from densespec.errors import InputError
from densespec.selection.calibration import calibrate, standardise
from densespec.selection.ensemble import agreement, ensemble
from densespec.selection.lists import (
    OUTCOMES,
    false_negatives,
    select_lists,
    split_keys,
)


def select(candidates, scores, sources, keys=None, **changes):
    options = {
        "list_length": 3,
        "min_candidates": 3,
        "source_rank": 1,
        "min_top_quantile": 0.0,
        "dev_share": 0.5,
        "seed": 1,
        **changes,
    }
    scores = [np.asarray(values, dtype=np.float32) for values in scores]
    keys = keys or [str(source) for source in sources]
    return select_lists(candidates, scores, sources, keys, **options)


def test_every_outcome():
    candidates = [[], [1, 2], [1, 2, 3, 4], [4, 5, 6], [7, 8, 9, 6]]
    scores = [[], [1, 0], [0.1, 0.9, 0.2, 0.3], [0.1, 0.2, 0.3], [0.2, 0.9, 0.5, 0.1]]
    selected, outcomes = select(candidates, scores, [0, 1, 1, 6, 8], min_top_quantile=0.5)
    assert outcomes == ["round_trip", "too_few", "teacher_not_first", "low_score", "kept"]
    assert set(outcomes) == set(OUTCOMES)
    (kept,) = selected
    assert (kept.number, kept.passages, kept.positive) == (4, [8, 9, 7], 0)
    assert kept.scores == pytest.approx([0.9, 0.5, 0.2])


def test_filters_are_checked_in_their_order():
    _, outcomes = select([[1, 2], [1, 2, 3]], [[0.1, 0.9], [0.0, 0.1, 0.2]], [1, 1], min_top_quantile=0.9)
    assert outcomes == ["too_few", "teacher_not_first"]


def test_users_queries_have_no_source_to_be_consistent_with():
    selected, outcomes = select([[5, 6, 7], []], [[0.1, 0.3, 0.2], []], [None, None], keys=["a", "b"])
    assert outcomes == ["kept", "too_few"], "a log query has no passage to find"
    assert (selected[0].passages, selected[0].positive) == ([6, 7, 5], 0)


def test_a_low_score_drops_only_generated_queries_and_counts_only_them():
    candidates = [[1, 2, 3]] * 4
    scores = [[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0], [0.1, 0, 0]]
    _, outcomes = select(candidates, scores, [1, 1, 1, None], keys=list("abcd"), min_top_quantile=0.5)
    assert outcomes == ["kept", "kept", "low_score", "kept"]


@pytest.mark.parametrize(
    ("source_rank", "kept", "positive"), [(1, False, None), (2, False, None), (3, True, 2), (0, True, 2)]
)
def test_the_positive_is_the_source_wherever_the_teacher_put_it(source_rank, kept, positive):
    selected, outcomes = select([[1, 2, 3, 4]], [[0.4, 0.9, 0.2, 0.5]], [1], source_rank=source_rank)
    assert outcomes == ["kept" if kept else "teacher_not_first"]
    assert [item.positive for item in selected] == ([positive] if kept else [])
    assert all(item.passages[item.positive] == 1 for item in selected)


def test_a_source_cut_off_the_list_leaves_the_teachers_first():
    selected, _ = select([[1, 2, 3, 4]], [[0.1, 0.9, 0.2, 0.5]], [1], source_rank=0)
    assert (selected[0].passages, selected[0].positive) == ([2, 4, 3], 0)


def test_a_source_that_is_no_candidate_fails_the_filter():
    assert select([[1, 2, 3]], [[0.1, 0.9, 0.2]], [8])[1] == ["teacher_not_first"]
    assert select([[1, 2, 3]], [[0.1, 0.9, 0.2]], [8], source_rank=0)[1] == ["kept"]


@pytest.mark.parametrize(
    ("margin", "ratio", "dropped"),
    [
        (None, None, []),
        (0.15, None, [0]),
        (0.0, None, [0, 1]),
        (-0.1, None, [0, 1, 3]),
        (None, 1.4, [0]),
        (None, 0.8, [0, 1, 3]),
        (0.15, 0.8, [0, 1, 3]),
        (0.0, 9.0, [0, 1]),
    ],
)
def test_likely_false_negatives_by_margin_and_by_ratio(margin, ratio, dropped):
    scores = np.array([0.8, 0.6, 0.5, 0.45, 0.1])
    assert np.flatnonzero(false_negatives(scores, 2, margin, ratio)).tolist() == dropped


def test_a_ratio_of_a_negative_score_goes_the_same_way():
    scores = np.array([-0.5, -0.45, -0.52, -0.6])
    assert false_negatives(scores, 0, max_ratio=1.0).tolist() == [False, True, False, False]
    assert false_negatives(scores, 0, max_ratio=0.95).tolist() == [False, True, True, False]
    assert false_negatives(scores, 0, max_ratio=1.2).tolist() == [False, False, False, False]


def guarded(sources, **options):
    settings = {"list_length": 3, "min_candidates": 3, "source_rank": 0, "min_top_quantile": 0.0} | options
    scores = [np.float32([0.5, 0.9, 0.2, 0.6])] * len(sources)
    lists = [[1, 2, 3, 4]] * len(sources)
    return select_lists(lists, scores, sources, ["k"] * len(sources), dev_share=0.5, seed=1, **settings)


def test_dropped_candidates_leave_the_list_and_are_counted():
    (first, second), outcomes = guarded([1, None], max_margin=0.2)
    assert (first.passages, first.positive) == ([4, 1, 3], 1)
    assert second.passages == [2, 4, 1], "users' queries have no source to compare with"
    assert (outcomes, first.dropped, second.dropped) == (["kept", "kept"], 1, 0)


def test_a_list_that_the_guard_leaves_too_short_is_dropped():
    assert guarded([1], max_ratio=1.0) == ([], ["too_few"])


def test_the_consistency_filter_looks_before_candidates_are_dropped():
    assert guarded([1], source_rank=1, min_candidates=2, max_margin=0.0)[1] == ["teacher_not_first"]


def test_a_source_that_is_no_candidate_guards_nothing():
    ((kept,), _) = guarded([9], max_margin=-9.0)
    assert (kept.passages, kept.dropped) == ([2, 4, 1], 0)


def test_ties_keep_the_order_of_the_candidates():
    assert select([[9, 1, 5]], [[0.5, 0.5, 0.5]], [9])[0][0].passages == [9, 1, 5]
    assert select([[9, 1, 5]], [[0.5, 0.5, 0.5]], [1])[1] == ["teacher_not_first"]


def test_the_split_has_its_share_and_follows_the_seed():
    count = 2000
    arguments = (
        [[1, 2, 3]] * count,
        [[0.9, 0.5, 0.1]] * count,
        [1] * count,
        [f"key{n}" for n in range(count)],
    )

    def splits(**changes):
        return [item.split for item in select(*arguments, **changes)[0]]

    shares = Counter(splits(dev_share=0.1))
    assert 150 < shares["dev"] < 250
    assert splits(dev_share=0.1) == splits(dev_share=0.1)
    assert splits(dev_share=0.1) != splits(dev_share=0.1, seed=2)
    small, large = splits(dev_share=0.1), splits(dev_share=0.3)
    assert all(b == "dev" for a, b in zip(small, large, strict=True) if a == "dev")


def test_calibration_maps_the_percentiles_to_0_and_1():
    random = np.random.default_rng(0)
    scores = [random.normal(5, 3, size) for size in (40, 0, 60, 100)]
    found = calibrate(scores)
    bottom, top = np.percentile(np.concatenate(scores), [1, 99])
    for raw, values in zip(scores, found, strict=True):
        np.testing.assert_allclose(values, (raw - bottom) / (top - bottom), atol=1e-5)
    together = np.concatenate(found)
    np.testing.assert_allclose(np.percentile(together, [1, 99]), [0, 1], atol=1e-5)
    assert together.min() < 0 and together.max() > 1, "not clipped: order and distances stay"


def test_calibration_of_scores_that_are_nearly_all_equal_goes_by_the_extremes():
    (found,) = calibrate([np.array([0.9] + [0.0] * 199)])
    assert found[0] == pytest.approx(1) and not found[1:].any()


def test_calibration_of_nothing_and_of_equal_scores():
    assert [len(values) for values in calibrate([np.zeros(0), np.zeros(0)])] == [0, 0]
    assert calibrate([np.full(3, 7.0)])[0].tolist() == [0, 0, 0]
    assert np.isfinite(calibrate([np.array([1.0])])[0]).all()


def test_an_ensemble_is_a_weighted_mean():
    scores = {
        "a": [np.array([1.0, 0.0]), np.zeros(0)],
        "b": [np.array([0.0, 0.5]), np.zeros(0)],
    }
    np.testing.assert_allclose(ensemble(scores, {})[0], [0.5, 0.25])
    np.testing.assert_allclose(ensemble(scores, {"a": 3})[0], [0.75, 0.125])
    np.testing.assert_allclose(ensemble(scores, {"a": 0})[0], [0.0, 0.5])
    assert ensemble(scores, {})[1].shape == (0,)
    np.testing.assert_allclose(ensemble({"a": scores["a"]}, {"a": 0.2})[0], [1.0, 0.0])


@pytest.mark.parametrize(
    "weights",
    [{"a": 0, "b": 0}, {"a": -1}, {"a": -1, "b": 1}, {"a": -1, "b": 3}, {"a": float("inf")}, {"A": 2}],
    ids=str,
)
def test_weights_that_make_no_mean_are_refused(weights):
    scores = {"a": [np.array([1.0])], "b": [np.array([0.0])]}
    with pytest.raises(InputError, match=r"select\.teacher_weights(?s:.*)of the teachers: a, b\n"):
        ensemble(scores, weights)


def test_z_scores_have_mean_0_and_deviation_1_over_all_queries():
    given = [np.float32([1, 2, 6]), np.zeros(0, dtype=np.float32), np.float32([3])]
    for found, expected in zip(standardise(given), ([-2, -1, 3], [], [0]), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.array(expected) / np.sqrt(14 / 4), rtol=1e-6)
    assert standardise([np.zeros(0)])[0].size == 0
    np.testing.assert_array_equal(standardise([np.ones(3)])[0], np.zeros(3))


def test_of_one_teacher_both_calibrations_are_the_same():
    given = [np.float32([3, 9, 4, 1]), np.float32([2, 2, 8])]
    for one, other in zip(calibrate(given), calibrate(standardise(given)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_agreement_is_kendalls_tau_averaged_over_queries():
    random = np.random.default_rng(4)
    lengths = [5, 0, 1, 12, 30]
    scores = {name: [random.integers(0, 9, length) / 4 for length in lengths] for name in "abc"}
    found = agreement(scores)
    assert list(found) == ["a, b", "a, c", "b, c"]
    for pair, tau in found.items():
        one, other = (scores[name] for name in pair.split(", "))
        expected = [stats.kendalltau(one[n], other[n]).statistic for n in (0, 3, 4)]
        assert tau == pytest.approx(np.mean(expected))
    same = [np.arange(4.0)]
    assert agreement({"a": same, "b": [-same[0]], "c": [np.ones(4)]}) == {"a, b": -1.0}
    assert agreement({"a": same}) == {}


def test_split_keys_tie_passages_that_share_a_query():
    texts = ["a", "b", "a", "c", "d", "b", "a"]
    hashes = ["h3", "h2", "h1", "h5", None, "h1", None]
    assert split_keys(texts, hashes) == ["h1", "h1", "h1", "h5", "d", "h1", "a"]
    assert split_keys(["a", "b"], ["h2", "h2"]) == ["h2", "h2"]
    assert split_keys([], []) == []
