"""Tables as people have them (JSON Lines, CSV, TSV, Parquet) as rows of passages or queries.

Rows are {"_id", "title", "text"} with the place each stands at; ``readers`` checks them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from densespec.corpus.documents import DOCUMENTS, read_document
from densespec.corpus.readers import Row, jsonl_rows
from densespec.errors import InputError
from densespec.io.jsonl import numbered_lines, shorten

#: Column names that are recognised, best first.
ID_COLUMNS = (
    *("_id", "id", "docid", "doc_id", "document_id", "passage_id", "corpus_id", "pid"),
    *("identifier", "key", "uuid"),
)
TITLE_COLUMNS = ("title", "heading", "headline", "subject", "name")
TEXT_COLUMNS = ("text", "body", "content", "contents", "passage", "document", "abstract", "description")
QUERY_COLUMNS = ("text", "query", "question", "title", "content")
QUERY_ID_COLUMNS = ("_id", "id", "query_id", "query-id", "qid", "key")
TABLES = (".jsonl", ".csv", ".tsv", ".parquet")


class Columns(NamedTuple):
    """Columns to read; ``""`` leaves the choice to the names above."""

    id: str = ""
    title: str = ""
    text: str = ""


def table_passages(path: Path, columns: Columns) -> Iterator[Row]:
    """Passages of a .jsonl, .csv, .tsv or .parquet file; without an id column the row number is the id.

    A column given as a number counts from 1 and says that a .csv or .tsv file has no header line.

    Raises:
        InputError: a format that isn't read, a missing column, or a malformed file.
    """
    chosen: Columns | None = None
    formats = (
        f"a BEIR folder, a file ending in {', '.join(TABLES)}, or a folder of {', '.join(DOCUMENTS)} files"
    )
    for number, (where, row) in enumerate(_rows(path, columns, formats), start=1):
        if chosen is None:
            chosen = Columns(
                _column(where, row, columns.id, ID_COLUMNS),
                _column(where, row, columns.title, TITLE_COLUMNS),
                _column(
                    *(where, row, columns.text, TEXT_COLUMNS),
                    remedy="name the column with --text-column (a number in a file without header)",
                ),
            )
        yield (
            where,
            {
                "_id": _value(where, row, chosen.id) if chosen.id else number,
                "title": row.get(chosen.title) if chosen.title else _late_title(row),
                "text": _value(where, row, chosen.text),
            },
        )


def table_queries(path: Path) -> Iterator[Row]:
    """Queries of a .jsonl, .csv, .tsv or .parquet file, or a .txt file with one query a line.

    Rows have no ``_id`` where the file has none.
    """
    if path.suffix.lower() == ".txt":
        for number, line in numbered_lines(path):
            yield f"{path}:{number}", {"text": line}
        return
    names: tuple[str, str] | None = None
    for where, row in _rows(path, Columns(), f"a file ending in .txt, {', '.join(TABLES)}"):
        if names is None:
            names = (
                _column(where, row, "", QUERY_ID_COLUMNS),
                _column(where, row, "", QUERY_COLUMNS, remedy="rename the column that holds the queries"),
            )
        id_column, text_column = names
        query = {"text": _value(where, row, text_column), "kind": row.get("kind") or ""}
        yield where, {"_id": row[id_column], **query} if row.get(id_column) is not None else query


def _rows(path: Path, columns: Columns, formats: str) -> Iterator[Row]:
    if not path.is_file():
        raise InputError(
            path,
            expected="a file",
            found="a folder" if path.is_dir() else "nothing",
            remedy="check the path (it is relative to the current folder)",
        )
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return iter(jsonl_rows(path))
    if suffix in (".csv", ".tsv"):
        return _csv_rows(path, headless=any(column.isdigit() for column in columns))
    if suffix == ".parquet":
        return _parquet_rows(path)
    raise InputError(
        path,
        expected=formats,
        found=f"a file ending in '{suffix}'",
        remedy="convert it to .jsonl",
    )


def _column(where: str, row: Mapping[str, Any], wanted: str, known: Sequence[str], remedy: str = "") -> str:
    """Name of a column: the wanted one, else the first known one (in any case), else ``""`` (no remedy)."""
    if wanted:
        if wanted in row:
            return wanted
        found = f"no column '{wanted}' among: {_listed(row)}"
        expected, remedy = f"a column '{wanted}'", "correct the option that names it"
    else:
        folded = {str(name).strip().lower(): str(name) for name in row}
        match = next((folded[name] for name in known if name in folded), "")
        if match or not remedy:
            return match
        found = f"columns {_listed(row)}"
        expected = f"a column with the text, called one of {', '.join(known)}"
    raise InputError(where, expected=expected, found=found, remedy=remedy)


def _late_title(row: Mapping[str, Any]) -> Any:
    """A title in a later JSON row, where the first row has none."""
    return next((row[name] for name in TITLE_COLUMNS if name in row), "")


def _listed(row: Mapping[str, Any]) -> str:
    return ", ".join(shorten(str(name), 40) for name in list(row)[:20]) or "(none)"


def _value(where: str, row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise InputError(
            where,
            expected=f"a value for '{column}', as in the first row",
            found=f"columns {_listed(row)}",
            remedy="add the value, or delete the row",
        )
    return row[column]


def _csv_rows(path: Path, headless: bool) -> Iterator[Row]:
    text = read_document(path)
    first_line = text.partition("\n")[0]
    tabs = path.suffix.lower() == ".tsv"
    delimiter = "\t" if tabs else max(",;\t", key=first_line.count)
    limit = csv.field_size_limit(2**31 - 1)  # a passage may be longer than the module's 128 KiB
    try:
        try:
            records = list(_records(text, delimiter, csv.QUOTE_MINIMAL))
            if tabs and _is_unquoted(text, len(records)):
                records = list(_records(text, delimiter, csv.QUOTE_NONE))
        except csv.Error:
            if not tabs:
                raise
            records = list(_records(text, delimiter, csv.QUOTE_NONE))  # quotes are plain characters
    except csv.Error as error:
        line, _, message = str(error).partition("\n")
        raise InputError(
            f"{path}:{line}",
            expected="well-formed CSV: fields with line breaks or quotes stand in quotes, quotes doubled",
            found=message,
            remedy="correct that record, or export the table again",
        ) from None
    finally:
        csv.field_size_limit(limit)
    names = [str(i) for i in range(1, len(records[0][1]) + 1)] if headless and records else []
    for number, fields in records:
        if not names:
            names = fields
            continue
        if len(fields) != len(names):
            raise InputError(
                f"{path}:{number}",
                expected=f"{len(names)} fields, as in the first line ({shorten(', '.join(names))})",
                found=f"{len(fields)}: {shorten(delimiter.join(fields))}",
                remedy="quote fields that hold the delimiter or line breaks; write empty ones too",
            )
        yield f"{path}:{number}", dict(zip(names, fields, strict=True))


def _is_unquoted(text: str, records: int) -> bool:
    """Every line of tab-separated text is a row, though a quote seems to open a field of several lines."""
    lines = [line for line in text.split("\n") if line.strip()]
    tabs = {line.count("\t") for line in lines}
    return records < len(lines) and len(tabs) == 1 and tabs != {0}


def _records(text: str, delimiter: str, quoting: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number of its start, fields) of each record that isn't blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    start = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise csv.Error(f"{start}\n{error}") from None
        if any(field.strip() for field in fields):
            yield start, fields
        start = reader.line_num + 1


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            path,
            expected="a Parquet file",
            found=str(error).splitlines()[0],
            remedy="check the file; it may be cut off or of another format",
        ) from None
