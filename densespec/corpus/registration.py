"""Making a domain known to the pipeline: params.yaml, conf/domains and DVC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from densespec.errors import InputError
from densespec.io.jsonl import shorten
from densespec.io.params import read_yaml


def with_domain(params: Path, name: str) -> str | None:
    """Text of ``params.yaml`` with ``name`` added to ``domains``; None if it is there already.

    Only the list is touched, so comments and layout stay.

    Raises:
        InputError: no such file, or no list of domains in it.
    """
    document = read_yaml(params)
    text = params.read_text(encoding="utf-8")
    domains = document.get("domains")
    if not isinstance(domains, list):
        raise InputError(
            params,
            expected="a list of names under 'domains'",
            found=repr(domains),
            remedy="write 'domains: [pydocs]' (and run this in the repository's root)",
        )
    if name in domains:
        return None
    written = name if yaml.safe_load(name) == name else f'"{name}"'  # YAML reads a bare `no` as false
    mapping = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(mapping, yaml.MappingNode)
    node = next(value for key, value in mapping.value if key.value == "domains")
    begin, last = node.start_mark, node.value[-1] if node.value else None
    if last is None:
        at, added = begin.index + 1, written
    elif node.flow_style:
        at, added = last.end_mark.index, f", {written}"
    else:
        line_end = text.find("\n", last.end_mark.index)
        at = line_end if line_end >= 0 else len(text)
        added = f"\n{' ' * begin.column}- {written}"
    edited = text[:at] + added + text[at:]
    if yaml.safe_load(edited) != document | {"domains": [*domains, name]}:
        raise InputError(
            params,
            expected="a plain list under 'domains', such as [pydocs]",
            found=shorten(text[begin.index : node.end_mark.index]),
            remedy=f"add {written} to the list by hand, then run this again",
        )
    return edited


def empty_overrides(params: Path) -> str:
    """Text of ``conf/domains/NAME.yaml``: every section of ``params.yaml``, without overrides."""
    sections = [key for key, value in read_yaml(params).items() if isinstance(value, dict)]
    return (
        "# Overrides of params.yaml for this domain; {} = none. An example: 'corpus: {min_chars: 20}'.\n"
        + "".join(f"{section}: {{}}\n" for section in sections)
    )


def track(target: Path) -> bool:
    """Add the folder to DVC; False where there is no DVC repository.

    Raises:
        InputError: DVC refuses.
    """
    if not any((folder / ".dvc").is_dir() for folder in (Path.cwd(), *Path.cwd().parents)):
        return False
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", target.as_posix()], capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(
            target,
            expected="`dvc add` to take the folder",
            found=shorten(" ".join(done.stderr.split()) or f"exit code {done.returncode}", 400),
            remedy=f"the domain is written; remove the obstacle, then run: dvc add {target.as_posix()}",
        )
    return True
