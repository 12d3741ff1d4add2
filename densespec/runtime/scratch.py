"""Scratch: finished shards of long work, kept until the stage's output is published.

A stage that dies is started again by ``dvc repro``; what it had finished is found here by content.
DVC itself offers no such thing: ``persist: true`` would leave shards of old parameters in place.
"""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from densespec.errors import InputError
from densespec.io.atomic import replacing
from densespec.runtime.progress import progress

Item = TypeVar("Item")
Shard = dict[str, np.ndarray[Any, Any]]


def scratch_root() -> Path:
    """``$DENSESPEC_SCRATCH``, or ``.densespec/scratch`` under the main repository.

    ``$DVC_ROOT`` (set by DVC for a stage's command) is the main repository even in ``--temp``
    experiments, so experiments share finished shards.
    """
    configured = os.environ.get("DENSESPEC_SCRATCH")
    base = Path(os.environ.get("DVC_ROOT", "."))
    return Path(configured) if configured else base / ".densespec" / "scratch"


@contextmanager
def locked_scratch(stage: str, domain: str) -> Iterator[Path]:
    """Yield the stage's scratch folder for a domain, locked against a second process.

    Killing ``dvc`` leaves its stage running, and a second ``dvc repro`` would then race it for the
    same files. On Linux the stage also asks to be ended with its parent.

    Raises:
        InputError: another process holds the folder.
    """
    die_with_parent()
    folder = scratch_root() / stage / domain
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                folder / "lock",
                expected=f"no other process at stage '{stage}' of domain '{domain}'",
                found=f"process {lock.read().strip() or '(unknown)'} holds the lock",
                remedy="wait for it, or end that process, then run again",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder


def die_with_parent() -> None:
    """On Linux, ask to be ended when the process that started this one ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)


def map_shards(
    folder: Path,
    items: Sequence[Item],
    size: int,
    key: Callable[[Sequence[Item]], str],
    compute: Callable[[Sequence[Item]], Shard],
    label: str,
) -> Iterator[tuple[slice, Shard]]:
    """Compute shard by shard, each kept in ``folder`` under its content key and reused when there.

    A killed process loses at most the shard in work. A shard holds what ``compute`` returned for it,
    whether computed now or found, so a resumed run yields the same bytes as an uninterrupted one.

    Args:
        folder: where shards live.
        items: the work, in order.
        size: items per shard.
        key: everything that decides a shard's content, as a file name.
        compute: arrays for a shard's items.
        label: what the progress line says.

    Yields:
        The items' slice and the arrays of the shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with progress(label, len(items)) as advance:
        for start in range(0, len(items), size):
            part = slice(start, min(start + size, len(items)))
            chunk = items[part]
            path = folder / f"{key(chunk)}.npz"
            shard = load_shard(path)
            if shard is None:
                shard = compute(chunk)
                with replacing(path) as temporary:
                    buffer = io.BytesIO()
                    np.savez(buffer, allow_pickle=False, **shard)
                    temporary.write_bytes(buffer.getbuffer())
            advance(part.stop - part.start)
            yield part, shard


def load_shard(path: Path) -> Shard | None:
    """A finished shard; None if there is none. One that a disk fault damaged is deleted, to be made again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        return None
    except Exception:
        path.unlink(missing_ok=True)
        return None
