"""NumPy arrays on disk, written atomically, never pickled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from densespec.errors import InputError
from densespec.io.atomic import replacing

Array = np.ndarray[Any, Any]


def write_array(path: Path, array: Array) -> None:
    """Write one array as ``.npy``."""
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)


def write_rows(path: Path, blocks: Iterable[Array], rows: int) -> None:
    """Write one array as ``.npy`` from blocks of its rows, so that memory holds one block.

    The bytes are those of :func:`write_array` for the blocks put together.

    Args:
        path: target file.
        blocks: arrays (any number of rows, …), alike in dtype and in all axes but the first; at least one.
        rows: how many rows they have in all, which the head of the file says.

    Raises:
        ValueError: no block, blocks that differ, or another number of rows.
    """
    written, kind = 0, None
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            for block in blocks:
                if kind is None:
                    kind = block.dtype, block.shape[1:]
                    header = {"descr": block.dtype.str, "fortran_order": False, "shape": (rows, *kind[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                if kind != (block.dtype, block.shape[1:]):
                    raise ValueError(f"a block of {block.dtype} {block.shape} after ones of {kind}")
                file.write(np.ascontiguousarray(block).data)
                written += len(block)
        if written != rows or kind is None:
            raise ValueError(f"{written} rows instead of {rows}")


def read_array(path: Path) -> Array:
    """Map one ``.npy`` array from disk, read-only.

    Raises:
        InputError: missing or damaged.
    """
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            path,
            expected="an array written by an earlier stage",
            found=str(error).splitlines()[0],
            remedy="`dvc pull` or `dvc repro` brings it back",
        ) from None
    return array
