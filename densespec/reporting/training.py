"""Training curves, temperatures, the audit of the teachers, and how one of them was fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from densespec.reporting.charts import Series, interval_mark, line_chart, panels
from densespec.reporting.markup import Html, count, join, number, signed, table, tag

NAMES = {"specialised": "Specialised", "control": "Control"}


def curves_section(distill: Mapping[str, Any]) -> Html:
    """Loss and dev nDCG@10 of the specialised model and the control, by optimisation step."""
    curves: Mapping[str, Sequence[Mapping[str, float]]] = distill.get("curves", {})
    best = distill.get("best_step", {})
    figures = []
    quality = []
    for place, name in enumerate(_in_order(curves), start=1):
        title, curve = NAMES.get(name, name), curves[name]
        marked = ("kept weights", float(best[name])) if name in best else None
        losses = [
            Series("train", _points(curve, "train_loss"), f"c-{place} dashed"),
            Series("dev", _points(curve, "dev_loss"), f"c-{place}"),
        ]
        figures.append(line_chart(f"{title}: loss", losses, x_label="step", marked=marked))
        quality.append(Series(title, _points(curve, "dev_ndcg_at_10"), f"c-{place}"))
    judged = [series for series in quality if series.points]
    if judged:
        start = judged[0].points[0]
        baseline = ("untuned", start[1]) if start[0] == 0 else None
        figures.insert(
            0, line_chart("nDCG@10 on judged dev queries", judged, x_label="step", baseline=baseline)
        )
    figures = [figure for figure in figures if figure]
    if not figures:
        return tag("p", "No training curves were recorded.", cls="soft")
    lead = [
        f"{NAMES.get(name, name)}: {count(distill['steps'][name])} steps"
        + (f", weights of step {count(best[name])} kept" if name in best else "")
        for name in _in_order(distill.get("steps", {}))
    ]
    lists = [
        f"{count(distill[key])} {key.split('_')[0]} lists"
        for key in ("train_lists", "dev_lists")
        if key in distill
    ]
    side = {"query": "query encoder only", "both": "both encoders"}.get(str(distill.get("side")))
    share = distill.get("distinct_share")
    overlap = f"{share:.0%} of a batch's passages are distinct" if share is not None else ""
    trained = f"Trained: {side}" if side else ""
    said = ". ".join(filter(None, ["; ".join(lead), ", ".join(lists), trained, overlap]))
    return join([tag("p", said + "." if said else None, cls="lead"), panels(figures)])


def _in_order(models: Mapping[str, Any]) -> list[str]:
    return sorted(models, key=lambda name: (name != "specialised", name))


def _points(curve: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in curve if row.get(name) is not None]


def temperatures_section(distill: Mapping[str, Any]) -> Html:
    """Whether teacher and student were equally sure of their lists."""
    values = distill.get("temperatures", {})
    if not values:
        return tag("p", "No temperatures were recorded.", cls="soft")
    student, teacher = values.get("student_entropy"), values.get("teacher_entropy")
    rows = [
        ["Student", number(values.get("student"), 4), "–", number(student)],
        [
            "Teacher",
            number(values.get("teacher"), 4),
            number(values.get("teacher_matched"), 4),
            number(teacher),
        ],
    ]
    said = None
    if student is not None and teacher is not None:
        gap = teacher - student
        if abs(gap) < 0.05 * max(student, 1e-9):
            said = "They agree: both softmaxes are equally sure of their lists, so training moves the order."
        else:
            sense = "flatter" if gap > 0 else "sharper"
            said = (
                f"The teacher is {sense} than the student by {number(abs(gap))} nats, so training also "
                "changes how sure the student is (distill.teacher_temperature: null matches them)."
            )
    head = ["", "temperature", "matching temperature", "mean entropy on dev lists (nats)"]
    return join([tag("p", said, cls="lead") if said else None, table(head, rows, label="Temperatures")])


def teachers_section(scores: Mapping[str, Mapping[str, Any]]) -> Html:
    """The audit before distilling: does each teacher rank better than the student?"""
    audited = {
        teacher: found["audit"] for teacher, found in scores.items() if found.get("audit", {}).get("queries")
    }
    if not audited:
        return tag(
            "p",
            "No teacher was audited: there are neither judged dev queries nor generated ones.",
            cls="soft",
        )
    span = max([0.01, *(max(abs(audit["low"]), abs(audit["high"])) for audit in audited.values())])
    lines = []
    for teacher, audit in audited.items():
        lines.append(
            [
                teacher,
                number(audit["student"]),
                number(audit["teacher"]),
                *_difference(audit, span),
                f"{count(audit['queries'])} {audit['basis']}",
            ]
        )
    head = ["Teacher", "student nDCG@10", "teacher nDCG@10", "", "difference", "measured on"]
    settings = [
        tag(
            "p",
            f"{teacher}: "
            + ", ".join(f"{name} {number(weight, 2)}" for name, weight in sorted(found["weights"].items()))
            + f" ({found.get('rule', 'weights')}).",
            cls="soft",
        )
        for teacher, found in scores.items()
        if isinstance(found.get("weights"), dict)
    ]
    return join([table(head, lines, label="Teacher audit"), *settings])


def finetuned_section(tuned: Mapping[str, Any]) -> Html:
    """What the teacher ``finetuned`` learnt from: labels, nDCG@10 on dev before and after, the curve.

    Args:
        tuned: metrics of the stage teacher_finetune, of a run that trained.
    """
    labels, dev, measured = tuned["labels"], tuned["dev"], tuned["ndcg_at_10"]
    titles = {"human": "human judgements", "synthetic": "generated queries with their source passages"}
    sources = ", ".join(f"{count(labels[name])} {title}" for name, title in titles.items() if labels[name])
    said = [
        f"From {tuned['model']}" + (", an encoder whose head started random" if tuned["random_head"] else ""),
        f"{count(tuned['train_pairs'])} labelled pairs of {count(tuned['train_queries'])} queries "
        f"(from {sources})",
        f"{count(tuned['steps'])} steps, "
        + (
            f"weights of step {count(tuned['best_step'])} kept"
            if tuned["best_step"]
            else "none of which beat the weights before training, so those were kept"
        ),
    ]
    measured_on = (
        f"On {count(dev['queries'])} {dev['basis']} and the first {count(dev['depth'])} candidates of each. "
        "These queries picked the weights, so their figures are a little too kind."
    )
    gains = [measured["gain"], measured["over_student"]]
    span = max([0.01, *(max(abs(gain["low"]), abs(gain["high"])) for gain in gains)])
    lines = [
        [title, number(measured[name]), number(measured["after"]), *_difference(gain, span)]
        for (title, name), gain in zip(
            (("Before fine-tuning", "before"), ("Untuned student", "student")), gains, strict=True
        )
    ]
    curve, kept = tuned["curves"]["teacher"], ("kept weights", float(tuned["best_step"]))
    quality = Series("Fine-tuned teacher", _points(curve, "dev_ndcg_at_10"), "c-1")
    loss = Series("train", _points(curve, "train_loss"), "c-1 dashed")
    baseline = ("untuned student", measured["student"])
    figures = [
        line_chart(f"nDCG@10 on {dev['basis']}", [quality], x_label="step", baseline=baseline, marked=kept),
        line_chart("Loss", [loss], x_label="step", marked=kept),
    ]
    return join(
        [
            tag("p", ". ".join(said) + ".", cls="lead"),
            table(
                ["Compared with", "its nDCG@10", "fine-tuned teacher's", "", "difference"], lines,
                label="Fine-tuned teacher",
            ),
            tag("p", measured_on, cls="soft"),
            panels([figure for figure in figures if figure]),
        ]
    )  # fmt: skip


def _difference(value: Mapping[str, float], span: float) -> list[Html]:
    """Two cells: a difference with its interval, drawn and in figures."""
    sense = "up" if value["low"] > 0 else "down" if value["high"] < 0 else "flat"
    return [
        interval_mark(value["difference"], value["low"], value["high"], span),
        tag(
            "td",
            tag("span", signed(value["difference"]), cls=sense),
            tag("span", f" [{signed(value['low'])}, {signed(value['high'])}]", cls="range"),
        ),
    ]
