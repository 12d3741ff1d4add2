"""Words of any script: what lengths, copied runs and duplicates are counted in.

Scripts written without spaces have no words that a regular expression could find, so each of their
characters, with its marks, is a token and counts as a share of a word: half of one in Han and kana, a third
in Thai, Lao, Khmer and Burmese, which spell their words out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from densespec.records import Passage

#: Ranges of scripts written without spaces between words: those that spell, and Han with kana.
SPELLED = "\u0e00-\u0e4f\u0e80-\u0edf\u1000-\u109f\u1780-\u17ff"
SPACELESS = SPELLED + "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SENTENCE_BORDER = re.compile(r"(?<=[.!?])\s+|(?<=[。！？।])|\n\s*\n")


def tokens(text: str) -> list[str]:
    """Tokens without case and punctuation (NFKC, case-folded); digits stay."""
    return _pattern().findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """Tokens joined by single spaces: equal for texts that differ in case, spacing or punctuation."""
    return " ".join(tokens(text))


def length(text: str) -> int:
    """Length in words, rounded up.

    A word is what white space or characters of a script without spaces border, and holds a letter or digit;
    "Pythonで書く" is one word and a half word for each of three characters.
    """
    sixths = 0
    for chunk in unicodedata.normalize("NFKC", text).split():
        sixths += sum(map(_sixths, _spaceless().findall(chunk)))
        sixths += sum(6 for piece in _spaceless().split(chunk) if _pattern().search(piece))
    return -(-sixths // 6)


def run_key(text: str) -> str:
    """Tokens between spaces, for :func:`copied_words`; compute it once per passage."""
    return f" {normalised(text)} "


def copied_words(query: Sequence[str], passage: str) -> int:
    """Length in words of the longest run of a query's tokens that a passage has too.

    Args:
        query: tokens of the query.
        passage: :func:`run_key` of the passage.
    """
    best = 0
    start = 0
    for end in range(1, len(query) + 1):
        while start < end and f" {' '.join(query[start:end])} " not in passage:
            start += 1
        best = max(best, weight(query[start:end]))
    return best


def weight(run: Sequence[str]) -> int:
    """Words that a run of tokens counts for, rounded up."""
    return -(-sum(map(_sixths, run)) // 6)


def sentences(text: str) -> Iterator[str]:
    """Sentences of a text, a blank line being a border too; line breaks inside become spaces."""
    for sentence in SENTENCE_BORDER.split(text):
        folded = " ".join(sentence.split())
        if folded:
            yield folded


def verbatim_keys(passage: Passage) -> set[str]:
    """Normalised title, sentences and lines of a passage: what a query must not be equal to."""
    units = (passage.title, *sentences(passage.text), *passage.text.splitlines())
    return {normalised(unit) for unit in units} - {""}


def _sixths(token: str) -> int:
    """Sixths of a word that a token counts for."""
    if not _spaceless().fullmatch(token):
        return 6
    return 2 if _spelled().match(token) else 3


@cache
def _spelled() -> re.Pattern[str]:
    return re.compile(f"[{SPELLED}]")


@cache
def _pattern() -> re.Pattern[str]:
    marks = _marks()
    return re.compile(rf"[{SPACELESS}][{marks}]*|(?:(?![{SPACELESS}])[^\W_]|[{marks}])+")


@cache
def _spaceless() -> re.Pattern[str]:
    return re.compile(rf"[{SPACELESS}][{_marks()}]*")


@cache
def _marks() -> str:
    """Combining marks of the first two planes: parts of words that ``\\w`` leaves out (Hindi, …)."""
    ranges: list[list[int]] = []
    for code in range(0x300, 0x20000):
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
