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

import numpy as np

from densespec.errors import run
from densespec.io.atomic import replacing_folder, write_text
from densespec.io.jsonl import write_json
from densespec.io.params import load_section
from densespec.io.tables import passages_of, read_table
from densespec.io.trec import read_qrels
from densespec.retrieval.student import forget_last_call, quiet_libraries, student_fingerprint
from densespec.runtime.fingerprint import digest, file_digest
from densespec.runtime.progress import say
from densespec.runtime.scratch import locked_scratch
from densespec.teaching.config import TeacherFinetuneConfig
from densespec.teaching.dev import choose_dev
from densespec.teaching.labels import labelled_pairs
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
    labelled, counts = labelled_pairs(
        table, passages, read_qrels(args.train), labels=config.labels, max_margin=config.max_margin
    )
    pairs, dev = choose_dev(
        labelled, table, passages, read_qrels(args.dev), dev_share=config.dev_share,
        eval_queries=config.eval_queries, eval_depth=config.eval_depth, seed=config.seed,
    )  # fmt: skip
    dense = [np.asarray(table["dense"][n][: config.eval_depth], dtype=np.float32) for n in dev.numbers]
    student = dev.judged.ndcg_per_query(dense)

    import torch

    from densespec.teaching.finetuning import finetune, starting_point

    bfloat16 = precision(config.dtype) == torch.bfloat16
    fingerprint = args.code.read_text(encoding="utf-8").strip() if args.code.is_file() else ""
    key = digest(
        fingerprint, config.model_dump(), student_fingerprint(config.model, config.revision), bfloat16,
        [file_digest(path) for path in (args.passages, args.train, args.dev, args.candidates)],
    )  # fmt: skip
    picking = f"{len(dev.numbers)} {dev.basis} pick the weights"
    say(f"fine-tune {config.model}: {len(pairs)} labelled pairs, {picking}")
    with locked_scratch("teacher_finetune", args.domain) as scratch:
        encoder, random_head = starting_point(
            config.model, config.revision, config.max_tokens, config.seed
        )
        if random_head:
            say("the model is an encoder: its head starts random, and learns from these labels alone")
        with live_run("teacher_finetune", args.domain, key) as log:
            done = finetune(
                encoder, pairs, table["text"],
                [passage.content for passage in passages_of(passages)], dev, scratch / key,
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
    before, after, untuned = (
        np.asarray([values[query_id] for query_id in sorted(student)])
        for values in (done.before, done.after, student)
    )
    write_json(
        args.metrics,
        {
            "model": config.model, "fingerprint": key, "random_head": random_head, "labels": counts,
            "train_pairs": len(pairs), "train_queries": len({pair.query for pair in pairs}),
            "dev": {"basis": dev.basis, "queries": len(dev.numbers), "depth": config.eval_depth},
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


if __name__ == "__main__":
    run(main)
