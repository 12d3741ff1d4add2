"""LoRA (Hu et al. 2021) by peft: small matrices beside every linear layer of the transformer are trained.

Nothing else is: a Dense layer behind the pooling stays as it is.

Checkpoints hold the adapter alone. The saved student has it merged into its weights, so that it loads
without peft.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from densespec.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: The update is scaled by alpha / rank = 2, a common choice.
ALPHA_PER_RANK = 2


def add_adapter(model: SentenceTransformer, rank: int, seed: int, *, both: bool = False) -> None:
    """Freeze the model and add a LoRA adapter to all its linear layers; it answers as before.

    Args:
        model: the student.
        rank: columns of the small matrices.
        seed: of their first values.
        both: it is trained on queries and passages.

    Raises:
        InputError: peft is not installed, the model is not one of transformers', or it has an encoder for
            each side and both are to be trained.
    """
    from sentence_transformers.base.modules import Router

    try:
        from peft import LoraConfig
    except ImportError:
        raise InputError(
            "distill.lora_rank", expected="the package peft", found="not installed",
            remedy="pip install 'densespec[lora]', or lora_rank: 0 to train all weights",
        ) from None  # fmt: skip
    if not model.has_peft_compatible_model():
        raise InputError(
            "distill.lora_rank", expected="a student with a transformers model inside",
            found=type(model[0]).__name__, remedy="lora_rank: 0 trains all weights",
        )  # fmt: skip
    if both and isinstance(model[0], Router):
        # peft would adapt the first encoder only, and the other one would stay frozen
        raise InputError(
            "distill.lora_rank", expected="a student of one encoder, to train both sides",
            found="one for queries and one for passages (Router)",
            remedy="lora_rank: 0 trains all weights of both; side: query adapts the queries' alone",
        )  # fmt: skip
    model.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.add_adapter(LoraConfig(r=rank, lora_alpha=ALPHA_PER_RANK * rank, target_modules="all-linear"))


def has_adapter(model: SentenceTransformer) -> bool:
    """Whether :func:`add_adapter` was called, and not yet :func:`merge_adapter`."""
    return bool(getattr(model.transformers_model, "peft_config", None))


def load_adapter(model: SentenceTransformer, checkpoint: Path) -> None:
    """Put the adapter of a checkpoint into a model that has one of the same shape.

    Args:
        model: the student.
        checkpoint: folder that the trainer saved.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    (file,) = checkpoint.rglob("adapter_model.safetensors")
    weights = {name.removeprefix("base_model.model."): value for name, value in load_file(file).items()}
    result = set_peft_model_state_dict(model.transformers_model, weights)
    lost = [*result.unexpected_keys, *(name for name in result.missing_keys if "lora_" in name)]
    assert not lost, f"{file}: {lost}"


def merge_adapter(model: SentenceTransformer) -> None:
    """Add the adapter to the weights and remove it: W + (alpha / rank) · B A; the model answers alike."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    inner = model.transformers_model
    for name, module in list(inner.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(inner.get_submodule(parent), child, module.get_base_layer())
    del inner.peft_config
    inner._hf_peft_config_loaded = False
    model.requires_grad_(True)
