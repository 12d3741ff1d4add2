"""Parquet tables: byte-deterministic writing and column-wise reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from densespec.errors import InputError
from densespec.io.atomic import replacing
from densespec.records import Passage


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length atomically; the same input gives the same bytes.

    Args:
        path: target file.
        columns: name → values (lists or NumPy arrays; a 2-D array becomes a list column).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        nested = getattr(values, "ndim", 1) == 2
        arrays[name] = pa.array(list(values) if nested else values)
    with replacing(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd", row_group_size=65536)


def read_table(path: Path) -> dict[str, list[Any]]:
    """Read all columns as Python lists.

    Raises:
        InputError: missing, or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return dict(pq.read_table(path).to_pydict())
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            path,
            expected="a Parquet table written by an earlier stage",
            found=str(error).splitlines()[0] if path.exists() else "no such file",
            remedy="`dvc pull` or `dvc repro` brings it back",
        ) from None


def passages_of(table: Mapping[str, Sequence[Any]]) -> list[Passage]:
    """The passages of a corpus table (columns ``id``, ``title``, ``text``), by row number."""
    return [Passage(*row) for row in zip(table["id"], table["title"], table["text"], strict=True)]
