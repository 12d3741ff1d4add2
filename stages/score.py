"""Score every query with its candidates by one teacher, and audit the teacher before distilling.

Teachers: 'hybrid' (BM25, dense, late interaction and best sentence of the untuned student; nothing to
download), 'cross-encoder' (any sentence-transformers CrossEncoder), 'seq2seq' (RankT5, monoT5), 'causal'
(Qwen3-Reranker, bge-reranker-v2-gemma and others that answer yes or no) and 'listwise-llm' (a language model
behind an OpenAI-compatible endpoint orders the candidates); sections score.NAME say which model.
'finetuned' is the domain's own cross-encoder, which stage teacher_finetune trained.
The audit compares teacher and student on the judged dev queries, or, without any, on finding the
source passages of the generated queries. A weaker teacher stops the pipeline unless score.allow_weaker.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from densespec.errors import run
from densespec.io.arrays import read_array
from densespec.io.jsonl import write_json
from densespec.io.params import load_section
from densespec.io.tables import passages_of, read_table, write_table
from densespec.io.trec import read_qrels
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.student import quiet_libraries
from densespec.runtime.scratch import locked_scratch, scratch_root
from densespec.teaching.audit import audit_teacher, refuse_weaker
from densespec.teaching.config import ScoreConfig
from densespec.teaching.pairs import require_finite
from densespec.teaching.teachers import TEACHERS, Material


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--teacher", required=True, choices=sorted(TEACHERS))
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True, help="judgements of the dev queries")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the mine stage")
    parser.add_argument("--finetuned", type=Path, required=True, help="folder of stage teacher_finetune")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    config = load_section("score", ScoreConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)
    lexical = load_section("bm25", Bm25Config, args.domain)
    started = time.monotonic()
    # several GPUs take more tokens than one core makes; nothing here forks, which is what it is off for
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    quiet_libraries()

    table = read_table(args.candidates / "candidates.parquet")
    material = Material(
        passages=passages_of(read_table(args.passages)),
        query_ids=table["query_id"],
        queries=table["text"],
        splits=table["split"],
        sources=table["source_id"],
        candidates=table["passages"],
        dense=[np.asarray(values, dtype=np.float32) for values in table["dense"]],
        lexical=lexical,
        query_vectors=read_array(args.candidates / "query_embeddings.npy"),
        dev=read_qrels(args.dev),
        finetuned=args.finetuned,
    )
    with locked_scratch(f"score-{args.teacher}", args.domain) as scratch:
        scores, details = TEACHERS[args.teacher](
            material, config, student, scratch, scratch_root() / "encode"
        )
        ids = material.passage_ids()
        for query, rows, values in zip(material.query_ids, material.candidates, scores, strict=True):
            require_finite(args.teacher, query, rows, ids, values)
        audit = audit_teacher(material, scores, config.seed)
        refuse_weaker(audit, args.teacher, allow=config.allow_weaker)
        args.out.mkdir(parents=True, exist_ok=True)
        write_table(
            args.out / "scores.parquet",
            {"query_id": table["query_id"], "scores": [values.tolist() for values in scores]},
        )
        write_json(args.out / "teacher.json", {"teacher": args.teacher, **details, "audit": audit})
    write_json(args.metrics, {"teacher": args.teacher, **details, "audit": audit})
    pairs = sum(len(values) for values in scores)
    print(f"scored {pairs} pairs with '{args.teacher}' in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    run(main)
