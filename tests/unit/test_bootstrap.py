"""Bootstrap intervals against a plain loop, scipy's, and the normal interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from densespec.retrieval.bootstrap import bootstrap_interval


def test_bootstrap_equals_the_loop_over_its_own_draws():
    values = np.random.default_rng(6).random((40, 2))
    low, high = bootstrap_interval(values, resamples=500, seed=9)
    drawn = np.random.default_rng(9).integers(0, 40, size=(500, 40))
    means = np.asarray([[np.mean([values[q, c] for q in draw]) for c in (0, 1)] for draw in drawn])
    assert low == pytest.approx(np.percentile(means, 2.5, axis=0))
    assert high == pytest.approx(np.percentile(means, 97.5, axis=0))


def test_bootstrap_agrees_with_scipy_and_the_normal_interval():
    values = np.random.default_rng(7).normal(0.5, 0.2, 400)
    low, high = bootstrap_interval(values[:, None], resamples=10_000, seed=1)
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    half = 1.96 * values.std(ddof=1) / 20
    assert low[0] == pytest.approx(reference.low, abs=0.002)
    assert high[0] == pytest.approx(reference.high, abs=0.002)
    assert high[0] - low[0] == pytest.approx(2 * half, rel=0.05)


def test_bootstrap_of_many_queries_is_done_in_parts():
    values = np.random.default_rng(8).random((30_000, 1))
    low, high = bootstrap_interval(values, resamples=300, seed=0)
    assert low[0] < values.mean() < high[0]
    assert high[0] - low[0] < 0.01


def test_bootstrap_of_one_query_is_its_value():
    low, high = bootstrap_interval(np.asarray([[0.25]]), resamples=100, seed=0)
    assert low[0] == high[0] == 0.25
