"""The untuned student as a function from texts to vectors, loaded when first called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densespec.generation.writer import Array, Embed
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import load_student, quiet_libraries, student_fingerprint
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def student_embedder(setting: Mapping[str, Any], folder: Path) -> Embed:
    """A function that embeds texts with the student and keeps the embeddings in ``folder``.

    Texts that it embedded before are found without loading the model: of a domain's kinds, which embed the
    same texts, all but the first spare the 6 seconds that its libraries take.

    Args:
        setting: arguments of :func:`densespec.retrieval.student.load_student`.
        folder: shard folder.
    """
    identity = student_fingerprint(setting["model"], setting["revision"])

    @cache
    def student() -> SentenceTransformer:
        quiet_libraries()
        return load_student(**setting)

    def embed(texts: Sequence[str], task: str) -> Array:
        label = "encode spans" if task == "query" else "encode passages"
        ((_, whole),) = map_shards(
            folder,
            [texts],
            1,
            lambda _: digest("embedder", identity, dict(setting), task, list(texts)),
            lambda _: {
                "embeddings": encode(student(), identity, texts, folder, task=task, label=label)
            },
            label="",
        )
        return whole["embeddings"]

    return embed


def student_name(model: str, revision: str | None) -> str:
    """The student as records name it: without a machine's folders, with the pinned revision."""
    name = Path(model).name if model.startswith(("/", "~")) else model
    return f"{name}@{revision}" if revision else name
