"""Several teachers: how they were averaged, how alike they rank, and the queries they disagree on most."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from densespec.reporting.markup import Html, count, join, number, shorten, table, tag, words
from densespec.retrieval.agreement import kendall_tau

SHOWN = 10  # queries


class Disagreement(NamedTuple):
    """One training query.

    Attributes:
        text: of the query.
        kind: of the query.
        tau: Kendall's τ-b of the two teachers that rank its candidates least alike.
        firsts: teacher → the passage it ranks first, and whether the query was written for it.
    """

    text: str
    kind: str
    tau: float
    firsts: dict[str, tuple[str, bool]]


def disagreements(
    candidates: Mapping[str, Sequence[Any]],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    passages: Mapping[str, Sequence[Any]],
    min_candidates: int,
) -> list[Disagreement]:
    """The training queries on which teachers agree least, worst first.

    Args:
        candidates: table of the stage mine.
        scores: teacher → query id → scores of the query's candidates.
        passages: table of the stage corpus.
        min_candidates: of a query, parameter of the stage select; on short lists any order can be reversed.
    """
    found: list[tuple[float, int]] = []
    for row, (query_id, split) in enumerate(zip(candidates["query_id"], candidates["split"], strict=True)):
        if split == "train" and len(candidates["passages"][row]) >= max(2, min_candidates):
            given = [np.asarray(of_teacher[query_id]) for of_teacher in scores.values()]
            taus = [kendall_tau(one, other) for one, other in itertools.combinations(given, 2)]
            taus = [tau for tau in taus if not math.isnan(tau)]
            found += [(min(taus), row)] if taus else []
    worst = []
    for tau, row in sorted(found)[:SHOWN]:
        rows, source = candidates["passages"][row], candidates["source_id"][row]
        firsts = {}
        for teacher, of_teacher in scores.items():
            first = rows[int(np.argmax(of_teacher[candidates["query_id"][row]]))]
            title = passages["title"][first] or passages["text"][first]
            firsts[teacher] = (title, passages["id"][first] == source)
        worst.append(Disagreement(candidates["text"][row], candidates["kind"][row], tau, firsts))
    return worst


def ensemble_section(select: Mapping[str, Any], worst: Sequence[Disagreement]) -> Html:
    """Weights, nDCG@10 on dev, agreement of every two teachers, and queries with what each ranks first.

    Args:
        select: metrics of the stage select (``teacher_weights``, ``judged_dev``, ``agreement``).
        worst: of :func:`disagreements`.
    """
    chosen = select.get("teacher_weights", {})
    quality = select.get("judged_dev", {}).get("ndcg_at_10", {})
    parts: list[object] = []
    if chosen:
        parts.append(tag("p", f"Weights: {chosen['rule']}.", cls="lead"))
        rows = [
            [teacher, number(weight, 2), *([number(quality.get(teacher))] if quality else [])]
            for teacher, weight in chosen["weights"].items()
        ]
        rows += [["together", "", number(quality.get("together"))]] if quality else []
        judged = (
            [f"nDCG@10 on {count(select['judged_dev']['queries'])} judged dev queries"] if quality else []
        )
        head = ["Teacher", "weight", *judged]
        parts.append(table(head, rows, label="Weights of the teachers"))
    agreement: Mapping[str, float] = select.get("agreement", {})
    if agreement:
        pairs = [[names, number(tau, 2)] for names, tau in agreement.items()]
        said = (
            "Kendall's τ over a query's candidates, mean over the training queries: 1 is the same order, 0 "
            "is unrelated. Near 1 a further teacher adds nothing."
        )
        parts += [
            tag("h3", "Agreement"),
            tag("p", said, cls="lead"),
            table(["Teachers", "mean τ"], pairs, label="Agreement"),
        ]
    if worst:
        lines = [
            [
                tag(
                    "th",
                    shorten(query.text, 160),
                    tag("small", f" {words(query.kind)}"),
                    scope="row",
                    cls="text",
                ),
                number(query.tau, 2),
                *(_first(*query.firsts[teacher]) for teacher in query.firsts),
            ]
            for query in worst
        ]
        head = ["Query", "lowest τ", *(f"{teacher} ranks first" for teacher in worst[0].firsts)]
        parts += [
            tag("h3", "Queries they disagree on most"),
            tag("p", "Source: the passage that the query was written for.", cls="lead"),
            table(head, lines, label="Queries the teachers disagree on most"),
        ]
    return join(parts) if parts else tag("p", "Nothing was compared.", cls="soft")


def _first(title: str, is_source: bool) -> Html:
    return tag("td", shorten(title, 90), tag("small", " (source)") if is_source else None, cls="text")
