"""Parquet tables and NumPy arrays: stable bytes, no pickle, complaints instead of tracebacks."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.io.arrays import read_array, write_array
from densespec.io.tables import read_table, write_table

COLUMNS = {
    "id": ["a", "b", "ü"],
    "seed": [True, False, True],
    "passages": [[1, 2], [], [3]],
    "matrix": np.arange(6, dtype=np.float32).reshape(3, 2),
    "rank": np.array([3, 1, 2]),
}


def test_columns_come_back_as_lists(tmp_path):
    path = tmp_path / "folder" / "table.parquet"
    write_table(path, COLUMNS)
    assert read_table(path) == {
        **COLUMNS,
        "matrix": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
        "rank": [3, 1, 2],
    }


def test_the_same_table_has_the_same_bytes(tmp_path):
    for name in ("one.parquet", "two.parquet"):
        write_table(tmp_path / name, COLUMNS)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(tmp_path / "table.parquet", {"id": [], "text": []})
    assert read_table(tmp_path / "table.parquet") == {"id": [], "text": []}


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"no parquet" * 50])
def test_a_missing_or_damaged_table_is_named(tmp_path, content):
    path = tmp_path / "table.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert caught.value.where == str(path)
    assert "dvc pull" in caught.value.remedy
    assert (caught.value.found == "no such file") == (content is None)


def test_a_table_cut_short_is_named(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, COLUMNS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError):
        read_table(path)


def test_an_array_comes_back_read_only(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_array(tmp_path / "array.npy", array)
    found = read_array(tmp_path / "array.npy")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"no array" * 50])
def test_a_missing_or_damaged_array_is_named(tmp_path, content):
    path = tmp_path / "array.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_array(path)
    assert caught.value.where == str(path)


def test_an_array_cut_short_is_named(tmp_path):
    path = tmp_path / "array.npy"
    write_array(path, np.zeros(1000, np.float32))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError):
        read_array(path)


def test_pickled_arrays_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(tmp_path / "array.npy", objects)
    np.save(tmp_path / "array.npy", objects, allow_pickle=True)
    with pytest.raises(InputError):
        read_array(tmp_path / "array.npy")
