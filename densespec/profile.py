"""``densespec profile``: values for a machine and a purpose, from conf/profiles into params.yaml."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from densespec.errors import InputError
from densespec.io.atomic import write_text
from densespec.io.params import read_yaml
from densespec.repository import repository_root
from densespec.terminal import coloured, table

DESCRIPTION = """\
Write the values of a profile into params.yaml, where DVC tracks them and `git diff` shows them; without NAME,
say what each profile is for. A parameter that no profile speaks of stays as it is, and so do comments.
"""
EXAMPLES = """\
examples:
  densespec profile             what there is, and what each needs
  densespec profile gpu         large models; `densespec doctor` says whether this machine has what it needs
  densespec profile embedded    back to the values that params.yaml came with
"""
#: What every other profile stands on.
DEFAULT = "embedded"
#: Section of a profile's file that is about it and not for params.yaml.
ABOUT = "profile"
Keys = tuple[str, ...]


class About(BaseModel):
    """Section ``profile`` of a file in conf/profiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: str = Field(min_length=1, description="what it is for")
    needs: str = Field(min_length=1, description="machine, packages and downloads")
    gpu_gb: float = Field(default=0, ge=0, description="memory of one GPU (GB); 0 = no GPU")
    memory_gb: float = Field(default=0, ge=0, description="memory of the machine (GB)")
    disk_gb: float = Field(default=0, ge=0, description="free disk for models yet to be downloaded (GB)")
    takes: str = Field(min_length=1, description="time and cost, measured or estimated")


class Profile(NamedTuple):
    """A profile.

    Attributes:
        about: what it is for and needs.
        values: key in params.yaml → value as it is written there; those of :data:`DEFAULT` included.
    """

    about: About
    values: dict[Keys, str]

    def parsed(self) -> dict[Keys, Any]:
        """The values as YAML reads them."""
        return {keys: yaml.safe_load(written) for keys, written in self.values.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec profile``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("name", nargs="?", metavar="NAME", help="a file in conf/profiles")


def main(args: argparse.Namespace) -> None:
    """Write a profile's values, or list the profiles."""
    root = repository_root()
    found = profiles(root)
    params = root / "params.yaml"
    if args.name is None:
        document = read_yaml(params)
        for name, profile in found.items():
            written = all(value_of(document, keys) == value for keys, value in profile.parsed().items())
            print(coloured(name, "bold") + (" (in params.yaml)" if written else ""))
            about = profile.about
            print(f"  for    {about.purpose}\n  needs  {about.needs}\n  takes  {about.takes}")
        return
    if args.name not in found:
        raise InputError(
            "profile",
            expected=f"one of: {', '.join(found)}",
            found=args.name,
            remedy="`densespec profile` says what each is for",
        )
    values = found[args.name].values
    read_yaml(params)
    text = params.read_text(encoding="utf-8")
    edited = with_values(text, values)
    write_text(params, edited)
    before, after = _written(text), _written(edited)
    changes = [
        (".".join(keys), " ".join(before[keys].split()), after[keys])  # a list may stand on several lines
        for keys in values
        if before[keys] != after[keys]
    ]
    if changes:
        print("\n".join(table([("params.yaml", "before", "now"), *changes])))
    else:
        print(f"params.yaml has the values of '{args.name}' already")
    for path in sorted((root / "conf" / "domains").glob("*.yaml")):
        overrides = read_yaml(path)
        hidden = [".".join(keys) for keys in values if value_of(overrides, keys) is not None]
        if hidden:
            print(f"{path.relative_to(root)} has values of its own: {', '.join(hidden)}")


def profiles(root: Path) -> dict[str, Profile]:
    """All profiles of a repository by name, the default first; none where there are no files.

    Raises:
        InputError: a malformed file, or one that says nothing about itself.
    """
    paths = sorted((root / "conf" / "profiles").glob("*.yaml"), key=lambda path: (path.stem != DEFAULT, path))
    found: dict[str, Profile] = {}
    for path in paths:
        try:
            about = About.model_validate(read_yaml(path).get(ABOUT))
        except ValidationError as error:
            raise InputError(
                path,
                expected=f"a section '{ABOUT}' with {', '.join(About.model_fields)}",
                found="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
                remedy="see the other files in conf/profiles",
            ) from None
        own = _written(path.read_text(encoding="utf-8"))
        values = {keys: written for keys, written in own.items() if keys[0] != ABOUT}
        shared = found[DEFAULT].values if DEFAULT in found else {}
        found[path.stem] = Profile(about, shared | values)
    return found


def with_values(text: str, values: Mapping[Keys, str]) -> str:
    """Text of ``params.yaml`` with other values; comments and layout stay.

    Args:
        text: of the file.
        values: key → value as it is to be written, on one line.

    Raises:
        InputError: a key that the file does not have, or a layout that hides where its value ends.
    """
    nodes = dict(_leaves(_mapping(text)))
    missing = [".".join(keys) for keys in values if keys not in nodes]
    edited = text
    if not missing:
        for keys in sorted(values, key=lambda keys: nodes[keys].start_mark.index, reverse=True):
            begin, end = nodes[keys].start_mark.index, _end(nodes[keys])
            # a list in block style may stand right below its key, where a value in brackets may not
            indent = "  " if _is_block_list(nodes[keys]) else ""
            edited = edited[:begin] + indent + values[keys] + edited[end:]
    if missing or _read(edited) != _replaced(yaml.safe_load(text), values):
        raise InputError(
            "params.yaml",
            expected="every parameter of the profile on a line of its own, as the file came",
            found=f"nothing for {', '.join(missing)}" if missing else "a layout that cannot be edited",
            remedy="write the parameters as 'key: value', lists as [a, b], or set them by hand",
        )
    return edited


def value_of(document: Any, keys: Keys) -> Any:
    """The value under nested keys; None where there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _mapping(text: str) -> yaml.MappingNode:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)  # read_yaml has seen to it
    return node


def _leaves(node: yaml.MappingNode, prefix: Keys = ()) -> Iterator[tuple[Keys, yaml.Node]]:
    """Nodes that are values: all but mappings in block style."""
    for key, value in node.value:
        keys = (*prefix, str(key.value))
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _leaves(value, keys)
        else:
            yield keys, value


def _written(text: str) -> dict[Keys, str]:
    """Every value of a YAML file as it is written there."""
    return {keys: text[node.start_mark.index : _end(node)] for keys, node in _leaves(_mapping(text))}


def _end(node: yaml.Node) -> int:
    """Where a value's text ends; of a list in block style the end mark lies behind comments."""
    while _is_block_list(node):
        node = node.value[-1]
    return int(node.end_mark.index)


def _is_block_list(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode) and not node.flow_style


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _replaced(document: dict[str, Any], values: Mapping[Keys, str]) -> dict[str, Any]:
    for keys, written in values.items():
        inner = document
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = yaml.safe_load(written)
    return document
