"""Reading commits and DVC experiments out of git, without checking anything out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from densespec.errors import InputError

EXPERIMENT_REF = re.compile(r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38,62}/(.+)$")


class Commit(NamedTuple):
    """One commit.

    Attributes:
        id: full hash.
        time: of the commit, seconds since 1970.
        subject: first line of the message.
        experiments: names of the DVC experiments that this commit is.
    """

    id: str
    time: int
    subject: str
    experiments: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it: the experiments' names, or seven digits of the hash."""
        return ", ".join(self.experiments) or self.id[:7]


def select_commits(
    root: Path, revision: str | None = None, *, everything: bool = False, experiments: bool = False
) -> list[Commit]:
    """Commits to look at, oldest first.

    Args:
        root: repository.
        revision: one commit, or a range ``A..B``; None = ``HEAD`` unless one of the next is set.
        everything: all commits of all branches and tags, and all experiments.
        experiments: all DVC experiments.

    Raises:
        InputError: not a git repository, no commit, or an unknown revision.
    """
    names = experiment_names(root)
    ids: list[str] = []
    if everything:
        ids += _git(root, "rev-list", "--branches", "--tags", "--remotes", "HEAD", "--").split()
    if everything or experiments:
        ids += names
    if revision or not (everything or experiments):
        wanted = revision or "HEAD"
        limit = [] if ".." in wanted else ["--max-count=1"]
        ids += _git(root, "rev-list", *limit, "--end-of-options", wanted, "--").split()
    if not ids:
        return []
    form = "--format=%H%x1f%ct%x1f%s"
    out = _git(root, "log", "--no-walk", "--no-show-signature", form, "--stdin", stdin="\n".join(ids))
    commits = {}
    for line in filter(None, out.split("\n")):
        commit_id, time, subject = line.split("\x1f", 2)
        commits[commit_id] = Commit(commit_id, int(time), subject, tuple(sorted(names.get(commit_id, ()))))
    return sorted(commits.values(), key=lambda commit: (commit.time, commit.id))


def experiment_names(root: Path) -> dict[str, list[str]]:
    """Commit id → names of the DVC experiments that it is."""
    names: dict[str, list[str]] = {}
    for line in _git(root, "for-each-ref", "refs/exps", "--format=%(objectname) %(refname)").splitlines():
        commit_id, ref = line.split(" ", 1)
        if match := EXPERIMENT_REF.match(ref):
            names.setdefault(commit_id, []).append(match[1])
    return names


def uncommitted_files(root: Path, folders: Iterable[str]) -> list[str]:
    """Changed and new files below some folders (or the files themselves)."""
    out = _git(root, "status", "--porcelain", "-z", "--no-renames", "--", *folders)
    return [entry[3:] for entry in out.split("\0") if entry]


def list_files(root: Path, commit_id: str, folders: Iterable[str]) -> list[str]:
    """Paths of a commit's files below some folders (or the files themselves), relative to ``root``."""
    out = _git(root, "ls-tree", "-r", "-z", "--name-only", commit_id, "--", *folders)
    return [path for path in out.split("\0") if path]


def read_files(root: Path, commit_id: str, paths: list[str]) -> dict[str, str]:
    """Texts of a commit's files, in one call of git."""
    if not paths:
        return {}
    request = "".join(f"{commit_id}:./{path}\n" for path in paths)
    out = _git_bytes(root, "cat-file", "--batch", stdin=request.encode())
    texts, position = {}, 0
    for path in paths:
        end = out.index(b"\n", position)
        header = out[position:end].decode()
        position = end + 1
        if header.endswith(" missing"):
            continue
        size = int(header.rsplit(" ", 1)[1])
        texts[path] = out[position : position + size].decode("utf-8", errors="replace")
        position += size + 1
    return texts


def _git(root: Path, *arguments: str, stdin: str = "") -> str:
    return _git_bytes(root, *arguments, stdin=stdin.encode()).decode("utf-8", errors="replace")


def _git_bytes(root: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, input=stdin, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        raise InputError(
            "git", expected="the command git", found="not installed", remedy="install git"
        ) from None
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode("utf-8", errors="replace").strip().splitlines() or ["git failed"]
        raise InputError(
            root,
            expected="a git repository with the commits asked for",
            found=message[0],
            remedy="check the revision (`git log --oneline --all`); results are read from commits, "
            "so commit before `densespec sync`",
        ) from None
