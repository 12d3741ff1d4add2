"""What the hardware is good at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices; without that a CPU takes 15 times as long."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's memory was too small: CUDA has a type for it, other allocators and cuBLAS words."""
    import torch

    said = ("out of memory", "can't allocate memory", "not enough memory", "_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def precision_on(device: torch.device, asked: str) -> str:
    """``bfloat16`` or ``float32`` as asked; for ``auto`` the one that the device is faster in."""
    if asked != "auto":
        return asked
    return "bfloat16" if is_fast_in_bfloat16(device) else "float32"
