"""Select training lists: calibrate and average the teachers, keep consistent queries, split by passage.

A generated query is kept when the teacher ranks its source passage among the first select.source_rank,
enough candidates are left, and its best score is not among the lowest (select.min_top_quantile). What
happened to the queries of each kind is counted in the metrics: the filter funnel of the report. With
several teachers the metrics also say how alike they rank, what they weigh, and how they fare on the
judged dev queries, alone and together. What the teachers together say of the dev and test queries goes
into a table of its own, for evaluate.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from densespec.errors import InputError, run
from densespec.io.jsonl import write_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import read_table, write_table
from densespec.io.trec import read_qrels
from densespec.retrieval.judged import judged_dev, judged_lists, known_answers
from densespec.selection.calibration import calibrate, comparable
from densespec.selection.config import SelectConfig
from densespec.selection.ensemble import agreement, choose_weights, ensemble
from densespec.selection.lists import OUTCOMES, select_lists, split_keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True, help="judgements of the dev queries")
    parser.add_argument("--candidates", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="folder with one folder per teacher")
    parser.add_argument("--out", type=Path, required=True, help="table of training lists")
    parser.add_argument(
        "--held-out", type=Path, required=True, help="table of the same scores of the dev and test queries"
    )
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    config = load_section("select", SelectConfig, args.domain)
    teachers = load_value("teachers")

    passages = read_table(args.passages)
    row_of = {passage_id: row for row, passage_id in enumerate(passages["id"])}
    table = read_table(args.candidates)
    training = [number for number, split in enumerate(table["split"]) if split == "train"]
    held_out = [number for number, split in enumerate(table["split"]) if split != "train"]
    qrels = read_qrels(args.dev)
    dev = judged_dev(table["query_id"], table["split"], qrels)
    judged = judged_lists(dev, table["query_id"], table["passages"], passages["id"], qrels)
    scores, calibrated, held_out_calibrated, dev_calibrated = {}, {}, {}, {}
    for teacher in teachers:
        scored = read_table(args.scores / teacher / "scores.parquet")
        if scored["query_id"] != table["query_id"]:
            raise InputError(
                args.scores / teacher, expected="scores of the queries in the candidates table",
                found="another set of queries", remedy=f"dvc repro score@{args.domain}-{teacher}",
            )  # fmt: skip
        given = [np.asarray(values, dtype=np.float32) for values in scored["scores"]]
        scores[teacher] = [given[n] for n in training]
        calibrated[teacher], held_out_calibrated[teacher] = comparable(
            config.calibration, scores[teacher], [given[n] for n in held_out],
            [given[n] for n in dev], judged.grades(), config.min_dev_queries,
        )  # fmt: skip
        of_query = dict(zip(held_out, held_out_calibrated[teacher], strict=True))
        dev_calibrated[teacher] = [of_query[n] for n in dev]
    weights, rule = choose_weights(config.teacher_weights, dev_calibrated, judged, config.min_dev_queries)
    mixed, held_out_mixed = ensemble(calibrated, weights), ensemble(held_out_calibrated, weights)
    if config.calibration == "zscore":  # what follows expects scores from 0 to 1
        mixed, held_out_mixed = calibrate(mixed), calibrate(held_out_mixed, like=mixed)
    source_ids = [table["source_id"][n] for n in training]
    texts = [table["text"][n] for n in training]
    sources = [row_of[source] if source else None for source in source_ids]
    answers = known_answers(texts, sources)
    selected, outcomes = select_lists(
        [table["passages"][n] for n in training],
        mixed,
        sources,
        split_keys(texts, [None if row is None else passages["hash"][row] for row in sources]),
        list_length=config.list_length,
        min_candidates=config.min_candidates,
        source_rank=config.source_rank,
        min_top_quantile=config.min_top_quantile,
        dev_share=config.dev_share,
        seed=config.seed,
        max_margin=config.max_margin,
        max_ratio=config.max_ratio,
    )
    numbers = [training[item.number] for item in selected]
    splits = Counter(item.split for item in selected)
    if not splits["train"] or not splits["dev"]:
        raise InputError(
            args.candidates, expected="at least one training and one dev query that pass the filters",
            found=f"{dict(splits)} of {len(training)}: {dict(Counter(outcomes))}",
            remedy="look at the funnel: loosen select.source_rank, mine.round_trip or "
            "select.min_candidates, or give more queries (a log, more passages)",
        )  # fmt: skip
    write_table(
        args.out,
        {name: [table[name][n] for n in numbers] for name in ("query_id", "text", "kind", "source_id")}
        | {
            "split": [item.split for item in selected],
            "passages": [item.passages for item in selected],
            "scores": [item.scores for item in selected],
            "positive": [item.positive for item in selected],
            "relevant": [sorted(answers[item.number]) for item in selected],
        },
    )
    write_table(
        args.held_out,
        {
            "query_id": [table["query_id"][n] for n in held_out],
            "scores": [values.tolist() for values in held_out_mixed],
        },
    )
    kinds = [table["kind"][n] for n in training]
    funnel = {
        kind: {"written": kinds.count(kind)}
        | {o: sum(k == kind and o == got for k, got in zip(kinds, outcomes, strict=True)) for o in OUTCOMES}
        for kind in dict.fromkeys(kinds)
    }
    metrics = {"funnel": funnel, "train": splits["train"], "dev": splits["dev"]}
    if len(teachers) > 1:
        metrics |= {"agreement": agreement(scores), "teacher_weights": {"weights": weights, "rule": rule}}
        if dev:
            alone = {name: judged.ndcg_at_10(lists) for name, lists in dev_calibrated.items()}
            together = judged.ndcg_at_10(ensemble(dev_calibrated, weights))
            metrics["judged_dev"] = {"queries": len(dev), "ndcg_at_10": alone | {"together": together}}
    if config.max_margin is not None or config.max_ratio is not None:
        metrics["false_negatives_dropped"] = sum(item.dropped for item in selected)
    write_json(args.metrics, metrics)
    print(f"kept {len(selected)} of {len(training)} queries: {splits['train']} train, {splits['dev']} dev")


if __name__ == "__main__":
    run(main)
