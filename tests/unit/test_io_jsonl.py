"""JSON and JSON Lines: complaints that name file and line, byte-stable writing."""

from __future__ import annotations

import json

import pytest

from densespec.errors import InputError
from densespec.io.jsonl import numbered_lines, read_json, read_jsonl, shorten, write_json, write_jsonl

GOOD = '{"_id": "a", "text": "one"}'


def written(tmp_path, content: bytes | str):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(path) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    return caught.value


def test_rows_come_with_their_line_numbers(tmp_path):
    path = written(tmp_path, f"\ufeff{GOOD}\r\n\n   \n" + '{"_id": "ü"}')
    assert list(read_jsonl(path)) == [(1, json.loads(GOOD)), (4, {"_id": "ü"})]


def test_an_empty_file_has_no_rows(tmp_path):
    assert list(read_jsonl(written(tmp_path, ""))) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"_id": "a"', 'Expecting \',\' delimiter at column 12: {"_id": "a"'),
        ("{'_id': 1}", "Expecting property name"),
        ('{"a": "b', "Unterminated string starting at column 7"),
        ('{"a": 1} {"b": 2}', "Extra data"),
        ("[1, 2]", "a JSON list: [1, 2]"),
        ('"text"', 'a JSON str: "text"'),
        ("null", "a JSON NoneType: null"),
        ("7", "a JSON int: 7"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, found):
    error = complaint(written(tmp_path, f"{GOOD}\n\n{line}\n{GOOD}\n"))
    assert error.where.endswith("rows.jsonl:3")
    assert error.found.startswith(found)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "brackets nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "brackets nested too deeply"),
        ('{"a": "' + "x" * 100_000, "Unterminated string"),
    ],
    ids=["digits", "lists", "objects", "string"],
)
def test_absurd_json_is_a_users_mistake_too(tmp_path, line, found):
    error = complaint(written(tmp_path, f"{GOOD}\n{line}\n"))
    assert error.where.endswith("rows.jsonl:2")
    assert error.found.startswith(found)
    assert len(error.found) < 300
    path = tmp_path / "document.json"
    path.write_text(line)
    with pytest.raises(InputError, match="a JSON document"):
        read_json(path)


def test_a_line_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    error = complaint(written(tmp_path, f"{GOOD}\n".encode() + '{"_id": "ü"}\n'.encode("latin-1")))
    assert error.where.endswith("rows.jsonl:2")
    assert error.found == "byte 0xfc at offset 9 of the line"
    assert "iconv" in error.remedy


def test_utf16_is_refused(tmp_path):
    assert complaint(written(tmp_path, GOOD.encode("utf-16"))).where.endswith("rows.jsonl:1")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nothing.jsonl", tmp_path):
        error = complaint(path)
        assert error.where == str(path)
        assert "dvc pull" in error.remedy
        with pytest.raises(InputError):
            read_json(path)


def test_a_byte_order_mark_counts_only_at_the_beginning(tmp_path):
    path = written(tmp_path, "\ufeffone\n\ufefftwo\n")
    assert list(numbered_lines(path)) == [(1, "one"), (2, "\ufefftwo")]


def test_unicode_line_separators_do_not_split_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "a\u2028b\u0085c\x0bd"}, {"text": "é\n\t\\"}]
    write_jsonl(path, rows)
    assert [row for _, row in read_jsonl(path)] == rows


def test_lines_are_written_as_they_come_readable_and_stable(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    write_jsonl(path, ({"b": n, "a": "ü"} for n in range(2)))
    assert path.read_bytes() == '{"b": 0, "a": "ü"}\n{"b": 1, "a": "ü"}\n'.encode()
    write_jsonl(path, [])
    assert path.read_bytes() == b""


def test_documents_are_sorted_and_rounded(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"b": 0.1234567891, "a": {2: (1, 0.5)}, "c": None})
    assert path.read_text() == (
        '{\n  "a": {\n    "2": [\n      1,\n      0.5\n    ]\n  },\n  "b": 0.123457,\n  "c": null\n}\n'
    )
    before = path.read_bytes()
    write_json(path, {"c": None, "a": {2: [1, 0.5]}, "b": 0.12345678911})
    assert path.read_bytes() == before
    assert read_json(path)["b"] == 0.123457


def test_a_malformed_document_says_where(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{\n  "a": 1,\n  b\n}')
    with pytest.raises(InputError, match="at line 3, column 3"):
        read_json(path)


def test_shorten_keeps_messages_short():
    assert shorten("x" * 80) == "x" * 80
    assert shorten("x" * 81) == "x" * 79 + "…"
