"""Stage corpus: read a source, clean it, keep dev and test queries out of the training data."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from densespec.corpus.chunking import chunk_passages
from densespec.corpus.cleaning import REASONS, seed_reasons
from densespec.corpus.config import CorpusConfig
from densespec.corpus.leakage import (
    LeakGuard,
    admit_log,
    admit_recordings,
    labels_of_kept,
    similar_across,
)
from densespec.corpus.readers import read_source
from densespec.corpus.summary import summary
from densespec.errors import run
from densespec.io.atomic import write_text
from densespec.io.jsonl import write_json, write_jsonl
from densespec.io.params import load_section
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels
from densespec.records import passage_hash
from densespec.runtime.progress import say

OUTPUTS = {
    "passages": "id, title, text, hash, seed, reason; sorted by id",
    "queries": "dev and test queries",
    "log": "unlabelled queries of users",
    "recordings": "recorded queries of these passages",
    "train": "judgements of log queries, for fine-tuning a teacher",
    "dev": "judgements for tuning",
    "test": "judgements for the final figures",
    "card": "title and licence of the source",
    "metrics": "counts of what was read, kept and dropped",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Read data/source/DOMAIN strictly, decide which passages may have queries written for "
        "them (never one that is relevant to a dev or test query), and drop training queries that repeat "
        "a dev or test query. docs/corpus.md describes inputs, outputs and errors."
    )
    parser.add_argument("--domain", required=True, help="name of the domain")
    parser.add_argument("--source", required=True, type=Path, help="folder written by densespec new-domain")
    for name, content in OUTPUTS.items():
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="OUT", help=content)
    args = parser.parse_args()
    config = load_section("corpus", CorpusConfig, args.domain)

    source = read_source(args.source)
    words = source.card.chunk_words
    passages = sorted(chunk_passages(source.passages, words) if words else source.passages)
    hashes = [passage_hash(passage) for passage in passages]
    lengths = [len(passage.content) for passage in passages]
    judged = {qrel.passage_id for qrels in source.qrels.values() for qrel in qrels if qrel.grade >= 1}
    reasons = seed_reasons(
        passages, judged, min_chars=config.min_chars, max_seeds=config.max_seeds, seed=config.seed
    )
    guard = LeakGuard([query.text for query in source.queries], config.leak_jaccard, config.language)
    limits = (config.min_query_chars, config.max_query_chars)
    log, log_counts = admit_log(source.log, guard, *limits)
    recordings, recorded_counts = admit_recordings(source.recordings, set(hashes), guard, *limits)
    train = labels_of_kept(source.train, source.log, log)
    dev, test = ([q.text for q in source.queries if q.split == split] for split in ("dev", "test"))
    metrics = {
        "domain": args.domain,
        "source": source.card.model_dump(),
        "passages": {
            "total": len(passages),
            "seeds": reasons.count(""),
            "not_seeds": {reason: reasons.count(reason) for reason in REASONS},
            "very_long": sum(length > config.very_long_chars for length in lengths),
            "mean_chars": sum(lengths) / len(lengths),
        },
        "left_out": source.counts,
        "queries": {"dev": len(dev), "test": len(test)},
        "judgements": {split: len(qrels) for split, qrels in source.qrels.items()},
        "train_judgements": {"read": len(source.train), "kept": len(train)},
        "log": log_counts,
        "recordings": recorded_counts,
        "leaks": {
            "log_queries_dropped": log_counts["leaks"],
            "recorded_queries_dropped": sum(counts["leaks"] for counts in recorded_counts.values()),
            "judged_passages_kept_from_seeding": len(judged),
            "dev_queries_like_test_queries": similar_across(dev, test, config.leak_jaccard, config.language),
        },
    }
    columns = {"id": [p.id for p in passages], "title": [p.title for p in passages]}
    columns |= {"text": [p.text for p in passages], "hash": hashes}
    write_table(args.passages, {**columns, "seed": [not reason for reason in reasons], "reason": reasons})
    _write_rows(args.queries, [query._asdict() for query in source.queries])
    _write_rows(args.log, [{"id": query.id, "text": query.text} for query in log])
    _write_rows(args.recordings, [recording._asdict() for recording in recordings])
    write_qrels(args.train, train)
    write_qrels(args.dev, source.qrels["dev"])
    write_qrels(args.test, source.qrels["test"])
    write_text(args.card, yaml.safe_dump(source.card.model_dump(), allow_unicode=True))
    write_json(args.metrics, metrics)
    for line in summary(metrics):
        say(line)


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON Lines; a blank line where there are none, since DVC warns of an empty file before every stage."""
    write_jsonl(path, rows) if rows else write_text(path, "\n")


if __name__ == "__main__":
    run(main)
