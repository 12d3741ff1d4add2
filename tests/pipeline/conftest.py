"""The finished tiny repository that all pipeline tests share, built once for all workers of a test run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.repository import build


@pytest.fixture(scope="session")
def tiny_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after one complete ``dvc repro``, committed: read only, for tests of all workers.

    DVC locks a repository, so its commands are for copies. Beside it lie ``repro.log``, what the run
    printed, and ``changes.tsv``, from :func:`build`.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "tiny"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "repro.log").exists():
            shutil.rmtree(folder, ignore_errors=True)
            output = build(folder / "repo")
            (folder / "repro.log").write_text(output, encoding="utf-8")
    return folder / "repo"


def copied(repo: Path, target: Path) -> Path:
    """A copy with its cache and run cache, without scratch and DVC's state."""
    return Path(shutil.copytree(repo, target, symlinks=True, ignore=_unshared(repo)))


def _unshared(repo: Path) -> Callable[[str, list[str]], list[str]]:
    top = {str(repo): [".densespec"], str(repo / ".dvc"): ["tmp"]}
    return lambda folder, names: top.get(folder, [])


@pytest.fixture
def tiny_copy(tiny_repo: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return copied(tiny_repo, tmp_path / "copy")


@pytest.fixture(scope="module")
def module_copy(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for the tests of one module, which leave it as they found it."""
    return copied(tiny_repo, tmp_path_factory.mktemp("module") / "copy")
