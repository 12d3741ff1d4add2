"""Loading models that score pairs: precision, attention, devices, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from densespec.errors import InputError
from densespec.retrieval.student import model_location, require_pinned
from densespec.runtime.devices import COMPILER, compiler, precision_on

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Says how a fine-tuned cross-encoder was made; a folder without it holds none.
FINETUNED_NOTE = "densespec.json"
#: Tokens per forward pass where params leave it open; on a CPU larger batches are slower.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 2048, 65536
#: Ends of the classes of encoders that nothing scores a pair with: of these the libraries draw a classifier.
HEADLESS = ("Model", "ForMaskedLM", "ForPreTraining", "ForTokenClassification", "ForQuestionAnswering")


def architecture(config: Any) -> str:
    """Class of a model of transformers by its configuration; empty where that names none."""
    return str((config.architectures or [""])[0])


def devices() -> list[str]:
    """Every CUDA device that is visible, else the one accelerator there is, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]


def batch_tokens_for(batch_tokens: int | None) -> int:
    """The budget of params, or the device's where they leave it open."""
    on_cpu = devices() == ["cpu"]
    return batch_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)


def precision(dtype: str) -> torch.dtype:
    """``auto``: bfloat16 on devices that multiply it, else float32."""
    import torch

    return torch.bfloat16 if precision_on(torch.device(devices()[0]), dtype) == "bfloat16" else torch.float32


def model_options(dtype: str, attention: str) -> dict[str, Any]:
    """What ``from_pretrained`` takes: safetensors only, precision, and attention unless it is ``auto``."""
    given: dict[str, Any] = {"use_safetensors": True, "dtype": precision(dtype)}
    return given if attention == "auto" else given | {"attn_implementation": attention}


@contextmanager
def loading(section: str, model: str, revision: str | None, *, remote_code: bool) -> Iterator[str]:
    """Where to load a teacher from; failures become errors that name its section of params.

    Args:
        section: such as ``score.seq2seq``.
        model: folder or hub id.
        revision: commit of a hub model.
        remote_code: whether code that comes with the model is run.

    Raises:
        InputError: no model named, remote code without a pinned revision, or it cannot be loaded.
    """
    if not model:
        raise InputError(
            f"params.yaml: {section}.model",
            expected="a model (folder or hub id)",
            found="''",
            remedy=f"for example dvc exp run -S {section}.model=…; docs/score.md names models",
        )
    require_pinned(section, revision, remote_code)
    try:
        yield model_location(model)
    except (ImportError, AttributeError, KeyError, TypeError, OSError, ValueError) as error:
        expected = "a model of this kind with safetensors weights"
        remedy = (
            "check id, revision and attention; without network give a folder; weights in another "
            "format: save_pretrained of transformers writes safetensors"
        )
        usual = isinstance(error, ImportError | OSError | ValueError)
        if not usual and not remote_code:
            raise
        if not usual or (remote_code and "cannot import name" in str(error)):  # code of another version
            expected = f"code of the model's own that runs with transformers {version('transformers')}"
            remedy = "take a revision made for this version, or a model that transformers has code for"
        raise InputError(
            f"params.yaml: {section}.model = {model}",
            expected=expected,
            found=(str(error).strip() or repr(error)).splitlines()[0],
            remedy=remedy,
        ) from None


def require_weights(section: str, model: str, loaded: nn.Module, lacking: Collection[str]) -> None:
    """Refuse a model without some of its weights, which the library draws at random.

    Args:
        section: such as ``score.seq2seq``.
        model: folder or hub id.
        loaded: what came of it.
        lacking: what its file lacks, buffers that are computed included.

    Raises:
        InputError: weights are missing.
    """
    missing = {name for name, _ in loaded.named_parameters()} & set(lacking)
    if missing:
        raise InputError(
            f"params.yaml: {section}.model = {model}",
            expected="a model of this kind, with all weights",
            found=f"none for {', '.join(sorted(missing)[:3])}{' …' if len(missing) > 3 else ''}",
            remedy="take a reranker of this kind: of another model these would be random",
        )


def replicas(model: nn.Module, section: str, *, compile: bool) -> list[Any]:
    """The model on every device, ready to score.

    Args:
        model: as loaded, on the CPU.
        section: of params, such as ``score.seq2seq``.
        compile: for batches of any shape; happens at the first.

    Raises:
        InputError: nothing to compile with.
    """
    model.eval()
    first, *others = devices()
    if compile and first == "cpu" and not compiler():
        raise InputError(
            f"params.yaml: {section}.compile",
            expected=f"{COMPILER}, which torch.compile calls ($CXX names another C++ compiler)",
            found="no such program",
            remedy="install it, or set compile to false",
        )
    # copied before the model moves: the first device may have no room for two
    further = [copy.deepcopy(model).to(device) for device in others]
    copies = [model.to(first), *further]
    if compile:
        for one in copies:
            one.compile(dynamic=True)
    return copies
