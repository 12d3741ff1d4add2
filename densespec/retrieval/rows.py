"""Names of an evaluation's rows: models, their short embeddings (``specialised-128``), ``teacher-NAME``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """What the name of a row says.

    Attributes:
        model: ``specialised``, ``untuned``, ``bm25`` …; ``teacher`` also for all teachers together.
        dims: leading values of its embeddings that were searched with; None for all.
        teacher: name of a single one of several teachers; None for anything else.
    """

    model: str
    dims: int | None = None
    teacher: str | None = None


def short_row(model: str, dims: int) -> str:
    """Name of the row of a model's first ``dims`` values."""
    return f"{model}-{dims}"


def teacher_row(teacher: str) -> str:
    """Name of the row of one of several teachers."""
    return f"teacher-{teacher}"


def row_of(name: str) -> Row:
    """The row with this name. A teacher's own name may end in a number."""
    model, _, rest = name.partition("-")
    if model == "teacher":
        return Row(model, teacher=rest or None)
    return Row(model, int(rest)) if rest.isdigit() else Row(name)


def row_title(name: str, titles: Mapping[str, str]) -> str:
    """What a row is called.

    Args:
        name: of the row.
        titles: model → what it is called.
    """
    row = row_of(name)
    if row.teacher:
        return f"teacher {row.teacher} alone as reranker"
    title = titles.get(row.model, row.model)
    return f"{title}, first {row.dims} dimensions" if row.dims else title


def in_order(names: Iterable[str], models: Sequence[str]) -> list[str]:
    """Rows in the order of their models; a model's short embeddings follow it, the longest first.

    Args:
        names: of the rows.
        models: in their order; those of other models come last.
    """

    def place(name: str) -> tuple[int, float, str]:
        row = row_of(name)
        known = models.index(row.model) if row.model in models else len(models)
        return known, -math.inf if row.dims is None else -row.dims, name

    return sorted(names, key=place)
