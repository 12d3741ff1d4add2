"""What is written comes back, and the same rows are the same bytes."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.errors import InputError
from densespec.io.arrays import read_array, write_array
from densespec.io.jsonl import read_jsonl, write_jsonl
from densespec.io.params import merged
from densespec.io.tables import read_table, write_table
from densespec.io.trec import read_qrels, read_run, write_qrels, write_run
from densespec.records import Qrel, Scored

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.text(st.characters(categories=["L", "N"], include_characters="-_.:/"), min_size=1, max_size=8)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
rows = st.lists(
    st.dictionaries(text, scalar | st.lists(scalar, max_size=3), min_size=1, max_size=4), max_size=6
)
fast = settings(max_examples=40, deadline=None)


@fast
@given(rows)
def test_rows_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("io") / "rows.jsonl"
    write_jsonl(path, rows)
    assert [row for _, row in read_jsonl(path)] == rows
    assert [number for number, _ in read_jsonl(path)] == list(range(1, len(rows) + 1))
    before = path.read_bytes()
    write_jsonl(path, rows)
    assert path.read_bytes() == before


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]":,0123456789.eE+-\\untrfals \n', max_size=60).map(str.encode))
def test_any_bytes_give_objects_or_a_complaint_with_a_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("io") / "rows.jsonl"
    path.write_bytes(content)
    lines = len(content.split(b"\n"))
    try:
        assert all(isinstance(row, dict) and 1 <= number <= lines for number, row in read_jsonl(path))
    except InputError as error:
        assert 1 <= int(error.where.rsplit(":", 1)[1]) <= lines


@fast
@given(st.dictionaries(st.tuples(ids, ids), st.integers(0, 3), max_size=8))
def test_qrels_come_back_sorted(tmp_path_factory, grades):
    path = tmp_path_factory.mktemp("io") / "qrels.tsv"
    qrels = [Qrel(query, passage, grade) for (query, passage), grade in grades.items()]
    write_qrels(path, qrels)
    assert read_qrels(path) == sorted(qrels)


@fast
@given(
    st.dictionaries(ids, st.lists(st.tuples(ids, st.integers(-999, 999)), min_size=1, max_size=5), max_size=5)
)
def test_runs_come_back(tmp_path_factory, lists):
    path = tmp_path_factory.mktemp("io") / "run.trec"
    run = {
        query: [Scored(passage, score / 100) for passage, score in pairs] for query, pairs in lists.items()
    }
    write_run(path, run, "x")
    assert read_run(path) == run


@fast
@given(
    st.lists(
        st.tuples(text, st.booleans(), st.integers(-(2**62), 2**62), st.lists(st.integers(0, 9), max_size=3)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_tables_come_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("io")
    columns = {name: list(values) for name, values in zip("abcd", zip(*rows, strict=True), strict=True)}
    for name in ("one", "two"):
        write_table(folder / name, columns)
    assert read_table(folder / "one") == columns
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


@fast
@given(st.sampled_from(["f4", "f2", "i8", "?"]), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_arrays_come_back(tmp_path_factory, kind, shape):
    path = tmp_path_factory.mktemp("io") / "array.npy"
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    write_array(path, array)
    found = read_array(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), nested)


@fast
@given(mappings, mappings)
def test_merging_has_all_keys_and_the_override_wins(base, override):
    before = json.dumps([base, override])
    result = merged(base, override)
    assert set(result) == set(base) | set(override)
    assert merged(result, override) == result
    assert merged(base, {}) == base and merged({}, override) == override
    assert json.dumps([base, override]) == before
