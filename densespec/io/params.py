"""Parameters of a stage: a section of ``params.yaml``, overridden by ``conf/domains/<domain>.yaml``."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from densespec.errors import InputError

Config = TypeVar("Config", bound=BaseModel)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml is ten times faster
    """Reads ``3e-5`` as a number, as DVC does and YAML 1.2 says."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_section(section: str, model: type[Config], domain: str, root: Path = Path()) -> Config:
    """Load and validate one section for one domain.

    Args:
        section: top-level key of ``params.yaml``.
        model: frozen pydantic model of the section.
        domain: its file in ``conf/domains`` overrides single keys (nested mappings are merged).
        root: repository root.

    Raises:
        InputError: file or section missing, unknown or ill-typed parameters (all of them at once).
    """
    shared_path = root / "params.yaml"
    domain_path = root / "conf" / "domains" / f"{domain}.yaml"
    shared, override = read_yaml(shared_path), read_yaml(domain_path)
    base = _section(shared, shared_path, section)
    _require_known(override, domain_path, shared)
    values = merged(base, _section(override, domain_path, section))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            keys = [str(part) for part in problem["loc"]]
            where = domain_path if _contains(override, [section, *keys]) else shared_path
            message = problem["msg"]
            if problem["type"] == "extra_forbidden":
                close = difflib.get_close_matches(keys[-1], _fields(model, keys[:-1]), n=1)
                message = "unknown parameter" + (f", did you mean '{close[0]}'?" if close else "")
            lines.append(f"{where}: {section}.{'.'.join(keys)} = {problem['input']!r}: {message}")
        raise InputError(
            lines[0].split(":")[0],
            expected=f"parameters of section '{section}' as its comments in params.yaml say",
            found="\n            ".join(lines),
            remedy="correct these values (for one run: dvc exp run -S section.key=value)",
        ) from None


def load_value(key: str, root: Path = Path()) -> Any:
    """One top-level value of ``params.yaml`` (``kinds``, ``teachers``, ``domains``)."""
    document = read_yaml(root / "params.yaml")
    if key not in document:
        raise InputError(
            root / "params.yaml",
            expected=f"a top-level key '{key}'",
            found=f"keys {', '.join(document)}",
            remedy=f"add '{key}:' (see the README)",
        )
    return document[key]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: missing, malformed, or not a mapping.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except OSError as error:
        raise InputError(
            path,
            expected="a YAML file",
            found=error.strerror or str(error),
            remedy="run this in the repository's root; params.yaml is in git, a domain's file is written by "
            "`densespec new-domain NAME --from PATH`",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            path,
            expected="well-formed YAML",
            found=" ".join(str(error).split()),
            remedy="correct the line named above",
        ) from None
    if not isinstance(document, dict):
        raise InputError(
            path,
            expected="a mapping of sections",
            found=type(document).__name__,
            remedy="write 'section: {…}' at the top level",
        )
    return document


def _require_known(override: dict[str, Any], path: Path, shared: dict[str, Any]) -> None:
    """Refuse what a domain's file holds beside sections of ``params.yaml``."""
    sections = [key for key, values in shared.items() if isinstance(values, dict)]
    for key in override:
        if key in sections:
            continue
        close = difflib.get_close_matches(str(key), sections, n=1)
        raise InputError(
            path,
            expected=f"sections of params.yaml at the top level: {', '.join(sections)}",
            found=f"'{key}:'" + (f", did you mean '{close[0]}:'?" if close else ""),
            remedy="set it in params.yaml, for all domains"
            if key in shared
            else "indent it under its section, or correct the name",
        )


def _section(document: dict[str, Any], path: Path, section: str) -> dict[str, Any]:
    values = document.get(section)
    if not isinstance(values, dict):
        raise InputError(
            path,
            expected=f"a section '{section}:' with parameters ({{}} for none)",
            found="nothing" if values is None else repr(values),
            remedy=f"add '{section}: {{}}' to the file",
        )
    return values


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``override``; nested mappings are merged key by key."""
    values = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = merged(values[key], value) if both else value
    return values


def _fields(model: type[BaseModel], keys: list[str]) -> list[str]:
    """Field names of the model nested in ``model`` under these keys."""
    for key in keys:
        field = model.model_fields.get(key)
        nested = field.annotation if field else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        model = nested
    return list(model.model_fields)


def _contains(values: Any, keys: list[str]) -> bool:
    """Whether a problem that pydantic places under ``keys`` lies in these values.

    Its places end in numbers of list items, and in names of types where there are several.
    """
    for key in keys:
        if not isinstance(values, dict):
            return True
        if key not in values:
            return False
        values = values[key]
    return True
