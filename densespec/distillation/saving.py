"""Saving a student so that it loads as one folder in plain sentence-transformers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from densespec.io.jsonl import write_json
from densespec.retrieval.student import NOTE, forget_last_call

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


def save_student(
    path: Path,
    trained: SentenceTransformer,
    untuned: SentenceTransformer,
    side: str,
    student: str,
    dims: Sequence[int] = (),
    losses: Sequence[str] = ("kl", "infonce"),
) -> None:
    """Write ``trained`` into the folder ``path``.

    With side ``query`` the folder holds two encoders behind sentence-transformers' Router: queries go
    to the trained one (``encode_query``), passages to the untuned one (``encode_document``, and plain
    ``encode``), so an index built with the untuned model stays valid.

    Args:
        path: an existing folder.
        trained: the trained student.
        untuned: the student as it was.
        side: ``"query"`` or ``"both"``.
        student: id of the base model, for the note.
        dims: leading dimensions that it was trained to serve alone, for the note.
        losses: terms of the loss that it was trained with, for the note.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    for used in (trained, untuned):
        forget_last_call(used)
    model = trained
    if side == "query":
        router = Router.for_query_document(
            query_modules=_encoder(trained, "query"), document_modules=_encoder(untuned, "document")
        )
        model = SentenceTransformer(
            modules=[router],
            prompts=trained.prompts,
            default_prompt_name=trained.default_prompt_name,
            similarity_fn_name=trained.similarity_fn_name,
            device=str(trained.device),
        )
    model.save_pretrained(str(path), create_model_card=False)
    for code in path.glob("*/*.py"):  # that a student brings: transformers looks for it beside the encoders
        shutil.copyfile(code, path / code.name)
    note: dict[str, object] = {"side": side, "student": student, "losses": list(losses)}
    write_json(path / NOTE, note | ({"dims": list(dims)} if dims else {}))


def _encoder(model: SentenceTransformer, task: str) -> list[nn.Module]:
    """The modules that encode one side: of a student that was specialised before, its encoder for it."""
    from sentence_transformers.base.modules import Router

    first, *others = model.children()
    if isinstance(first, Router) and task in first.sub_modules:
        return [*first.sub_modules[task], *others]
    return [first, *others]
