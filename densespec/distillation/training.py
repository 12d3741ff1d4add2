"""Training one student with sentence-transformers' trainer: dev evaluations, early stop, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import Tensor, nn
from transformers import EarlyStoppingCallback

from densespec.distillation.attention import attention_for_training
from densespec.distillation.objective import ListCollator, ListwiseDistillation, TrainingLists
from densespec.errors import InputError
from densespec.runtime.checkpoints import MarkComplete, is_finished, last_complete
from densespec.runtime.progress import say
from densespec.runtime.training_arguments import shared_arguments
from densespec.runtime.training_log import Report, dev_curve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]

#: What the trainer logs → its name in a curve.
CURVE = {
    "loss": "train_loss", "kl": "train_kl", "infonce": "train_infonce",
    "eval_loss": "dev_loss", "eval_kl": "dev_kl", "eval_infonce": "dev_infonce",
    "eval_ndcg_at_10": "dev_ndcg_at_10",
}  # fmt: skip


class Trained(NamedTuple):
    """Outcome of a training.

    Attributes:
        curve: one row per dev evaluation, the untuned student's first: step, train_loss, dev_loss, and
            dev_ndcg_at_10 where measured.
        steps: optimisation steps made.
        best_step: step of the weights that were kept; 0 when no evaluation beat the untuned model's.
    """

    curve: list[dict[str, float]]
    steps: int
    best_step: int


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
    gradient_checkpointing: bool = False,
    clusters: Array | None = None,
    dev_ndcg: Callable[[SentenceTransformer], float] | None = None,
    log: Callable[[dict[str, float], int], None] = lambda numbers, step: None,
) -> Trained:
    """Train ``model`` in place and leave the weights of its best dev evaluation in it.

    A checkpoint is kept at every dev evaluation; a killed training goes on from the last complete one
    and, on a CPU, ends with the same weights, bit by bit. Under torchrun every process calls this with
    the same arguments, and ends with the same weights.

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
        batch_size: queries per step, of all processes together.
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
        gradient_checkpointing: keep activations of the layers' borders only, and compute the others again.
        clusters: see :class:`densespec.distillation.trainer.ListTrainer`.
        dev_ndcg: nDCG@10 of a model on the judged dev queries; None if there are none.
        log: gets every logged number and its step.

    Raises:
        InputError: ``stop_on`` needs judged dev queries that are not there, or the untuned student's
            dev loss is not finite.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainingArguments

    from densespec.distillation.trainer import ListTrainer

    judged = stop_on == "ndcg"
    if judged and dev_ndcg is None:
        raise InputError(
            "params distill.stop_on",
            expected="judged dev queries (qrels/dev.tsv), as 'ndcg' measures on them",
            found="none",
            remedy="set distill.stop_on to loss, or give the domain a second set of judged queries",
        )
    remove_dropout(model)
    untuned = {name: value.clone() for name, value in model.state_dict().items()}
    collator = ListCollator(model, lists, passages, max_query_tokens)
    loss = ListwiseDistillation(model, lists, passage_vectors, mini_batch_tokens, terms)
    total = min(max_steps, math.ceil(max_epochs * math.ceil(len(training) / batch_size)))
    # batches of like size: InfoNCE grows with the number of passages in a batch
    dev_batch = math.ceil(len(dev) / math.ceil(len(dev) / batch_size))
    falling = final_share < 1
    checkpointing: dict[str, Any] = {}
    if gradient_checkpointing:
        checkpointing = {
            "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }  # fmt: skip
    arguments = SentenceTransformerTrainingArguments(
        **shared_arguments(
            checkpoints, steps=total, learning_rate=learning_rate, weight_decay=weight_decay,
            warmup_share=warmup_share, eval_steps=eval_steps,
            metric="eval_ndcg_at_10" if judged else "eval_loss", seed=seed,
        ),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=dev_batch,
        lr_scheduler_type="polynomial" if falling else "constant_with_warmup",
        lr_scheduler_kwargs={"lr_end": final_share * learning_rate, "power": 1.0} if falling else {},
        **checkpointing,
        ddp_broadcast_buffers=False,  # nothing in them changes
    )  # fmt: skip
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for several processes, not DataParallel
    # one after the other: the first process removes what is not complete
    with arguments.main_process_first(local=False):
        last, state = last_complete(checkpoints)
    arguments.eval_on_start = last is None  # a checkpoint remembers it
    trainer = ListTrainer(
        clusters=clusters,
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"list": training}),
        eval_dataset=Dataset.from_dict({"list": dev}),
        loss=loss,
        evaluator=None if dev_ndcg is None else _Evaluator(dev_ndcg),
        data_collator=collator,
        callbacks=[EarlyStoppingCallback(patience), MarkComplete(), Report(log)],
    )
    if state is None or not is_finished(state, total, patience):
        with attention_for_training(model, short=passages is None):
            trainer.train(resume_from_checkpoint=last)
        state = trainer.state

    curve = dev_curve(state.log_history, CURVE, "dev_loss")
    broken = [int(row["step"]) for row in curve if not math.isfinite(row["dev_loss"])]
    if 0 in broken:
        raise InputError(
            "the untuned student's loss on the dev lists",
            expected="a finite number",
            found=str(curve[0]["dev_loss"]),
            remedy="look at distill's temperatures, and at the scores in data/lists/DOMAIN/lists.parquet",
        )
    if broken and trainer.is_world_process_zero():
        say(f"warning: training diverged, the dev loss is not finite at step {broken[0]}: lower "
            "distill.learning_rate")  # fmt: skip
    metric, sign = ("dev_ndcg_at_10", -1.0) if judged else ("dev_loss", 1.0)
    best = min((row for row in curve if int(row["step"]) not in broken), key=lambda row: sign * row[metric])
    if best is curve[0]:
        if trainer.is_world_process_zero():
            say(f"warning: no dev evaluation beat the untuned student's {metric}; its weights are kept")
        model.load_state_dict(untuned)
    else:
        # not left to the trainer: it only logs that it could not load its best checkpoint
        trainer.load_weights(checkpoints / f"checkpoint-{int(best['step'])}")
    return Trained(curve, state.global_step, int(best["step"]))


def remove_dropout(model: nn.Module) -> None:
    """Set all dropout to 0, in place: the same passage must embed alike in all lists of a batch."""
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
