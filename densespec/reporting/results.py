"""The verdict and the numbers behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from densespec.reporting.charts import change_mark, interval_mark, stacked_bar
from densespec.reporting.markup import Html, count, equation, join, number, p_value, signed, table, tag, words
from densespec.retrieval.measures import MEASURE_TITLES
from densespec.retrieval.rows import in_order, row_title

ROW_TITLES = {
    "untuned": "Untuned model",
    "specialised": "Specialised model",
    "control": "Control (InfoNCE only)",
    "bm25": "BM25",
    "hybrid": "BM25 + untuned, fused",
    "teacher": "Teacher as reranker",
}
#: The same where there is little room.
SHORT_TITLES = {
    "untuned": "Untuned",
    "specialised": "Specialised",
    "control": "Control",
    "bm25": "BM25",
    "hybrid": "Fused",
    "teacher": "Teacher",
}
#: The order of rows in every table; short embeddings and single teachers follow their row.
ROW_ORDER = ("specialised", "untuned", "control", "bm25", "hybrid", "teacher")
HEADLINES = {
    "ship": "Ship it",
    "no evidence": "No evidence",
    "regression": "Regression",
    "not tested": "Not tested",
}
Results = Mapping[str, Any]
#: A minus sign that was typed as a hyphen.
MINUS = re.compile(r"(?<!\w)-(?=\d)")


def _title(row: str) -> str:
    """What a row is called on the page."""
    title = row_title(row, ROW_TITLES)
    return title[0].upper() + title[1:]


def verdict_banner(results: Results) -> Html:
    """The first thing on the page: one word, one sentence with the numbers."""
    verdict = str(results.get("verdict", "not tested"))
    return tag(
        "section",
        tag("div", "Verdict", cls="word"),
        tag("div", HEADLINES.get(verdict, verdict), cls="headline"),
        tag("p", MINUS.sub("−", str(results.get("reason", "")))),
        cls=f"verdict {verdict.replace(' ', '-')}",
        id="verdict",
    )


def tiles(results: Results) -> Html:
    """The key numbers, for a glance."""
    rows = results.get("rows", {})
    if "specialised" not in rows or "untuned" not in rows:
        return Html("")
    boxes = []
    for name, title in MEASURE_TITLES.items():
        before, after = rows["untuned"][name]["mean"], rows["specialised"][name]["mean"]
        compared = rows["specialised"]["vs_untuned"][name]
        boxes.append(
            _tile(
                title,
                join([tag("small", f"{number(before)} → ", cls="soft"), number(after)]),
                tag("span", signed(compared["difference"]), cls=_sense(compared)),
                " ",
                tag("span", f"[{signed(compared['low'])}, {signed(compared['high'])}]"),
            )
        )
    compared = rows["specialised"]["vs_untuned"]["ndcg_at_10"]
    parts = [("wins", compared["wins"], "b-up"), ("ties", compared["ties"], "b-tie")]
    parts.append(("losses", compared["losses"], "b-down"))
    boxes.append(
        tag(
            "div",
            tag("div", "Wins / ties / losses", cls="name"),
            tag("div", f"{compared['wins']} / {compared['ties']} / {compared['losses']}", cls="value"),
            stacked_bar(parts),
            tag("small", f"of {count(results.get('queries', 0))} test queries, by nDCG@10"),
            cls="tile",
        )
    )
    return tag("div", *boxes, cls="tiles")


def _tile(name: str, value: object, *below: object) -> Html:
    return tag(
        "div", tag("div", name, cls="name"), tag("div", value, cls="value"), tag("small", *below), cls="tile"
    )


def notes(
    results: Results,
    audits: Mapping[str, Mapping[str, Any]],
    best_steps: Mapping[str, Any],
    forgotten: Sequence[str] = (),
    alpha: float = 0.05,
) -> Html:
    """What a careful reader would ask next, answered: only what the numbers themselves raise.

    Args:
        results: as ``evaluate.json`` holds them.
        audits: teacher → its audit.
        best_steps: model → step whose weights were kept.
        forgotten: sentences on other domains where the model became worse.
        alpha: what p must be below.
    """
    found: list[tuple[str, object]] = []
    rows, leaks = results.get("rows", {}), results.get("leaks", {})
    leaking = [
        f"{count(leaks[name])} {text}"
        for name, text in (
            ("from_judged_passages", "written for passages that are judged relevant"),
            ("same_as_judged_query", "the same as a judged query"),
            ("near_judged_query", "nearly the same as a judged query"),
        )
        if leaks.get(name)
    ]
    if leaking:
        found.append(
            ("bad", "Leaks: of the training queries, " + ", ".join(leaking) + ". Distrust the numbers.")
        )
    for teacher, audit in audits.items():
        if audit.get("queries") and audit.get("low", 1) <= 0:
            better = "worse than" if audit["high"] < 0 else "not clearly better than"
            found.append(
                (
                    "bad",
                    f"The teacher {teacher} is {better} the student on {count(audit['queries'])} "
                    f"{audit['basis']} ({number(audit['teacher'])} against {number(audit['student'])}): "
                    "a student cannot learn from it what it does not know.",
                )
            )
    if best_steps.get("specialised") == 0:
        found.append(("bad", "No training step beat the untuned weights on dev, so those were kept."))
    if "specialised" in rows and "untuned" in rows:
        found += _about_measures(rows, alpha)
        found += _about_teacher(rows)
        found += _about_lexical(rows)
        found += _about_kinds(results.get("kinds", {}))
    if "specialised_vs_control" in results:
        found.append(_about_control(results["specialised_vs_control"]["ndcg_at_10"]))
    found += [("bad", text) for text in forgotten]
    return (
        tag("ul", *(tag("li", text, cls=sense) for sense, text in found), cls="notes") if found else Html("")
    )


def _about_measures(rows: Mapping[str, Any], alpha: float) -> list[tuple[str, object]]:
    against = rows["specialised"]["vs_untuned"]
    return [
        (
            "bad",
            f"{title} falls by {number(-against[name]['difference'])} "
            f"(Holm-corrected {equation(against[name]['p_holm'])}).",
        )
        for name, title in MEASURE_TITLES.items()
        if name != "ndcg_at_10" and against[name]["difference"] < 0 and against[name]["p_holm"] < alpha
    ]


def _about_teacher(rows: Mapping[str, Any]) -> list[tuple[str, object]]:
    if "teacher" not in rows:
        return []
    low, high, ours = (rows[row]["ndcg_at_10"]["mean"] for row in ("untuned", "teacher", "specialised"))
    if high <= low:
        text = (
            f"{_title('teacher')} reaches {number(high)} nDCG@10 on the test queries, no more than the "
            f"untuned model's {number(low)}: there was little to distil."
        )
        return [("bad", text)]
    if rows["specialised"]["vs_untuned"]["ndcg_at_10"]["low"] <= 0:
        return []
    share = (ours - low) / (high - low)
    if share >= 1:
        return [
            ("good", f"The student reaches {number(ours)} nDCG@10, its teacher {number(high)} as a reranker.")
        ]
    closed = (
        f"{share:.0%} of the gap between the untuned model and its teacher as a reranker ({number(high)})"
    )
    return [("good", f"The student closes {closed}.")]


def _about_lexical(rows: Mapping[str, Any]) -> list[tuple[str, object]]:
    ours = rows["specialised"]["ndcg_at_10"]["mean"]
    better = [row for row in ("bm25", "hybrid") if row in rows and rows[row]["ndcg_at_10"]["mean"] > ours]
    named = ", ".join(f"{_title(row)} ({number(rows[row]['ndcg_at_10']['mean'])})" for row in better)
    return [("", f"Higher nDCG@10 than the specialised model's {number(ours)}: {named}.")] if better else []


def _about_kinds(kinds: Mapping[str, Any]) -> list[tuple[str, object]]:
    if len(kinds) < 2:  # one kind is all queries: the verdict says it
        return []
    worse = []
    for kind, means in kinds.items():
        change = means.get("specialised", 0.0) - means["untuned"]
        if "specialised" in means and means["queries"] >= 10 and change < -0.01:
            worse.append(f"{words(kind)} ({signed(change)}, {count(means['queries'])} queries)")
    return [("", "Queries of these kinds fare worse than before: " + ", ".join(worse) + ".")] if worse else []


def _about_control(compared: Mapping[str, Any]) -> tuple[str, object]:
    numbers = (
        f"{signed(compared['difference'])} nDCG@10, 95 % interval {signed(compared['low'])} to "
        f"{signed(compared['high'])}, {equation(compared['p'])}"
    )
    if compared["low"] > 0:
        return "good", f"Distillation beats the control trained with InfoNCE alone ({numbers})."
    if compared["high"] < 0:
        return (
            "bad",
            f"The control trained with InfoNCE alone is better than the distilled model ({numbers}).",
        )
    return "", f"Distillation and the control trained with InfoNCE alone cannot be told apart ({numbers})."


def means_table(block: Results, label: str) -> Html:
    """Rows × measures: mean and interval."""
    rows = block["rows"]
    best = {name: max(rows[row][name]["mean"] for row in rows) for name in MEASURE_TITLES}
    lines = []
    for row in in_order(rows, ROW_ORDER):
        cells: list[object] = [_title(row)]
        for name in MEASURE_TITLES:
            value = rows[row][name]
            mean = tag("span", number(value["mean"]), cls="best" if value["mean"] == best[name] else None)
            interval = tag("span", f" [{number(value['low'])}, {number(value['high'])}]", cls="range")
            cells.append(tag("td", mean, interval))
        lines.append(cells)
    main = "specialised" in rows
    return table(["", *MEASURE_TITLES.values()], lines, label=label, first_is_main=main)


def differences_table(block: Results, names: Sequence[str]) -> Html:
    """Every row against the untuned model, for the given measures."""
    rows = block["rows"]
    compared = [row for row in in_order(rows, ROW_ORDER) if "vs_untuned" in rows[row]]
    values = [rows[row]["vs_untuned"][name] for row in compared for name in names]
    span = max([0.01, *(max(abs(value["low"]), abs(value["high"])) for value in values)])
    lines = []
    for row in compared:
        for name in names:
            value = rows[row]["vs_untuned"][name]
            lines.append(
                [
                    _title(row),
                    interval_mark(value["difference"], value["low"], value["high"], span),
                    tag(
                        "td",
                        tag("span", signed(value["difference"]), cls=_sense(value)),
                        tag("span", f" [{signed(value['low'])}, {signed(value['high'])}]", cls="range"),
                    ),
                    p_value(value["p"]),
                    p_value(value["p_holm"]),
                    f"{value['wins']} / {value['ties']} / {value['losses']}",
                    number(value["detectable"]),
                ]
            )
    titles = " and ".join(MEASURE_TITLES[name] for name in names)
    head = ["", "", f"{titles} against untuned", "p", "p (Holm)", "wins / ties / losses", "detectable"]
    main = "specialised" in compared
    return table(head, lines, label=f"Differences in {titles}", first_is_main=main)


def kinds_table(kinds: Mapping[str, Mapping[str, Any]]) -> Html:
    """nDCG@10 per kind of query and row, and the specialised model's difference."""
    named = {row for means in kinds.values() for row in means if row != "queries"}
    rows = in_order(named, ROW_ORDER)
    changes = {
        kind: means.get("specialised", means["untuned"]) - means["untuned"] for kind, means in kinds.items()
    }
    span = max([0.01, *(abs(change) for change in changes.values())])
    lines = []
    for kind, means in sorted(kinds.items(), key=lambda item: (-item[1]["queries"], item[0])):
        best, change = max(means[row] for row in rows), changes[kind]
        cells: list[object] = [words(kind), count(means["queries"])]
        sense = "up" if change > 0.0005 else "down" if change < -0.0005 else "flat"
        cells.append(change_mark(change, span))
        cells.append(tag("td", tag("span", signed(change), cls=sense)))
        cells += [
            tag("td", tag("span", number(means[row]), cls="best" if means[row] == best else None))
            for row in rows
        ]
        lines.append(cells)
    head = ["Kind", "queries", "", "change", *(SHORT_TITLES.get(row, _title(row)) for row in rows)]
    return table(head, lines, label="nDCG@10 per kind of query")


def kinds_section(results: Results) -> Html:
    """The per-kind table, with its caveat."""
    if not results.get("kinds"):
        return tag("p", "No test queries, so there are no kinds of them.", cls="soft")
    lead = (
        "nDCG@10 by the kind of the test query; change is specialised minus untuned. Few queries make a "
        "noisy mean: no test was made per kind."
    )
    return join([tag("p", lead, cls="lead"), kinds_table(results["kinds"])])


def results_section(results: Results) -> Html:
    """Means, differences, and the same for dev."""
    dev = results.get("dev", {})
    parts: list[object] = []
    if results.get("rows"):
        lead = f"{count(results['queries'])} test queries; mean and 95 % bootstrap interval."
        parts += [
            tag("p", lead, " Bold: best of the column.", cls="lead"),
            means_table(results, "Results on the test queries"),
            tag("h3", "Differences to the untuned model"),
            differences_table(results, ["ndcg_at_10"]),
            _fold("Recall@100", differences_table(results, ["recall_at_100"])),
            _fold("MRR@10", differences_table(results, ["mrr_at_10"])),
            _fold(
                "How to read this",
                tag(
                    "p",
                    "Measures come from ir_measures; a judged query without an answer counts as 0. "
                    "Intervals: percentile bootstrap over queries. p: paired two-sided randomisation "
                    "test, beside it Holm-corrected over all rows and measures; the verdict rests on the "
                    "uncorrected p of nDCG@10 of the specialised model alone. Detectable: the smallest true "
                    "difference that this many queries show in 4 of 5 cases (80 % power, before the "
                    "correction). The teacher reranks the candidates it scored: a ceiling for the "
                    "student, not a retriever.",
                ),
            ),
        ]
    else:
        parts.append(
            tag(
                "p",
                "This domain has no judged test queries. Give it queries.jsonl and qrels/test.tsv, and this "
                "table will say whether the specialised model is better.",
            )
        )
    if dev.get("rows"):
        inner = join([means_table(dev, "Results on the dev queries"), differences_table(dev, ["ndcg_at_10"])])
        parts.append(
            _fold(
                f"The same on the {count(dev['queries'])} dev queries, which settings were chosen on", inner
            )
        )
    return join(parts)


def _fold(title: str, content: Html) -> Html:
    return tag("details", tag("summary", title), content, cls="fold")


def _sense(compared: Mapping[str, Any]) -> str:
    return "up" if compared["low"] > 0 else "down" if compared["high"] < 0 else "flat"
