"""Where runs are recorded: which MLflow server or database, opened safely, named without secrets."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from densespec.repository import repository_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")
SECRET_VALUES = re.compile(
    r"(?i)(?<![\w-])([\w-]*(?:token|password|pwd|secret|signature|sig|api[_-]?key|access[_-]?key))=[^&\s'\"]+"
)
SECRET_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN")


def tracking_uri(root: Path | None = None) -> str:
    """``$MLFLOW_TRACKING_URI``, else the SQLite file ``mlflow.db`` of the main repository."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{root or repository_root()}/mlflow.db"


def without_secrets(text: str) -> str:
    """``text`` without credentials in addresses and without the values of secret variables."""
    for variable in SECRET_VARIABLES:
        if secret := os.environ.get(variable):
            text = text.replace(secret, "***")
    return SECRET_VALUES.sub(r"\1=***", CREDENTIALS.sub("***@", text))


def sqlite_file(uri: str) -> Path | None:
    """The database file of a ``sqlite:///`` address, None for servers."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").split("?")[0])


def connect(uri: str, *, timeout_seconds: int, retries: int) -> MlflowClient:
    """Open the store; a SQLite file is created once, under a lock.

    Several processes that meet a fresh file would each try to create its tables, and crash.

    Args:
        uri: of :func:`tracking_uri`.
        timeout_seconds: of one request to a server.
        retries: of a request that failed.

    Raises:
        Exception: whatever MLflow, its database driver or its HTTP client raises.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout_seconds))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print credentials
    import mlflow

    for library in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    file = sqlite_file(uri)
    with _locked(file.parent) if file else nullcontext():
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Id of an experiment, created or restored where needed; a local one keeps its artifacts beside it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(uri)
        location = (file.parent.resolve() / "mlartifacts").as_uri() if file else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except Exception:  # another process may have made it just now
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def experiment_name(domain: str, live: bool = False) -> str:
    """``densespec-<domain>`` for commits, ``densespec-<domain>-live`` for curves of running stages.

    ``$MLFLOW_EXPERIMENT_NAME`` takes the place of ``densespec``.
    """
    prefix = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "densespec"
    return f"{prefix}-{domain}" + ("-live" if live else "")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder (on the folder itself: no lock file is left behind)."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
