"""The parameters in force for a domain, whatever the sections hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from densespec.io.params import load_section, read_yaml

#: Top-level values that say what is built, not how.
LEFT_OUT = ("domain", "domains")


class _AnySection(BaseModel):
    model_config = ConfigDict(extra="allow")


def settings_of(domain: str) -> dict[str, Any]:
    """Top-level values and sections of params.yaml, the domain's own parameters merged in."""
    shared = read_yaml(Path("params.yaml"))
    return {
        name: load_section(name, _AnySection, domain).model_dump() if isinstance(value, dict) else value
        for name, value in shared.items()
        if name not in LEFT_OUT
    }


def overrides_of(domain: str) -> dict[str, Any]:
    """The domain's own parameters, by section."""
    return read_yaml(Path("conf", "domains", f"{domain}.yaml"))
