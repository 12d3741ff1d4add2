"""Quality of the written queries: their length and variety, what survives each filter, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from densespec.reporting.markup import Html, count, join, number, table, tag, words

#: Reasons of the stage generate that post-processing tells; its other reasons are filters on the text.
NO_ANSWER = ("cut_off", "empty", "refusal", "mentions_passage", "wrong_language")


class Survival(NamedTuple):
    """Queries of one kind that were left after each step."""

    written: int
    answered: int
    filtered: int
    round_trip: int
    kept: int


def survival(dropped: Mapping[str, int], funnel: Mapping[str, int]) -> Survival:
    """Queries left after post-processing, the filters on the text, the round trip, and the teacher's filters.

    Args:
        dropped: queries per reason, of the stage generate.
        funnel: of the stage select; its ``written`` are those that generate kept.
    """
    filtered = funnel.get("written", 0)
    written = filtered + sum(dropped.values())
    answered = written - sum(dropped.get(reason, 0) for reason in NO_ANSWER)
    return Survival(
        written, answered, filtered, filtered - funnel.get("round_trip", 0), funnel.get("kept", 0)
    )


def quality_section(
    generate: Mapping[str, Mapping[str, Any]], select: Mapping[str, Any], kinds: Sequence[str]
) -> Html:
    """Three tables with a row per kind: the texts, what is left of them, what was dropped on its text.

    Args:
        generate: kind → metrics of the stage generate, with ``usage`` (writer → ``prompt_tokens``,
            ``completion_tokens``, ``seconds`` and perhaps ``cost``) where a writer counted it.
        select: metrics of the stage select (``funnel``).
        kinds: their order.
    """
    shown = [kind for kind in kinds if kind in generate]
    if not shown:
        return tag("p", "No queries were written for this domain.", cls="soft")
    funnel = select.get("funnel", {})
    left = {kind: survival(generate[kind].get("dropped", {}), funnel.get(kind, {})) for kind in shown}
    lead = (
        "Distinct-n: share of a kind's n-grams that are distinct; it falls as queries are added. In passage: "
        "share of a query's words that its passage has too, mean."
    )
    lead_left = "Share of the written queries that is left after each step; the last became training lists."
    costs = {kind: per_kept(generate[kind], left[kind]) for kind in shown}
    if any(costs.values()):
        lead_left += " Tokens (prompt and answer) and seconds are per query of these."
    return join(
        [
            tag("p", lead, cls="lead"),
            _texts_table(generate, shown),
            tag("h3", "Survival"),
            tag("p", lead_left, cls="lead"),
            _survival_table(left, costs),
            _dropped(generate, shown),
        ]
    )


def per_kept(metrics: Mapping[str, Any], steps: Survival) -> dict[str, float]:
    """Tokens of prompts and answers, seconds and cost per query that became a training list.

    Only writers that counted them are looked at. Queries of several writers are told apart up to the filters
    on the text; after those, each writer's are taken to survive alike. Empty where nothing was kept.

    Args:
        metrics: of the stage generate, for one kind.
        steps: what is left of the kind's queries.
    """
    usage: Mapping[str, Mapping[str, float]] = metrics.get("usage", {})
    queries = sum(metrics.get("writers", {}).get(name, {}).get("kept", 0) for name in usage)
    kept = queries * steps.kept / max(1, steps.filtered)
    if not kept:
        return {}
    total: Counter[str] = Counter()
    for used in usage.values():
        total.update(used)
    tokens = total["prompt_tokens"] + total["completion_tokens"]
    return {"tokens": tokens / kept, "seconds": total["seconds"] / kept, "cost": total["cost"] / kept}


def _texts_table(generate: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> Html:
    lines: list[list[object]] = []
    for kind in kinds:
        metrics = generate[kind]
        found = metrics.get("quality", {})
        lines.append(
            [
                words(kind),
                count(metrics.get("queries")),
                number(metrics.get("words_per_query"), 1),
                *(number(found.get(f"distinct_{n}"), 2) for n in (1, 2, 3)),
                _share(found.get("passage_overlap")),
            ]
        )
    head = ["Kind", "queries", "words (mean)", "distinct-1", "distinct-2", "distinct-3", "in passage"]
    return table(head, lines, label="Length, variety and overlap of the queries")


def _survival_table(left: Mapping[str, Survival], costs: Mapping[str, Mapping[str, float]]) -> Html:
    counted, priced = any(costs.values()), any(each.get("cost") for each in costs.values())
    lines: list[list[object]] = []
    for kind, steps in left.items():
        shares = (_share(step / steps.written if steps.written else None) for step in steps[1:])
        cells: list[object] = [words(kind), count(steps.written), *shares]
        each = costs[kind]
        cells += [number(each.get("tokens"), 0), number(each.get("seconds"), 2)] if counted else []
        cells += [number(1000 * each["cost"] if each else None, 2)] if priced else []
        lines.append(cells)
    head = ["Kind", "written", "post-processing", "text filters", "round trip", "teacher"]
    head += ["tokens", "seconds"] if counted else []
    head += ["cost of 1,000"] if priced else []
    return table(head, lines, label="Queries left after each step")


def _dropped(generate: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> Html:
    """Queries per kind and reason of the stage generate; reasons that dropped none are left out."""
    total: Counter[str] = Counter()
    for kind in kinds:
        total.update(generate[kind].get("dropped", {}))
    reasons = [reason for reason, lost in total.most_common() if lost]
    parts = [tag("p", "Dropped on their text:" if reasons else "Dropped on their text: none.", cls="soft")]
    if reasons:
        lines = [
            [words(kind), *(count(generate[kind].get("dropped", {}).get(reason, 0)) for reason in reasons)]
            for kind in kinds
        ]
        parts.append(table(["Kind", *map(words, reasons)], lines, label="Queries dropped on their text"))
    if tidied := sum(generate[kind].get("tidied", 0) for kind in kinds):
        said = f"{count(tidied)} answers had something around the query, which was taken off"
        above = sum(generate[kind].get("preambles", 0) for kind in kinds)
        parts.append(tag("p", said + (f", {count(above)} of them a preamble." if above else "."), cls="soft"))
    return join(parts)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
