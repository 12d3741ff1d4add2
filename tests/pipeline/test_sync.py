"""``densespec sync``: one MLflow run per commit and domain, from git alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from densespec import cli
from densespec.tracking.live import live_run
from densespec.tracking.store import connect, experiment_name

EVALUATION = {
    "domain": "docs",
    "queries": 40,
    "verdict": "ship",
    "reason": "nDCG@10 rises by 0.100 on 40 test queries.",
    "rows": {
        "untuned": {"ndcg_at_10": {"mean": 0.5, "low": 0.4, "high": 0.6}},
        "specialised": {
            "ndcg_at_10": {"mean": 0.6, "low": 0.5, "high": 0.7},
            "vs_untuned": {"ndcg_at_10": {"difference": 0.1, "p_holm": 0.01, "wins": 9}},
        },
    },
}
PARAMS = """\
domains: [docs, law]
domain: docs
kinds: [claim]
mine: {depth: 100}
distill: {learning_rate: 0.001, side: query}
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("database")
    connect(f"sqlite:///{folder}/mlflow.db", timeout_seconds=5, retries=1)
    return folder / "mlflow.db"


@pytest.fixture
def repository(tmp_path, monkeypatch, database):
    """A repository of three commits: without results, with one domain, and with a second one."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DENSESPEC_TRACKING", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path / "mlflow.db")
    git("init", "-q", "-b", "main")
    Path(".gitignore").write_text("mlflow.db\nmlartifacts/\n.densespec/\n/code/\n")
    write("params.yaml", PARAMS)
    write("conf/domains/docs.yaml", "distill: {learning_rate: 0.002}\nmine: {}\n")
    write("conf/domains/law.yaml", "distill: {}\nmine: {}\n")
    commit("no results yet")
    lock("docs", "1")
    write("metrics/docs/evaluate.json", json.dumps(EVALUATION))
    write("metrics/docs/score/hybrid.json", json.dumps({"dev": {"student": 0.5, "teacher": 0.6}}))
    curve = [{"step": step, "kl": 1.0 / (step + 1)} for step in (0, 10, 20)]
    write("metrics/docs/distill.json", json.dumps({"curves": {"specialised": curve}, "fingerprint": "f1"}))
    commit("docs: first results")
    lock("law", "2")
    write("metrics/law/corpus.json", json.dumps({"passages": 7}))
    commit("law: corpus")
    return tmp_path


def git(*arguments: str) -> str:
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(message: str) -> str:
    git("add", "-A")
    git("commit", "-q", "-m", message)
    return git("rev-parse", "HEAD")


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def lock(domain: str, mark: str, depth: int = 100) -> None:
    entry = f"""\
  distill@{domain}:
    cmd: python stages/distill.py --domain {domain}
    deps:
    - {{path: code/distill.txt, hash: md5, md5: c0de{mark}, size: 3}}
    outs:
    - {{path: models/{domain}/specialised, hash: md5, md5: aaa{mark}.dir, size: 9, nfiles: 3}}
    - {{path: models/{domain}/control, hash: md5, md5: bbb{mark}.dir, size: 9, nfiles: 3}}
    - {{path: metrics/{domain}/distill.json, hash: md5, md5: ccc{mark}, size: 9}}
  mine@{domain}:
    params:
      params.yaml:
        kinds: [claim]
        mine: {{depth: {depth}}}
      conf/domains/{domain}.yaml:
        mine: {{}}
    outs:
    - {{path: data/candidates/{domain}/candidates.parquet, hash: md5, md5: ddd{mark}, size: 9}}
"""
    path = Path("dvc.lock")
    old = path.read_text() if path.exists() else "schema: '2.0'\nstages:\n"
    path.write_text(old + entry)


def experiment(name: str, params: str) -> str:
    """What ``dvc exp run`` leaves: a commit under refs/exps, on no branch."""
    base = git("rev-parse", "HEAD")
    write("params.yaml", params)
    done = commit(f"dvc: commit experiment {name}")
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", done)
    git("update-ref", "refs/exps/exec/EXEC_BASELINE", base)
    git("update-ref", "refs/exps/stash", done)
    git("reset", "-q", "--hard", base)
    return done


def sync(*arguments: str) -> None:
    cli.main(["sync", *arguments])


def runs(domain: str):
    client = connect(f"sqlite:///{os.environ['DVC_ROOT']}/mlflow.db", timeout_seconds=5, retries=1)
    found = client.get_experiment_by_name(experiment_name(domain))
    return client.search_runs([found.experiment_id]) if found else []


def models(domain: str):
    client = connect(f"sqlite:///{os.environ['DVC_ROOT']}/mlflow.db", timeout_seconds=5, retries=1)
    found = client.get_experiment_by_name(experiment_name(domain))
    return client.search_logged_models([found.experiment_id])


def test_a_run_says_what_the_commit_holds(repository, capsys):
    head = git("rev-parse", "HEAD")
    sync("--rev", "HEAD~1")
    assert "1 runs recorded, 0 replaced, 0 unchanged" in capsys.readouterr().out
    (run,) = runs("docs")
    tags, first = run.data.tags, git("rev-parse", "HEAD~1")
    assert first != head
    assert tags["mlflow.source.git.commit"] == tags["densespec.commit"] == first
    assert tags["densespec.verdict"] == "ship"
    assert tags["densespec.subject"] == "docs: first results"
    assert tags["dvc.models/docs/specialised"] == "aaa1.dir"
    assert tags["dvc.data/candidates/docs/candidates.parquet"] == "ddd1"
    assert not any(name.startswith("dvc.metrics") for name in tags)
    assert run.info.start_time == int(git("show", "-s", "--format=%ct", first)) * 1000
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "kinds": '["claim"]',
        "mine.depth": "100",
        "distill.learning_rate": "0.002",
        "distill.side": "query",
    }
    assert run.data.metrics["specialised.ndcg_at_10"] == 0.6
    assert run.data.metrics["specialised.vs_untuned.ndcg_at_10.difference"] == 0.1
    assert run.data.metrics["score.hybrid.dev.teacher"] == 0.6
    assert run.data.metrics["distill.curves.specialised.kl"] == pytest.approx(1 / 21)
    found = {model.name: model for model in models("docs")}
    assert set(found) == {"docs-specialised", "docs-control"}
    model = found["docs-specialised"]
    assert model.source_run_id == run.info.run_id
    assert model.tags["densespec.dvc_md5"] == "aaa1.dir"
    assert model.tags["densespec.path"] == "models/docs/specialised"
    assert {metric.key: metric.value for metric in model.metrics}["specialised.ndcg_at_10"] == 0.6


def test_it_can_be_run_again_and_again(repository, capsys):
    sync("--all")
    out = capsys.readouterr().out
    assert "3 runs recorded" in out  # docs twice, law once
    assert "1 of 3 commits skipped" in out
    before = {run.info.run_id: run.data for run in runs("docs") + runs("law")}
    sync("--all")
    sync()
    out = capsys.readouterr().out
    assert "0 runs recorded, 0 replaced, 3 unchanged" in out
    assert "0 runs recorded, 0 replaced, 2 unchanged" in out
    after = {run.info.run_id: run.data for run in runs("docs") + runs("law")}
    assert {key: data.tags for key, data in before.items()} == {key: data.tags for key, data in after.items()}
    assert len(models("docs")) == 4


def test_default_is_head_and_tells_of_what_is_not_committed(repository, capsys):
    write("metrics/docs/evaluate.json", "{}")
    sync()
    out = capsys.readouterr().out
    assert "2 runs recorded" in out
    assert "not looked at: 1 uncommitted files (metrics/docs/evaluate.json" in out


def test_experiments_have_their_names(repository, capsys):
    text = Path("dvc.lock").read_text()
    write("dvc.lock", "schema: '2.0'\nstages:\n")
    lock("docs", "1", depth=50)
    lock("law", "2")
    done = experiment("cosy-lion", PARAMS.replace("depth: 100", "depth: 50"))
    assert Path("dvc.lock").read_text() == text
    sync("--experiments")
    (run,) = runs("docs")
    assert run.data.tags["densespec.experiment"] == run.info.run_name == "cosy-lion"
    assert run.data.tags["densespec.commit"] == done
    assert run.data.params["mine.depth"] == "50"
    assert "densespec.stale" not in run.data.tags
    (law,) = runs("law")  # the experiment ran on docs alone
    assert law.data.params["mine.depth"] == "100"
    assert law.data.tags["densespec.stale"] == "mine@law"
    sync("--all")
    assert len(runs("docs")) == 3
    assert "experiment cosy-lion: ship" in capsys.readouterr().out


def test_a_chain_that_was_run_in_part_is_said_to_be_stale(repository):
    write(
        "dvc.lock",
        Path("dvc.lock").read_text()
        + """\
  evaluate@docs:
    deps:
    - {path: models/docs/specialised, hash: md5, md5: 01d.dir, size: 9, nfiles: 3}
    outs:
    - {path: metrics/docs/evaluate.json, hash: md5, md5: eee, size: 9}
""",
    )
    commit("distilled, not evaluated")
    sync()
    (run,) = runs("docs")
    assert run.data.tags["densespec.stale"] == "evaluate@docs"


def test_no_experiments_is_no_error(repository, capsys):
    sync("--experiments")
    assert "0 runs recorded" in capsys.readouterr().out


def test_changed_content_replaces_the_run_and_its_models(repository, capsys):
    sync()
    (old,) = runs("docs")
    Path("code").mkdir()
    with live_run("distill", "docs", "f1-specialised") as log:
        log({"kl": 1.0}, 0)
    with live_run("distill", "docs", "f10-specialised") as log:
        log({"kl": 1.0}, 0)
    capsys.readouterr()
    sync()
    assert "replace docs" in capsys.readouterr().out
    (new,) = runs("docs")
    assert new.info.run_id != old.info.run_id
    client = connect(f"sqlite:///{repository}/mlflow.db", timeout_seconds=5, retries=1)
    live = client.get_experiment_by_name("densespec-docs-live")
    linked = [client.get_run(run_id) for run_id in new.data.tags["densespec.live.distill"].split(",")]
    assert [run.data.tags["densespec.fingerprint"] for run in linked] == ["f1-specialised"]
    assert linked[0].info.experiment_id == live.experiment_id
    assert linked[0].info.run_id in new.data.tags["mlflow.note.content"]
    assert {model.source_run_id for model in models("docs")} == {new.info.run_id}


def test_without_a_fingerprint_code_and_parameters_link(repository):
    write("metrics/docs/distill.json", "{}")
    write("code/distill.txt", "abc")
    text = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(text.replace("c0de1", "900150983cd24fb0d6963f7d28e17f72"))  # md5 of abc
    commit("no fingerprint")
    for learning_rate in ("0.002", "0.003"):
        write("conf/domains/docs.yaml", f"distill: {{learning_rate: {learning_rate}}}\nmine: {{}}\n")
        with live_run("distill", "docs", f"x{learning_rate}") as log:
            log({"kl": 1.0}, 0)
    git("checkout", "-q", "conf")
    sync()
    (run,) = runs("docs")
    client = connect(f"sqlite:///{repository}/mlflow.db", timeout_seconds=5, retries=1)
    (linked,) = run.data.tags["densespec.live.distill"].split(",")
    assert client.get_run(linked).data.tags["densespec.fingerprint"] == "x0.002"


def test_an_interrupted_sync_is_made_good(repository, monkeypatch):
    from mlflow import MlflowClient

    real = MlflowClient.set_terminated

    def stop(self, *rest, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "set_terminated", stop)
    with pytest.raises(SystemExit):
        sync()
    assert "densespec.content" not in runs("docs")[0].data.tags
    monkeypatch.setattr(MlflowClient, "set_terminated", real)
    sync()
    (run,) = runs("docs")
    assert run.data.tags["densespec.content"]
    assert len(models("docs")) == 2


def test_a_dry_run_writes_nothing(repository, capsys):
    Path("mlflow.db").unlink()
    sync("--all", "--dry-run")
    out = capsys.readouterr().out
    assert out.count("would record docs") == 2
    assert "3 runs would be recorded" in out
    assert not Path("mlflow.db").exists()


def test_a_damaged_metrics_file_is_left_out_with_a_warning(repository, capsys):
    write("metrics/docs/evaluate.json", "{oops")
    commit("broken")
    sync()
    assert "warning: metrics/docs/evaluate.json of commit" in capsys.readouterr().err
    (run,) = runs("docs")
    assert "densespec.verdict" not in run.data.tags
    assert run.data.metrics["score.hybrid.dev.teacher"] == 0.6


def test_a_repository_inside_a_larger_one(repository, monkeypatch):
    outer = repository / "outer"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(repository / name, inner / name)
    for name in ("metrics", "conf"):
        shutil.copytree(repository / name, inner / name)
    monkeypatch.chdir(outer)
    monkeypatch.setenv("DVC_ROOT", str(inner))
    git("init", "-q", "-b", "main")
    commit("all of it")
    monkeypatch.chdir(inner)
    shutil.copy(repository / "mlflow.db", inner / "mlflow.db")
    sync()
    assert runs("docs")[0].data.metrics["specialised.ndcg_at_10"] == 0.6


@pytest.mark.parametrize("revision", ["nowhere", "--help", "HEAD~9..HEAD"])
def test_an_unknown_revision(repository, revision, capsys):
    with pytest.raises(SystemExit) as exit_info:
        sync(f"--rev={revision}")
    assert exit_info.value.code == 2
    assert "remedy" in capsys.readouterr().err


def test_no_commit_and_no_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for _ in range(2):
        with pytest.raises(SystemExit):
            sync()
        assert "a git repository" in capsys.readouterr().err
        git("init", "-q")


def test_mlflow_prints_no_addresses(repository, monkeypatch, capsys):
    """They would hold the credentials of MLFLOW_TRACKING_URI."""
    client = connect(f"sqlite:///{repository}/mlflow.db", timeout_seconds=5, retries=1)
    run_id = client.create_run("0").info.run_id
    monkeypatch.setattr(client._tracking_client, "tracking_uri", "http://u:pw@h")
    client._tracking_client._log_url(run_id)
    assert capsys.readouterr().out == ""


def test_a_server_that_is_down_is_an_error_here(repository, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(SystemExit) as exit_info:
        sync()
    assert exit_info.value.code == 2
    err = capsys.readouterr().err
    assert "http://***@127.0.0.1:9" in err and "hunter2" not in err
