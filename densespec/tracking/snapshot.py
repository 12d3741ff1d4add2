"""What one commit says about one domain, read from ``dvc.lock``, parameters and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from densespec.io.params import Loader
from densespec.runtime.fingerprint import digest
from densespec.runtime.progress import say
from densespec.tracking.commits import Commit, list_files, read_files
from densespec.tracking.flat import Value, effective_parameters, flat_metrics, stage_section

MODELS = ("specialised", "control", "shipped")


class Output(NamedTuple):
    """A DVC output: its path and MD5 in ``dvc.lock``."""

    path: str
    md5: str


class Snapshot(NamedTuple):
    """One domain at one commit.

    Attributes:
        domain: its name.
        parameters: effective ones, flat; those that ``dvc.lock`` says the stages saw, where the commit's
            files have moved on.
        metrics: figures and curves, flat.
        verdict: ``ship``, ``no evidence``, ``regression`` or ``not tested``; empty before evaluation.
        reason: the verdict's sentence.
        outputs: the domain's DVC outputs.
        code: MD5 of each stage's code fingerprint.
        fingerprints: stage → fingerprint that the stage wrote into its metrics.
        stale: stages that had not run with the commit's parameters, or not on the outputs before them
            (an experiment on another domain, or on a part of the chain).
    """

    domain: str
    parameters: dict[str, str]
    metrics: list[Value]
    verdict: str
    reason: str
    outputs: list[Output]
    code: dict[str, str]
    fingerprints: dict[str, str]
    stale: list[str]

    @property
    def models(self) -> list[Output]:
        """The model folders among the outputs."""
        paths = [f"models/{self.domain}/{name}" for name in MODELS]
        return [output for output in self.outputs if output.path in paths]

    def parameters_digest(self, stage: str) -> str:
        """As a live run of that stage is tagged."""
        return digest(stage_section(self.parameters, stage))


def snapshots(root: Path, commit: Commit) -> list[Snapshot]:
    """All domains of a commit that have metrics; none without ``dvc.lock``."""
    paths = list_files(root, commit.id, ["dvc.lock", "params.yaml", "conf/domains", "metrics"])
    if "dvc.lock" not in paths:
        return []
    wanted = [path for path in paths if path.endswith((".json", ".yaml", ".lock"))]
    texts = read_files(root, commit.id, wanted)
    documents = {path: _parsed(path, text, commit) for path, text in texts.items()}
    stages = documents["dvc.lock"].get("stages") or {}
    by_domain: dict[str, dict[str, Any]] = {}
    for path, document in documents.items():
        parts = path.split("/", 2)
        if parts[0] == "metrics" and len(parts) == 3:
            by_domain.setdefault(parts[1], {})[parts[2].removesuffix(".json")] = document
    shared = documents.get("params.yaml", {})
    return [
        _snapshot(
            domain,
            metrics,
            shared,
            documents.get(f"conf/domains/{domain}.yaml", {}),
            {address: entry for address, entry in stages.items() if _domain_of(entry) == domain},
        )
        for domain, metrics in sorted(by_domain.items())
    ]


def _snapshot(
    domain: str,
    metrics: dict[str, Any],
    shared: dict[str, Any],
    override: dict[str, Any],
    stages: dict[str, Any],
) -> Snapshot:
    evaluation = metrics.get("evaluate", {})
    values: list[Value] = []
    for name, document in sorted(metrics.items()):
        values += flat_metrics(document, "" if name == "evaluate" else name.replace("/", "."))
    outputs: dict[str, str] = {}
    code: dict[str, str] = {}
    written = {out["path"]: out.get("md5") for entry in stages.values() for out in entry.get("outs") or []}
    stale = []
    for address, entry in stages.items():
        stage = address.split("@")[0]
        for dependency in entry.get("deps") or []:
            if dependency["path"] == f"code/{stage}.txt":
                code[stage] = dependency.get("md5", "")
        for output in entry.get("outs") or []:
            if not output["path"].startswith("metrics/"):
                outputs[output["path"]] = output.get("md5", "")
        used = entry.get("params") or {}
        before = shared, override
        shared = _with_values(shared, used.get("params.yaml") or {})
        override = _with_values(override, used.get(f"conf/domains/{domain}.yaml") or {})
        read = {dependency["path"]: dependency.get("md5") for dependency in entry.get("deps") or []}
        outdated = any(path in written and written[path] != md5 for path, md5 in read.items())
        if outdated or (shared, override) != before:
            stale.append(address)
    return Snapshot(
        domain=domain,
        parameters=effective_parameters(shared, override),
        metrics=values,
        verdict=str(evaluation.get("verdict", "")),
        reason=str(evaluation.get("reason", "")),
        outputs=[Output(path, md5) for path, md5 in sorted(outputs.items())],
        code=code,
        fingerprints={
            name.split("/")[0]: str(document["fingerprint"])
            for name, document in metrics.items()
            if document.get("fingerprint")
        },
        stale=stale,
    )


def _with_values(document: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    """``document`` with values at dotted keys, as ``dvc.lock`` writes them."""
    changed = dict(document)
    for key, value in used.items():
        first, _, rest = key.partition(".")
        inner = changed.get(first)
        changed[first] = (
            _with_values(inner if isinstance(inner, dict) else {}, {rest: value}) if rest else value
        )
    return changed


def _domain_of(entry: dict[str, Any]) -> str:
    """Domain of a stage, by its first output: ``data/<what>/<domain>/…``, ``models/<domain>/…`` and so on."""
    place = {"data": 2, "models": 1, "reports": 1, "metrics": 1}
    for output in entry.get("outs") or []:
        parts = output["path"].split("/")
        position = place.get(parts[0], len(parts))
        if position < len(parts):
            return str(parts[position])
    return ""


def _parsed(path: str, text: str, commit: Commit) -> dict[str, Any]:
    try:
        document = json.loads(text) if path.endswith(".json") else yaml.load(text, Loader=Loader)
    except (ValueError, yaml.YAMLError) as error:
        say(f"warning: {path} of commit {commit.id[:7]} is left out: {' '.join(str(error).split())[:120]}")
        return {}
    return document if isinstance(document, dict) else {}
