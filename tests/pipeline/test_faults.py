"""Kill -9 at random moments: the next ``dvc repro`` ends with the same bytes and repeats no finished work."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.repository import (
    DOMAIN,
    dvc,
    environment,
    isolate,
    kill_switch,
    lock_of,
    stages_run,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="process groups and SIGKILL"),
]

STAGES = [f"generate@{DOMAIN}-question", f"mine@{DOMAIN}", f"score@{DOMAIN}-hybrid", f"distill@{DOMAIN}"]
KILLS = 2
# DVC alone: the stage must end with it, which Linux offers only
VICTIMS = ["group", "stage", "dvc"] if sys.platform == "linux" else ["group", "stage"]
DELAYS = (0.0, 0.002, 0.02)  # seconds after a change of a file: at it, or up to the second one after it


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_goes_on(name: str, tiny_repo: Path, tiny_copy: Path) -> None:
    """Runs without the outputs of other stages and their parameters, too (see ``isolate``)."""
    lock = lock_of(tiny_copy)
    isolate(tiny_copy, name)
    draw = random.Random(f"kill {name}")
    left = changes(tiny_repo.parent / "changes.tsv", lock["stages"][name]["cmd"])
    finished: dict[Path, tuple[int, int]] = {}
    for _ in range(KILLS):
        at = draw.randint(left // 3, 2 * left // 3)
        left -= at + 1  # one more can come through: OVERSHOOT in kill_switch
        whom, delay = draw.choice(VICTIMS), draw.choice(DELAYS)
        killed = repro(tiny_copy, name, AT=at, DELAY=delay, WHOM=whom)
        assert killed.returncode != 0, f"not killed at change {at}\n{killed.stdout[-2000:]}"
        assert name not in lock_of(tiny_copy)["stages"]
        assert unchanged(tiny_copy, finished), f"finished work was repeated before change {at}"
        finished = finished_work(tiny_copy)
    assert finished
    output = dvc(tiny_copy, "repro", "-s", name)
    assert stages_run(output) == [name]
    assert lock_of(tiny_copy) == lock
    assert unchanged(tiny_copy, finished), "finished work was repeated"


def repro(root: Path, name: str, **switch: object) -> subprocess.CompletedProcess[str]:
    """``dvc repro`` of one stage in a process group of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-s", name],
        cwd=root, env=environment(root, **kill_switch(root, **switch)), start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def changes(log: Path, cmd: str) -> int:
    """How often a stage changed a file when nothing killed it."""
    lines = (line.split("\t") for line in log.read_text().splitlines())
    return next(int(count) for count, command in lines if cmd.endswith(command))


def finished_work(root: Path) -> dict[Path, tuple[int, int]]:
    """Shards, and files of complete checkpoints, in the scratch folder, with time and inode."""
    scratch = root / ".densespec/scratch"
    complete = [marker.parent for marker in scratch.rglob("checkpoint-*/complete")]
    files = [file for folder in complete for file in folder.rglob("*") if file.is_file()]
    return {file: identity(file) for file in (*scratch.rglob("*.npz"), *files)}


def unchanged(root: Path, finished: dict[Path, tuple[int, int]]) -> bool:
    return all(file.exists() and identity(file) == known for file, known in finished.items())


def identity(file: Path) -> tuple[int, int]:
    return file.stat().st_mtime_ns, file.stat().st_ino
