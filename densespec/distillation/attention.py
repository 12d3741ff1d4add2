"""Which implementation of attention trains fastest on a CPU.

PyTorch's fused attention saves memory, but on a CPU its backward pass is slow: four times as long as the
forward pass. The plain one (matrix products and a softmax) takes half of the time of a training step in
bfloat16 at 100 tokens and is level at 250; in float32 it wins with short texts only. The result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from densespec.retrieval.student import precision_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@contextmanager
def attention_for_training(model: SentenceTransformer, *, short: bool) -> Iterator[None]:
    """Let the model train with the faster attention, and give it back its own.

    Args:
        model: the student; nothing changes on a GPU, or in a model that has one implementation.
        short: it is trained on queries alone.
    """
    from transformers import PreTrainedModel

    plain = model.device.type == "cpu" and (short or precision_of(model) == "bfloat16")
    encoders = [module for module in model.modules() if plain and isinstance(module, PreTrainedModel)]
    own = [encoder.config._attn_implementation for encoder in encoders]
    try:
        for encoder, name in zip(encoders, own, strict=True):
            if name == "sdpa":
                encoder.set_attn_implementation("eager")
        yield
    finally:
        for encoder, name in zip(encoders, own, strict=True):
            if name == "sdpa":
                encoder.set_attn_implementation(name)
