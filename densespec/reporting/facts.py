"""Corpus, leak audit, settings, and how to get the same again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from densespec.reporting.markup import Html, count, join, tag, words

LEAK_TITLES = {
    "training_queries": "training queries looked at",
    "from_judged_passages": "written for a passage judged relevant",
    "same_as_judged_query": "same text as a judged query",
    "near_judged_query": "nearly the same text (token Jaccard ≥ 0.8)",
}


def corpus_section(
    corpus: Mapping[str, Any], passages: Mapping[str, Sequence[str]], leaks: Mapping[str, Any]
) -> Html:
    """Counts of the corpus stage, lengths of passages, and the leak audit."""
    lengths = sorted(map(len, passages["text"]))
    source = corpus.get("source", {})
    facts: list[tuple[object, object]] = [
        ("source", source.get("title") or "–"),
        ("licence", source.get("licence") or "–"),
    ]
    if lengths:
        median, most = (
            statistics.median_low(lengths),
            lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))],
        )
        facts.append(
            ("characters", f"median {count(median)}, 95 % up to {count(most)}, longest {count(lengths[-1])}")
        )
    # the leaks have their own list beside this one; the others are said above or on the whole page
    said_elsewhere = ("leaks", "source", "domain")
    facts += counts_in_lines({name: value for name, value in corpus.items() if name not in said_elsewhere})
    audit = {LEAK_TITLES.get(name, words(name)): value for name, value in _in_order(leaks)}
    broken = sum(leaks.get(name, 0) or 0 for name in list(LEAK_TITLES)[1:])
    said = None
    if "training_queries" in leaks:
        said = (
            tag(
                "p",
                tag("span", f"{count(broken)} leaks found.", cls="down"),
                " The numbers above are too good.",
            )
            if broken
            else tag(
                "p", tag("span", "No leak found.", cls="up"), " Counted afresh from the lists that trained."
            )
        )
    return tag(
        "div",
        tag("div", tag("h3", "Corpus"), _definitions(facts)),
        tag("div", tag("h3", "Leak audit"), said, _definitions(counts_in_lines(audit))),
        cls="columns",
    )


def _in_order(leaks: Mapping[str, Any]) -> list[tuple[str, Any]]:
    first = [(name, leaks[name]) for name in LEAK_TITLES if name in leaks]
    return first + [(name, value) for name, value in sorted(leaks.items()) if name not in LEAK_TITLES]


def settings_section(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Html:
    """Every parameter in force for the domain; those of the domain's own file are set off.

    Args:
        settings: section → parameters, shared and own merged; top-level values as they are.
        overrides: section → the domain's own parameters.
    """
    blocks = []
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    for section, values in [("", plain), *((n, v) for n, v in settings.items() if isinstance(v, dict))]:
        own = {name for name, _ in dotted(overrides.get(section) or {})}
        rows: list[tuple[object, object]] = [
            (name, tag("span", value, cls="changed", title="set by the domain") if name in own else value)
            for name, value in dotted(values)
        ]
        if rows:
            blocks.append(tag("div", tag("h3", section or "all stages"), _definitions(rows)))
    changed = any(overrides.get(section) for section in settings)
    legend = tag(
        "p", "Values in ", tag("span", "this colour", cls="changed"), " are the domain's own.", cls="lead"
    )
    return join([legend if changed else None, tag("div", *blocks, cls="settings")])


def reproduce_section(domain: str) -> Html:
    """Commands that bring the same, change one thing, or use the result."""
    commands = f"""dvc pull                                  # what others have computed already
dvc repro evaluate@{domain}                  # or compute it; only what changed reruns
dvc repro report                          # this page, for the domain named in params.yaml

dvc exp run -S distill.learning_rate=1e-5 report     # change one thing
dvc exp show                                         # and compare

densespec search {domain} "your question"    # specialised beside untuned
densespec show {domain}                      # these numbers in the terminal"""
    use = f"""from sentence_transformers import SentenceTransformer

model = SentenceTransformer("models/{domain}/specialised")
queries = model.encode_query(["your question"])
passages = model.encode_document(["title of the passage\\nits text"])
scores = model.similarity(queries, passages)"""
    return join(
        [
            tag(
                "p",
                "Code, parameters, data and models of this page belong to one commit; check it out, then:",
            ),
            tag("pre", tag("code", commands)),
            tag("h3", "Use the model"),
            tag("pre", tag("code", use)),
        ]
    )


def counts_in_lines(document: Mapping[str, Any], prefix: str = "") -> list[tuple[object, object]]:
    """Nested counts as (name, text): one line per group of plain values; its zeros are left out."""
    lines: list[tuple[object, object]] = []
    for key, value in document.items():
        name = f"{prefix} {words(str(key))}".strip()
        if not isinstance(value, dict):
            lines.append((name, _count(value)))
        elif value and all(isinstance(item, dict) for item in value.values()):
            lines += counts_in_lines(value, name)
        else:
            said = ", ".join(f"{_count(number)} {part}" for part, number in _leaves(value) if number)
            lines.append((name, said or "0"))
    return lines


def _leaves(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        name = f"{prefix} {words(str(key))}".strip()
        found += _leaves(value, name) if isinstance(value, dict) else [(name, value)]
    return found


def _count(value: Any) -> str:
    return count(value) if isinstance(value, int | float) else str(value)


def dotted(parameters: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters as (dotted name, text), as the command line takes them."""
    found: list[tuple[str, str]] = []
    for key, value in parameters.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict) and value:
            found += dotted(value, name)
        else:
            found.append((name, _plain(value)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, dict):
        return "none"
    if value is None:
        return "null"
    return str(value) or "(empty)"


def _definitions(rows: Sequence[tuple[object, object]]) -> Html:
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in rows))
