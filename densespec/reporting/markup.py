"""HTML that is escaped by construction: whatever is not marked as markup is text."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

VOID = frozenset({"meta", "input", "br"})


class Html(str):
    """A string that is markup already; every other string is escaped when it becomes part of a page."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        name: of the element.
        children: markup, or text that is escaped; None is left out.
        attributes: ``cls`` is ``class``, ``_`` becomes ``-``; None and False leave the attribute out.
    """
    given = "".join(
        f" {'class' if key == 'cls' else key.strip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Parts one after another; text is escaped, None is left out."""
    return Html(
        "".join(
            part if isinstance(part, Html) else html.escape(str(part), quote=True)
            for part in parts
            if part is not None
        )
    )


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, label: str, first_is_main: bool = False
) -> Html:
    """A table that scrolls sideways on a narrow screen; the first cell of a row names it.

    Args:
        head: column titles.
        rows: cells; a ``td`` or ``th`` made by :func:`tag` is taken as it is, anything else becomes one.
        label: what a screen reader says.
        first_is_main: set the first row off.
    """
    body = [
        tag(
            "tr",
            *(_cell(cell, "td" if column else "th") for column, cell in enumerate(row)),
            cls="main" if first_is_main and not place else None,
        )
        for place, row in enumerate(rows)
    ]
    titles = tag("tr", *(_cell(title, "th") for title in head))
    content = tag("table", tag("thead", titles), tag("tbody", *body))
    return tag("div", content, cls="scroll", tabindex="0", role="region", aria_label=label)


def _cell(content: object, name: str) -> Html:
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return tag(name, content, scope="row" if name == "th" else None)


def json_block(identifier: str, document: Any) -> Html:
    """Data for the page's script; nothing in it can end the element or be read as markup."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return tag("script", Html(text), id=identifier, type="application/json")


def shorten(text: str, width: int) -> str:
    """White space folded, cut at a word if there is one near the end."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    cut = text[: width - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > width * 0.6 else cut).rstrip(" ,;:.") + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A decimal number; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A decimal number with its sign; a zero after rounding has none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def p_value(p: float | None) -> str:
    """A p value as it is printed in tables."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def equation(p: float) -> str:
    """The same in a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def count(value: float | None) -> str:
    """A count with separators."""
    return "–" if value is None else f"{value:,.0f}"


def words(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")
