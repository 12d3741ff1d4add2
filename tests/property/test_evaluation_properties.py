"""What must hold of the statistics for any numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.evaluation.measures import measure_run, ranked
from densespec.evaluation.significance import count_signs, holm, randomisation_test
from densespec.records import Qrel
from densespec.retrieval.bootstrap import bootstrap_interval

numbers = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 4)), min_size=1, max_size=40)


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[:, None]


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_p_does_not_depend_on_direction_or_order(values):
    def p(x):
        return randomisation_test(column(x), permutations=2**12, seed=1)[0]

    assert 0 < p(values) <= 1
    moved = [value for value in values if value]
    if len(moved) <= 12:
        assert p(values) == p([-value for value in values]) == p(values[::-1])
    assert p(values) == p(values)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_interval_holds_within_the_values_and_repeats(values):
    low, high = bootstrap_interval(column(values), resamples=200, seed=2)
    assert min(values) - 1e-9 <= low[0] <= high[0] <= max(values) + 1e-9
    assert (low, high) == bootstrap_interval(column(values), resamples=200, seed=2)


@given(st.dictionaries(st.integers(), st.floats(1e-6, 1), max_size=20))
def test_holm_keeps_order_and_only_raises(p_values):
    corrected = holm(p_values)
    assert corrected.keys() == p_values.keys()
    for key, p in p_values.items():
        assert p <= corrected[key] <= min(1.0, p * len(p_values)) + 1e-12
    in_order = sorted(p_values, key=lambda key: p_values[key])
    assert [corrected[key] for key in in_order] == sorted(corrected.values())


@given(numbers)
def test_signs_add_up(values):
    assert sum(count_signs(np.asarray(values))) == len(values)


@settings(deadline=None)
@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1))
def test_measures_do_not_depend_on_the_order_that_entries_come_in(order, relevant):
    scores = {f"p{n}": float(n // 2) for n in range(12)}  # pairs of ties
    entries = [f"p{n}" for n in order]
    qrels = [Qrel("q", f"p{n}", 1) for n in sorted(relevant)]
    run = {"q": ranked(entries, [scores[p] for p in entries])}
    values = measure_run(run, qrels, ["q"])
    again = measure_run({"q": ranked(sorted(scores), [scores[p] for p in sorted(scores)])}, qrels, ["q"])
    assert all(0 <= value[0] <= 1 for value in values.values())
    assert {name: value[0] for name, value in values.items()} == {n: v[0] for n, v in again.items()}
