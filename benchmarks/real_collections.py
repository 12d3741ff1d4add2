"""Run the pipeline on real test collections and print one table of the results.

A throw-away clone of this repository's HEAD gets one domain per collection (densespec new-domain, with
the overrides in conf/collections/NAME.yaml), runs `dvc repro evaluate@NAME`, and is deleted afterwards.
What is measured is therefore a commit, and nothing in the repository changes.

collections:
  scifact-log       SciFact; its training claims are an unlabelled log, without near-copies of test claims
  scifact-log-near  the same with near-copies, without equal ones
  scifact           SciFact; only queries that the extractive writer makes from the passages
  cranfield         Cranfield; the same
  nl2bash-log       NL2Bash; its training queries are an unlabelled query log
  nl2bash           NL2Bash; only extractive queries
  nl2bash-labels    NL2Bash; its training queries, each as if written for the commands that answer it
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = """\
examples:
  python benchmarks/real_collections.py --data beir --out benchmarks/collections.md
  python benchmarks/real_collections.py --data beir --only scifact-log,cranfield
  make scifact DATA=beir/scifact                    the same as --only scifact-log
"""
HEAD = (
    *("collection", "passages", "training lists", "untuned", "specialised", "difference [95 %]", "p"),
    *("control", "BM25", "hybrid", "teacher", "verdict", "minutes", "GB"),
)


class Collection(NamedTuple):
    """Where a collection is, and how it becomes a domain.

    Attributes:
        folder: BEIR folder below ``--data``.
        title: for reports and cards.
        licence: of texts and queries.
        options: further options of ``densespec new-domain``.
    """

    folder: str
    title: str
    licence: str
    options: tuple[str, ...] = ()


SCIFACT = Collection("scifact", "SciFact", "CC-BY-4.0 (claims), ODC-By-1.0 (abstracts)")
NL2BASH = Collection("nl2bash", "NL2Bash", "MIT")
LOG = ("--log-split", "train")
COLLECTIONS = {
    "scifact-log": SCIFACT._replace(options=LOG),
    "scifact-log-near": SCIFACT._replace(options=LOG),
    "scifact": SCIFACT,
    "cranfield": Collection("cranfield", "Cranfield", "unknown"),
    "nl2bash-log": NL2BASH._replace(options=LOG),
    "nl2bash": NL2BASH,
    "nl2bash-labels": NL2BASH._replace(options=("--recorded-split", "train")),
}


class Spent(NamedTuple):
    """What a command took.

    Attributes:
        code: exit code.
        seconds: wall clock.
        peak: bytes, of the largest process among it and its children.
    """

    code: int
    seconds: float
    peak: int


def main() -> None:
    """Run what the options ask for; exit code 1 when a collection failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of BEIR folders (scifact/, …), or one BEIR folder"
    )
    parser.add_argument("--only", default="", metavar="NAME,…", help="some of the collections (default: all)")
    parser.add_argument("--out", type=Path, help="write the table here too, after every collection")
    parser.add_argument("--scratch", type=Path, help="reuse embeddings of an earlier run kept in this folder")
    parser.add_argument("--keep", action="store_true", help="keep the clone, and say where it is")
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(COLLECTIONS)
    sources = {name: source_of(name, chosen, args.data) for name in chosen}

    work = Path(tempfile.mkdtemp(prefix="densespec-collections-"))
    clone = work / "clone"
    environment = environment_for(args.scratch.resolve() if args.scratch else work / "scratch")
    lines = [*heading(), "", *table(HEAD)]
    failed, embedded = [], set()
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        for name, source in sources.items():
            print(f"\n=== {name}: {source} ===", file=sys.stderr, flush=True)
            spent = run(name, source, clone, environment)
            if spent.code:
                failed.append(name)
            reused = source in embedded or args.scratch is not None
            embedded.add(source)
            lines.append(f"| {' | '.join(row(name, clone / 'metrics' / name, spent, reused))} |")
            if args.out:
                args.out.write_text("\n".join([*lines, "", *notes()]) + "\n", encoding="utf-8")
    finally:
        if args.keep:
            print(f"\nkept: {clone}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print("\n".join(["", *lines, "", *notes()]))
    if failed:
        sys.exit(1)


def source_of(name: str, chosen: Sequence[str], data: Path) -> Path:
    """The BEIR folder of a collection; ends the program where there is none."""
    if name not in COLLECTIONS:
        refuse("--only", f"some of {', '.join(COLLECTIONS)}", repr(name), "correct the name")
    folder = COLLECTIONS[name].folder
    if (data / "corpus.jsonl").is_file():
        if {COLLECTIONS[other].folder for other in chosen if other in COLLECTIONS} != {folder}:
            refuse(str(data), "a folder of BEIR folders", "one BEIR folder", "name its collections: --only …")
        return data.resolve()
    if not (data / folder / "corpus.jsonl").is_file():
        beir = "a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv"
        remedy = f"check --data, or leave {name} out with --only"
        refuse(str(data / folder), beir, "no corpus.jsonl", remedy)
    return (data / folder).resolve()


def refuse(where: str, expected: str, found: str, remedy: str) -> None:
    """End the program on a mistake of the user."""
    print(
        f"error: {where}\n  expected: {expected}\n  found:    {found}\n  remedy:   {remedy}", file=sys.stderr
    )
    sys.exit(2)


def environment_for(scratch: Path) -> dict[str, str]:
    """Environment of the clone's commands: this interpreter is `python`, scratch is shared, no tracking."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DVC_ROOT", "PYTHONSAFEPATH")}
    folder = str(Path(sys.executable).parent)
    return environment | {
        "PATH": os.pathsep.join([folder, environment.get("PATH", os.defpath)]),
        "DENSESPEC_SCRATCH": str(scratch),
        "DENSESPEC_TRACKING": "off",
    }


def run(name: str, source: Path, clone: Path, environment: dict[str, str]) -> Spent:
    """Make the domain in the clone and run it up to its verdict; progress goes to the terminal."""
    collection = COLLECTIONS[name]
    overrides = clone / "conf" / "collections" / f"{name}.yaml"
    if overrides.is_file():
        shutil.copyfile(overrides, clone / "conf" / "domains" / f"{name}.yaml")
    card = ["--title", collection.title, "--licence", collection.licence]
    commands = [
        ["densespec.cli", "new-domain", name, "--force", "--from", str(source), *card, *collection.options],
        ["dvc", "repro", f"evaluate@{name}"],
    ]
    code, seconds, peak = 0, 0.0, 0
    for module, *options in commands:
        if not code:  # `python -m` puts the clone's densespec before the installed one
            spent = timed([sys.executable, "-m", module, *options], clone, environment)
            code, seconds, peak = spent.code, seconds + spent.seconds, max(peak, spent.peak)
    return Spent(code, seconds, peak)


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> Spent:
    """Run a command to its end and measure it."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except KeyboardInterrupt:
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Spent(process.returncode, time.monotonic() - started, usage.ru_maxrss * unit)


def row(name: str, metrics: Path, spent: Spent, reused: bool) -> list[str]:
    """Cells of one collection, from the metrics that the stages wrote.

    Args:
        name: of the collection.
        metrics: folder of its metrics.
        spent: time and memory.
        reused: whether embeddings of the same texts were in scratch already.
    """
    corpus, select, evaluate = (
        json.loads(path.read_text(encoding="utf-8")) if (path := metrics / f"{stage}.json").is_file() else {}
        for stage in ("corpus", "select", "evaluate")
    )
    rows: dict[str, Any] = evaluate.get("rows") or {}
    against = rows.get("specialised", {}).get("vs_untuned", {}).get("ndcg_at_10")
    difference = p = ""
    if against:
        difference = f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]"
        p = "< 0.0001" if against["p"] < 0.0001 else f"{against['p']:.4f}"
    verdict = f"failed (exit code {spent.code})" if spent.code else evaluate.get("verdict", "")
    return [
        name,
        f"{corpus['passages']['total']:,}" if corpus else "",
        f"{select['train']:,}" if select else "",
        *(mean(rows, key) for key in ("untuned", "specialised")),
        difference,
        p,
        *(mean(rows, key) for key in ("control", "bm25", "hybrid", "teacher")),
        verdict,
        f"{spent.seconds / 60:.1f}{'*' if reused else ''}",
        f"{spent.peak / 1e9:.1f}",
    ]


def mean(rows: dict[str, Any], key: str) -> str:
    """nDCG@10 of a row of evaluate.json; empty where it is not there."""
    return f"{rows[key]['ndcg_at_10']['mean']:.3f}" if key in rows else ""


def heading() -> list[str]:
    """What was measured, and on what machine."""
    commit = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--", "densespec", "stages", "conf", "dvc.yaml", "params.yaml")
    if changed:
        print(f"warning: {len(changed.splitlines())} uncommitted changes are not measured", file=sys.stderr)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "sentence-transformers"))
    return [
        f"nDCG@10 on the test queries, commit {commit}.",
        f"{platform.system()} {platform.machine()}, {processor()}, {cores()} cores, {memory()}, "
        f"Python {platform.python_version()}, {packages}.",
    ]


def git(*arguments: str) -> str:
    """Output of a git command in this repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cores() -> int | None:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory() -> str:
    """Memory of this machine."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def processor() -> str:
    """Name of the processor, and the widest instructions that PyTorch uses on it: they decide its speed."""
    import torch

    from densespec.runtime.devices import is_fast_in_bfloat16

    amx = " and AMX" if is_fast_in_bfloat16(torch.device("cpu")) else ""
    return f"{brand()} with {torch.backends.cpu.get_cpu_capability()}{amx}"


def brand() -> str:
    """What the processor calls itself."""
    if sys.platform == "darwin":
        done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return done.stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def notes() -> list[str]:
    """How to read the table."""
    return [
        "difference: specialised minus untuned, with its 95 % bootstrap interval; p: paired randomisation",
        "test of this one comparison, not corrected; control: InfoNCE only, on the same lists; hybrid:",
        "reciprocal rank fusion of BM25 and the untuned student; teacher: the mined candidates in its order;",
        "minutes: new-domain and dvc repro from nothing (*: embeddings of the same passages were there);",
        "GB: largest process.",
    ]


if __name__ == "__main__":
    main()
