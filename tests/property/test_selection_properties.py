"""What holds for every selection of lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.selection.calibration import calibrate
from densespec.selection.ensemble import ensemble
from densespec.selection.lists import select_lists

fast = settings(max_examples=100, deadline=None)


@st.composite
def queries(draw):
    """Candidates, scores, sources and split keys of some queries on eight passages."""
    rows = []
    for number in range(draw(st.integers(0, 14))):
        candidates = draw(st.lists(st.integers(0, 7), max_size=8, unique=True))
        scores = draw(st.lists(st.integers(-2, 12), min_size=len(candidates), max_size=len(candidates)))
        source = draw(st.none() | st.integers(0, 7))
        key = f"query {number}" if source is None else f"passage {source}"
        rows.append((candidates, np.array(scores, dtype=np.float32) / 10, source, key))
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]


@fast
@given(
    queries(), st.integers(2, 6), st.integers(2, 5), st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.9]),
    st.floats(0.05, 0.95), st.integers(0, 99),
)  # fmt: skip
def test_kept_lists_pass_every_filter(given, length, least, source_rank, quantile, share, seed):
    candidates, scores, sources, keys = given
    selected, outcomes = select_lists(
        candidates, scores, sources, keys, list_length=length, min_candidates=least,
        source_rank=source_rank, min_top_quantile=quantile, dev_share=share, seed=seed,
    )  # fmt: skip
    assert len(outcomes) == len(candidates)
    assert [item.number for item in selected] == [n for n, o in enumerate(outcomes) if o == "kept"]
    sides = {}
    tops = [values.max() for values, s in zip(scores, sources, strict=True) if s is not None and len(values)]
    for item in selected:
        rows, values, source = candidates[item.number], scores[item.number], sources[item.number]
        score_of = dict(zip(rows, values.tolist(), strict=True))
        assert len(rows) >= least
        assert len(item.passages) == len(item.scores) == min(length, len(rows))
        assert item.scores == [score_of[row] for row in item.passages] == sorted(item.scores, reverse=True)
        dropped = [score_of[row] for row in rows if row not in item.passages]
        assert not dropped or max(dropped) <= item.scores[-1]
        assert 0 <= item.positive < len(item.passages)
        assert item.passages[item.positive] == source or source not in item.passages
        if source not in item.passages:
            assert item.positive == 0
        if source is not None:
            assert not source_rank or sum(v > score_of[source] for v in score_of.values()) < source_rank
            assert not quantile or item.scores[0] >= np.quantile(tops, quantile) - 1e-6
        sides.setdefault(keys[item.number], set()).add(item.split)
    assert all(len(splits) == 1 for splits in sides.values()), "one passage's queries on both sides"
    for number, outcome in enumerate(outcomes):
        lost = not candidates[number] and sources[number] is not None  # users' queries have none to find
        assert (outcome == "round_trip") == lost
        assert (outcome == "too_few") == (len(candidates[number]) < least and not lost)


@fast
@given(queries(), st.floats(0.05, 0.95), st.integers(0, 99))
def test_the_side_of_a_query_does_not_depend_on_the_others(given, share, seed):
    candidates, scores, sources, keys = given
    options = {
        "list_length": 4, "min_candidates": 2, "source_rank": 0, "min_top_quantile": 0.0,
        "dev_share": share, "seed": seed,
    }  # fmt: skip
    together, _ = select_lists(candidates, scores, sources, keys, **options)
    for item in together:
        n = item.number
        ((alone,), _) = select_lists([candidates[n]], [scores[n]], [sources[n]], [keys[n]], **options)
        assert alone == item._replace(number=0)


@fast
@given(st.lists(st.lists(st.floats(-50, 50, width=32), max_size=6), max_size=6))
def test_calibration_keeps_the_order_and_is_one_line_for_all(lists):
    scores = [np.array(values, dtype=np.float64) for values in lists]
    found = calibrate(scores)
    assert [len(values) for values in found] == [len(values) for values in scores]
    raw, mapped = np.concatenate([*scores, []]), np.concatenate([*found, []])
    order = np.argsort(raw, kind="stable")
    assert (np.diff(mapped[order]) >= 0).all()
    if len(raw) and np.percentile(raw, 99) - np.percentile(raw, 1) > 1e-3:
        slope, base = np.polyfit(raw, mapped, 1)
        np.testing.assert_allclose(mapped, slope * raw + base, atol=1e-3 * np.abs(mapped).max())


@fast
@given(st.integers(1, 4), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.data())
def test_an_ensemble_lies_between_its_teachers(count, lengths, data):
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    scores = {f"t{n}": [random.normal(size=length) for length in lengths] for n in range(count)}
    weights = {
        name: data.draw(st.floats(0.01, 9)) for name in data.draw(st.sets(st.sampled_from(sorted(scores))))
    }
    for number, mixed in enumerate(ensemble(scores, weights)):
        stack = np.stack([lists[number] for lists in scores.values()])
        assert (mixed >= stack.min(axis=0, initial=np.inf) - 1e-5).all()
        assert (mixed <= stack.max(axis=0, initial=-np.inf) + 1e-5).all()
