"""Evaluate: is the specialised model better than the untuned one on the judged test queries?

Rows: the untuned and the specialised student, the control (trained with InfoNCE only), BM25, its fusion
with the untuned student, and the teacher as reranker of the candidates, the ceiling of distillation
(of several teachers: what they say together, which the student learnt, and each alone). With
distill.matryoshka_dims the untuned and the specialised student cut to each of these lengths, too.
Writes TREC runs, per-query measures, means with intervals and paired tests, a leak audit, the verdict
(ship, no evidence, regression, not tested), and the shipped model: the specialised one on 'ship', else a
README that says why not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from densespec.errors import run
from densespec.evaluation.audit import audit_leaks
from densespec.evaluation.config import EvaluateConfig
from densespec.evaluation.measures import measure_runs
from densespec.evaluation.outputs import write_evaluation
from densespec.evaluation.promotion import Origin, promote
from densespec.evaluation.runs import (
    Lists,
    as_run,
    fused_lists,
    judged_queries,
    lists_by_length,
    model_note,
    model_vectors,
    teacher_lists,
    written_lists,
)
from densespec.evaluation.summary import assess
from densespec.evaluation.verdict import judge, untested
from densespec.io.arrays import read_array
from densespec.io.jsonl import read_json, read_jsonl, write_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import passages_of, read_table
from densespec.io.trec import read_qrels
from densespec.records import Query
from densespec.retrieval.config import StudentConfig
from densespec.retrieval.rows import teacher_row
from densespec.retrieval.student import NOTE, quiet_libraries
from densespec.runtime.progress import say
from densespec.runtime.scratch import locked_scratch, scratch_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    for flag, what in {
        "passages": "passages.parquet of the corpus stage",
        "queries": "queries.jsonl with the dev and test queries",
        "test": "judgements of the test queries",
        "dev": "judgements of the dev queries",
        "candidates": "folder of the mine stage",
        "scores": "folder with one folder per teacher",
        "lists": "lists.parquet of the select stage: what trained the models",
        "held-out": "held_out.parquet of the select stage: the scores of several teachers together",
        "specialised": "folder of the specialised model",
        "control": "folder of the model trained with InfoNCE only; its row is left out where there is none",
        "corpus-metrics": "metrics of the corpus stage: its leak counts are passed on, and the licence",
        "out": "folder for runs and per-query measures",
        "metrics": "JSON file for the results",
        "shipped": "folder for the promoted model",
    }.items():
        parser.add_argument(f"--{flag}", type=Path, required=True, help=what)
    args = parser.parse_args()
    config = load_section("evaluate", EvaluateConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)
    teachers = load_value("teachers")

    passages = read_table(args.passages)
    contents = [passage.content for passage in passages_of(passages)]
    mined = read_table(args.candidates / "candidates.parquet")
    row_of = {query_id: row for row, query_id in enumerate(mined["query_id"])}
    queries = {
        row["id"]: Query(row["id"], row["text"], row.get("kind") or "") for _, row in read_jsonl(args.queries)
    }
    qrels = {"test": read_qrels(args.test), "dev": read_qrels(args.dev)}
    judged = {split: judged_queries(qrels[split], row_of, getattr(args, split)) for split in qrels}
    wanted = judged["test"] + judged["dev"]
    rows = [row_of[query_id] for query_id in wanted]

    note = model_note(args.specialised)
    lists: dict[str, Lists] = {}
    if wanted:
        quiet_libraries()
        untuned = read_array(args.candidates / "passage_embeddings.npy")
        vectors = read_array(args.candidates / "query_embeddings.npy")[rows]
        lists |= lists_by_length("untuned", wanted, vectors, untuned, note.dims, config.depth)
        with locked_scratch("evaluate", args.domain):
            for row, folder in {"specialised": args.specialised, "control": args.control}.items():
                if row == "control" and not (folder / NOTE).is_file():
                    say(f"no control in {folder} (distill.control: true trains one)")
                    continue
                found_vectors = model_vectors(
                    folder, [queries[query_id].text for query_id in wanted], contents, untuned,
                    shards=scratch_root() / "encode", loading=student.of_trained(), label=row,
                )  # fmt: skip
                short = note.dims if row == "specialised" else ()
                lists |= lists_by_length(row, wanted, *found_vectors, short, config.depth)
        lists["bm25"] = written_lists(args.candidates / "bm25.parquet")
        lists["hybrid"] = fused_lists(lists["untuned"], lists["bm25"], config.depth, config.fusion_k)
        candidates = {query_id: mined["passages"][n] for query_id, n in zip(wanted, rows, strict=True)}
        alone = {name: args.scores / name / "scores.parquet" for name in teachers}
        # of a single teacher calibration keeps the order, so its row shows the scores that it gave
        if len(alone) == 1:
            tables = {"teacher": alone[teachers[0]]}
        else:
            tables = {"teacher": args.held_out} | {teacher_row(name): path for name, path in alone.items()}
        for row, path in tables.items():
            scored = read_table(path)
            found = dict(zip(scored["query_id"], scored["scores"], strict=True))
            lists[row] = teacher_lists(candidates, found, path)
    runs = {row: as_run(listed, passages["id"], config.depth) for row, listed in lists.items()}
    scores = {split: measure_runs(runs, qrels[split], judged[split]) for split in judged}
    blocks = {
        split: assess(
            scores[split], [queries[query_id].kind for query_id in judged[split]],
            resamples=config.resamples, permutations=config.permutations, seed=config.seed,
        )
        for split in judged
    }  # fmt: skip

    verdict = untested(0, config.min_queries)
    if judged["test"]:
        compared = blocks["test"]["rows"]["specialised"]["vs_untuned"]["ndcg_at_10"]
        verdict = judge(
            scores["test"]["specialised"]["ndcg_at_10"] - scores["test"]["untuned"]["ndcg_at_10"],
            low=compared["low"], high=compared["high"], p=compared["p"], p_holm=compared["p_holm"],
            alpha=config.alpha, min_queries=config.min_queries,
        )  # fmt: skip
    trained = read_table(args.lists)
    columns = (trained["query_id"], trained["text"], trained["kind"], trained["source_id"])
    audit, leaks = audit_leaks(
        [Query(*row) for row in zip(*columns, strict=True)],
        {query_id: queries[query_id].text for query_id in wanted},
        {qrel.passage_id for split in qrels for qrel in qrels[split] if qrel.grade > 0},
    )
    for leak in leaks[:20]:
        say(f"warning: leak: {leak}")

    write_evaluation(args.out, runs, [queries[query_id] for query_id in judged["test"]], scores["test"])
    corpus = read_json(args.corpus_metrics)
    writers = dict(zip(mined["query_id"], mined["writer"], strict=True))
    origin = Origin(
        student=student.model,
        side=note.side,
        losses=note.losses,
        passages=len(contents),
        queries=Counter(trained["kind"]),
        writers=Counter(writers.get(query_id) or "user log" for query_id in trained["query_id"]),
        teachers=tuple(teachers),
        licence=corpus.get("source", {}).get("licence", "unknown"),
    )
    promote(args.shipped, args.specialised, args.domain, verdict, blocks["test"], origin)
    write_json(
        args.metrics,
        {
            "domain": args.domain, "split": "test", **verdict._asdict(), **blocks["test"],
            "dev": blocks["dev"],
            "leaks": {**corpus.get("leaks", {}), **audit._asdict()},
        },
    )  # fmt: skip
    print(f"verdict for {args.domain}: {verdict.verdict}. {verdict.reason}")


if __name__ == "__main__":
    run(main)
