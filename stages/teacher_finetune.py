"""Fine-tune a cross-encoder on the domain's labels: the teacher 'finetuned'.

Labels are judgements of log queries (train.tsv of stage corpus), or generated queries with their source
passages; negatives are mined candidates. The judged dev queries pick the weights, or, without any, labelled
queries that are held out. Test queries and their judgements are not read. Without a model in params
teacher_finetune the stage writes a note instead, and the teacher 'finetuned' cannot be used.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from densespec.errors import InputError, run
from densespec.io.atomic import replacing_folder, write_text
from densespec.io.jsonl import write_json
from densespec.io.params import load_section
from densespec.io.tables import read_table
from densespec.io.trec import read_qrels
from densespec.records import Passage, Qrel
from densespec.retrieval.student import forget_last_call, quiet_libraries, student_fingerprint
from densespec.retrieval.weights import ndcg_of_lists
from densespec.runtime.fingerprint import digest, file_digest
from densespec.runtime.progress import say
from densespec.runtime.scratch import locked_scratch
from densespec.runtime.seeds import seed_for
from densespec.teaching.config import TeacherFinetuneConfig
from densespec.teaching.labels import Labelled, human_labels, split_by_passage, synthetic_labels
from densespec.teaching.loading import FINETUNED_NOTE, precision
from densespec.teaching.measuring import mean_difference
from densespec.tracking.live import live_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, help="judgements of log queries")
    parser.add_argument("--dev", type=Path, required=True, help="judgements of the dev queries")
    parser.add_argument("--candidates", type=Path, required=True, help="candidates.parquet of the mine stage")
    parser.add_argument("--code", type=Path, required=True, help="fingerprint of this stage's code")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    config = load_section("teacher_finetune", TeacherFinetuneConfig, args.domain)
    if not config.model:
        with replacing_folder(args.out) as folder:
            write_text(folder / "README.md", "No teacher was fine-tuned: teacher_finetune.model is empty.\n")
        write_json(args.metrics, {"model": ""})
        print("no teacher is fine-tuned: teacher_finetune.model is empty")
        return
    started = time.monotonic()
    quiet_libraries()

    table = read_table(args.candidates)
    passages = read_table(args.passages)
    pairs, counts = _labels(config, table, passages, read_qrels(args.train), args.candidates)
    dev_qrels = read_qrels(args.dev)
    judged = {qrel.query_id for qrel in dev_qrels}
    numbers = [
        number
        for number, (split, query_id) in enumerate(zip(table["split"], table["query_id"], strict=True))
        if split == "dev" and query_id in judged
    ]
    basis = "judged dev queries"
    if not numbers:
        basis = "held-out labelled queries"
        pairs, held = split_by_passage(pairs, passages["hash"], config.dev_share, config.seed)
        numbers = sorted({pair.query for pair in held})
        dev_qrels = [Qrel(table["query_id"][p.query], passages["id"][p.positive], 1) for p in held]
    if not pairs or not numbers:
        raise InputError(
            f"params.yaml: teacher_finetune ({args.domain})",
            expected="labelled queries to train on, and judged dev queries or labelled ones to hold out",
            found=f"{len(pairs)} labelled pairs to train on, {len(numbers)} queries to pick the weights by",
            remedy="give more labels, a second set of judged queries (qrels/dev.tsv), or another "
            "teacher_finetune.dev_share",
        )
    ids = table["query_id"]
    numbers = sorted(
        sorted(numbers, key=lambda number: seed_for(config.seed, "dev", ids[number]))[: config.eval_queries]
    )

    import torch

    from densespec.teaching.finetuning import DevLists, finetune, starting_point

    lists = [table["passages"][number][: config.eval_depth] for number in numbers]
    wanted = {ids[number] for number in numbers}
    dev = DevLists(
        [ids[number] for number in numbers],
        [table["text"][number] for number in numbers],
        lists,
        [[passages["id"][row] for row in rows] for rows in lists],
        [qrel for qrel in dev_qrels if qrel.query_id in wanted],
    )
    dense = [np.float32(table["dense"][number][: config.eval_depth]) for number in numbers]
    student = ndcg_of_lists(dev.query_ids, dev.passage_ids, dense, dev.qrels)
    columns = (passages["id"], passages["title"], passages["text"])
    bfloat16 = precision(config.dtype) == torch.bfloat16
    fingerprint = args.code.read_text(encoding="utf-8").strip() if args.code.is_file() else ""
    key = digest(
        fingerprint, config.model_dump(), student_fingerprint(config.model, config.revision), bfloat16,
        [file_digest(path) for path in (args.passages, args.train, args.dev, args.candidates)],
    )  # fmt: skip
    say(f"fine-tune {config.model}: {len(pairs)} labelled pairs, {len(numbers)} {basis} pick the weights")
    with locked_scratch("teacher_finetune", args.domain) as scratch:
        encoder, random_head = starting_point(
            config.model, config.revision, config.max_tokens, config.seed
        )
        if random_head:
            say("the model is an encoder: its head starts random, and learns from these labels alone")
        with live_run("teacher_finetune", args.domain, key) as log:
            done = finetune(
                encoder, pairs, table["text"],
                [Passage(*row).content for row in zip(*columns, strict=True)],
                dev, scratch / key,
                negatives=config.negatives, learning_rate=config.learning_rate,
                weight_decay=config.weight_decay, batch_size=config.batch_size, passes=config.passes,
                max_steps=config.max_steps, warmup_share=config.warmup_share,
                eval_steps=config.eval_steps, patience=config.patience, bfloat16=bfloat16,
                seed=config.seed, log=log,
            )  # fmt: skip
        forget_last_call(encoder)
        with replacing_folder(args.out) as folder:
            encoder.save_pretrained(str(folder), create_model_card=False)
            write_json(folder / FINETUNED_NOTE, {"model": config.model, "max_tokens": config.max_tokens})
    order = sorted(wanted)
    before, after, untuned = (
        np.asarray([values[query_id] for query_id in order]) for values in (done.before, done.after, student)
    )
    write_json(
        args.metrics,
        {
            "model": config.model, "fingerprint": key, "random_head": random_head, "labels": counts,
            "train_pairs": len(pairs), "train_queries": len({pair.query for pair in pairs}),
            "dev": {"basis": basis, "queries": len(numbers), "depth": config.eval_depth},
            "ndcg_at_10": {
                "before": float(before.mean()), "after": float(after.mean()),
                "student": float(untuned.mean()),
                "gain": mean_difference(after - before, config.seed),
                "over_student": mean_difference(after - untuned, config.seed),
            },
            "curves": {"teacher": done.curve}, "steps": done.steps, "best_step": done.best_step,
        },
    )  # fmt: skip
    print(
        f"dev nDCG@10 {before.mean():.3f} before, {after.mean():.3f} after {done.best_step} of {done.steps} "
        f"steps, student {untuned.mean():.3f}; {time.monotonic() - started:.0f} s"
    )


def _labels(
    config: TeacherFinetuneConfig,
    table: dict[str, list[Any]],
    passages: dict[str, list[Any]],
    judgements: list[Qrel],
    candidates: Path,
) -> tuple[list[Labelled], dict[str, int]]:
    """The labelled pairs that params ask for, and how many there are of each sort."""
    row_of = {passage_id: row for row, passage_id in enumerate(passages["id"])}
    human = human_labels(
        judgements, table["query_id"], table["split"], table["passages"], row_of, passages["hash"]
    )
    use_human = config.labels in ("human", "both") or (config.labels == "auto" and bool(human))
    synthetic: list[Labelled] = []
    dropped = 0
    if config.labels in ("synthetic", "both") or not use_human:
        synthetic, dropped = synthetic_labels(
            table["source_id"], table["passages"], [np.float32(values) for values in table["dense"]],
            row_of, passages["hash"], config.max_margin,
        )  # fmt: skip
    pairs = [*(human if use_human else []), *synthetic]
    if not pairs:
        raise InputError(
            candidates,
            expected=f"labelled queries with candidates (teacher_finetune.labels: {config.labels})",
            found=f"{len(judgements)} judgements of log queries, no generated query that fits",
            remedy="bring labels (densespec new-domain --log-split train --train-labels), or generated "
            "queries (labels: synthetic)",
        )
    return pairs, {"human": len(human) if use_human else 0, "synthetic": len(synthetic), "dropped": dropped}


if __name__ == "__main__":
    run(main)
