"""The teacher's mix and MaxSim against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.teaching.hybrid import COMPONENTS, list_scales, mean_max_similarity, mix

fast = settings(max_examples=60, deadline=None)


def unit(rows, random):
    vectors = random.normal(size=(rows, 4))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@fast
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 2**31))
def test_mean_max_similarity_is_a_double_loop(lengths, passage_length, seed):
    random = np.random.default_rng(seed)
    queries, passage = [unit(length, random) for length in lengths], unit(passage_length, random)
    expected = [
        np.mean([max(sum(a * b for a, b in zip(q, p, strict=True)) for p in passage) for q in tokens])
        for tokens in queries
    ]
    np.testing.assert_allclose(mean_max_similarity(queries, passage), expected, atol=1e-6)


@fast
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(any),
    st.integers(0, 2**31),
)
def test_a_mix_is_linear_in_scaled_components(lengths, weights, seed):
    random = np.random.default_rng(seed)
    components = {name: [random.normal(size=length) for length in lengths] for name in COMPONENTS}
    scales, chosen = list_scales(components), dict(zip(COMPONENTS, weights, strict=True))
    for name in COMPONENTS:
        spread = [np.std(scores) for scores in components[name] if len(scores) > 1]
        np.testing.assert_allclose(scales[name], max(np.mean(spread) if spread else 1.0, 1e-6))
    for number, scores in enumerate(mix(components, scales, chosen)):
        expected = sum(chosen[name] * components[name][number] / scales[name] for name in COMPONENTS)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
