"""Live curves: recorded when MLflow is there, and never in a stage's way when it isn't."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from densespec.tracking import live
from densespec.tracking.live import live_run
from densespec.tracking.store import connect, experiment_name, tracking_uri


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An initialised database: making its tables takes a second or two."""
    folder = tmp_path_factory.mktemp("database")
    connect(f"sqlite:///{folder}/mlflow.db", timeout_seconds=5, retries=1)
    return folder / "mlflow.db"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "CLOSING_SECONDS", 60.0)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DENSESPEC_TRACKING", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("conf/domains").mkdir(parents=True)
    Path("code").mkdir()
    Path("code/distill.txt").write_text("abc\n")
    Path("params.yaml").write_text(
        "domains: [d]\ndistill: {learning_rate: 0.1, loss: {kl: 1}}\nmine: {depth: 5}\n"
    )
    Path("conf/domains/d.yaml").write_text("distill: {learning_rate: 0.2}\n")
    return tmp_path


def runs_of(domain):
    client = connect(tracking_uri(), timeout_seconds=5, retries=1)
    experiment = client.get_experiment_by_name(experiment_name(domain, live=True))
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


@pytest.fixture
def initialised(repository, database):
    shutil.copy(database, repository / "mlflow.db")
    return repository


def test_a_run_has_curves_tags_and_the_parameters_of_its_stage(initialised, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "bold-name")
    with live_run("distill", "d", "f1") as log:
        for step in range(3):
            log({"loss": 1.0 / (step + 1), "nDCG@10": 0.5}, step)
    client, (run,) = runs_of("d")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "distill d"
    assert run.data.params == {"distill.learning_rate": "0.2", "distill.loss.kl": "1"}
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("densespec.")}
    assert tags["densespec.fingerprint"] == "f1"
    assert tags["densespec.stage"] == "distill"
    assert tags["densespec.domain"] == "d"
    assert tags["densespec.experiment"] == "bold-name"
    assert len(tags["densespec.code"]) == 32
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, round(point.value, 3)) for point in curve] == [(0, 1.0), (1, 0.5), (2, 0.333)]
    assert run.data.metrics["nDCG_at_10"] == 0.5


def test_interrupted_work_goes_on_in_the_same_run_and_finished_work_does_not(initialised):
    with pytest.raises(ZeroDivisionError), live_run("distill", "d", "f1") as log:
        log({"loss": 3.0}, 0)
        raise ZeroDivisionError
    client, (run,) = runs_of("d")
    assert run.info.status == "FAILED"
    with live_run("distill", "d", "f1") as log:
        log({"loss": 2.0}, 1)
    _, (run,) = runs_of("d")
    assert run.info.status == "FINISHED"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [3.0, 2.0]
    with live_run("distill", "d", "f1"):
        pass
    with pytest.raises(ZeroDivisionError), live_run("distill", "d", "f2"):
        raise ZeroDivisionError
    assert len(runs_of("d")[1]) == 3


def test_off_means_off(repository, monkeypatch, capsys):
    monkeypatch.setenv("DENSESPEC_TRACKING", "off")
    with live_run("distill", "d", "f1") as log:
        log({"loss": 1.0}, 0)
    assert not Path("mlflow.db").exists()
    assert capsys.readouterr().err == ""


def test_a_server_that_is_down_warns_once_and_names_no_secret(repository, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:hunter2@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok-123")
    with live_run("distill", "d", "f1") as log:
        for step in range(100):
            log({"loss": 1.0}, step)
            time.sleep(0.01)
    err = capsys.readouterr().err
    assert err.count("warning") == 1
    assert "distill@d" in err and "DENSESPEC_TRACKING=off" in err
    assert "hunter2" not in err and "tok-123" not in err


def test_a_server_that_never_answers_holds_nothing_up(repository, monkeypatch, capsys):
    monkeypatch.setattr(live, "CLOSING_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with live_run("distill", "d", "f1") as log:
            for step in range(1000):
                log({"loss": 1.0}, step)
        names = [thread.name for thread in threading.enumerate()]
        assert "densespec-tracking" in names  # still waiting, and nobody waits for it
    assert capsys.readouterr().err.count("warning") == 1


def test_without_mlflow_a_stage_runs(repository, monkeypatch, capsys):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] == "mlflow":
            raise ImportError("No module named 'mlflow'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with live_run("distill", "d", "f1") as log:
        log({"loss": 1.0}, 0)
    assert capsys.readouterr().err.count("warning") == 1


def test_nonsense_values_do_not_raise(initialised, capsys):
    with live_run("distill", "d", "f1") as log:
        log({"loss": "much"}, 0)  # type: ignore[dict-item]
        log({"loss": 1.0}, 1)
    assert capsys.readouterr().err.count("warning") == 1


def record(root, number):
    os.chdir(root)
    os.environ["DVC_ROOT"] = str(root)
    live.CLOSING_SECONDS = 60.0
    with live_run("score", "d", f"f{number}") as log:
        log({"done": float(number)}, 0)


def test_four_processes_on_a_fresh_database(repository):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow"])
    workers = [context.Process(target=record, args=(repository, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    _, runs = runs_of("d")
    assert sorted(run.data.metrics["done"] for run in runs) == [0, 1, 2, 3]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_temporary_experiment_records_in_the_main_repository(repository, monkeypatch):
    copy = repository / ".dvc" / "tmp" / "exps" / "x1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("DVC_ROOT")
    assert tracking_uri() == f"sqlite:///{repository.resolve()}/mlflow.db"
