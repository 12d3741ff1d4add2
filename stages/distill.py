"""Distil the teacher's lists into the student: KL(teacher || student) + lambda * InfoNCE.

Trains the specialised student and, for an honest comparison, a control on the same data with InfoNCE
alone. distill.side 'query' trains the query encoder against the fixed passage vectors of the untuned
model: the index stays as it is, and minutes on two CPU cores are enough. A killed run resumes from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from densespec.distillation.config import DistillConfig
from densespec.distillation.launch import is_first_process, start_processes
from densespec.errors import InputError, run
from densespec.io.arrays import read_array
from densespec.io.atomic import replacing_folder, write_text
from densespec.io.jsonl import read_jsonl, write_json
from densespec.io.params import load_section
from densespec.io.tables import passages_of, read_table
from densespec.io.trec import read_qrels
from densespec.retrieval.config import StudentConfig
from densespec.retrieval.student import load_student, precision_of, quiet_libraries, student_fingerprint
from densespec.runtime.fingerprint import digest, file_digest
from densespec.runtime.progress import say
from densespec.runtime.scratch import locked_scratch, scratch_root
from densespec.tracking.live import live_run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus stage's outputs")
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--passage-embeddings", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="fingerprint of this stage's code")
    parser.add_argument("--out", type=Path, required=True, help="folder for 'specialised' and 'control'")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    config = load_section("distill", DistillConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)
    start_processes(config.processes, "stages.distill")
    first = is_first_process()  # the others only train
    started = time.monotonic()
    # every step tokenises its texts, and a GPU would wait for one core; nothing forks, which it is off for
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    quiet_libraries()
    import torch

    from densespec.distillation.dev import dev_ndcg_measure, require_affordable
    from densespec.distillation.lora import add_adapter, merge_adapter
    from densespec.distillation.preparation import dev_temperatures, prepare_lists
    from densespec.distillation.saving import save_student
    from densespec.distillation.training import train

    passages = read_table(args.corpus / "passages.parquet")
    vectors = torch.from_numpy(np.array(read_array(args.passage_embeddings)))
    if config.matryoshka_dims and max(config.matryoshka_dims) >= vectors.shape[1]:
        raise InputError(
            "distill.matryoshka_dims", expected=f"numbers under the student's {vectors.shape[1]} dimensions",
            found=str(list(config.matryoshka_dims)), remedy="leave the larger ones out; the whole counts too",
        )  # fmt: skip
    table = read_table(args.lists)
    prepared = prepare_lists(
        table, vectors, length=config.list_length, sampling=config.list_sampling,
        batching=config.batching, batch_size=config.batch_size, seed=config.seed,
    )  # fmt: skip
    lists, training, dev = prepared.lists, prepared.training, prepared.dev
    longest = lists.passages.shape[1]
    if first and longest < config.list_length:
        say(f"no list holds more than {longest} passages (see select.list_length), so distill.list_length "
            f"{config.list_length} acts as {longest}")  # fmt: skip
    if first and config.list_sampling != "top" and max(map(len, table["passages"])) <= config.list_length:
        say(f"distill.list_sampling {config.list_sampling} has nothing to choose: distill.list_length "
            f"{config.list_length} takes every list whole")  # fmt: skip

    def fresh_student() -> SentenceTransformer:
        return load_student(**student.model_dump())

    untuned = fresh_student()
    temperatures = dev_temperatures(
        untuned, lists, dev, vectors, config.student_temperature, config.teacher_temperature
    )
    if first:
        say(f"entropy over {len(dev)} dev lists: student {temperatures['student_entropy']:.3f} nats at "
            f"{temperatures['student']}, teacher {temperatures['teacher_entropy']:.3f} nats at "
            f"{temperatures['teacher']:.4f}")  # fmt: skip

    questions = {row["id"]: row["text"] for _, row in read_jsonl(args.corpus / "queries.jsonl")}
    judged = read_qrels(args.corpus / "dev.tsv")
    both = config.side == "both"
    texts = [passage.content for passage in passages_of(passages)]
    measure = None
    if both and config.stop_on == "ndcg":
        require_affordable(len(texts), config.eval_steps * config.batch_size * longest)
    if not both or config.stop_on == "ndcg":
        measure = dev_ndcg_measure(questions, judged, passages["id"], texts if both else vectors.numpy())
    objectives = {"specialised": (config.kl_weight, config.infonce_weight)}
    if config.control:
        objectives["control"] = (0.0, 1.0)
    fingerprint = args.code.read_text(encoding="utf-8").strip() if args.code.is_file() else ""
    read = [args.corpus / name for name in ("passages.parquet", "queries.jsonl", "dev.tsv")]
    key = digest(
        fingerprint, config.model_dump(), student.model_dump(exclude={"batch_tokens"}),
        student_fingerprint(student.model),
        precision_of(untuned),
        [file_digest(path) for path in (args.lists, args.passage_embeddings, *read)],
    )  # fmt: skip
    metrics: dict[str, object] = {"fingerprint": key, "temperatures": temperatures, "side": config.side}
    metrics |= {"train_lists": len(training), "dev_lists": len(dev)}
    metrics |= {"list_length": longest, "distinct_share": prepared.distinct_share}
    metrics |= {"curves": {}, "steps": {}, "best_step": {}}
    unlocked = nullcontext(scratch_root() / "distill" / args.domain)
    with locked_scratch("distill", args.domain) if first else unlocked as scratch:
        for name, (kl_weight, infonce_weight) in objectives.items():
            model = fresh_student()
            if config.lora_rank:
                add_adapter(model, config.lora_rank, config.seed, both=both)
            if first:
                say(f"train '{name}': KL x {kl_weight} + InfoNCE x {infonce_weight}, side {config.side}, "
                    f"{len(training)} lists of {longest}")  # fmt: skip
            silent = nullcontext(lambda numbers, step: None)
            with live_run("distill", args.domain, f"{key}-{name}") if first else silent as log:
                trained = train(
                    model, lists, training, dev,
                    texts if both else None,
                    None if both else vectors,
                    scratch / key / name,
                    terms={
                        "student_temperature": config.student_temperature,
                        "teacher_temperature": temperatures["teacher"],
                        "kl_weight": kl_weight,
                        "infonce_weight": infonce_weight,
                        "infonce_temperature": config.infonce_temperature,
                        "mask_ratio": config.mask_ratio,
                        "dims": config.matryoshka_dims,
                    },
                    learning_rate=config.learning_rate, weight_decay=config.weight_decay,
                    batch_size=config.batch_size, mini_batch_tokens=config.mini_batch_tokens,
                    max_steps=config.max_steps, max_epochs=config.max_epochs,
                    warmup_share=config.warmup_share, final_share=config.final_share,
                    eval_steps=config.eval_steps, patience=config.patience, stop_on=config.stop_on,
                    max_query_tokens=config.max_query_tokens, seed=config.seed, clusters=prepared.clusters,
                    gradient_checkpointing=config.gradient_checkpointing, dev_ndcg=measure, log=log,
                )  # fmt: skip
            if config.lora_rank:
                merge_adapter(model)
            if not first:
                continue
            with replacing_folder(args.out / name) as folder:
                losses = [term for term, weight in (("kl", kl_weight), ("infonce", infonce_weight)) if weight]
                save_student(
                    folder, model, untuned, config.side, student.model, config.matryoshka_dims, losses
                )
            metrics["curves"][name] = trained.curve  # type: ignore[index]
            metrics["steps"][name] = trained.steps  # type: ignore[index]
            metrics["best_step"][name] = trained.best_step  # type: ignore[index]
        if config.processes > 1:
            torch.distributed.destroy_process_group()
        if not first:
            return
        if not config.control:
            with replacing_folder(args.out / "control") as folder:
                write_text(folder / "README.md", "No control was trained: distill.control is false.\n")
    write_json(args.metrics, metrics)
    print(f"distilled {', '.join(objectives)} in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    run(main)
