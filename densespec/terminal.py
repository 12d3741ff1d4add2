"""Plain tables and a little colour for commands that people read in a terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence

COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}


def table(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """Lines of a table with aligned columns; the first row is its head.

    Args:
        rows: cells, all rows of one length.
        numbers: columns that are aligned to the right.
    """
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            (" " * (widths[column] - width(cell)) + cell)
            if column in numbers
            else (cell + " " * (widths[column] - width(cell)))
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("─" * size for size in widths)
    return [lines[0], rule, *lines[1:]]


def width(text: str) -> int:
    """Columns that a text takes in a terminal (East Asian wide characters take two)."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut(text: str, columns: int) -> str:
    """One line of at most ``columns`` columns: white space folded, the end replaced by ``…``."""
    text = " ".join(text.split())
    if width(text) <= columns:
        return text
    kept, used = "", 0
    for character in text:
        used += width(character)
        if used > columns - 1:
            break
        kept += character
    return kept.rstrip() + "…"


def coloured(text: str, colour: str) -> str:
    """``text`` in a colour where standard output is a terminal and ``NO_COLOR`` is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{COLOURS[colour]}m{text}\033[0m"
