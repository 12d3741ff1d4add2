"""Forgetting: what specialising for one domain did to the model's ranking of another domain.

The untuned and the specialised student of --domain answer the judged test queries of --other over that
domain's passages. Means with intervals and the paired comparison are those of the stage evaluate; they do
not enter its verdict.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from densespec.errors import run
from densespec.evaluation.config import EvaluateConfig
from densespec.evaluation.measures import measure_runs
from densespec.evaluation.runs import Lists, as_run, dense_lists, judged_queries, model_vectors
from densespec.evaluation.summary import assess
from densespec.io.jsonl import read_jsonl, write_json
from densespec.io.params import load_section
from densespec.io.tables import passages_of, read_table
from densespec.io.trec import read_qrels
from densespec.retrieval.config import StudentConfig
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import load_student, quiet_libraries, student_fingerprint
from densespec.runtime.scratch import locked_scratch, scratch_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True, help="whose models and parameters")
    parser.add_argument("--other", required=True, help="whose passages and test queries")
    parser.add_argument("--passages", type=Path, required=True, help="passages.parquet of the other domain")
    parser.add_argument("--queries", type=Path, required=True, help="queries.jsonl of the other domain")
    parser.add_argument("--test", type=Path, required=True, help="its judgements of the test queries")
    parser.add_argument("--specialised", type=Path, required=True, help="folder of the specialised model")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    config = load_section("evaluate", EvaluateConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)

    passages = read_table(args.passages)
    contents = [passage.content for passage in passages_of(passages)]
    queries = {row["id"]: row for _, row in read_jsonl(args.queries)}
    qrels = read_qrels(args.test)
    judged = judged_queries(qrels, queries, args.test)
    texts = [queries[query_id]["text"] for query_id in judged]

    lists: dict[str, Lists] = {}
    if judged:
        quiet_libraries()
        shards = scratch_root() / "encode"
        with locked_scratch(f"forgetting-{args.other}", args.domain):
            model = load_student(**student.model_dump())
            identity = student_fingerprint(student.model, student.revision)
            vectors = {
                task: encode(
                    model, identity, items, shards,
                    task=task, label=f"untuned: {args.other}, {task}",
                )
                for task, items in {"document": contents, "query": texts}.items()
            }  # fmt: skip
            lists["untuned"] = dense_lists(judged, vectors["query"], vectors["document"], config.depth)
            specialised = model_vectors(
                args.specialised, texts, contents, vectors["document"],
                shards=shards, loading=student.of_trained(), label="specialised",
            )  # fmt: skip
            lists["specialised"] = dense_lists(judged, *specialised, config.depth)
    runs = {row: as_run(listed, passages["id"], config.depth) for row, listed in lists.items()}
    block = assess(
        measure_runs(runs, qrels, judged), [queries[query_id].get("kind") or "" for query_id in judged],
        resamples=config.resamples, permutations=config.permutations, seed=config.seed,
    )  # fmt: skip
    write_json(args.metrics, {"domain": args.domain, "other": args.other, **block})
    if not judged:
        print(f"{args.other} has no judged test queries")
        return
    compared = block["rows"]["specialised"]["vs_untuned"]["ndcg_at_10"]
    print(f"nDCG@10 on {args.other}: {compared['difference']:+.3f} (p = {compared['p']:.3f})")


if __name__ == "__main__":
    run(main)
