"""The per-query explorer: what each test query found before and after, as data for the page's script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from densespec.records import Qrel, Run
from densespec.reporting.charts import sorted_differences
from densespec.reporting.markup import Html, count, join, json_block, shorten, tag, words

TIE = 1e-6
LEFT, RIGHT = "untuned", "specialised"
ORDERS = (
    ("win", "largest gains first"),
    ("loss", "largest losses first"),
    ("low", "lowest now first"),
    ("id", "by id"),
)


class Compared(NamedTuple):
    """One test query.

    Attributes:
        id: of the query.
        text: of the query.
        kind: of the query.
        before: nDCG@10 of the untuned model.
        after: nDCG@10 of the specialised model.
    """

    id: str
    text: str
    kind: str
    before: float
    after: float


def compared_queries(per_query: Mapping[str, Sequence[Any]]) -> list[Compared]:
    """Test queries of the table that the stage evaluate writes, sorted by id; empty without both rows."""
    values: dict[str, dict[str, float]] = {LEFT: {}, RIGHT: {}}
    about = {}
    columns = ("query_id", "text", "kind", "row", "ndcg_at_10")
    for query_id, text, kind, row, value in zip(*(per_query[name] for name in columns), strict=True):
        if row in values:
            values[row][query_id] = value
            about[query_id] = (text, kind)
    return [
        Compared(query_id, *about[query_id], values[LEFT][query_id], values[RIGHT][query_id])
        for query_id in sorted(about)
        if query_id in values[LEFT] and query_id in values[RIGHT]
    ]


def explorer_section(
    queries: Sequence[Compared],
    runs: Mapping[str, Run],
    qrels: Sequence[Qrel],
    passages: Mapping[str, tuple[str, str]],
    *,
    top: int,
    snippet_chars: int,
    most: int,
    max_bytes: int,
    worst_first: bool,
) -> Html:
    """Filters, the list that the script fills, and its data.

    Args:
        queries: all test queries.
        runs: the rows ``untuned`` and ``specialised``.
        qrels: judgements of the test queries.
        passages: id → title and text.
        top: passages shown per model.
        snippet_chars: where their texts are cut (characters).
        most: queries in the page; of more, those with the largest differences.
        max_bytes: of the data; snippets are shortened, then queries dropped, until it fits.
        worst_first: start with the largest losses instead of the largest gains.
    """
    if not queries:
        return tag("p", "No judged test queries, so there is nothing to compare one by one.", cls="soft")
    by_difference = sorted(queries, key=lambda q: (-abs(q.after - q.before), q.id))
    chosen = sorted(by_difference[:most], key=lambda query: query.id)
    data = explorer_data(chosen, runs, qrels, passages, top=top, snippet_chars=snippet_chars)
    while _size(data) > max_bytes and (snippet_chars > 40 or len(chosen) > 50):
        if snippet_chars > 40:
            snippet_chars = max(40, snippet_chars // 2)
        else:
            most = len(chosen) // 2
            chosen = sorted(by_difference[:most], key=lambda query: query.id)
        data = explorer_data(chosen, runs, qrels, passages, top=top, snippet_chars=snippet_chars)
    differences = [query.after - query.before for query in queries]
    wins, losses = (sum(sign * d >= TIE for d in differences) for sign in (1, -1))
    kinds = sorted({query.kind for query in chosen if query.kind})
    left_out = None
    if len(chosen) < len(queries):
        said = f"The {count(len(chosen))} queries of {count(len(queries))} with the largest differences."
        left_out = tag("p", said, cls="soft")
    outcomes = [
        ("win", "wins", wins),
        ("loss", "losses", losses),
        ("tie", "ties", len(queries) - wins - losses),
    ]
    return join(
        [
            sorted_differences(differences),
            tag(
                "div",
                tag(
                    "input",
                    id="explorer-text",
                    type="search",
                    placeholder="Search the queries",
                    aria_label="Search the queries",
                ),
                _select(
                    "outcome",
                    "Outcome",
                    [("", "all outcomes"), *((value, f"{name} ({count(n)})") for value, name, n in outcomes)],
                ),
                _select("kind", "Kind", [("", "all kinds"), *((kind, words(kind)) for kind in kinds)]),
                _select("order", "Order", ORDERS, "loss" if worst_first else "win"),
                cls="controls",
            ),
            left_out,
            tag("p", "", id="explorer-shown", cls="shown", aria_live="polite"),
            tag("div", id="explorer-list"),
            tag("button", "Show more", id="explorer-more", cls="more", type="button", hidden=True),
            tag(
                "noscript", tag("p", "This list needs JavaScript; per_query.parquet holds the same numbers.")
            ),
            json_block("explorer-data", data),
        ]
    )


def explorer_data(
    queries: Sequence[Compared],
    runs: Mapping[str, Run],
    qrels: Sequence[Qrel],
    passages: Mapping[str, tuple[str, str]],
    *,
    top: int,
    snippet_chars: int,
) -> dict[str, Any]:
    """What the script reads: passages once each, queries as short rows that point to them by number."""
    relevant: dict[str, list[Qrel]] = {}
    for qrel in sorted(qrels, key=lambda qrel: (qrel.query_id, -qrel.grade, qrel.passage_id)):
        if qrel.grade > 0:
            relevant.setdefault(qrel.query_id, []).append(qrel)
    numbers: dict[str, int] = {}
    shown: list[list[str]] = []

    def numbered(passage_id: str) -> int:
        if passage_id not in numbers:
            title, text = passages.get(passage_id, ("", ""))
            numbers[passage_id] = len(shown)
            shown.append([shorten(passage_id, 120), shorten(title, 120), shorten(text, snippet_chars)])
        return numbers[passage_id]

    rows = []
    for query in queries:
        ids = {row: [entry.passage_id for entry in runs[row].get(query.id, [])] for row in (LEFT, RIGHT)}
        places = {row: {passage: place for place, passage in enumerate(ids[row], start=1)} for row in ids}
        judged = [
            [
                numbered(q.passage_id),
                q.grade,
                places[LEFT].get(q.passage_id, 0),
                places[RIGHT].get(q.passage_id, 0),
            ]
            for q in relevant.get(query.id, [])[:20]
        ]
        lists = [[numbered(passage) for passage in ids[row][:top]] for row in (LEFT, RIGHT)]
        rows.append(
            [
                query.id,
                shorten(query.text, 300),
                query.kind,
                round(query.before, 4),
                round(query.after, 4),
                *lists,
                judged,
            ]
        )
    depth = max((len(entries) for run in runs.values() for entries in run.values()), default=0)
    return {"left": "Untuned", "right": "Specialised", "depth": depth, "passages": shown, "queries": rows}


def _size(data: dict[str, Any]) -> int:
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def _select(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str = "") -> Html:
    return tag(
        "select",
        *(tag("option", text, value=value, selected=value == chosen) for value, text in options),
        id=f"explorer-{name}",
        aria_label=label,
    )
