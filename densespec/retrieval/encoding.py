"""Encoding passages and queries in resumable shards, with the model's own prompts and pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.student import precision_of
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]
SHARD_TEXTS = 256


def encode(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
    batch_size: int = 16,
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
        batch_size: texts per forward pass.
        tokens: keep token vectors in the shards too (see :func:`token_shards`).

    Returns:
        float32 array (texts, dimension), normalised to length 1.
    """
    blocks = embedded(
        model, fingerprint, texts, folder, task=task, label=label, batch_size=batch_size, tokens=tokens
    )
    return np.concatenate(list(blocks))


def embedded(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
    batch_size: int = 16,
    tokens: bool = False,
) -> Iterator[Array]:
    """The rows of :func:`encode`, shard by shard, so memory holds one shard at a time.

    Yields:
        float32 (texts of the shard, dimension), length 1; for no texts one block without rows.
    """
    if not texts:
        yield np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    for _, shard in _shards(model, fingerprint, texts, folder, task, label, batch_size, tokens):
        yield shard["embeddings"]


def token_shards(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    *,
    task: str,
    label: str,
    batch_size: int = 16,
) -> Iterator[tuple[slice, Shard]]:
    """Token vectors, shard by shard, so memory holds one shard at a time.

    Yields:
        The texts' slice and arrays ``tokens`` (float16, all tokens of the shard, dimension; of
        length 1) and ``token_ends`` (int64, per text).
    """
    return _shards(model, fingerprint, texts, folder, task, label, batch_size, tokens=True)


def _shards(
    model: SentenceTransformer,
    fingerprint: str,
    texts: Sequence[str],
    folder: Path,
    task: str,
    label: str,
    batch_size: int,
    tokens: bool,
) -> Iterator[tuple[slice, Shard]]:
    setting = [
        fingerprint, model.max_seq_length, prompt_for(model, task), task, tokens, batch_size,
        precision_of(model),
    ]  # fmt: skip

    def compute(chunk: Sequence[str]) -> Shard:
        if tokens:
            shard = _with_tokens(model, chunk, task, batch_size)
        else:
            shard = {"embeddings": _embed(model, chunk, task, batch_size)}
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


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def prompt_for(model: SentenceTransformer, task: str) -> str:
    """The prompt that sentence-transformers prepends for a task (``""`` for none).

    Args:
        model: as ``load_student`` returns it, with its passage prompt under the name ``document``.
        task: ``"query"`` or ``"document"``.
    """
    return str(model.prompts.get(task) or "")


def _embed(model: SentenceTransformer, texts: Sequence[str], task: str, batch_size: int) -> Array:
    method = model.encode_query if task == "query" else model.encode_document
    vectors = method(
        list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, dtype=np.float32)


def _with_tokens(model: SentenceTransformer, texts: Sequence[str], task: str, batch_size: int) -> Shard:
    method = model.encode_query if task == "query" else model.encode_document
    items = method(
        list(texts), batch_size=batch_size, output_value=None, show_progress_bar=False
    )
    if "token_embeddings" not in items[0]:
        raise InputError(
            "params student.model",
            expected="a transformer, whose token vectors the teacher hybrid compares",
            found="static word vectors",
            remedy="set mine.token_vectors to false and name teachers other than hybrid",
        )
    tokens = [item["token_embeddings"][item["attention_mask"].bool()].float().cpu().numpy() for item in items]
    embeddings = np.stack([item["sentence_embedding"].float().cpu().numpy() for item in items])
    return {
        "embeddings": _unit(embeddings).astype(np.float32),
        "tokens": _unit(np.concatenate(tokens)).astype(np.float16),
        "token_ends": np.cumsum([len(vectors) for vectors in tokens]),
    }


def _unit(vectors: Array) -> Array:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Array = vectors / np.maximum(norms, 1e-12)
    return unit
