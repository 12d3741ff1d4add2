"""Fine-tuning a cross-encoder on labelled pairs with sentence-transformers' trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss
from torch import nn
from transformers import AutoConfig, EarlyStoppingCallback

from densespec.errors import InputError
from densespec.io.jsonl import read_json, write_json
from densespec.retrieval.student import require_positions
from densespec.runtime.checkpoints import MarkComplete, is_finished, last_complete
from densespec.runtime.progress import say
from densespec.runtime.training_arguments import shared_arguments
from densespec.runtime.training_log import Report, dev_curve
from densespec.teaching.cross_encoder import keep_last_layer_exact
from densespec.teaching.dev import DevLists
from densespec.teaching.labels import Labelled, draw_negatives
from densespec.teaching.loading import architecture, devices, loading, model_options

Array = np.ndarray[Any, Any]
SECTION = "teacher_finetune"
#: Label of the relevant passage. ListNet's target is the softmax of a list's labels: all on this one, so the
#: loss is the cross-entropy of the relevant passage among its negatives (LCE; Gao, Dai, Callan, ECIR 2021).
RELEVANT = 100.0
#: Pairs per forward pass in evaluations and, on a CPU, in training: more carry the padding of the longest,
#: fewer pay more often for the gradient of the whole embedding table.
FORWARD_PAIRS = 32
#: What the trainer logs → its name in a curve.
CURVE = {"loss": "train_loss", "eval_ndcg_at_10": "dev_ndcg_at_10"}


class Finetuned(NamedTuple):
    """Outcome of a training.

    Attributes:
        curve: one row per dev evaluation, that of the untrained model first: step, dev_ndcg_at_10, and
            train_loss where there was training before it.
        steps: optimisation steps made.
        best_step: step of the weights that were kept; 0 when no evaluation beat the untrained model's.
        before: nDCG@10 per dev query of the untrained model.
        after: the same of the one that was kept.
    """

    curve: list[dict[str, float]]
    steps: int
    best_step: int
    before: dict[str, float]
    after: dict[str, float]


def starting_point(model: str, revision: str | None, max_tokens: int, seed: int) -> tuple[CrossEncoder, bool]:
    """A cross-encoder with one output; weights from safetensors only, no code of the model's own.

    Args:
        model: packaged model, folder, or hub id, of a cross-encoder or of any encoder.
        revision: commit of a hub model.
        max_tokens: query and passage together are cut at this many tokens.
        seed: of the head's random weights, where the model has none.

    Returns:
        The model, and whether its head is random.

    Raises:
        InputError: it cannot be had, it has several labels, or fewer positions than ``max_tokens``.
    """
    device = devices()[0]
    # PyTorch's fused attention trains slowly on a CPU (densespec.distillation.attention)
    options = model_options("float32", "eager" if device == "cpu" else "auto")
    with loading(SECTION, model, revision, remote_code=False) as location, torch.random.fork_rng():
        config = AutoConfig.from_pretrained(location, revision=revision)
        name = architecture(config)
        if name.endswith("ForSequenceClassification") and config.num_labels != 1:
            raise InputError(
                f"params.yaml: {SECTION}.model = {model}",
                expected="a cross-encoder with one output, or an encoder",
                found=f"a classifier with {config.num_labels} labels",
                remedy="take a reranker with one output, or the encoder that it was made from",
            )
        torch.manual_seed(seed)
        encoder = CrossEncoder(
            location, revision=revision, device=device, num_labels=1, max_length=max_tokens,
            model_kwargs=options,
        )  # fmt: skip
    require_positions(encoder[0].model, max_tokens, SECTION)
    keep_last_layer_exact(encoder)
    return encoder, not name.endswith(("ForSequenceClassification", "ForCausalLM"))


def finetune(
    encoder: CrossEncoder,
    pairs: Sequence[Labelled],
    queries: Sequence[str],
    passages: Sequence[str],
    dev: DevLists,
    checkpoints: Path,
    *,
    negatives: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    passes: int,
    max_steps: int,
    warmup_share: float,
    eval_steps: int,
    patience: int,
    bfloat16: bool,
    seed: int,
    log: Callable[[dict[str, float], int], None] = lambda numbers, step: None,
) -> Finetuned:
    """Train ``encoder`` in place and leave the weights of its best dev evaluation in it.

    A checkpoint is kept at every dev evaluation; a killed training goes on from the last complete one and,
    on a CPU, ends with the same weights, bit by bit.

    Args:
        encoder: see :func:`starting_point`.
        pairs: labelled training pairs.
        queries: texts of all mined queries.
        passages: content of all passages.
        dev: what picks the weights.
        checkpoints: folder of this training's checkpoints.
        negatives: drawn for each pair, anew in each pass.
        learning_rate: peak; warms up over ``warmup_share`` of the steps, then falls linearly to 0.
        weight_decay: AdamW's.
        batch_size: pairs per step, each with its negatives.
        passes: over the pairs, at most.
        max_steps: at most.
        warmup_share: of the steps.
        eval_steps: steps between dev evaluations.
        patience: evaluations without a better one before stopping.
        bfloat16: compute matrix products in bfloat16; weights stay float32.
        seed: of order, negatives and dropout.
        log: gets every logged number and its step.
    """
    from datasets import Dataset

    total = min(max_steps, -(-len(pairs) * passes // batch_size))
    arguments = CrossEncoderTrainingArguments(
        **shared_arguments(
            checkpoints, steps=total, learning_rate=learning_rate, weight_decay=weight_decay,
            warmup_share=warmup_share, eval_steps=min(eval_steps, total), metric="eval_ndcg_at_10", seed=seed,
        ),
        per_device_train_batch_size=batch_size,
        lr_scheduler_type="linear",
        bf16=bfloat16,
    )  # fmt: skip
    arguments._n_gpu = min(arguments.n_gpu, 1)
    last, state = last_complete(checkpoints)
    arguments.eval_on_start = last is None  # a checkpoint remembers it
    untrained = {name: value.clone() for name, value in encoder.state_dict().items()}
    evaluator = _Evaluator(dev, passages, checkpoints, bfloat16)
    trainer = CrossEncoderTrainer(
        model=encoder,
        args=arguments,
        train_dataset=Dataset.from_dict({"drawing": range(len(pairs) * passes)}),
        evaluator=evaluator,
        loss=ListNetLoss(encoder, mini_batch_size=-1 if torch.cuda.is_available() else FORWARD_PAIRS),
        data_collator=_Collator(pairs, queries, passages, negatives, seed),
        callbacks=[EarlyStoppingCallback(patience), MarkComplete(), Report(log)],
    )
    if state is None or not is_finished(state, total, patience):
        trainer.train(resume_from_checkpoint=last)
        state = trainer.state
    curve = dev_curve(state.log_history, CURVE, "dev_ndcg_at_10")
    best = max(curve, key=lambda row: row["dev_ndcg_at_10"])
    if best is curve[0]:
        say("warning: no dev evaluation beat the model as it was before training; its weights are kept")
        encoder.load_state_dict(untrained)
    else:
        # not left to the trainer: it only logs that it could not load its best checkpoint
        trainer._load_from_checkpoint(str(checkpoints / f"checkpoint-{int(best['step'])}"))
    before, after = (evaluator.found(step) for step in (0, int(best["step"])))
    return Finetuned(curve, state.global_step, int(best["step"]), before, after)


def dev_ndcg(
    encoder: CrossEncoder, dev: DevLists, passages: Sequence[str], *, bfloat16: bool
) -> dict[str, float]:
    """nDCG@10 per dev query of its candidates in the model's order."""
    pairs = [
        (query, passages[row])
        for query, rows in zip(dev.queries, dev.candidates, strict=True)
        for row in rows
    ]
    with torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        scores = encoder.predict(
            pairs, batch_size=FORWARD_PAIRS, activation_fn=nn.Identity(), show_progress_bar=False
        )
    ends = np.cumsum([len(rows) for rows in dev.candidates])
    return dev.judged.ndcg_per_query(np.split(scores, ends[:-1]))


class _Collator:
    """Number of a drawing → query, the relevant passage and its negatives, and their labels."""

    valid_label_columns = ("label",)

    def __init__(
        self,
        pairs: Sequence[Labelled],
        queries: Sequence[str],
        passages: Sequence[str],
        negatives: int,
        seed: int,
    ) -> None:
        self.pairs, self.queries, self.passages = pairs, queries, passages
        self.negatives, self.seed = negatives, seed

    def __call__(self, rows: Iterable[dict[str, int]]) -> dict[str, Any]:
        batch: dict[str, Any] = {"query": [], "passages": [], "label": []}
        for row in rows:
            drawing, number = divmod(row["drawing"], len(self.pairs))
            pair = self.pairs[number]
            drawn = draw_negatives(pair, self.negatives, self.seed, drawing)
            batch["query"].append(self.queries[pair.query])
            batch["passages"].append([self.passages[place] for place in (pair.positive, *drawn)])
            batch["label"].append(torch.tensor([RELEVANT] + [0.0] * len(drawn)))
        return batch


class _Evaluator(BaseEvaluator):  # type: ignore[misc]
    """Keeps every evaluation's values per query beside the checkpoints, for after a resume."""

    def __init__(self, dev: DevLists, passages: Sequence[str], folder: Path, bfloat16: bool) -> None:
        super().__init__()
        self.dev, self.passages, self.folder, self.bfloat16 = dev, passages, folder, bfloat16

    def __call__(self, model: CrossEncoder, steps: int = 0, **_: Any) -> dict[str, float]:
        values = dev_ndcg(model, self.dev, self.passages, bfloat16=self.bfloat16)
        write_json(self._file(steps), values)
        return {"ndcg_at_10": float(np.mean(list(values.values())))}

    def found(self, step: int) -> dict[str, float]:
        """nDCG@10 per query at a step."""
        return dict(read_json(self._file(step)))

    def _file(self, step: int) -> Path:
        return self.folder / f"dev-{step}.json"
