"""``densespec clean``: drop the scratch of finished work."""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from densespec.errors import InputError
from densespec.io.params import read_yaml
from densespec.repository import repository_root
from densespec.runtime.scratch import scratch_root
from densespec.terminal import table

DESCRIPTION = """\
Drop scratch folders of finished work: finished shards and checkpoints that let a killed stage go on. Work is
finished when `dvc status` says that its stage is up to date. A folder whose lock is held is never touched.
"""
EXAMPLES = """\
examples:
  densespec clean           show sizes, ask, drop
  densespec clean --yes     do not ask
  densespec clean --all     unfinished work too: it starts from the beginning next time
"""
SHARED = "encode"  # embeddings that mine, score, evaluate and search share


class Folder(NamedTuple):
    """One scratch folder.

    Attributes:
        path: where it is.
        name: ``<stage>/<domain>``, or ``encode`` for the shared embeddings.
        size: bytes.
        state: ``finished``, ``unfinished`` or ``in use``.
    """

    path: Path
    name: str
    size: int
    state: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec clean``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--all", action="store_true", help="drop unfinished work too")


def main(args: argparse.Namespace) -> None:
    """List the folders and drop those that may go."""
    base = scratch_root()
    folders = scratch_folders(base, finished_stages(repository_root()) if base.is_dir() else set())
    if not folders:
        print(f"nothing in {base}")
        return
    rows = [(folder.name, _bytes(folder.size), folder.state) for folder in folders]
    print("\n".join(table([("scratch", "size", "work"), *rows], numbers=(1,))))
    states = ("finished", "unfinished") if args.all else ("finished",)
    chosen = [folder for folder in folders if folder.state in states]
    size = _bytes(sum(folder.size for folder in chosen))
    if not chosen:
        print("nothing to drop" + ("" if args.all else " (--all drops unfinished work too)"))
    elif args.yes or _agreed(f"drop {len(chosen)} folders, {size}? [y/N] "):
        dropped = [folder for folder in chosen if drop(base, folder)]
        print(f"dropped {_bytes(sum(folder.size for folder in dropped))} in {len(dropped)} folders")
    else:
        print("nothing dropped")


def scratch_folders(base: Path, finished: set[str]) -> list[Folder]:
    """The folders below ``base`` that stages have locked at some time, and the shared embeddings.

    Anything else is no scratch of ours and is left out, so a mistaken ``DENSESPEC_SCRATCH`` loses nothing.

    Args:
        base: of :func:`densespec.runtime.scratch.scratch_root`.
        finished: DVC's names of the stages that are up to date.
    """
    folders = []
    for lock in sorted(base.glob("*/*/lock")):
        path = lock.parent
        stage, domain = path.parent.name, path.name
        kept, _, item = stage.partition("-")  # score-hybrid/pydocs is the stage score@pydocs-hybrid
        done = bool({f"{stage}@{domain}", f"{kept}@{domain}-{item}"} & finished)
        with _lock(path) as free:
            state = "in use" if not free else "finished" if done else "unfinished"
        if size := _size(path):
            folders.append(Folder(path, f"{stage}/{domain}", size, state))
    if size := _size(base / SHARED):
        states = {folder.state for folder in folders}
        state = next((state for state in ("in use", "unfinished") if state in states), "finished")
        folders.append(Folder(base / SHARED, SHARED, size, state))
    return folders


def drop(base: Path, folder: Folder) -> bool:
    """Delete a folder's content under its lock (the shared embeddings: under all locks).

    The lock file stays: deleting it would let two later processes hold two locks.

    Returns:
        False when a process took a lock meanwhile; nothing is deleted then.
    """
    locks = [folder.path] if folder.name != SHARED else [lock.parent for lock in base.glob("*/*/lock")]
    with ExitStack() as held:
        if not all([held.enter_context(_lock(path)) for path in locks]):
            print(f"kept {folder.name}: in use")
            return False
        for entry in folder.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
    return True


def finished_stages(root: Path) -> set[str]:
    """Stages in ``dvc.lock`` that ``dvc status`` has nothing to say about.

    Raises:
        InputError: DVC can't tell.
    """
    lock = root / "dvc.lock"
    if not lock.is_file():
        return set()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], cwd=root, capture_output=True, text=True
    )
    try:
        changed = json.loads(done.stdout)
    except ValueError:
        reason = done.stderr.strip().splitlines() or ["no answer"]
        raise InputError(
            root,
            expected="an answer of `dvc status`, which says what work is finished",
            found=reason[-1],
            remedy="run `dvc status` and mend what it names",
        ) from None
    return set(read_yaml(lock).get("stages") or {}) - set(changed)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether a scratch folder's lock could be had; it is held inside."""
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _size(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / "lock"]
    return sum(path.lstat().st_size for path in files)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
