"""The record types, the one error for users, and how a script ends on it."""

from __future__ import annotations

import errno
import os
import unicodedata

import pytest

from densespec.errors import InputError, run
from densespec.records import Passage, Query, passage_hash


def ends(main) -> int | str | None:
    """Exit code of a script with this ``main``; None if it ends without one."""
    try:
        run(main)
    except SystemExit as error:
        return error.code
    return None


def raising(error):
    def main():
        raise error

    return main


def test_content_has_the_title_in_its_first_line():
    assert Passage("p", "Title", "body").content == "Title\nbody"
    assert Passage("p", "", "body").content == "body"


def test_records_are_plain_tuples():
    assert Query("q", "text") == ("q", "text", "", "", "")
    assert {Passage("p", "", "a"): 1}[Passage("p", "", "a")] == 1


def test_the_hash_follows_the_wording_and_nothing_else():
    passage = Passage("p1", "Café", "Crème brûlée")
    assert passage_hash(passage) == passage_hash(passage._replace(id="other"))
    decomposed = [unicodedata.normalize("NFD", text) for text in passage[1:]]
    assert passage_hash(passage) == passage_hash(Passage("p1", *decomposed))
    assert len(passage_hash(passage)) == 16
    others = [
        passage._replace(title="Cafe"),
        passage._replace(text="x"),
        Passage("p1", "", "CaféCrème brûlée"),
    ]
    assert len({passage_hash(p) for p in [passage, *others]}) == 4


def test_the_hash_keeps_title_and_text_apart():
    assert passage_hash(Passage("p", "a", "b c")) != passage_hash(Passage("p", "a b", "c"))


def test_an_input_error_says_where_expected_found_and_remedy():
    error = InputError("file:3", expected="this", found="that", remedy="do so")
    assert str(error) == "file:3\n  expected: this\n  found:    that\n  remedy:   do so"
    assert (error.where, error.expected, error.found, error.remedy) == ("file:3", "this", "that", "do so")


def test_a_users_mistake_ends_with_2_and_its_message(capsys):
    assert ends(raising(InputError("params.yaml", expected="a", found="b", remedy="c"))) == 2
    assert capsys.readouterr().err == "error: params.yaml\n  expected: a\n  found:    b\n  remedy:   c\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_with_2_and_says_what_frees_space(capsys, number):
    assert ends(raising(OSError(number, os.strerror(number), "data/x.parquet"))) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: data/x.parquet\n  expected: free space\n")
    assert os.strerror(number) in message
    assert "densespec clean" in message
    assert "finished shards are kept" in message


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_folder_that_is_closed_to_us_ends_with_2_and_is_named(capsys, number):
    assert ends(raising(OSError(number, os.strerror(number), "data/corpus"))) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: data/corpus\n") and os.strerror(number) in message
    assert "permissions" in message and "DENSESPEC_SCRATCH" in message


def test_other_failures_keep_their_traceback():
    for error in (OSError(errno.EACCES, "denied"), ValueError("a bug"), RecursionError()):
        with pytest.raises(type(error)):
            run(raising(error))


def test_an_interrupt_ends_with_130_and_a_good_end_with_nothing(capsys):
    assert ends(raising(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err
    assert ends(lambda: None) is None
