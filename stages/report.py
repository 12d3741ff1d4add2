"""Report: everything about one domain on one self-contained HTML page, verdict first.

Reads the outputs and metrics of the other stages and the parameters in force. The page loads nothing from
anywhere, and the same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from densespec.errors import run
from densespec.io.atomic import write_text
from densespec.io.jsonl import read_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import read_table
from densespec.io.trec import read_qrels, read_run
from densespec.reporting.config import ReportConfig
from densespec.reporting.disagreement import disagreements, ensemble_section
from densespec.reporting.elsewhere import elsewhere_section, forgotten
from densespec.reporting.explorer import compared_queries, explorer_section
from densespec.reporting.facts import corpus_section, reproduce_section, settings_section
from densespec.reporting.page import page
from densespec.reporting.quality import quality_section
from densespec.reporting.queries import examples_section, funnel_section, gather_examples
from densespec.reporting.results import kinds_section, notes, results_section, tiles, verdict_banner
from densespec.reporting.settings import overrides_of, settings_of
from densespec.reporting.training import (
    curves_section,
    finetuned_section,
    teachers_section,
    temperatures_section,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    for flag, what in {
        "metrics": "folder with the metrics of all stages",
        "evaluation": "folder of the stage evaluate: runs and per-query measures",
        "passages": "passages.parquet of the stage corpus",
        "test": "judgements of the test queries",
        "candidates": "candidates.parquet of the stage mine",
        "lists": "lists.parquet of the stage select",
        "scores": "folder with one folder of scores per teacher",
        "out": "the page",
    }.items():
        parser.add_argument(f"--{flag}", type=Path, required=True, help=what)
    args = parser.parse_args()
    config = load_section("report", ReportConfig, args.domain)
    settings = settings_of(args.domain)
    kinds, teachers = load_value("kinds"), load_value("teachers")

    results, corpus, selected, distill = (
        read_json(args.metrics / f"{stage}.json") for stage in ("evaluate", "corpus", "select", "distill")
    )
    generate = _metrics(args.metrics / "generate", kinds)
    scored = _metrics(args.metrics / "score", teachers)
    others = [other for other in load_value("forgetting") if other != args.domain]
    elsewhere = _metrics(args.metrics / "forgetting", others)
    tuned = _metrics(args.metrics, ["teacher_finetune"]).get("teacher_finetune", {})
    audits = {teacher: found.get("audit", {}) for teacher, found in scored.items()}
    passages = read_table(args.passages)
    queries = compared_queries(read_table(args.evaluation / "per_query.parquet"))
    runs = {
        row: read_run(args.evaluation / "runs" / f"{row}.trec")
        for row in ("untuned", "specialised")
        if queries
    }
    candidates, scores = read_table(args.candidates), {}
    for teacher in teachers:
        table = read_table(args.scores / teacher / "scores.parquet")
        scores[teacher] = dict(zip(table["query_id"], table["scores"], strict=True))
    together = []
    if len(teachers) > 1:
        worst = disagreements(candidates, scores, passages, settings["select"].get("min_candidates", 0))
        together = [
            ("ensemble", "Teachers together", "Teachers together", ensemble_section(selected, worst))
        ]
    finetuned = []
    if tuned.get("model"):
        finetuned = [("finetuned", "Fine-tuned teacher", "Fine-tuned teacher", finetuned_section(tuned))]
    single = scores[teachers[0]] if len(teachers) == 1 else {}
    examples = gather_examples(
        candidates, read_table(args.lists)["query_id"], single, passages,
        min_candidates=settings["select"].get("min_candidates", 0),
        source_rank=settings["select"].get("source_rank", 1),
        drops=any(settings["select"].get(name) is not None for name in ("max_margin", "max_ratio")),
    )  # fmt: skip
    explorer = explorer_section(
        queries, runs, read_qrels(args.test),
        dict(zip(passages["id"], zip(passages["title"], passages["text"], strict=True), strict=True)),
        top=config.explorer_passages, snippet_chars=config.snippet_chars, most=config.explorer_queries,
        max_bytes=config.max_bytes, worst_first=results["verdict"] != "ship",
    )  # fmt: skip
    alpha = settings["evaluate"].get("alpha", 0.05)
    top = [
        verdict_banner(results),
        tiles(results),
        notes(results, audits, distill.get("best_step", {}), forgotten(elsewhere, alpha), alpha),
    ]
    sections = [
        ("results", "Results", "Results", results_section(results)),
        ("kinds", "Kinds of query", "By kind of query", kinds_section(results)),
        ("elsewhere", "Other domains", "On other domains", elsewhere_section(elsewhere)),
        ("training", "Training", "Training", curves_section(distill)),
        ("temperatures", "Temperatures", "Temperatures", temperatures_section(distill)),
        (
            "funnel",
            "Filters",
            "Filter funnel",
            funnel_section(selected, generate, kinds),
        ),
        (
            "quality",
            "Quality",
            "Quality of the written queries",
            quality_section(generate, selected, kinds),
        ),
        ("teacher", "Teacher", "Teacher audit", teachers_section(scored)),
        *finetuned,
        *together,
        ("explorer", "Per query", "Query by query", explorer),
        (
            "examples",
            "Training queries",
            "Training queries: kept and rejected",
            examples_section(examples, config.examples_per_kind),
        ),
        (
            "corpus",
            "Corpus, leaks",
            "Corpus and leak audit",
            corpus_section(corpus, passages, results.get("leaks", {})),
        ),
        ("settings", "Settings", "Settings used", settings_section(settings, overrides_of(args.domain))),
        ("reproduce", "Reproduce", "Reproduce and use", reproduce_section(args.domain)),
    ]
    html = page(args.domain, corpus.get("source", {}).get("title", ""), top, sections)
    write_text(args.out, html)
    print(f"{args.out}: {len(html.encode()) / 1e6:.1f} MB")


def _metrics(folder: Path, names: list[str]) -> dict[str, Any]:
    """One JSON document per name; those that were never written are left out."""
    return {name: read_json(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists()}


if __name__ == "__main__":
    run(main)
