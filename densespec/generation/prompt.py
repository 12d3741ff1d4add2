"""Prompts and few-shot pools: one text file and one file of examples per query kind."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from densespec.errors import InputError
from densespec.io.jsonl import read_jsonl

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


def load_prompt(
    folder: Path, kind: str, text: str | None = None, examples: Iterable[Mapping[str, Any]] | None = None
) -> Prompt:
    """A kind's prompt with its pool: a domain's own where it has one, else those of ``folder``.

    Args:
        folder: of the shared ``<kind>.txt`` and ``<kind>.examples.jsonl``.
        kind: of the queries.
        text: the domain's own prompt, version line first (params ``generate.prompts``).
        examples: the domain's own pool (params ``generate.examples``).

    Raises:
        InputError: a malformed prompt or pool, or no prompt at all.
    """
    own = f"params generate.prompts.{kind}"
    prompt = read_prompt(folder, kind) if text is None else parse_prompt(own, text)
    pool = folder / f"{kind}.examples.jsonl"
    if examples is not None:
        rows = [(f"params generate.examples.{kind}", dict(row)) for row in examples]
    else:
        rows = [(f"{pool}:{number}", row) for number, row in (read_jsonl(pool) if pool.is_file() else ())]
    return prompt._replace(examples=tuple(_example(where, row) for where, row in rows))


def known_kinds(folder: Path, listed: Iterable[str]) -> set[str]:
    """Query kinds that a domain may name: those that params ``kinds`` lists, and those with a shared prompt.

    The latter, so that an experiment with fewer ``kinds`` does not fail on a domain's prompt of another.
    """
    return {*listed, *(file.stem for file in folder.glob("*.txt"))}


def require_known_kinds(named: Mapping[str, Collection[str]], known: Collection[str], domain: str) -> None:
    """Refuse parameters of query kinds that there are not.

    Args:
        named: parameter of section ``generate`` → kinds that it names.
        known: kinds that there are.
        domain: for the message.

    Raises:
        InputError: some are unknown; all are told.
    """
    found = []
    for parameter, kinds in named.items():
        for kind in sorted(set(kinds) - set(known)):
            close = difflib.get_close_matches(kind, known, n=1)
            found.append(f"generate.{parameter}: {kind}" + (f" (did you mean {close[0]}?)" if close else ""))
    if found:
        raise InputError(
            f"conf/domains/{domain}.yaml or params.yaml",
            expected=f"query kinds that there are: {', '.join(sorted(known))}",
            found=", ".join(found),
            remedy="correct the name, or add the kind (docs/generate.md, 'Kinds')",
        )


def read_prompt(folder: Path, kind: str) -> Prompt:
    """Read ``<folder>/<kind>.txt``.

    Raises:
        InputError: no such prompt, no version line, or no place for the passage.
    """
    path = folder / f"{kind}.txt"
    if not path.is_file():
        known = ", ".join(sorted(known_kinds(folder, ()))) or "none"
        raise InputError(
            path,
            expected=f"a prompt for query kind '{kind}'",
            found=f"prompts for: {known}",
            remedy="correct params 'kinds' (or generate.kinds, prompts and examples), or write that "
            "prompt file (docs/generate.md says how)",
        )
    try:
        return parse_prompt(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            path, expected="UTF-8 text", found=str(error), remedy="convert the file to UTF-8"
        ) from None


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
