"""Prompts: one text file per query kind, its version in the first line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from densespec.errors import InputError

VERSION_LINE = re.compile(r"version:\s*(\S+/\d+)\s*")


class Prompt(NamedTuple):
    """A prompt; ``{passage}`` in ``template`` stands for the passage's content."""

    version: str
    template: str


def read_prompt(folder: Path, kind: str) -> Prompt:
    """Read ``<folder>/<kind>.txt``.

    Raises:
        InputError: no such prompt, no version line, or no place for the passage.
    """
    path = folder / f"{kind}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "none"
        raise InputError(
            path,
            expected=f"a prompt for query kind '{kind}'",
            found=f"prompts for: {known}",
            remedy="correct params 'kinds', or write that prompt file (docs/generate.md says how)",
        )
    try:
        first, _, template = path.read_text(encoding="utf-8").partition("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            path, expected="UTF-8 text", found=str(error), remedy="convert the file to UTF-8"
        ) from None
    version = VERSION_LINE.fullmatch(first)
    if not version:
        raise InputError(
            f"{path}:1", expected="'version: <name>/<number>'", found=repr(first), remedy="add that line"
        )
    if "{passage}" not in template:
        raise InputError(
            path,
            expected="{passage} where the passage goes",
            found="a template without it",
            remedy="add a line {passage}",
        )
    return Prompt(version[1], template.strip() + "\n")
