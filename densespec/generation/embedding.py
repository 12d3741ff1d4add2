"""The untuned student as a function from texts to vectors, loaded when first called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densespec.generation.writer import Array, Embed
from densespec.retrieval.encoding import encode
from densespec.retrieval.student import for_device, load_student, quiet_libraries, student_fingerprint
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def student_embedder(setting: Mapping[str, Any], folder: Path) -> Embed:
    """A function that embeds texts with the student and keeps the embeddings in ``folder``.

    Texts that it embedded before are found without loading the model: of a domain's kinds, which embed the
    same texts, all but the first spare the seconds that its libraries take.

    Args:
        setting: section ``student`` of params, as :func:`densespec.retrieval.student.load_student` takes it.
        folder: shard folder.
    """

    @cache
    def student() -> SentenceTransformer:
        quiet_libraries()
        return load_student(**setting)

    def embed(texts: Sequence[str], task: str) -> Array:
        import torch

        identity = student_fingerprint(setting["model"], setting["revision"])
        label = "encode spans" if task == "query" else "encode passages"
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_device = for_device(device, setting["precision"], setting["batch_tokens"])
        ((_, whole),) = map_shards(
            folder,
            [texts],
            1,
            lambda _: digest("embedder", identity, dict(setting), on_device, task, list(texts)),
            lambda _: {"embeddings": encode(student(), identity, texts, folder, task=task, label=label)},
            label="",
        )
        return whole["embeddings"]

    return embed


def student_name(model: str, revision: str | None) -> str:
    """The student as records name it: without a machine's folders, with the pinned revision."""
    name = Path(model).name if model.startswith(("/", "~")) else model
    return f"{name}@{revision}" if revision else name
