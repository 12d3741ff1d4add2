"""The untuned student as a function from texts to vectors, loaded when first called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densespec.generation.writer import Array, Embed
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import load_student, student_fingerprint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def student_embedder(setting: Mapping[str, Any], folder: Path) -> Embed:
    """A function that embeds texts with the student; its finished shards are kept in ``folder``.

    Args:
        setting: arguments of :func:`densespec.retrieval.student.load_student`.
        folder: shard folder.
    """

    @cache
    def student() -> SentenceTransformer:
        return load_student(**setting)

    def embed(texts: Sequence[str], task: str) -> Array:
        return encode(
            student(),
            student_fingerprint(setting["model"], setting["revision"]),
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
