"""Mine candidate lists: encode the corpus with the untuned student, search, fuse, round trip.

Further retrievers (BM25 by bm25s or Lucene, other bi-encoders) are named in params mine.retrievers.

Reads passages, the generated queries of every kind in params 'kinds', the unlabelled query log and
the dev and test queries; writes one candidate list per query. Test queries get lists because the
teacher is measured on them as a reranker; they never reach training.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from densespec.errors import InputError, run
from densespec.io.jsonl import read_jsonl, write_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import passages_of, read_table, write_table
from densespec.mining.candidates import mine_query
from densespec.mining.config import MineConfig
from densespec.mining.retrievers import check_retrievers, dense_lists, fuse, lexical_lists
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.lucene import LuceneBm25
from densespec.retrieval.student import quiet_libraries
from densespec.runtime.scratch import locked_scratch, scratch_root

#: Passages of BM25's lists for row bm25 of stage evaluate, at least: Recall@100 needs them.
RUN_DEPTH = 100
COLUMNS = ("query_id", "text", "kind", "source_id", "writer", "split")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus stage's outputs")
    parser.add_argument("--queries", type=Path, required=True, help="folder with one folder per kind")
    parser.add_argument("--out", type=Path, required=True, help="folder for candidates and embeddings")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file for counts")
    args = parser.parse_args()
    config = load_section("mine", MineConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)
    lexical = load_section("bm25", Bm25Config, args.domain)
    check_retrievers(config.retrievers, config.dense, config.weights)
    started = time.monotonic()
    quiet_libraries()

    table = read_table(args.corpus / "passages.parquet")
    texts = [passage.content for passage in passages_of(table)]
    row_of = {passage_id: row for row, passage_id in enumerate(table["id"])}
    queries = _queries(args.corpus, args.queries, load_value("kinds"), config.use_log)

    ask = [query["text"] for query in queries]
    embeddings = (args.out / "passage_embeddings.npy", args.out / "query_embeddings.npy")

    with locked_scratch("mine", args.domain) as scratch:
        for left in (*args.out.glob(".*.npy.*.tmp"), *scratch.glob(".*.npy.*.tmp")):
            left.unlink()  # of a run that was killed while it wrote embeddings
        # first, because it is quick and may lack a package
        lexical_of = partial(LuceneBm25, folder=scratch) if lexical.backend == "pyserini" else Bm25
        bm25 = lexical_of(texts, k1=lexical.k1, b=lexical.b, language=lexical.language)
        judged = [query["split"] != "train" for query in queries]
        wanted = judged if "bm25" not in config.retrievers else [True] * len(queries)
        lists = {"bm25": lexical_lists(bm25, ask, wanted, max(config.depth, RUN_DEPTH))}
        del bm25

        found = partial(
            dense_lists, passages=texts, queries=ask, shards=scratch_root() / "encode", index=config.index,
        )  # fmt: skip
        untuned = found(
            student.model_dump(), files=embeddings, depth=max(config.depth, config.round_trip),
            tokens=config.token_vectors,
        )  # fmt: skip
        lists["student"], details = untuned.lists, {"student": untuned.details}
        for name in config.retrievers:
            if name in config.dense:
                files = (scratch / "passages.npy", scratch / "queries.npy")
                setting = config.dense[name].model_dump() | {"section": f"mine.dense.{name}"}
                other = found(setting, files=files, depth=config.depth, label=f" with {name}")
                lists[name], details[name] = other.lists, other.details
                for file in files:
                    file.unlink()

        mined = []
        for number, query in enumerate(queries):
            ranked = {name: lists[name][number].first(config.depth) for name in config.retrievers}
            fused = partial(
                fuse, ranked, config.depth, method=config.fusion, rrf_k=config.rrf_k,
                weights=config.weights, normalise=config.normalise,
            )  # fmt: skip
            mined.append(
                mine_query(
                    untuned.queries[number], untuned.passages, fused, untuned.lists[number].rows,
                    source=row_of.get(query["source_id"]), depth=config.depth,
                    round_trip=0 if judged[number] else config.round_trip,
                )
            )  # fmt: skip
        write_table(
            args.out / "candidates.parquet",
            {name: [query[name] for query in queries] for name in COLUMNS}
            | {
                "passages": [m.passages for m in mined],
                "dense": [np.asarray(m.dense, dtype=np.float32).tolist() for m in mined],
                "source_rank": [m.source_rank for m in mined],
            },
        )
        numbers = [number for number, is_judged in enumerate(judged) if is_judged]
        write_table(
            args.out / "bm25.parquet",
            {
                "query_id": [queries[n]["query_id"] for n in numbers],
                "passages": [lists["bm25"][n].rows.tolist() for n in numbers],
                "scores": [lists["bm25"][n].scores.tolist() for n in numbers],
            },
        )
    training = [(query, m) for query, m in zip(queries, mined, strict=True) if query["split"] == "train"]
    write_json(
        args.metrics,
        {
            "passages": len(texts),
            "training_queries": len(training),
            "round_trip_failed": sum(bool(query["source_id"]) and not m.passages for query, m in training),
            "source_in_top_10": sum(0 < m.source_rank <= 10 for _, m in training),
            "retrievers": {"bm25": {"backend": lexical.backend}, **details},
        },
    )
    print(f"mined {len(queries)} queries over {len(texts)} passages in {time.monotonic() - started:.0f} s")


def _queries(corpus: Path, generated: Path, kinds: list[str], use_log: bool) -> list[dict[str, str]]:
    """All queries, train first, in a fixed order.

    Raises:
        InputError: a judged query has the id of a training query.
    """
    rows = []
    for kind in kinds:
        for _, row in read_jsonl(generated / kind / "queries.jsonl"):
            rows.append({**row, "query_id": row["id"], "split": "train"})
    if use_log:
        for _, row in read_jsonl(corpus / "log.jsonl"):
            rows.append({"query_id": row["id"], "text": row["text"], "kind": "log", "split": "train"})
    trained = {row["query_id"] for row in rows}
    for _, row in read_jsonl(corpus / "queries.jsonl"):
        if row["id"] in trained:
            raise InputError(
                f"{row['split']} query '{row['id']}'",
                expected="an id that no training query has (those of a log begin with 'log-')",
                found=f"two queries: '{row['text']}' and one to train with",
                remedy="give it another id in the queries and judgements of densespec new-domain",
            )
        rows.append({"query_id": row["id"], "text": row["text"], "kind": row["kind"], "split": row["split"]})
    return [{name: str(row.get(name, "")) for name in COLUMNS} for row in rows]


if __name__ == "__main__":
    run(main)
