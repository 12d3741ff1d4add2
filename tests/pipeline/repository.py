"""A complete densespec repository in a temporary folder: this code, the tiny corpus, a tiny student.

Everything a command needs is in :func:`environment`; nothing of the user's own configuration, network or
tracking is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

PROJECT = Path(__file__).parents[2]
DOMAIN = "tiny"
KINDS = ["question", "keywords", "web_search"]
#: What makes every stage take seconds. In the domain's file, so that ``-S`` reaches all other values.
OVERRIDES: dict[str, dict[str, Any]] = {
    "student": {"max_tokens": 128},
    "generate": {"extractive_passages": 30},
    "mine": {"depth": 20},
    "score": {"hybrid": {"min_dev_queries": 5}, "allow_weaker": True},
    "select": {"list_length": 8, "min_candidates": 5, "source_rank": 5, "dev_share": 0.2},
    "distill": {
        "list_length": 8, "batch_size": 32, "max_steps": 6, "eval_steps": 3, "learning_rate": 0.0003
    },
    "evaluate": {"resamples": 200, "permutations": 1000},
    "report": {"explorer_queries": 10},
}  # fmt: skip


def environment(root: Path, **more: str) -> dict[str, str]:
    """Variables for a command in ``root``: ``python`` is this Python, one thread, no user's configuration."""
    kept = ("HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "DENSESPEC_TRACKING": "off",
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **{f"GIT_{who}_NAME": "A Tester" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "tester@example.org" for who in ("AUTHOR", "COMMITTER")},
        **_dvc_folders(root),
        **more,
    }


def _dvc_folders(root: Path) -> dict[str, str]:
    """Where DVC keeps what is neither in the repository nor in its cache: beside the repository."""
    names = ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
    return {name: str(root.parent / "dvc-state" / name.lower()) for name in names}


def run(root: Path, *command: str, ok: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in ``root``; ``stdout`` of the result holds standard error too.

    Args:
        root: working folder.
        command: program and arguments.
        ok: fail the test when the exit code is not 0.
        variables: added to :func:`environment`.
    """
    done = subprocess.run(
        command, cwd=root, env=environment(root, **variables), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    failed = ok and done.returncode != 0
    assert not failed, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-4000:]}"
    return done


def git(root: Path, *arguments: str) -> str:
    """Run git; its output."""
    return run(root, "git", *arguments).stdout


def dvc(root: Path, *arguments: str, **variables: str) -> str:
    """Run DVC; its output."""
    return run(root, sys.executable, "-m", "dvc", *arguments, **variables).stdout


def commit(root: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


def clone(source: Path, target: Path) -> Path:
    """A second clone, with git's files only."""
    git(source.parent, "clone", "-q", str(source), str(target))
    return target


def status(root: Path) -> dict[str, Any]:
    """What ``dvc status --json`` prints: stage → what changed about it. In this process, which is quicker."""
    from dvc.repo import Repo

    with mock.patch.dict(os.environ, environment(root)), contextlib.chdir(root), Repo() as repo:
        return dict(repo.status())


class Stage(NamedTuple):
    """One stage of dvc.yaml with the matrix resolved; paths are relative to the repository.

    Attributes:
        cmd: its command.
        deps: files and folders it declares to read.
        params: file → keys it declares to read.
        outs: what it declares to write, metrics too.
        metrics: those of ``outs`` that are metrics or plots.
        uncached: those of ``outs`` that DVC does not cache.
        persist: those of ``outs`` that DVC does not remove before a run.
    """

    cmd: str
    deps: list[str]
    params: dict[str, list[str]]
    outs: list[str]
    metrics: list[str]
    uncached: list[str]
    persist: list[str]


def stages_of(root: Path) -> dict[str, Stage]:
    """Every stage of dvc.yaml, by name (``mine@tiny``)."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    found = {}
    with mock.patch.dict(os.environ, environment(root)), contextlib.chdir(root), Repo() as repo:
        for stage in repo.index.stages:
            if stage.is_data_source:
                continue
            params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            found[stage.name] = Stage(
                stage.cmd,
                [dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)],
                {dep.def_path: list(dep.params) for dep in params},
                [out.def_path for out in stage.outs],
                [out.def_path for out in stage.outs if out.metric or out.plot],
                [out.def_path for out in stage.outs if not out.use_cache],
                [out.def_path for out in stage.outs if out.persist],
            )
    return found


def isolate(root: Path, name: str) -> None:
    """Leave a stage nothing but what it declares to read: no other file, no other parameter.

    It has never run: its outputs, its entry in dvc.lock and the run cache go too. The lists of
    params.yaml that DVC itself needs to resolve the matrix stay.
    """
    stages = stages_of(root)
    kept = [root / path for path in stages[name].deps]
    for path in (root / out for stage in stages.values() for out in stage.outs):
        if not any(path == dep or dep in path.parents for dep in kept):
            _remove(path)
    if root / f"data/source/{DOMAIN}" not in kept:
        _remove(root / f"data/source/{DOMAIN}")
    for file in ("params.yaml", f"conf/domains/{DOMAIN}.yaml"):
        document = yaml.safe_load((root / file).read_text(encoding="utf-8"))
        declared = stages[name].params.get(file, [])
        left = {k: v for k, v in document.items() if k in declared or not isinstance(v, dict)}
        (root / file).write_text(yaml.safe_dump(left, sort_keys=False), encoding="utf-8")
    lock = lock_of(root)
    del lock["stages"][name]
    (root / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    _remove(root / ".dvc/cache/runs")


def lock_of(root: Path) -> dict[str, Any]:
    """dvc.lock: what every stage read and wrote, by md5."""
    return dict(yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8")))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def stages_run(output: str) -> list[str]:
    """Stages whose command DVC ran, from the output of ``dvc repro`` or ``dvc exp run``."""
    return re.findall(r"Running stage '([^']+)'", output)


def edit_yaml(path: Path, *keys: str, value: Any) -> None:
    """Set one value in a YAML file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    inner = document
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def replace_once(path: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} should hold {old!r} once, found {text.count(old)}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def kill_switch(root: Path, **settings: object) -> dict[str, str]:
    """Variables that make a stage count its changes of files, or die at one: kill_switch/sitecustomize.py."""
    return {
        "PYTHONPATH": str(Path(__file__).parent / "kill_switch"),
        "KILL_SWITCH_ROOT": str(root),
        **{f"KILL_SWITCH_{name}": str(value) for name, value in settings.items()},
    }


def build(root: Path) -> str:
    """Make the repository, run its pipeline, commit; the output of ``dvc repro``.

    How often each stage changed a file goes to ``changes.tsv`` beside the repository.
    """
    from tests.tiny_models import tiny_bi_encoder

    root.mkdir(parents=True)
    bytecode = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("densespec", "stages"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=bytecode)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, root / name)
    # Sixty passages are to make several shards.
    replace_once(root / "densespec/retrieval/encoding.py", "SHARD_TEXTS = 256", "SHARD_TEXTS = 16")
    shutil.copytree(PROJECT / "tests/data/tiny", root / "data/source" / DOMAIN)
    tiny_bi_encoder(root / "tiny-student", prompts={"query": "query: ", "document": "passage: "})
    params = root / "params.yaml"
    lists = {"domains": [DOMAIN], "domain": DOMAIN, "kinds": KINDS, "forgetting": [DOMAIN]}
    for key, value in lists.items():
        edit_yaml(params, key, value=value)
    edit_yaml(params, "student", "model", value="tiny-student")
    sections = [key for key, value in yaml.safe_load(params.read_text()).items() if isinstance(value, dict)]
    overrides = root / "conf/domains" / f"{DOMAIN}.yaml"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(yaml.safe_dump({section: OVERRIDES.get(section, {}) for section in sections}))
    git(root, "init", "-q", "-b", "main")
    dvc(root, "add", "-q", f"data/source/{DOMAIN}")
    output = dvc(root, "repro", **kill_switch(root, LOG=root.parent / "changes.tsv"))
    commit(root, "tiny: corpus to report")
    return output
