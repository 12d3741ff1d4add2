"""Fingerprint the code of every stage, so that only a change that matters reruns a stage.

For each stage script one file holds the hash of its syntax tree and of every module of densespec that
it imports, directly or not, without comments and docstrings. Stages depend on their file, not on the
sources.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from densespec.errors import run
from densespec.io.atomic import write_text
from densespec.runtime.fingerprint import code_fingerprint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for one <stage>.txt per stage")
    args = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    scripts = sorted(p for p in (root / "stages").glob("*.py") if p.stem not in ("__init__", "code"))
    for script in scripts:
        write_text(args.out / f"{script.stem}.txt", code_fingerprint(script, root) + "\n")
    print(f"fingerprinted {len(scripts)} stages")


if __name__ == "__main__":
    run(main)
