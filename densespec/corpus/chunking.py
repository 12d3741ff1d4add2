"""Cutting long texts into passages at the borders of paragraphs and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from densespec.records import Passage

# Scripts without spaces between words: each character of Chinese and Japanese counts as one word, up to four
# of Thai, Lao, Burmese or Khmer do, with the marks that follow.
HAN_AND_KANA = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
SPELLED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
MARKS = r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3"
WORD = re.compile(rf"[{HAN_AND_KANA}]|[{SPELLED}]{{1,4}}[{MARKS}]*|[^\s{HAN_AND_KANA}{SPELLED}]+")
SPELLED_END = re.compile(rf"[{SPELLED}]$")
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")

PARAGRAPH, SENTENCE, INSIDE, TORN = 2, 1, 0, -1


def chunk_passages(passages: list[Passage], words: int) -> list[Passage]:
    """Cut every passage's text; each part keeps the title and gets the id ``<id>#<number from 0>``.

    Args:
        passages: whole documents.
        words: most words of a part.

    Returns:
        The parts, in order. No word is lost, repeated or changed.
    """
    return [
        Passage(f"{passage.id}#{number}", passage.title, part)
        for passage in passages
        for number, part in enumerate(chunk_text(passage.text, words))
    ]


def chunk_text(text: str, words: int) -> Iterator[str]:
    """Yield windows of at most ``words`` words.

    A window ends at the last paragraph border of its second half; without one at the last sentence
    border there; without one after the last word that fits (of Thai and its like at the last space). The
    last window is kept from being a scrap of a few words.
    """
    spans = [match.span() for match in WORD.finditer(text)]
    begin = 0
    while begin < len(spans):
        left = len(spans) - begin
        if left <= words:
            end = len(spans)
        else:
            longest = words if left >= words + words // 4 else left - max(words // 4, 1)
            ends = range(begin + max(longest // 2, 1), begin + longest + 1)
            end = max(ends, key=lambda candidate: (_border(text, spans, candidate), candidate))
        yield text[spans[begin][0] : spans[end - 1][1]]
        begin = end


def _border(text: str, spans: list[tuple[int, int]], end: int) -> int:
    """How good a place to cut lies between word ``end - 1`` and word ``end``."""
    start, stop = spans[end - 1]
    gap = text[stop : spans[end][0]]
    if BLANK_LINE.search(gap):
        return PARAGRAPH
    if "\n" in gap or SENTENCE_END.search(text[start:stop]):
        return SENTENCE
    return TORN if not gap and SPELLED_END.search(text[start:stop]) else INSIDE
