"""``densespec sync``: exactly one MLflow run per commit and domain."""

from __future__ import annotations

import argparse
import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densespec.errors import InputError
from densespec.repository import repository_root
from densespec.runtime.fingerprint import digest
from densespec.tracking.commits import Commit, select_commits, uncommitted_files
from densespec.tracking.snapshot import Output, Snapshot, snapshots
from densespec.tracking.store import (
    connect,
    experiment_id,
    experiment_name,
    sqlite_file,
    tracking_uri,
    without_secrets,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DESCRIPTION = """\
Read dvc.lock, params.yaml, conf/domains and metrics of commits with git, and make exactly one
MLflow run per commit and domain. Nothing is checked out or rerun, so it also works for results that came
from the run cache or from `dvc pull`. Running it again changes nothing.
"""
EXAMPLES = """\
examples:
  densespec sync                       the commit HEAD
  densespec sync --rev main~5..main    the last five commits
  densespec sync --experiments         every DVC experiment (dvc exp run, dvc queue)
  densespec sync --all --dry-run       what would be recorded for the whole history

Runs go to $MLFLOW_TRACKING_URI, or to mlflow.db in the repository; to look at them:
  mlflow ui --backend-store-uri sqlite:///mlflow.db
"""
PER_REQUEST = {"params": 100, "tags": 100, "metrics": 1000}
VERSION = 2  # raise it when runs should be written anew


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec sync``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rev", metavar="A..B", help="a commit, tag, branch, or range (default: HEAD)")
    which.add_argument("--all", action="store_true", help="all branches, tags and experiments")
    which.add_argument("--experiments", action="store_true", help="all DVC experiments")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")


def main(args: argparse.Namespace) -> None:
    """Run the command and print one line per run that was made, and the counts."""
    root = repository_root()
    commits = select_commits(root, args.rev, everything=args.all, experiments=args.experiments)
    uri = tracking_uri(root)
    counts = sync(root, commits, uri, dry_run=args.dry_run)
    would = "would be " if args.dry_run else ""
    print(
        f"{counts['new']} runs {would}recorded, {counts['changed']} {would}replaced, "
        f"{counts['same']} unchanged, in {without_secrets(uri)}"
    )
    dirty = uncommitted_files(root, ["dvc.lock", "params.yaml", "conf/domains", "metrics"])
    if dirty and not (args.rev or args.all or args.experiments):
        print(f"not looked at: {len(dirty)} uncommitted files ({dirty[0]} …); commit them, then sync")
    if counts["skipped"]:
        print(f"{counts['skipped']} of {len(commits)} commits skipped: no dvc.lock or no metrics in them")
    if counts["models failed"]:
        print("models could not be recorded for some runs (see above); the next sync tries again")


def sync(root: Path, commits: list[Commit], uri: str, *, dry_run: bool = False) -> Counter[str]:
    """Bring MLflow in line with commits.

    A run carries a digest of its content; one with the same digest is left alone, one with another
    (a later live run, another version of this command) is deleted and written anew.

    Args:
        root: repository.
        commits: from :func:`densespec.tracking.commits.select_commits`.
        uri: where runs go.
        dry_run: write nothing.

    Returns:
        Counts under ``new``, ``changed``, ``same``, ``skipped`` (commits), ``models failed``.

    Raises:
        InputError: MLflow is missing or does not answer, or another sync is at work.
    """
    counts: Counter[str] = Counter()
    with _store(uri), nullcontext() if dry_run else _alone(root):
        file = sqlite_file(uri)
        fresh = dry_run and file is not None and not file.exists()
        client = None if fresh else connect(uri, timeout_seconds=20, retries=2)
        known: dict[str, list[Run]] = {}
        live: dict[str, list[Run]] = {}
        for commit in commits:
            found = snapshots(root, commit)
            counts["skipped"] += not found
            for snapshot in found:
                domain = snapshot.domain
                if domain not in known:
                    known[domain] = _runs(client, experiment_name(domain))
                    live[domain] = _runs(client, experiment_name(domain, live=True))
                links = _links(snapshot, live[domain])
                content = digest(VERSION, commit, snapshot, links)
                before = [run for run in known[domain] if run.data.tags.get("densespec.commit") == commit.id]
                kept = [run for run in before if run.data.tags.get("densespec.content") == content][:1]
                action = "same" if kept else "changed" if before else "new"
                counts[action] += 1
                if not kept:
                    print(_line(commit, snapshot, action, dry_run), flush=True)
                if client and not dry_run:
                    for run in before:
                        if run not in kept:
                            _delete(client, run)
                    if not kept:
                        counts["models failed"] += _write(client, uri, commit, snapshot, links, content)
    return counts


def _write(
    client: MlflowClient,
    uri: str,
    commit: Commit,
    snapshot: Snapshot,
    links: dict[str, list[str]],
    content: str,
) -> bool:
    """Make the run; True when its models could not be recorded."""
    from mlflow.entities import Metric, Param, RunTag

    experiment = experiment_id(client, uri, experiment_name(snapshot.domain))
    time_ms = commit.time * 1000
    live = experiment_id(client, uri, experiment_name(snapshot.domain, live=True)) if links else ""
    run = client.create_run(
        experiment, start_time=time_ms, tags=_tags(commit, snapshot, links, live), run_name=commit.name
    )
    run_id = run.info.run_id
    models, failed = {}, False
    for model in snapshot.models:
        try:
            models[model.path] = _record_model(uri, experiment, run_id, commit, snapshot, model)
        except Exception as error:  # a server without models, or without a place for their descriptions
            print(f"  model {model.path} not recorded: {without_secrets(str(error)).splitlines()[0]}")
            failed = True
    row_models = {f"{path.rsplit('/', 1)[1]}.": model_id for path, model_id in models.items()}
    metrics = []
    for name, value, step in snapshot.metrics:
        owner = next((model_id for prefix, model_id in row_models.items() if name.startswith(prefix)), None)
        metrics.append(Metric(name, value, time_ms, step, model_id=owner))
    batches: dict[str, list[Any]] = {
        "params": [Param(name, value) for name, value in snapshot.parameters.items()],
        "tags": [RunTag(f"dvc.{output.path}", output.md5) for output in snapshot.outputs],
        "metrics": metrics,
    }
    for kind, items in batches.items():
        for start in range(0, len(items), PER_REQUEST[kind]):
            client.log_batch(run_id, **{kind: items[start : start + PER_REQUEST[kind]]})
    client.set_terminated(run_id, "FINISHED", end_time=time_ms)
    if not failed:
        client.set_tag(run_id, "densespec.content", content)  # last: an interrupted run is written anew
    return failed


def _tags(commit: Commit, snapshot: Snapshot, links: dict[str, list[str]], live: str) -> dict[str, str]:
    note = f"**{snapshot.verdict}**: {snapshot.reason}" if snapshot.verdict else "not evaluated yet"
    if snapshot.stale:
        note += "\n\nnot up to date with these parameters: " + ", ".join(snapshot.stale)
    for stage, ids in links.items():
        urls = ", ".join(f"[{run_id[:8]}](#/experiments/{live}/runs/{run_id})" for run_id in ids)
        note += f"\n\nlive runs of {stage}: {urls}"
    tags = {
        "mlflow.source.git.commit": commit.id,
        "mlflow.source.name": "dvc.lock",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": note,
        "densespec.commit": commit.id,
        "densespec.subject": commit.subject[:500],
        "densespec.domain": snapshot.domain,
        "densespec.experiment": ", ".join(commit.experiments),
        "densespec.verdict": snapshot.verdict,
        "densespec.reason": snapshot.reason[:2000],
        "densespec.stale": ", ".join(snapshot.stale)[:2000],
        **{f"densespec.live.{stage}": ",".join(ids) for stage, ids in links.items()},
    }
    return {name: value for name, value in tags.items() if value}


def _record_model(
    uri: str, experiment: str, run_id: str, commit: Commit, snapshot: Snapshot, model: Output
) -> str:
    """A model that stays where DVC keeps it; MLflow gets its name and how to find it."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    recorded = mlflow.create_external_model(
        name=f"{snapshot.domain}-{model.path.rsplit('/', 1)[1]}",
        source_run_id=run_id,
        experiment_id=experiment,
        model_type="retriever",
        tags={
            "densespec.commit": commit.id,
            "densespec.dvc_md5": model.md5,
            "densespec.path": model.path,
            "densespec.get": f"dvc get . {model.path} --rev {commit.id[:12]}",
        },
    )
    return str(recorded.model_id)


def _runs(client: MlflowClient | None, name: str) -> list[Run]:
    """All runs of an experiment, newest first."""
    experiment = client.get_experiment_by_name(name) if client else None
    if client is None or experiment is None or experiment.lifecycle_stage == "deleted":
        return []
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _links(snapshot: Snapshot, live: list[Run]) -> dict[str, list[str]]:
    """Stage → ids of the live runs of the same work.

    By the fingerprint that the stage wrote into its metrics (a live run may add ``-part`` to it); where
    it wrote none, by equal code and equal parameters of the stage.
    """
    links: dict[str, list[str]] = {}
    for stage in sorted({*snapshot.code, *snapshot.fingerprints}):
        fingerprint = snapshot.fingerprints.get(stage, "")
        code, parameters = snapshot.code.get(stage, ""), snapshot.parameters_digest(stage)
        found = []
        for run in live:
            tags = run.data.tags
            if fingerprint:
                same = f"{tags.get('densespec.fingerprint', '')}-".startswith(f"{fingerprint}-")
            else:
                same = bool(code) and tags.get("densespec.code") == code
                same = same and tags.get("densespec.params") == parameters
            if same and tags.get("densespec.stage") == stage:
                found.append(str(run.info.run_id))
        if found:
            links[stage] = found[:10]
    return links


def _delete(client: MlflowClient, run: Run) -> None:
    condition = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], filter_string=condition):
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)


def _line(commit: Commit, snapshot: Snapshot, action: str, dry_run: bool) -> str:
    verb = {"new": "record", "changed": "replace"}[action]
    what = f"experiment {commit.name}" if commit.experiments else repr(commit.subject[:50])
    return (
        f"{f'would {verb}' if dry_run else verb} {snapshot.domain} {commit.id[:7]} {what}: "
        f"{snapshot.verdict or 'no verdict'}, {len(snapshot.parameters)} parameters, "
        f"{len(snapshot.metrics)} metric values, {len(snapshot.models)} models"
        + (" (not all up to date)" if snapshot.stale else "")
    )


@contextmanager
def _store(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database or its HTTP client raises into one message."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            "mlflow",
            expected="MLflow 3.17",
            found=str(error),
            remedy="pip install 'mlflow>=3.17,<3.18'",
        ) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("mlflow", "sqlalchemy", "requests", "urllib3"):
            raise
        raise _unreachable(uri, error) from None


def _unreachable(uri: str, error: BaseException) -> InputError:
    return InputError(
        without_secrets(uri),
        expected="an MLflow tracking server or database that answers",
        found=without_secrets(" ".join(str(error).split()))[:300],
        remedy="check MLFLOW_TRACKING_URI (unset: mlflow.db in the repository); runs written so far stay, "
        "run the command again to go on",
    )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One sync at a time in a repository; two would each make the same run."""
    path = root / ".densespec" / "sync.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                path,
                expected="one `densespec sync` at a time",
                found="another one at work",
                remedy="wait for it, then run again",
            ) from None
        yield
