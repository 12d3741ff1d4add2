"""NumPy arrays on disk, written atomically, never pickled."""

from __future__ import annotations

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
