"""Significance against slow, obvious references and textbook values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from densespec.evaluation.significance import (
    count_signs,
    detectable_effect,
    holm,
    queries_needed,
    randomisation_test,
)


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[:, None]


def enumerated_p(differences) -> float:
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= observed - 1e-12 for total in sums) / len(sums)


@pytest.mark.parametrize("queries", [1, 2, 5, 9, 12])
def test_few_queries_are_enumerated_exactly(queries):
    differences = np.random.default_rng(queries).normal(0.2, 1, queries)
    p = randomisation_test(column(differences), permutations=100_000, seed=0)
    assert p[0] == pytest.approx(enumerated_p(differences), abs=1e-12)


def test_equal_sums_in_another_order_count_as_hits():
    differences = [0.1, 0.2, 0.3, -0.3, 0.7, 0.1]  # 0.1 + 0.2 is not 0.3 in binary
    p = randomisation_test(column(differences), permutations=1000, seed=0)
    assert p[0] == enumerated_p(differences)


def test_sampled_p_is_close_to_the_exact_one():
    differences = np.random.default_rng(1).normal(0.15, 1, 12)
    exact = enumerated_p(differences)
    sampled = randomisation_test(column(differences), permutations=4000, seed=3)[0]
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def test_sampled_p_agrees_with_scipy():
    differences = np.random.default_rng(2).normal(0.1, 1, 300)
    reference = stats.permutation_test(
        (differences, np.zeros(300)), lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples", n_resamples=20_000, vectorized=True, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    assert randomisation_test(column(differences), permutations=50_000, seed=0)[0] == pytest.approx(
        reference, abs=0.01
    )


def test_p_is_never_zero_and_columns_do_not_matter_to_each_other():
    generator = np.random.default_rng(4)
    strong, weak = generator.normal(2, 0.1, 200), generator.normal(0, 1, 200)
    both = randomisation_test(np.stack([strong, weak], axis=1), permutations=2000, seed=5)
    assert both[0] == 1 / 2001
    assert both[1] == randomisation_test(column(weak), permutations=2000, seed=5)[0]


def test_no_difference_is_no_evidence():
    assert randomisation_test(column(np.zeros(50)), permutations=1000, seed=0)[0] == 1.0


def test_zeros_do_not_change_the_exact_p():
    moved = [0.4, -0.1, 0.3, 0.2]
    padded = [*moved, *([0.0] * 500)]
    assert randomisation_test(column(padded), permutations=1000, seed=0)[0] == enumerated_p(moved)


def test_holm_textbook():
    # Holm (1979) as worked in R's manual: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    corrected = holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.04, "e": 0.05})
    assert corrected == pytest.approx({"a": 0.05, "b": 0.08, "c": 0.09, "d": 0.09, "e": 0.09})
    assert holm({1: 0.04, 2: 0.01, 3: 0.03}) == pytest.approx({1: 0.06, 2: 0.03, 3: 0.06})
    assert holm({"x": 0.6, "y": 0.7}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}


def test_signs_and_ties():
    counts = count_signs(np.asarray([0.1, -0.2, 0.0, 9e-7, -9e-7, 1e-6, -1e-6]))
    assert counts == (2, 2, 3)


def test_detectable_effect_has_its_power():
    """A true effect of that size is found in about 4 of 5 experiments, by simulation with a t-test."""
    generator = np.random.default_rng(10)
    effect = detectable_effect(generator.normal(0, 0.3, 200))
    found = np.mean(
        [stats.ttest_1samp(generator.normal(effect, 0.3, 200), 0).pvalue < 0.05 for _ in range(1000)]
    )
    assert 0.7 < found < 0.9


def test_detectable_effect_and_queries_needed_by_hand():
    differences = np.asarray([0.0, 0.2, 0.0, 0.2])  # mean 0.1, standard deviation 0.11547
    assert detectable_effect(differences) == pytest.approx(2.8 * 0.1154701 / 2)
    assert queries_needed(differences) == math.ceil((2.8 * 0.1154701 / 0.1) ** 2)
    assert detectable_effect(np.asarray([0.3])) is None
    assert queries_needed(np.asarray([0.3])) is None
    assert queries_needed(np.zeros(30)) is None
