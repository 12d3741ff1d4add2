"""The untuned student as a function from texts to vectors, loaded when first called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from densespec.generation.writer import Array, Embed
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import load_student, student_fingerprint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def student_embedder(
    model: str,
    revision: str | None,
    max_tokens: int | None,
    trust_remote_code: bool,
    precision: str,
    folder: Path,
) -> Embed:
    """A function that embeds texts with the student; its finished shards are kept in ``folder``.

    Args:
        model: packaged model, folder, or hub id.
        revision: commit of a hub model.
        max_tokens: where texts are cut; None for the model's own limit.
        trust_remote_code: run code that comes with the model.
        precision: of its matrix products.
        folder: shard folder.
    """

    @cache
    def student() -> SentenceTransformer:
        return load_student(
            model, revision=revision, max_tokens=max_tokens, trust_remote_code=trust_remote_code,
            precision=precision,
        )  # fmt: skip

    def embed(texts: Sequence[str], task: str) -> Array:
        return encode(
            student(),
            student_fingerprint(model, revision),
            texts,
            folder,
            task=task,
            label="encode spans" if task == "query" else "encode passages",
        )

    return embed


def student_name(model: str, revision: str | None) -> str:
    """The student as records name it: without a machine's folders, with the pinned revision."""
    name = Path(model).name if model.startswith(("/", "~")) else model
    return f"{name}@{revision}" if revision else name
