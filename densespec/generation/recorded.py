"""The writer that replays queries which a large language model wrote earlier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from densespec.errors import InputError
from densespec.generation.writer import Recording, Setting, Written
from densespec.io.jsonl import read_jsonl
from densespec.records import Passage, passage_hash

FIELDS = ("passage", "kind", "query", "prompt", "model")


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield the recordings of each passage; a passage whose wording changed has none."""
    for passage in passages:
        for recording in setting.recordings.get(passage_hash(passage), ()):
            yield Written(passage, recording.text, recording.prompt, recording.model)


def read_recordings(path: Path) -> dict[str, dict[str, list[Recording]]]:
    """Read ``recordings.jsonl`` of the corpus stage: kind → passage hash → recordings in file order.

    Raises:
        InputError: a line lacks a field or holds something other than text.
    """
    recordings: dict[str, dict[str, list[Recording]]] = {}
    for number, row in read_jsonl(path):
        wrong = [field for field in FIELDS if not isinstance(row.get(field), str)]
        found = [f"{field}: {row[field]!r}" if field in row else f"no {field}" for field in wrong]
        if wrong:
            raise InputError(
                f"{path}:{number}",
                expected=f"text in each of {', '.join(FIELDS)}",
                found=", ".join(found),
                remedy="correct the domain's recorded/<kind>.jsonl and run stage corpus again",
            )
        of_kind = recordings.setdefault(row["kind"], {})
        of_kind.setdefault(row["passage"], []).append(Recording(row["query"], row["prompt"], row["model"]))
    return recordings
