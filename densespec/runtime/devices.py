"""What the hardware is good at."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")
#: The C++ compiler that torch.compile calls on a CPU.
COMPILER = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def compiler() -> str | None:
    """Path of :data:`COMPILER`; None without it."""
    return shutil.which(COMPILER)


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices; without that a CPU takes 15 times as long."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def within_memory(compute: Callable[[], Result]) -> Result | None:
    """What ``compute`` returns; None where the device's memory does not hold what it takes."""
    import torch

    try:
        return compute()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # outside of the handler nothing holds its tensors any more
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a type for it; the allocators of CPU and MPS, and cuBLAS, have words."""
    import torch

    said = ("out of memory", "can't allocate memory", "not enough memory", "_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def precision_on(device: torch.device, asked: str) -> str:
    """``bfloat16`` or ``float32`` as asked; for ``auto`` the one that the device is faster in."""
    if asked != "auto":
        return asked
    return "bfloat16" if is_fast_in_bfloat16(device) else "float32"
