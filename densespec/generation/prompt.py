"""Prompts and few-shot pools of query kinds: files for all domains, parameters for a domain's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from densespec.errors import InputError
from densespec.io.jsonl import read_json, read_jsonl, write_json

#: Folder of the prompts and pools that all domains share.
SHARED = Path(__file__).with_name("prompts")
VERSION_LINE = re.compile(r"version:\s*(\S+/\d+)\s*")


class Example(NamedTuple):
    """One entry of a few-shot pool: a passage and the query that a good writer gives it."""

    passage: str
    query: str


class Prompt(NamedTuple):
    """A prompt; ``{passage}`` in ``template`` stands for the passage's content.

    Attributes:
        version: from the first line of its file, such as ``"question/1"``.
        template: the rest of the file.
        examples: the kind's few-shot pool; empty for zero-shot.
    """

    version: str
    template: str
    examples: tuple[Example, ...] = ()


def shared_prompt(folder: Path, kind: str) -> Prompt | None:
    """The prompt of a kind that all domains have, with its pool.

    Args:
        folder: of ``<kind>.txt`` and ``<kind>.examples.jsonl``; a kind without the latter has no pool.
        kind: of the queries.

    Returns:
        None for a kind without a file: domains may bring prompts for it.

    Raises:
        InputError: a malformed prompt or pool.
    """
    path, pool = folder / f"{kind}.txt", folder / f"{kind}.examples.jsonl"
    if not path.is_file():
        return None
    rows = read_jsonl(pool) if pool.is_file() else ()
    try:
        prompt = parse_prompt(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            path, expected="UTF-8 text", found=str(error), remedy="convert the file to UTF-8"
        ) from None
    return prompt._replace(examples=tuple(_example(f"{pool}:{number}", row) for number, row in rows))


def domain_prompt(
    shared: Prompt | None, kind: str, text: str | None, examples: Iterable[Mapping[str, Any]] | None
) -> Prompt | None:
    """A kind's prompt in one domain: what it brings itself, the rest as all domains have it.

    Args:
        shared: see :func:`shared_prompt`.
        kind: of the queries.
        text: the domain's own prompt, version line first (params ``generate.prompts``); None for none.
        examples: the domain's own pool (params ``generate.examples``); None for none.

    Returns:
        None where neither has a prompt.

    Raises:
        InputError: a malformed prompt or pool.
    """
    prompt = shared if text is None else parse_prompt(f"params generate.prompts.{kind}", text)
    if prompt is None:
        return None
    pool = shared.examples if shared else ()
    if examples is not None:
        pool = tuple(_example(f"params generate.examples.{kind}", row) for row in examples)
    return prompt._replace(examples=pool)


def write_prompt(path: Path, prompt: Prompt | None) -> None:
    """Write a prompt as JSON; an empty object for none."""
    row = prompt._asdict() | {"examples": [x._asdict() for x in prompt.examples]} if prompt else {}
    write_json(path, row)


def read_prompt(path: Path) -> Prompt | None:
    """Read what :func:`write_prompt` wrote."""
    row = read_json(path)
    return Prompt(**row | {"examples": tuple(Example(**x) for x in row["examples"])}) if row else None


def parse_prompt(where: str | Path, text: str) -> Prompt:
    """The prompt in a text whose first line is its version.

    Raises:
        InputError: no version line, or no place for the passage.
    """
    first, _, template = text.partition("\n")
    version = VERSION_LINE.fullmatch(first)
    if not version:
        raise InputError(
            f"{where}:1", expected="'version: <name>/<number>'", found=repr(first), remedy="add that line"
        )
    if "{passage}" not in template:
        raise InputError(
            where,
            expected="{passage} where the passage goes",
            found="a template without it",
            remedy="add a line {passage}",
        )
    return Prompt(version[1], template.strip() + "\n")


def _example(where: str, row: Mapping[str, Any]) -> Example:
    fields = [row.get(field) for field in Example._fields]
    texts = [field for field in fields if isinstance(field, str) and field.strip()]
    if len(texts) < len(fields):
        raise InputError(
            where,
            expected="a few-shot example with two texts, 'passage' and 'query'",
            found=str(dict(row))[:200],
            remedy='write {"passage": "…", "query": "…"}',
        )
    return Example(*texts)
