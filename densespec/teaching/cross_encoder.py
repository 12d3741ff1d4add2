"""A cross-encoder as teacher: any sentence-transformers CrossEncoder with one output per pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.student import model_location
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Array = np.ndarray[Any, Any]
SHARD_QUERIES = 16


def load_cross_encoder(
    model_id: str, *, revision: str | None, max_tokens: int, trust_remote_code: bool
) -> CrossEncoder:
    """Load a cross-encoder; weights from safetensors only.

    Raises:
        InputError: no model named, it cannot be had, remote code without a pinned revision, or a
            model with several labels.
    """
    from sentence_transformers import CrossEncoder

    if not model_id or (trust_remote_code and not revision):
        raise InputError(
            "params.yaml: score.cross_encoder",
            expected="a model (folder or hub id), and a pinned revision beside trust_remote_code",
            found=f"model '{model_id}', revision {revision}",
            remedy="for example dvc exp run -S score.cross_encoder.model=cross-encoder/ms-marco-MiniLM-L6-v2",
        )
    try:
        model = CrossEncoder(
            model_location(model_id),
            revision=revision,
            max_length=max_tokens,
            trust_remote_code=trust_remote_code,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"params.yaml: score.cross_encoder.model = {model_id}",
            expected="a cross-encoder with safetensors weights",
            found=str(error).splitlines()[0],
            remedy="check id and revision; without network give a folder",
        ) from None
    if model.num_labels != 1:
        raise InputError(
            f"params.yaml: score.cross_encoder.model = {model_id}",
            expected="one output per pair (a relevance score)",
            found=f"{model.num_labels} labels",
            remedy="take a reranker, for example cross-encoder/ms-marco-MiniLM-L6-v2",
        )
    return model


def cross_encoder_scores(
    model: CrossEncoder,
    fingerprint: str,
    passages: Sequence[str],
    queries: Sequence[str],
    candidates: Sequence[Sequence[int]],
    folder: Path,
    batch_size: int,
) -> list[Array]:
    """Raw logits of every query with its candidates, shard by shard.

    Args:
        model: the teacher.
        fingerprint: identity of its weights.
        passages: passages' content.
        queries: query texts.
        candidates: row numbers per query.
        folder: where finished shards live.
        batch_size: pairs per forward pass; pairs are sorted by length within a shard.

    Returns:
        One float32 array (candidates,) per query.
    """
    import torch

    def compute(numbers: Sequence[int]) -> Shard:
        pairs = [(queries[n], passages[row]) for n in numbers for row in candidates[n]]
        logits = model.predict(
            pairs, batch_size=batch_size, activation_fn=torch.nn.Identity(), show_progress_bar=False
        )
        return {"scores": np.asarray(logits, dtype=np.float32).reshape(-1)}

    def key(numbers: Sequence[int]) -> str:
        pairs = [[queries[n], [passages[row] for row in candidates[n]]] for n in numbers]
        return digest("cross-encoder", fingerprint, model.max_length, batch_size, pairs)

    scores: list[Array] = [np.zeros(0, dtype=np.float32)] * len(queries)
    numbers = [n for n, rows in enumerate(candidates) if len(rows)]
    for part, shard in map_shards(folder, numbers, SHARD_QUERIES, key, compute, "cross-encoder"):
        ends = np.cumsum([len(candidates[n]) for n in numbers[part]])
        for n, values in zip(numbers[part], np.split(shard["scores"], ends[:-1]), strict=True):
            scores[n] = values
    return scores
