"""The mining benchmark runs and judges its contenders rightly; what it measures is not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "mining_memory.py"


def test_every_contender_on_a_small_corpus(tmp_path: Path) -> None:
    options = ["--passages", "2500", "--queries", "20", "--dimension", "32", "--depth", "50", "--out"]
    here = {"PYTHONPATH": str(PROGRAM.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *options, str(tmp_path / "out.md")],
        capture_output=True, text=True, env=os.environ | here,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    recalls = {row[0]: row[4] for row in rows[2:]}
    assert list(recalls) == ["memory", "flat", "hnsw", "ivf", "bm25s"]
    assert recalls["memory"] == recalls["flat"] == "1.000" and recalls["bm25s"] == ""
    assert all(float(recalls[kind]) > 0.3 for kind in ("hnsw", "ivf"))
