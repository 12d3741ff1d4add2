"""The filter funnel, and examples of queries that were kept and that were not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from densespec.reporting.charts import key_to, stacked_bar
from densespec.reporting.markup import Html, count, join, shorten, table, tag, words

#: Where a written query can be lost, in order: key, title, class of its share in the bars.
STAGES = (
    ("text", "text filters", "f-5"),
    ("round_trip", "round trip", "f-2"),
    ("too_few", "too few candidates", "f-5"),
    ("teacher_not_first", "teacher ranks the source too low", "f-3"),
    ("low_score", "low top score", "f-4"),
)


class Example(NamedTuple):
    """One training query.

    Attributes:
        text: of the query.
        kind: of the query.
        source: title of the passage it was written for; ``""`` for queries of users.
        reason: why it was rejected; ``""`` where it was kept.
    """

    text: str
    kind: str
    source: str
    reason: str


def funnel_section(
    select: Mapping[str, Any], generate: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]
) -> Html:
    """Counts per kind of query and stage.

    Args:
        select: metrics of the stage select (``funnel``).
        generate: kind → metrics of the stage generate (``dropped`` by the text filters).
        kinds: their order; others follow.
    """
    funnel: dict[str, dict[str, int]] = {}
    given: Mapping[str, Mapping[str, int]] = select.get("funnel", {})
    for kind in [*(k for k in kinds if k in given), *sorted(set(given) - set(kinds))]:
        counts = given[kind]
        text = sum(generate.get(kind, {}).get("dropped", {}).values())
        funnel[kind] = {**counts, "text": text, "written": counts["written"] + text}
    if not funnel:
        return tag("p", "No queries were written or logged for this domain.", cls="soft")
    total = {
        name: sum(counts.get(name, 0) for counts in funnel.values())
        for name in ("written", "kept", *(key for key, _, _ in STAGES))
    }
    used = [stage for stage in STAGES if total[stage[0]]]
    lines = []
    for kind, counts in [*funnel.items(), ("all", total)]:
        shares = [("kept", counts.get("kept", 0), "f-1")]
        shares += [(title, counts.get(key, 0), cls) for key, title, cls in used]
        written = max(counts["written"], 1)
        lines.append(
            [
                words(kind),
                stacked_bar(shares),
                count(counts["written"]),
                *(f"−{count(counts.get(key, 0))}" if counts.get(key) else "0" for key, _, _ in used),
                tag(
                    "td",
                    count(counts.get("kept", 0)),
                    tag("small", f" {counts.get('kept', 0) / written:.0%}"),
                ),
            ]
        )
    legend = key_to([("kept", "f-1"), *((title, cls) for _, title, cls in used)])
    head = ["Kind", "", "written", *(title for _, title, _ in used), "kept"]
    lead = f"{count(total['kept'])} of {count(total['written'])} queries became training lists"
    splits = [f"{count(select[split])} {split}" for split in ("train", "dev") if split in select]
    lead += f" ({', '.join(splits)})." if splits else "."
    return join([tag("p", lead, cls="lead"), table(head, lines, label="Filter funnel"), legend])


def gather_examples(
    candidates: Mapping[str, Sequence[Any]],
    kept_ids: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    passages: Mapping[str, Sequence[Any]],
    *,
    min_candidates: int,
    source_rank: int,
    drops: bool = False,
) -> list[Example]:
    """Every training query with what became of it; the reason is read off the candidates and scores.

    Args:
        candidates: table of the stage mine.
        kept_ids: ids of the queries that have a training list.
        scores: query id → scores of its candidates, by a single teacher; empty where there are several
            (then the teachers' filters are named together).
        passages: table of the stage corpus.
        min_candidates: parameter of the stage select.
        source_rank: parameter of the stage select.
        drops: whether select drops likely false negatives from lists.
    """
    titles = dict(zip(passages["id"], passages["title"], strict=True))
    kept = set(kept_ids)
    examples = []
    columns = ("query_id", "text", "kind", "source_id", "split", "passages", "source_rank")
    for query_id, text, kind, source, split, rows, rank in zip(
        *(candidates[c] for c in columns), strict=True
    ):
        if split != "train":
            continue
        reason = ""
        if query_id not in kept:
            reason = _reason(
                rows,
                scores.get(query_id),
                source,
                rank,
                passages,
                min_candidates=min_candidates,
                source_rank=source_rank,
                drops=drops,
            )
        examples.append(Example(text, kind, titles.get(source) or source, reason))
    return examples


def _reason(
    rows: Sequence[int],
    scores: Sequence[float] | None,
    source: str,
    rank: int,
    passages: Mapping[str, Sequence[Any]],
    *,
    min_candidates: int,
    source_rank: int,
    drops: bool,
) -> str:
    if not len(rows) and source:
        return (
            f"round trip: the untuned model ranks its passage {rank}"
            if rank
            else ("round trip: the untuned model does not find its passage")
        )
    if len(rows) < min_candidates:
        return f"only {len(rows)} candidates"
    if scores is None or len(scores) != len(rows):
        return "dropped by the teachers' filters"
    order = np.argsort(-np.asarray(scores, dtype=np.float32), kind="stable")
    ranked = [passages["id"][rows[place]] for place in order]
    place = ranked.index(source) + 1 if source in ranked else 0
    if source and source_rank and not 0 < place <= source_rank:
        first = passages["title"][rows[order[0]]] or ranked[0]
        return f"the teacher prefers: {shorten(first, 80)}"
    if drops:
        return "too few candidates but likely false negatives, or the teacher's best score is too low"
    return "the teacher's best score is among the lowest"


def examples_section(examples: Sequence[Example], per_kind: int) -> Html:
    """A few kept and a few rejected queries of each kind, chosen by a hash of their text."""
    kinds = list(dict.fromkeys(example.kind for example in examples))
    blocks = []
    for kind in kinds:
        of_kind = sorted((e for e in examples if e.kind == kind), key=_lot)
        sides = [
            ("Kept", [e for e in of_kind if not e.reason]),
            ("Rejected", [e for e in of_kind if e.reason]),
        ]
        blocks.append(
            tag(
                "div",
                tag("h3", words(kind)),
                *(
                    tag(
                        "div",
                        tag("h4", f"{title} ({count(len(chosen))})"),
                        tag("ul", *(_item(example) for example in chosen[:per_kind]))
                        if chosen
                        else tag("p", "none", cls="soft"),
                    )
                    for title, chosen in sides
                ),
                cls="kind",
            )
        )
    if not blocks or not per_kind:
        return tag("p", "No examples.", cls="soft")
    return join(blocks)


def _item(example: Example) -> Html:
    return tag(
        "li",
        shorten(example.text, 240),
        tag("small", "for ", shorten(example.source, 110), cls="soft") if example.source else None,
        tag("small", example.reason, cls="why") if example.reason else None,
    )


def _lot(example: Example) -> str:
    return hashlib.sha256(f"{example.kind}\x1f{example.text}\x1f{example.source}".encode()).hexdigest()
