"""Mine candidate lists: encode the corpus with the untuned student, search, fuse, round trip.

Reads passages, the generated queries of every kind in params 'kinds', the unlabelled query log and
the dev and test queries; writes one candidate list per query. Test queries get lists because the
teacher is measured on them as a reranker; they never reach training.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from densespec.errors import InputError, run
from densespec.io.arrays import write_array
from densespec.io.jsonl import read_jsonl, write_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import read_table, write_table
from densespec.mining.candidates import mine_query
from densespec.mining.config import MineConfig
from densespec.records import Passage
from densespec.retrieval import dense
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import load_student, precision_of, quiet_libraries, student_fingerprint
from densespec.runtime.progress import progress
from densespec.runtime.scratch import locked_scratch, scratch_root

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
    lexical_config = load_section("bm25", Bm25Config, args.domain)
    unknown = set(config.retrievers) - {"student", "bm25"}
    if unknown or not config.retrievers:
        raise InputError(
            "params.yaml: mine.retrievers",
            expected="a list of: student, bm25",
            found=f"{config.retrievers}",
            remedy="name at least one of them",
        )
    started = time.monotonic()
    quiet_libraries()

    table = read_table(args.corpus / "passages.parquet")
    texts = [Passage(*row).content for row in zip(table["id"], table["title"], table["text"], strict=True)]
    row_of = {passage_id: row for row, passage_id in enumerate(table["id"])}
    queries = _queries(args.corpus, args.queries, load_value("kinds"), config.use_log)

    with locked_scratch("mine", args.domain):
        model = load_student(**student.model_dump())
        identity = student_fingerprint(student.model, student.revision)
        shards = scratch_root() / "encode"
        passage_vectors = encode(
            model, identity, texts, shards, task="document", label="encode passages",
            batch_size=config.batch_size, tokens=config.token_vectors,
        )  # fmt: skip
        query_vectors = encode(
            model, identity, [query["text"] for query in queries], shards, task="query",
            label="encode queries", batch_size=config.batch_size, tokens=config.token_vectors,
        )  # fmt: skip
        bm25 = Bm25(texts, lexical_config.k1, lexical_config.b, lexical_config.language)
        student_rows, _ = dense.search(passage_vectors, query_vectors, max(config.depth, config.round_trip))
        mined, lexical = [], {}
        with progress("fuse candidates", len(queries)) as advance:
            for number, query in enumerate(queries):
                rankings = [student_rows[number]] if "student" in config.retrievers else []
                if "bm25" in config.retrievers or query["split"] != "train":
                    rows, scores = bm25.search(query["text"], config.depth)
                    if "bm25" in config.retrievers:
                        rankings.append(rows)
                    if query["split"] != "train":
                        lexical[query["query_id"]] = (rows.tolist(), scores.tolist())
                mined.append(
                    mine_query(
                        query_vectors[number], passage_vectors, rankings, student_rows[number],
                        source=row_of.get(query["source_id"]), depth=config.depth, rrf_k=config.rrf_k,
                        round_trip=config.round_trip if query["split"] == "train" else 0,
                    )
                )  # fmt: skip
                advance(1)

        args.out.mkdir(parents=True, exist_ok=True)
        write_table(
            args.out / "candidates.parquet",
            {name: [query[name] for query in queries] for name in COLUMNS}
            | {
                "passages": [m.passages for m in mined],
                "dense": [np.float32(m.dense).tolist() for m in mined],
                "source_rank": [m.source_rank for m in mined],
            },
        )
        write_table(
            args.out / "bm25.parquet",
            {
                "query_id": list(lexical),
                "passages": [rows for rows, _ in lexical.values()],
                "scores": [scores for _, scores in lexical.values()],
            },
        )
        write_array(args.out / "passage_embeddings.npy", passage_vectors)
        write_array(args.out / "query_embeddings.npy", query_vectors)
    training = [(query, m) for query, m in zip(queries, mined, strict=True) if query["split"] == "train"]
    write_json(
        args.metrics,
        {
            "passages": len(texts),
            "training_queries": len(training),
            "round_trip_failed": sum(not m.passages for _, m in training),
            "source_in_top_10": sum(0 < m.source_rank <= 10 for _, m in training),
            "student": {"model": student.model, "fingerprint": identity, "max_tokens": model.max_seq_length,
                        "precision": precision_of(model)},
        },
    )
    print(f"mined {len(queries)} queries over {len(texts)} passages in {time.monotonic() - started:.0f} s")


def _queries(corpus: Path, generated: Path, kinds: list[str], use_log: bool) -> list[dict[str, str]]:
    """All queries, train first, in a fixed order."""
    rows = []
    for kind in kinds:
        for _, row in read_jsonl(generated / kind / "queries.jsonl"):
            rows.append({**row, "query_id": row["id"], "split": "train"})
    if use_log:
        for _, row in read_jsonl(corpus / "log.jsonl"):
            rows.append({"query_id": row["id"], "text": row["text"], "kind": "log", "split": "train"})
    for _, row in read_jsonl(corpus / "queries.jsonl"):
        rows.append({"query_id": row["id"], "text": row["text"], "kind": row["kind"], "split": row["split"]})
    return [{name: str(row.get(name, "")) for name in COLUMNS} for row in rows]


if __name__ == "__main__":
    run(main)
