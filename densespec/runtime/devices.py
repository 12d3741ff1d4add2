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
