"""The teachers' parts against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.teaching.causal import common_prefix
from densespec.teaching.hybrid import COMPONENTS, list_scales, mean_max_similarity, mix
from densespec.teaching.listwise import FAULTS, read_order
from densespec.teaching.pairs import Batches, Budget

PIECES = ["[", "]", " > ", "<think>", "</think>", *"0123456789"]  # of an answer with an order
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


@fast
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_common_prefix_is_the_longest_that_leaves_each_a_token(ids):
    wanted = max(n for n in range(min(map(len, ids))) if all(one[:n] == ids[0][:n] for one in ids))
    assert common_prefix([{"input_ids": one} for one in ids]) == wanted


@fast
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=25), st.integers(1, 90), st.data()
)
def test_batches_hold_each_row_once_within_the_budget_and_a_group(rows, tokens, data):
    lengths, groups = [length for length, _ in rows], [group for _, group in rows]
    budget = Budget(tokens)
    batches, done = Batches(lengths, groups, budget), []
    while batch := batches.take():
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget.tokens
        assert len({groups[row] for row in batch}) == 1
        if len(batch) > 1 and data.draw(st.booleans()):
            batches.give_back(batch)
            assert budget.tokens <= len(batch) * longest // 2
        else:
            done += batch
    assert sorted(done) == list(range(len(rows)))


@fast
@given(st.integers(2, 12), st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_whatever_is_answered_every_passage_gets_one_place(count, answer):
    order, faults = read_order(answer, count)
    assert sorted(order) == list(range(count)) and set(faults) <= set(FAULTS)


@fast
@given(st.permutations(range(9)), st.data())
def test_numbers_that_are_named_keep_their_order_and_the_others_follow(given, data):
    named = given[: data.draw(st.integers(1, 9))]
    order, faults = read_order(" > ".join(f"[{place + 1}]" for place in named), 9)
    assert order == named + sorted(set(range(9)) - set(named))
    assert faults == (["incomplete"] if len(named) < 9 else [])
