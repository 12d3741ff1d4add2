"""Training one student with sentence-transformers' trainer: dev evaluations, early stop, resume."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from densespec.distillation.objective import ListCollator, ListwiseDistillation, TrainingLists
from densespec.errors import InputError
from densespec.io.jsonl import read_json, write_json
from densespec.runtime.progress import say

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]

#: Written last into a checkpoint: name and size of its files. One without it, or with files missing,
#: is the leftover of a process killed while it wrote or deleted that checkpoint.
COMPLETE = "complete"


class Trained(NamedTuple):
    """Outcome of a training.

    Attributes:
        curve: one row per dev evaluation: step, train_loss, dev_loss, and dev_ndcg_at_10 where measured.
        steps: optimisation steps made.
        best_step: step of the weights that were kept; 0 when no evaluation beat the untuned model's.
    """

    curve: list[dict[str, float]]
    steps: int
    best_step: int


class _MarkComplete(TrainerCallback):  # type: ignore[misc]
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / COMPLETE, _sizes(folder))


class _Report(TrainerCallback):  # type: ignore[misc]
    def __init__(self, log: Callable[[dict[str, float], int], None]) -> None:
        self.log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        self.log(numbers, state.global_step)


def train(
    model: SentenceTransformer,
    lists: TrainingLists,
    training: list[int],
    dev: list[int],
    passages: list[str] | None,
    passage_vectors: Tensor | None,
    checkpoints: Path,
    *,
    terms: dict[str, Any],
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    mini_batch_tokens: int,
    max_steps: int,
    max_epochs: float,
    warmup_share: float,
    final_share: float,
    eval_steps: int,
    patience: int,
    stop_on: str,
    max_query_tokens: int,
    seed: int,
    clusters: Array | None = None,
    dev_ndcg: Callable[[SentenceTransformer], float] | None = None,
    log: Callable[[dict[str, float], int], None] = lambda numbers, step: None,
) -> Trained:
    """Train ``model`` in place and leave the weights of its best dev evaluation in it.

    A checkpoint is kept at every dev evaluation; a killed training goes on from the last complete one
    and, on a CPU, ends with the same weights, bit by bit.

    Args:
        model: the student.
        lists: all lists.
        training: numbers of the training lists.
        dev: numbers of the dev lists.
        passages: passages' content, to train both sides; None with fixed vectors.
        passage_vectors: float32 (passages, dimension); None to train both sides.
        checkpoints: folder of this training's checkpoints.
        terms: see :class:`ListwiseDistillation`.
        learning_rate: peak; warms up over ``warmup_share`` of the steps, then falls linearly to
            ``final_share`` of it.
        weight_decay: AdamW's.
        batch_size: queries per step.
        mini_batch_tokens: tokens per forward pass of the gradient cache.
        max_steps: at most.
        max_epochs: at most.
        warmup_share: of the steps.
        final_share: of the peak.
        eval_steps: steps between dev evaluations.
        patience: evaluations without a better one before stopping.
        stop_on: ``"loss"`` or ``"ndcg"``.
        max_query_tokens: longer queries are cut in training.
        seed: order of the lists.
        clusters: see :class:`densespec.distillation.trainer.ListTrainer`.
        dev_ndcg: nDCG@10 of a model on the judged dev queries; None if there are none.
        log: gets every logged number and its step.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainingArguments

    from densespec.distillation.trainer import ListTrainer

    _remove_dropout(model)
    untuned = {name: value.clone() for name, value in model.state_dict().items()}
    collator = ListCollator(model, lists, passages, max_query_tokens)
    loss = ListwiseDistillation(model, lists, passage_vectors, mini_batch_tokens, terms)
    total = min(max_steps, math.ceil(max_epochs * math.ceil(len(training) / batch_size)))
    # the trainer's dev loss is a mean over batches, whatever their sizes: make them alike
    dev_batch = math.ceil(len(dev) / math.ceil(len(dev) / batch_size))
    judged = stop_on == "ndcg" and dev_ndcg is not None
    falling = final_share < 1
    on_gpu = torch.cuda.is_available()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=dev_batch,
        max_steps=total,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_steps=round(warmup_share * total),
        lr_scheduler_type="polynomial" if falling else "constant_with_warmup",
        lr_scheduler_kwargs={"lr_end": final_share * learning_rate, "power": 1.0} if falling else {},
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=eval_steps,
        save_strategy="steps",
        save_steps=eval_steps,
        save_total_limit=2,
        logging_steps=eval_steps,
        load_best_model_at_end=True,
        metric_for_best_model="eval_ndcg_at_10" if judged else "eval_loss",
        greater_is_better=judged,
        restore_callback_states_from_checkpoint=True,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        seed=seed,
        data_seed=seed,
        report_to=[],
        disable_tqdm=False,  # off by default at the log level that quiet_libraries sets
        remove_unused_columns=False,
    )
    trainer = ListTrainer(
        clusters=clusters,
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"list": training}),
        eval_dataset=Dataset.from_dict({"list": dev}),
        loss=loss,
        evaluator=None if dev_ndcg is None else _Evaluator(dev_ndcg),
        data_collator=collator,
        callbacks=[EarlyStoppingCallback(patience), _MarkComplete(), _Report(log)],
    )
    before = _dev_numbers(model, loss, collator, dev, dev_batch, dev_ndcg)
    log({f"eval_{name.removeprefix('dev_')}": value for name, value in before.items() if name != "step"}, 0)
    last, state = _last_complete(checkpoints)
    if state is None or not _finished(state, total, patience):
        trainer.train(resume_from_checkpoint=last)
        state = trainer.state

    curve = [before, *_curve(state.log_history)]
    metric, sign = ("dev_ndcg_at_10", -1.0) if judged else ("dev_loss", 1.0)
    best = min(curve, key=lambda row: sign * row[metric])
    if best is before:
        say(f"warning: no dev evaluation beat the untuned student's {metric}; its weights are kept")
        model.load_state_dict(untuned)
    else:
        # not left to the trainer: it only logs that it could not load its best checkpoint
        trainer.load_weights(checkpoints / f"checkpoint-{int(best['step'])}")
    return Trained(curve, state.global_step, int(best["step"]))


def _remove_dropout(model: nn.Module) -> None:
    """The same passage must embed alike in all lists of a batch."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):  # attention of T5, Llama, Qwen and others
                setattr(module, name, 0.0)


class _Evaluator(BaseEvaluator):  # type: ignore[misc]
    def __init__(self, dev_ndcg: Callable[[SentenceTransformer], float]) -> None:
        super().__init__()
        self.dev_ndcg = dev_ndcg

    def __call__(self, model: SentenceTransformer, **_: Any) -> dict[str, float]:
        return {"ndcg_at_10": self.dev_ndcg(model)}


def _dev_numbers(
    model: SentenceTransformer,
    loss: ListwiseDistillation,
    collator: ListCollator,
    dev: list[int],
    batch_size: int,
    dev_ndcg: Callable[[SentenceTransformer], float] | None,
) -> dict[str, float]:
    """Dev numbers of the untuned model, batch by batch as the trainer does."""
    model.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(dev), batch_size):
            rows = [{"list": number} for number in dev[start : start + batch_size]]
            batch = {
                name: value.to(model.device) if isinstance(value, Tensor) else value
                for name, value in collator(rows).items()
            }
            features = [
                {n.removeprefix(f"{task}_"): v for n, v in batch.items() if n.startswith(f"{task}_")}
                for task in ("query", "document")
            ]
            value = loss([f for f in features if f], batch["label"])
            value = sum(value.values()) if isinstance(value, dict) else value
            losses.append(float(value))
    numbers = {"step": 0.0, "dev_loss": sum(losses) / len(losses)}
    if dev_ndcg is not None:
        numbers["dev_ndcg_at_10"] = dev_ndcg(model)
    return numbers


def _curve(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        row = rows.setdefault(int(entry["step"]), {"step": float(entry["step"])})
        for theirs, ours in (
            ("loss", "train_loss"), ("kl", "train_kl"), ("infonce", "train_infonce"),
            ("eval_loss", "dev_loss"), ("eval_kl", "dev_kl"), ("eval_infonce", "dev_infonce"),
            ("eval_ndcg_at_10", "dev_ndcg_at_10"),
        ):  # fmt: skip
            if theirs in entry:
                row[ours] = float(entry[theirs])
    return [rows[step] for step in sorted(rows) if "dev_loss" in rows[step]]


def _finished(state: TrainerState, total: int, patience: int) -> bool:
    """Whether nothing is left to train; the trainer itself would go on after an early stop."""
    stopping = state.stateful_callbacks.get("EarlyStoppingCallback", {}).get("attributes", {})
    stopped = int(stopping.get("early_stopping_patience_counter", 0)) >= patience
    return stopped or int(state.global_step) >= total


def _last_complete(checkpoints: Path) -> tuple[str | None, TrainerState | None]:
    """The newest checkpoint that is complete, as is the best one it refers to; others are removed."""
    complete = {}
    for folder in checkpoints.glob("checkpoint-*"):
        if _is_complete(folder):
            complete[int(folder.name.split("-")[1])] = folder
        else:
            shutil.rmtree(folder)
    for step in sorted(complete, reverse=True):
        state = TrainerState.load_from_json(str(complete[step] / "trainer_state.json"))
        if state.best_global_step is None or state.best_global_step in complete:
            return str(complete[step]), state
        shutil.rmtree(complete[step])
    return None, None


def _is_complete(folder: Path) -> bool:
    try:
        return bool(read_json(folder / COMPLETE).items() <= _sizes(folder).items())
    except InputError:
        return False


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
