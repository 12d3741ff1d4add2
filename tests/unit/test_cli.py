"""The command line: quick and teaching help, results in the terminal, scratch dropped with care."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from densespec import clean, cli
from densespec.show import results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DENSESPEC_SCRATCH", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("domains: [docs]\ndomain: docs\n")
    return tmp_path


def run(*arguments, capsys):
    """Exit code, standard output, standard error."""
    code = 0
    try:
        cli.main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_help_answers_at_once_and_teaches(capsys):
    command = [sys.executable, "-X", "importtime", "-m", "densespec.cli", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "dvc repro evaluate@support" in done.stdout
    for name in cli.COMMANDS:
        assert name in done.stdout
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    heavy = {"torch", "mlflow", "numpy", "yaml", "pydantic", "dvc", "sentence_transformers", "pyarrow"}
    assert not imported & heavy


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name, capsys):
    code, out, _ = run(name, "--help", capsys=capsys)
    assert code == 0
    assert out.startswith(f"usage: densespec {name}")
    assert "examples:" in out


def test_no_command_prints_help_and_a_wrong_one_is_named(capsys):
    assert "examples:" in run(capsys=capsys)[1]
    code, _, err = run("serch", capsys=capsys)
    assert code == 2 and "serch" in err


def test_a_mistake_is_one_message_with_a_remedy(repository, capsys):
    code, _, err = run("show", "elsewhere", capsys=capsys)
    assert code == 2
    assert err.startswith("error: metrics/elsewhere/evaluate.json")
    assert "params 'domains' names docs" in err
    assert "dvc repro evaluate@docs" in run("show", capsys=capsys)[2]


def interval(mean):
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}


def row(mean, difference=None, p=0.01):
    cells = {"ndcg_at_10": interval(mean), "recall_at_100": interval(0.9), "mrr_at_10": interval(0.4)}
    if difference is not None:
        against = {
            "difference": difference,
            "low": 0.01,
            "high": 0.2,
            "p": p / 100,
            "p_holm": p,
            "wins": 9,
            "ties": 2,
            "losses": 3,
        }
        cells["vs_untuned"] = {"ndcg_at_10": against}
    return cells


EVALUATION = {
    "domain": "docs",
    "queries": 1040,
    "verdict": "ship",
    "reason": "nDCG@10 rises by 0.100 on 1,040 test queries.",
    "rows": {"untuned": row(0.5), "specialised": row(0.6, 0.1, 0.05), "bm25": row(0.45, -0.05)},
}


def test_show_prints_the_table_and_the_verdict(repository, capsys):
    path = Path("metrics/docs/evaluate.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(EVALUATION, sort_keys=True))
    code, out, _ = run("show", capsys=capsys)
    assert code == 0
    assert "docs: 1,040 test queries" in out
    (line,) = [line for line in out.splitlines() if line.startswith("specialised")]
    cells = [cell.strip() for cell in re.split(r"\s{2,}", line)]
    assert cells == [
        "specialised", "0.600 [0.550, 0.650]", "0.900", "0.400", "+0.100 [+0.010, +0.200]",
        "< 0.001", "0.050", "9/2/3",
    ]  # fmt: skip
    assert "-0.050" in out
    places = [out.index(f"\n{row} ") for row in ("untuned", "specialised", "bm25")]
    assert places == sorted(places), "not the order of the file, whose keys are sorted"
    assert "verdict: ship" in out
    assert "nDCG@10 rises by 0.100" in out
    assert "reports/docs/report.html (not made yet: dvc repro report, with 'domain: docs'" in out
    assert "\033" not in out
    report = Path("reports/docs/report.html")
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    assert run("show", capsys=capsys)[1].rstrip().endswith("report:  reports/docs/report.html")


def test_show_without_test_queries():
    document = {
        "domain": "d",
        "queries": 0,
        "verdict": "not tested",
        "reason": "No test queries.",
        "rows": {},
    }
    text = "\n".join(results(document, "reports/d/report.html"))
    assert "verdict: not tested" in text and "No test queries." in text


def scratch(root, name, size=1000):
    folder = root / ".densespec" / "scratch" / name
    folder.mkdir(parents=True)
    (folder / "shard.npz").write_bytes(b"x" * size)
    if "/" in name:
        (folder / "lock").write_text("1")
    return folder


@pytest.fixture
def finished(monkeypatch):
    """What DVC says is up to date (the real question is asked in a test of its own)."""
    stages = {"mine@docs", "generate@docs-claim", "score@docs-hybrid"}
    monkeypatch.setattr(clean, "finished_stages", lambda root: stages)
    return stages


def test_clean_drops_finished_work_only(repository, finished, capsys):
    done = [scratch(repository, name) for name in ("mine/docs", "generate/docs-claim", "score-hybrid/docs")]
    kept = scratch(repository, "distill/docs")
    shared = scratch(repository, "encode")
    (done[0] / "key").mkdir()
    (done[0] / "key" / "deep.npz").write_bytes(b"y" * 500)
    code, out, _ = run("clean", "--yes", capsys=capsys)
    assert code == 0
    assert re.search(r"mine/docs +2 kB +finished", out)
    assert re.search(r"distill/docs +1 kB +unfinished", out)
    assert "dropped 4 kB in 3 folders" in out or "dropped 3 kB in 3 folders" in out
    assert [sorted(path.name for path in folder.iterdir()) for folder in done] == [["lock"]] * 3
    assert (kept / "shard.npz").exists()
    assert (shared / "shard.npz").exists()  # unfinished work may still need it
    run("clean", "--yes", "--all", capsys=capsys)
    assert not (kept / "shard.npz").exists() and not (shared / "shard.npz").exists()
    assert "nothing in" in run("clean", capsys=capsys)[1]


def test_clean_never_touches_what_is_locked(repository, finished, capsys):
    folder = scratch(repository, "mine/docs")
    shared = scratch(repository, "encode")
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        out = run("clean", "--yes", "--all", capsys=capsys)[1]
        assert "in use" in out and "nothing to drop" in out
        listed = clean.Folder(folder, "mine/docs", 1, "finished")  # the lock was taken after the listing
        assert not clean.drop(repository / ".densespec" / "scratch", listed)
        assert not clean.drop(
            repository / ".densespec" / "scratch", listed._replace(path=shared, name="encode")
        )
    assert (folder / "shard.npz").exists() and (shared / "shard.npz").exists()


@pytest.mark.parametrize(("answer", "left"), [("y\n", False), ("n\n", True), ("", True)])
def test_clean_asks(repository, finished, capsys, monkeypatch, answer, left):
    folder = scratch(repository, "mine/docs")
    answers = iter(answer.splitlines())

    def reply(question):
        print(question)
        if not answer:
            raise EOFError
        return next(answers)

    monkeypatch.setattr("builtins.input", reply)
    assert "drop 1 folders, 1 kB?" in run("clean", capsys=capsys)[1]
    assert (folder / "shard.npz").exists() == left


def test_a_mistaken_scratch_folder_loses_nothing(repository, finished, capsys, monkeypatch):
    precious = repository / "home" / "thesis" / "chapter"
    precious.mkdir(parents=True)
    (precious / "text").write_text("years of work")
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(repository / "home"))
    run("clean", "--yes", "--all", capsys=capsys)
    assert (precious / "text").exists()


def test_dvc_says_what_is_finished(tmp_path, monkeypatch):
    def dvc(*arguments):
        subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    monkeypatch.delenv("DVC_ROOT", raising=False)
    dvc("init", "--no-scm", "-q")
    assert clean.finished_stages(tmp_path) == set()
    (tmp_path / "params.yaml").write_text("names: [a, b]\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  mine:\n    matrix: {name: '${names}'}\n    cmd: cp in-${item.name} out-${item.name}\n"
        "    deps: ['in-${item.name}']\n    outs: ['out-${item.name}']\n"
    )
    for name in "ab":
        (tmp_path / f"in-{name}").write_text(name)
    dvc("repro", "-q")
    (tmp_path / "in-b").write_text("changed")
    assert clean.finished_stages(tmp_path) == {"mine@a"}
    (tmp_path / "dvc.yaml").write_text("stages: [")
    with pytest.raises(clean.InputError, match="dvc status"):
        clean.finished_stages(tmp_path)
