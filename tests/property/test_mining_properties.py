"""Fusion and candidate lists against plain loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.mining.candidates import mine_query
from densespec.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion

ranking = st.lists(st.integers(0, 15), max_size=12, unique=True)
fast = settings(max_examples=150, deadline=None)


@fast
@given(st.lists(ranking, max_size=4), st.integers(1, 20), st.integers(1, 100))
def test_fusion_is_a_sum_of_reciprocal_ranks(rankings, depth, k):
    exact = {}
    for row in range(16):
        ranks = [ranking.index(row) + 1 for ranking in rankings if row in ranking]
        if ranks:
            exact[row] = sum(Fraction(1, k + rank) for rank in ranks)
    rows, scores = reciprocal_rank_fusion(rankings, depth, k)
    assert len(rows) == len(set(rows)) == min(depth, len(exact))
    np.testing.assert_allclose(scores, [float(exact[row]) for row in rows], rtol=1e-12)
    assert scores == sorted(scores, reverse=True)
    left_out = [exact[row] for row in exact if row not in rows]
    assert not left_out or float(max(left_out)) <= scores[-1] * (1 + 1e-12)


@fast
@given(st.lists(st.tuples(ranking, st.integers(0, 9)), max_size=4), st.integers(1, 20), st.integers(1, 100))
def test_weights_multiply_reciprocal_ranks(weighted, depth, k):
    rankings, weights = [ranking for ranking, _ in weighted], [float(weight) for _, weight in weighted]
    rows, scores = reciprocal_rank_fusion(rankings, depth, k, weights)
    repeated = [ranking for ranking, weight in weighted for _ in range(weight)]
    exact = dict(zip(*reciprocal_rank_fusion(repeated, 16, k), strict=True))
    np.testing.assert_allclose(scores, [exact.get(row, 0.0) for row in rows], rtol=1e-9)


@fast
@given(
    st.lists(st.tuples(ranking, st.integers(0, 4)), max_size=4),
    st.sampled_from(["min-max", "z-score"]),
    st.randoms(use_true_random=False),
)
def test_weighted_fusion_is_a_sum_of_scaled_scores(weighted, normalise, random):
    rankings, weights = [ranking for ranking, _ in weighted], [weight for _, weight in weighted]
    scores = [sorted((random.randrange(-3, 9) for _ in ranking), reverse=True) for ranking in rankings]
    expected = {}
    for row in sorted({row for ranking in rankings for row in ranking}):
        total = 0.0
        for ranking, values, weight in zip(rankings, scores, weights, strict=True):
            if len(set(values)) < 2:  # a list that prefers none of its passages says which they are
                total += weight * (row in ranking)
                continue
            mean = sum(values) / len(values)
            deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
            low, span = (values[-1], values[0] - values[-1]) if normalise == "min-max" else (mean, deviation)
            value = values[ranking.index(row)] if row in ranking else values[-1]
            total += weight * (value - low) / span
        expected[row] = total
    rows, sums = weighted_fusion(rankings, scores, 12, weights, normalise)
    assert len(rows) == len(set(rows)) == min(12, len(expected))
    np.testing.assert_allclose(sums, [expected[row] for row in rows], atol=1e-9)
    np.testing.assert_allclose(sums, sorted(expected.values(), reverse=True)[:12], atol=1e-9)


@fast
@given(
    st.lists(ranking, max_size=3),
    st.integers(2, 9),
    st.none() | st.integers(0, 15),
    st.integers(0, 12),
    ranking,
)
def test_the_source_is_in_every_list_that_is_kept(rankings, depth, source, round_trip, student):
    vectors = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    fused = reciprocal_rank_fusion(rankings, depth, 60)[0]
    mined = mine_query(
        vectors[0], vectors, lambda: fused, student, source=source, depth=depth, round_trip=round_trip
    )
    rank = student.index(source) + 1 if source in student else 0
    assert mined.source_rank == rank
    if source is None:
        assert mined.passages == fused
    elif round_trip and not 1 <= rank <= round_trip:
        assert mined.passages == []
    else:
        assert source in mined.passages
        others = [row for row in mined.passages if row != source]
        assert others == [row for row in fused if row != source][: len(others)]
    assert len(mined.passages) == len(set(mined.passages)) <= depth
    np.testing.assert_allclose(mined.dense, [vectors[row] @ vectors[0] for row in mined.passages], rtol=1e-5)
