"""Curves of a stage while it runs. Nothing here can fail a stage, hold it up, or enter its outputs."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat

from densespec.io.params import read_yaml
from densespec.runtime.fingerprint import digest
from densespec.runtime.progress import say
from densespec.tracking.flat import effective_parameters, metric_name, stage_section
from densespec.tracking.store import (
    connect,
    experiment_id,
    experiment_name,
    tracking_uri,
    without_secrets,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

Log = Callable[[Mapping[str, SupportsFloat], int], None]

TIMEOUT_SECONDS = 5
CLOSING_SECONDS = 15.0


@contextmanager
def live_run(stage: str, domain: str, fingerprint: str) -> Iterator[Log]:
    """Record a stage's curves in MLflow while it runs.

    A thread does all the talking, so a slow server does not slow the stage; the first failure is
    said once on standard error and ends the recording. A stage that was killed and runs again with
    the same fingerprint goes on in the same MLflow run. ``DENSESPEC_TRACKING=off`` switches it off.

    Args:
        stage: name of the stage.
        domain: its domain.
        fingerprint: identity of the work (code, parameters, inputs), ``-part`` added where a stage makes
            several runs. ``densespec sync`` links the run to every commit whose
            ``metrics/<domain>/<stage>.json`` has the same ``fingerprint``.

    Yields:
        ``log(metrics, step)``: metric name → value at a step; returns at once, never raises.
    """
    if os.environ.get("DENSESPEC_TRACKING", "").lower() in ("off", "0", "false", "no"):
        yield lambda metrics, step: None
        return
    recorder = _Recorder(stage, domain, fingerprint)
    status = "FAILED"
    try:
        yield recorder.log
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        recorder.close(status)


class _Recorder:
    def __init__(self, stage: str, domain: str, fingerprint: str) -> None:
        self._stage, self._domain, self._fingerprint = stage, domain, fingerprint
        self._items: queue.SimpleQueue[tuple[dict[str, float], int, int] | str] = queue.SimpleQueue()
        self._warned = False
        self._thread: threading.Thread | None = None
        try:
            # Here, not in the thread: two threads importing large packages at once can see half of one.
            import mlflow  # noqa: F401

            self._thread = threading.Thread(target=self._work, name="densespec-tracking", daemon=True)
            self._thread.start()
        except Exception as error:
            self._warn(error)

    def log(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        if self._warned:
            return
        try:
            values = {metric_name(name): float(value) for name, value in metrics.items()}
            self._items.put((values, int(step), _now()))
        except Exception as error:
            self._warn(error)

    def close(self, status: str) -> None:
        self._items.put(status)
        if self._thread is None:
            return
        with suppress(KeyboardInterrupt):
            self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            self._warn(TimeoutError(f"no answer within {CLOSING_SECONDS:.0f} s, the last values are lost"))

    def _work(self) -> None:
        try:
            client = connect(tracking_uri(), timeout_seconds=TIMEOUT_SECONDS, retries=1)
            run_id = self._open(client)
            while self._record(client, run_id):
                pass
        except Exception as error:
            self._warn(error)

    def _open(self, client: MlflowClient) -> str:
        experiment = experiment_id(client, tracking_uri(), experiment_name(self._domain, live=True))
        parameters = stage_parameters(self._stage, self._domain)
        tags = {
            "densespec.stage": self._stage,
            "densespec.domain": self._domain,
            "densespec.fingerprint": self._fingerprint,
            "densespec.params": digest(parameters),
            "densespec.code": code_md5(Path("code") / f"{self._stage}.txt"),
            "densespec.experiment": os.environ.get("DVC_EXP_NAME", ""),
            "densespec.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        }
        tags = {name: value for name, value in tags.items() if value}
        same = ("stage", "domain", "fingerprint", "params")
        unfinished = client.search_runs(
            [experiment],
            " and ".join(f"tags.`densespec.{name}` = '{tags[f'densespec.{name}']}'" for name in same)
            + " and attributes.status != 'FINISHED'",
            max_results=1,
        )
        if unfinished:
            run_id = str(unfinished[0].info.run_id)
            client.update_run(run_id, status="RUNNING")
            return run_id
        run = client.create_run(experiment, tags=tags, run_name=f"{self._stage} {self._domain}")
        for name, value in parameters.items():
            client.log_param(run.info.run_id, name, value)
        return str(run.info.run_id)

    def _record(self, client: MlflowClient, run_id: str) -> bool:
        """Send what is waiting; False when the stage is through."""
        from mlflow.entities import Metric

        waiting: list[Metric] = []
        item = self._items.get()
        while not isinstance(item, str):
            values, step, time_ms = item
            waiting += [Metric(name, value, time_ms, step) for name, value in values.items()]
            if self._items.empty() or len(waiting) > 500:
                break
            item = self._items.get()
        if waiting:
            client.log_batch(run_id, metrics=waiting)
        if isinstance(item, str):
            client.set_terminated(run_id, item)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        reason = without_secrets(" ".join(str(error).split()))[:300]
        with suppress(Exception):
            say(
                f"warning: curves of {self._stage}@{self._domain} are not recorded in MLflow "
                f"({type(error).__name__}: {reason}); the stage goes on. DENSESPEC_TRACKING=off stops trying"
            )


def stage_parameters(stage: str, domain: str) -> dict[str, str]:
    """Effective parameters of a stage's section for a domain, flat; empty where they can't be read."""
    try:
        shared, override = read_yaml(Path("params.yaml")), read_yaml(Path("conf/domains") / f"{domain}.yaml")
        values = effective_parameters(shared, override)
    except Exception:  # the stage itself complains about its parameters
        return {}
    return stage_section(values, stage)


def code_md5(path: Path) -> str:
    """MD5 of a code fingerprint file as ``dvc.lock`` holds it; empty where there is none."""
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return ""


def _now() -> int:
    return time.time_ns() // 1_000_000
