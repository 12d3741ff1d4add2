"""What the speed programs share: a process per measurement, the machine's roof, and the tables."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from real_collections import ROOT, cores, git, memory, processor

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]
#: Longest text that a BERT model takes.
MAX_TOKENS = 512
#: The last line that a measuring process prints starts with this.
RESULT = "result: "


def in_own_process(script: str, *options: str) -> dict[str, Any]:
    """Run ``script`` again with further options, in this checkout; the result that it reports.

    Peak memory is a process's, so every measurement has one of its own.

    Raises:
        RuntimeError: it failed (its messages are on the terminal).
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, script, *sys.argv[1:], *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith(RESULT):
        raise RuntimeError(f"{script} {' '.join(options)} ended with exit code {done.returncode}")
    result: dict[str, Any] = json.loads(lines[-1].removeprefix(RESULT))
    return result


def command_line() -> str:
    """The options of this run, without --out, and with the last part of paths only."""
    given = list(sys.argv[1:])
    if "--out" in given:
        del given[given.index("--out") : given.index("--out") + 2]
    return " ".join(option.rsplit("/", 1)[-1] for option in given) or "default options"


def report(result: dict[str, Any]) -> None:
    """Hand a result to the process that asked for it."""
    print(RESULT + json.dumps(result), flush=True)


def peak_memory() -> int:
    """Bytes: of the GPU if there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def matmul_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product, the best of five: the roof of anything made of them."""
    import torch

    on_gpu = torch.cuda.is_available()
    size = 8192 if on_gpu else 2048
    matrix = torch.randn(size, size, device="cuda" if on_gpu else "cpu", dtype=dtype)
    best = float("inf")
    for _ in range(6):
        started = now()
        matrix @ matrix
        best = min(best, now() - started)
    return 2 * size**3 / best


def now() -> float:
    """Seconds, once the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def weights_of(model: SentenceTransformer) -> int:
    """Parameters that a token is multiplied with: all but the embedding tables."""
    from torch import nn

    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in tables)


def of_shape(shape: str, model_id: str, max_tokens: int, precision: str) -> SentenceTransformer:
    """The student, or a random model of another size behind its tokenizer (the same in every process).

    Args:
        shape: ``"minilm"`` (the model named, with its weights), ``"bert-base"`` or ``"600m"`` (Qwen3-0.6B's).
        model_id: as params student.model.
        max_tokens: longer texts are cut.
        precision: as params student.precision.
    """
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoModel, BertConfig, Qwen3Config

    from densespec.retrieval.student import load_student, quiet_libraries

    quiet_libraries()
    model = load_student(model_id, max_tokens=max_tokens, precision=precision)
    if shape != "minilm":
        bert = shape == "bert-base"
        config = BertConfig() if bert else Qwen3Config(
            hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
            num_attention_heads=16, num_key_value_heads=8, head_dim=128, use_cache=False,
        )  # fmt: skip
        torch.manual_seed(0)
        model[0].model = AutoModel.from_config(config).to(model.device)
        model[1] = Pooling(config.hidden_size, "mean" if bert else "lasttoken")
    return model


def unit(vectors: Array) -> Array:
    """Rows of length 1."""
    scaled: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def whole_words(model: SentenceTransformer) -> list[str]:
    """Words that are one token each to a BERT tokenizer (and about one to others)."""
    vocabulary = model.tokenizer.get_vocab()
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower())


def random_texts(
    words: Sequence[str], count: int, tokens: int, spread: float, random: np.random.Generator
) -> list[str]:
    """Texts of random words.

    Args:
        words: of :func:`whole_words`.
        count: of texts.
        tokens: mean length, with a BERT tokenizer's two special tokens.
        spread: σ of the lengths' logarithm; 0 makes all equal.
        random: source of chance.
    """
    factors = np.exp(spread * random.standard_normal(count) - spread**2 / 2)  # of mean 1
    lengths = np.clip(np.round(tokens * factors), 4, MAX_TOKENS).astype(int) - 2
    return [" ".join(random.choice(words, length)) for length in lengths]


def machine() -> str:
    """Commit, machine and versions in one line."""
    import torch

    # only what is measured: a changed document changes no figure
    changed = git("status", "--porcelain", "--", "densespec", "benchmarks/*.py")
    parts = [
        f"Commit {git('rev-parse', '--short=10', 'HEAD')}{' with uncommitted changes' if changed else ''}",
        f"{platform.system()} {platform.machine()}",
        processor(),
        f"{cores()} cores ({torch.get_num_threads()} threads)",
        memory(),
        f"Python {platform.python_version()}",
        *(f"{name} {found}" for name in PACKAGES if (found := installed(name))),
    ]
    if torch.cuda.is_available():
        parts.insert(3, torch.cuda.get_device_name())
    return ", ".join(parts) + "."


PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime")


def installed(package: str) -> str:
    """Version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def publish(lines: Sequence[str], out: Path | None) -> None:
    """Print lines, and append them to a file of results."""
    print("\n".join(lines), flush=True)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
