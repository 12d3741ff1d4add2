"""Where long texts are cut."""

from __future__ import annotations

import unicodedata

from densespec.corpus.chunking import chunk_passages, chunk_text
from densespec.records import Passage


def words(count: int, word: str = "w") -> str:
    return " ".join([word] * count)


def test_a_text_that_fits_stays_whole() -> None:
    assert list(chunk_text("One.\n\n  Two.  ", 10)) == ["One.\n\n  Two."]


def test_paragraph_borders_come_before_sentence_borders() -> None:
    text = f"{words(6)}\n\n{words(2)}. {words(8)}"
    assert list(chunk_text(text, 10)) == [words(6), f"{words(2)}. {words(8)}"]


def test_sentence_borders_come_before_the_last_word_that_fits() -> None:
    text = f"{words(7)}. {words(30)}"
    assert next(chunk_text(text, 10)) == f"{words(7)}."


def test_without_borders_the_window_is_full() -> None:
    assert next(chunk_text(words(100), 10)) == words(10)


def test_the_last_window_is_no_scrap() -> None:
    assert [len(part.split()) for part in chunk_text(words(101), 100)] == [76, 25]


def test_text_without_spaces_is_cut_by_characters() -> None:
    parts = list(chunk_text("日本語。" * 30, 40))
    assert "".join(parts) == "日本語。" * 30 and all(len(part) <= 40 for part in parts)


def test_thai_counts_by_characters_and_is_cut_at_a_space() -> None:
    clause = "สวัสดีชาวโลก"  # 12 characters: three words of four
    text = " ".join([clause] * 20)
    parts = list(chunk_text(text, 10))
    assert " ".join(parts) == text
    assert [len(part.split()) for part in parts] == [3] * 6 + [2]
    pieces = list(chunk_text("ผู้ที่น้ำ" * 60, 10))
    assert "".join(pieces) == "ผู้ที่น้ำ" * 60, "without a space it is cut anywhere"
    assert not any(unicodedata.category(piece[0]) == "Mn" for piece in pieces), "but not before a mark"


def test_parts_keep_the_title_and_number_from_zero() -> None:
    parts = chunk_passages([Passage("doc.md", "Title", words(25)), Passage("b", "", "short")], 10)
    assert [part.id for part in parts] == ["doc.md#0", "doc.md#1", "doc.md#2", "b#0"]
    assert {part.title for part in parts[:3]} == {"Title"}
