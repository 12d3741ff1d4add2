"""Arrays on disk, whole and in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.io.arrays import read_array, write_array, write_rows

ROWS = np.arange(21, dtype=np.float32).reshape(7, 3)


@pytest.mark.parametrize("cuts", [[], [3], [0, 2, 2, 7], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("array", [ROWS, ROWS[:, 0].astype(np.int64), np.asfortranarray(ROWS)])
def test_blocks_give_the_bytes_of_the_whole(tmp_path, array, cuts):
    write_array(tmp_path / "whole.npy", np.ascontiguousarray(array))
    write_rows(tmp_path / "blocks.npy", iter(np.split(array, cuts)), len(array))
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    np.testing.assert_array_equal(read_array(tmp_path / "blocks.npy"), array)


def test_no_rows(tmp_path):
    write_rows(tmp_path / "none.npy", [ROWS[:0]], 0)
    assert read_array(tmp_path / "none.npy").shape == (0, 3)


@pytest.mark.parametrize(
    ("blocks", "rows"),
    [([], 0), ([ROWS], 8), ([ROWS], 6), ([ROWS, ROWS[:, :2]], 14), ([ROWS, ROWS.astype(float)], 14)],
)
def test_blocks_that_do_not_fit_write_nothing(tmp_path, blocks, rows):
    with pytest.raises(ValueError):
        write_rows(tmp_path / "x.npy", blocks, rows)
    assert list(tmp_path.iterdir()) == []
