"""Encoding passages and queries in resumable shards, with the model's own prompts and pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.like_length import by_length
from densespec.retrieval.student import batch_tokens_of, precision_of
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]
#: Of this module's results: raise it where a text's vectors become others, so that finished shards are left.
VERSION = 1
Result = TypeVar("Result")
SHARD_TEXTS = 256


def encode(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
    tokens: bool = False,
) -> Array:
    """Embed texts; finished shards in ``folder`` are reused.

    Args:
        model: any bi-encoder; its prompt for the task is applied.
        fingerprint: identity of its weights.
        texts: passages' content or queries.
        folder: shard folder, may be shared by several models and stages.
        task: ``"query"`` or ``"document"``.
        label: what the progress line says.
        tokens: keep token vectors in the shards too (see :func:`token_shards`).

    Returns:
        float32 array (texts, dimension), normalised to length 1.
    """
    blocks = embedded(model, fingerprint, texts, folder, task=task, label=label, tokens=tokens)
    return np.concatenate(list(blocks))


def embedded(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
    tokens: bool = False,
) -> Iterator[Array]:
    """The rows of :func:`encode`, shard by shard, so memory holds one shard at a time.

    Yields:
        float32 (texts of the shard, dimension), length 1; for no texts one block without rows.
    """
    if not texts:
        yield np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    for _, shard in _shards(model, fingerprint, texts, folder, task, label, tokens):
        yield shard["embeddings"]


def token_shards(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
) -> Iterator[tuple[slice, Shard]]:
    """Token vectors, shard by shard, so memory holds one shard at a time.

    Yields:
        The texts' slice and arrays ``tokens`` (float16, all tokens of the shard, dimension; of
        length 1) and ``token_ends`` (int64, per text).
    """
    return _shards(model, fingerprint, texts, folder, task, label, tokens=True)


def _shards(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    task: str,
    label: str,
    tokens: bool,
) -> Iterator[tuple[slice, Shard]]:
    setting = encoder_setting(model, fingerprint, task, tokens=tokens)

    def compute(chunk: Sequence[str]) -> Shard:
        shard = _embed(model, chunk, task, tokens)
        wrong = np.flatnonzero(~np.isfinite(shard["embeddings"]).all(axis=1))
        if len(wrong):
            raise InputError(
                label,
                expected="finite embeddings",
                found=f"NaN or infinity in that of {_short(chunk[wrong[0]])}",
                remedy="set the model's precision to float32, or take another: its weights may be damaged",
            )
        return shard

    return map_shards(
        folder, texts, SHARD_TEXTS, lambda chunk: digest(setting, list(chunk)), compute, label
    )


def encoder_setting(model: SentenceTransformer, fingerprint: str, task: str, *, tokens: bool) -> list[Any]:
    """What decides a text's vectors beside the text: for the keys of all that is computed from them.

    Args:
        model: any bi-encoder.
        fingerprint: identity of its weights.
        task: ``"query"`` or ``"document"``.
        tokens: whether token vectors are kept.
    """
    return [
        VERSION, *map(version, ("torch", "transformers", "sentence-transformers")),
        fingerprint, model.max_seq_length, prompt_for(model, task), task, tokens, batch_tokens_of(model),
        precision_of(model),
    ]  # fmt: skip


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def prompt_for(model: SentenceTransformer, task: str) -> str:
    """The prompt that sentence-transformers prepends for a task (``""`` for none).

    Args:
        model: as ``load_student`` returns it, with its passage prompt under the name ``document``.
        task: ``"query"`` or ``"document"``.
    """
    return str(model.prompts.get(task) or "")


def _embed(model: SentenceTransformer, texts: Sequence[str], task: str, tokens: bool) -> Shard:
    import torch
    from sentence_transformers.util import batch_to_device

    def run(rows: list[int], features: dict[str, Any]) -> tuple[list[int], Array, list[Array]]:
        with torch.inference_mode():
            # a copy, to which modules add what they put out, so that a pass leaves nothing behind
            outputs = model(batch_to_device(dict(features), model.device), task=task)
            vectors = outputs["sentence_embedding"][:, : model.truncate_dim].float().cpu().numpy()
            return rows, vectors, _token_states(outputs) if tokens else []

    vectors: list[Array] = [np.zeros(0)] * len(texts)
    states = list(vectors)
    for rows, of_texts, of_tokens in _side_by_side(run, _passes(model, texts, task), _cores(model)):
        for place, row in enumerate(rows):
            vectors[row] = of_texts[place]
            if tokens:
                states[row] = of_tokens[place]
    shard = {"embeddings": unit(np.stack(vectors))}
    if tokens:
        shard["tokens"] = unit(np.concatenate(states)).astype(np.float16)
        shard["token_ends"] = np.cumsum([len(of_text) for of_text in states])
    return shard


def _passes(
    model: SentenceTransformer, texts: Sequence[str], task: str
) -> list[tuple[list[int], dict[str, Any]]]:
    """Numbers of texts, as many as the budget of tokens holds, and their features; the shortest first."""
    given = {"prompt": prompt_for(model, task), "task": task}
    features = model.preprocess(list(texts), **given)
    budget = batch_tokens_of(model)
    if "attention_mask" in features:
        return [(rows.tolist(), group) for rows, group in by_length(features, tokens=budget)]
    if "cu_seq_lens_q" not in features:  # word vectors
        return [(list(range(len(texts))), features)]
    blocks, used = [[0]], 0  # flash attention packs texts without padding
    for row, length in enumerate(features["cu_seq_lens_q"].diff().tolist()):
        used += length
        if row and used > budget:
            blocks.append([])
            used = length
        if row:
            blocks[-1].append(row)
    return [(rows, model.preprocess([texts[row] for row in rows], **given)) for rows in blocks]


def _token_states(outputs: dict[str, Any]) -> list[Array]:
    if "token_embeddings" not in outputs:
        raise InputError(
            "params student.model",
            expected="a transformer, whose token vectors the teacher hybrid compares",
            found="static word vectors",
            remedy="set mine.token_vectors to false and name teachers other than hybrid",
        )
    states, masks = outputs["token_embeddings"].float().cpu(), outputs["attention_mask"].bool().cpu()
    return [of_text[mask].numpy() for of_text, mask in zip(states, masks, strict=True)]


def _cores(model: SentenceTransformer) -> int:
    """How many passes may run at a time: on a CPU one per core, if a pass leaves the model as it is."""
    import torch

    if model.device.type != "cpu":
        return 1
    for module in model.modules():
        config = getattr(module, "config", None)
        # rotary positions of these types are computed anew for longer texts; code of others may do the like
        rotary = str(getattr(config, "rope_parameters", None))
        if hasattr(config, "auto_map") or "dynamic" in rotary or "longrope" in rotary:
            return 1
    return int(torch.get_num_threads())


def _side_by_side(
    run: Callable[..., Result], passes: Sequence[tuple[Any, ...]], cores: int
) -> Iterator[Result]:
    """Forward passes, as many at a time as there are cores, the longest first.

    ``SentenceTransformer.encode`` makes one pass after the other, each on all cores, and each operation
    waits for the slowest of them. Small passes on one core each keep their activations in its cache, too.
    """
    import torch

    longest_first = list(zip(*reversed(passes), strict=True))
    workers = min(cores, len(passes))
    if workers == 1:
        yield from map(run, *longest_first)
        return
    threads = torch.get_num_threads()
    try:
        each = (threads // workers,)
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=each) as pool:
            yield from pool.map(run, *longest_first)
    finally:
        torch.set_num_threads(threads)  # what was set last is what new threads begin with


def unit(vectors: Array) -> Array:
    """Vectors (…, dimension) of length 1; zero stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Array = vectors / np.maximum(norms, 1e-12)
    return scaled
