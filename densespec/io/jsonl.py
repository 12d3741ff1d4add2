"""JSON and JSON Lines: strict reading with file and line in every complaint, byte-stable writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from densespec.errors import InputError
from densespec.io.atomic import replacing, write_text


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON Lines file; blank lines are skipped.

    Raises:
        InputError: the file is missing or not UTF-8, or a line is not a JSON object.
    """
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{number}",
                expected="one JSON object per line",
                found=f"{_complaint(error)}: {shorten(line)}",
                remedy="correct or delete that line",
            ) from None
        if not isinstance(row, dict):
            raise InputError(
                f"{path}:{number}",
                expected="one JSON object per line",
                found=f"a JSON {type(row).__name__}: {shorten(line)}",
                remedy='write each line as {"_id": …, "text": …}',
            )
        yield number, row


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of a UTF-8 text file, without blank lines and byte-order mark.

    Raises:
        InputError: the file is missing, or a line is not UTF-8.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            path,
            expected="a readable file",
            found=error.strerror or str(error),
            remedy="check the path; if the file is DVC-tracked, `dvc pull` brings it",
        ) from None
    with file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, raw, error.start, "line") from None
            if line.strip():
                yield number, line


def not_utf8(path: Path, line: int, raw: bytes, offset: int, unit: str) -> InputError:
    """The complaint about ``raw[offset]``, with the conversion that the first bytes suggest."""
    encoding = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    return InputError(
        f"{path}:{line}",
        expected="UTF-8 text",
        found=f"byte 0x{raw[offset]:02x} at offset {offset} of the {unit}",
        remedy=f"convert the file, for example: iconv -f {encoding} -t UTF-8 {path.name} > NEW",
    )


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one object per line, atomically, keys in the given order."""
    with replacing(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        InputError: missing or malformed.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            path, expected="a JSON document", found=_complaint(error), remedy="run the stage that writes it"
        ) from None


def _complaint(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"{error.msg.removesuffix(' at')} at {line}column {error.colno}"
    # an integer of thousands of digits is a ValueError, deep nesting a RecursionError
    return "brackets nested too deeply" if isinstance(error, RecursionError) else str(error)


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document atomically: sorted keys, two spaces, floats at six decimals."""
    text = json.dumps(_rounded(document), ensure_ascii=False, indent=2, sort_keys=True)
    write_text(path, text + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def shorten(text: str, width: int = 80) -> str:
    """The beginning of ``text``, for messages."""
    return text if len(text) <= width else text[: width - 1] + "…"
