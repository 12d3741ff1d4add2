"""Whole files or none."""

from __future__ import annotations

import stat

import numpy as np
import pytest

from densespec.io.arrays import write_array
from densespec.io.atomic import replacing, replacing_folder, write_text
from densespec.io.jsonl import write_json, write_jsonl
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels, write_run
from densespec.records import Scored


class Stop(Exception):
    pass


def rows_then_stop():
    yield {"_id": "a"}
    raise Stop


def qrels_then_stop():
    yield ("q", "p", 1)
    raise Stop


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


BROKEN_WRITERS = {
    "jsonl": lambda path: write_jsonl(path, rows_then_stop()),
    "jsonl value": lambda path: write_jsonl(path, [{"a": 1}, {"a": object()}]),
    "jsonl surrogate": lambda path: write_jsonl(path, [{"a": "\ud800"}]),
    "json": lambda path: write_json(path, {"a": object()}),
    "qrels": lambda path: write_qrels(path, qrels_then_stop()),
    "run": lambda path: write_run(path, {"a": [Scored("p", 1.0)], "b": [("p", "no score")]}, "x"),
    "table": lambda path: write_table(path, {"a": [1, 2], "b": [1]}),
    "table types": lambda path: write_table(path, {"a": [1, "x"]}),
    "array": lambda path: write_array(path, np.array([object()])),
    "text": lambda path: write_text(path, "\ud800"),
}


@pytest.mark.parametrize("writer", BROKEN_WRITERS.values(), ids=BROKEN_WRITERS)
def test_a_writer_that_fails_leaves_what_was_there(tmp_path, writer):
    path = tmp_path / "file"
    with pytest.raises(Exception):  # noqa: B017
        writer(path)
    assert content(tmp_path) == {}
    path.write_bytes(b"old")
    with pytest.raises(Exception):  # noqa: B017
        writer(path)
    assert content(tmp_path) == {"file": b"old"}


def test_the_target_is_whole_at_every_moment(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent, "a rename must not cross file systems"
        temporary.write_bytes(b"new")
    assert content(tmp_path) == {"file": b"new"}


def test_an_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt
    assert content(tmp_path) == {}


def test_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "é\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "é\n".encode()


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with replacing_folder(folder) as temporary:
        (temporary / "new.txt").write_text("new")
        assert [path.name for path in folder.iterdir()] == ["old.txt"]
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055, "colleagues read it too"


def test_a_folder_that_fails_leaves_what_was_there(tmp_path):
    folder = tmp_path / "deep" / "model"
    for existing in ([], ["old.txt"]):
        if existing:
            folder.mkdir()
            (folder / "old.txt").write_text("old")
        with pytest.raises(Stop):
            with replacing_folder(folder) as temporary:
                (temporary / "half.txt").write_text("half")
                raise Stop
        assert [path.name for path in folder.parent.rglob("*.txt")] == existing
        assert [path.name for path in folder.parent.iterdir()] == (["model"] if existing else [])
