"""What README and docs say about parameters, files and versions is what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SECTIONS = {name for name, value in PARAMS.items() if isinstance(value, dict)}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STAGES = [page for page in PAGES if page.stem in SECTIONS]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        pairs |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return pairs


def table_below(page: Path, heading: str) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("page", STAGES, ids=lambda page: page.stem)
def test_a_stage_page_lists_every_parameter_with_its_default(page: Path) -> None:
    documented: dict[str, Any] = {}
    for names, default, *_ in table_below(page, "Parameters"):
        names_in_row = re.findall(r"`([^`]+)`", names)
        values = [default] if len(names_in_row) == 1 else default.split(", ")
        for name, value in zip(names_in_row, values, strict=True):
            documented[name] = yaml.safe_load(value.strip("`"))
    assert documented == flat(PARAMS[page.stem])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_parameters_in_commands_exist(page: Path) -> None:
    """`-S section.name=…` with a name that params.yaml does not have would fail, or add it."""
    known = set(flat(PARAMS)) | set(PARAMS)
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"-S '?(?:conf/\S+?:)?\+?([a-z_]+(?:\.[a-z_0-9]+)*)=", text)
    assert [name for name in named if name not in known] == []


def test_overrides_of_the_collections_have_every_section_and_known_parameters() -> None:
    files = sorted((ROOT / "conf" / "collections").glob("*.yaml"))
    assert files
    for file in files:
        overrides = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert set(overrides) == SECTIONS, file.name
        assert set(flat({k: v for k, v in overrides.items() if v})) <= set(flat(PARAMS)), file.name


def test_every_direct_dependency_is_pinned_and_none_has_an_address_or_a_local_version() -> None:
    import tomllib

    files = ("constraints.txt", "constraints-pyserini.txt")
    lines = [line for file in files for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)] == []
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["cpu"], *extras["dev"], *extras["pyserini"]]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name and re.sub(r"[-_.]+", "-", name[0]).lower() in pinned, requirement


def test_the_pins_for_vllm_replace_pins_that_are_there() -> None:
    plain, other = (
        dict(re.findall(r"^([\w.-]+)==([0-9][\w.]*)$", (ROOT / file).read_text(), re.MULTILINE))
        for file in ("constraints.txt", "constraints-vllm.txt")
    )
    assert other
    # the Makefile compares names as they are written
    assert [name for name in other if plain.get(name, other[name]) == other[name]] == []
