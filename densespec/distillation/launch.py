"""Starting a training in several processes."""

from __future__ import annotations

import os
import sys

from densespec.errors import InputError
from densespec.runtime.scratch import die_with_parent


def start_processes(count: int, module: str) -> None:
    """Replace this process by torchrun with ``count`` processes of the same command; return in each of them.

    Args:
        count: processes on this machine, one per GPU where there are GPUs; with 1 nothing happens.
        module: the command's module, as after ``python -m``.

    Raises:
        InputError: there are GPUs, but fewer.
    """
    if count == 1:
        return
    die_with_parent()
    if "LOCAL_RANK" in os.environ:
        return
    import torch

    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise InputError(
            "params distill.processes",
            expected=f"at most one process per GPU, of which there are {gpus}",
            found=str(count),
            remedy=f"set distill.processes to {gpus} or less",
        )
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    os.execv(sys.executable, [sys.executable, *torchrun, "-m", module, *sys.argv[1:]])


def is_first_process() -> bool:
    """Whether this is the process that writes outputs and talks to the user."""
    return int(os.environ.get("RANK", "0")) == 0
