"""Which passages may have queries written for them, and why the others may not.

Near-empty, duplicate and contained passages are compared after normalisation, as in section 3 of
arXiv 2502.19712. Nothing is removed from the index, so figures stay comparable with published ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from itertools import islice

from densespec.corpus.containment import contained
from densespec.records import Passage
from densespec.runtime.seeds import seed_for

#: Why a passage seeds no queries, in the order of precedence.
REASONS = ("judged", "short", "duplicate", "contained", "unsampled")
_BLOCKS_OF_ACCENTS = ((0x0300, 0x0370), (0x1AB0, 0x1B00), (0x1DC0, 0x1E00), (0x20D0, 0x2100))
_ACCENTS = {code: None for begin, end in _BLOCKS_OF_ACCENTS for code in range(begin, end)}
_UNSPACED = (range(0x3040, 0x3100), range(0x3400, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x33480))


class _Letters(dict[int, str]):
    """Translation table, filled as characters turn up: letters and vowel signs stay, all else is a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character)[0] not in "LM":
            kept = " "
        elif any(code in block for block in _UNSPACED):
            kept = f" {character} "
        else:
            kept = character
        self[code] = kept
        return kept


_LETTERS = _Letters()


def normalise(text: str) -> str:
    """Words of a text for comparison: NFKC, no accents, case folded, no digits or punctuation.

    Words are separated by one space; characters of Chinese and Japanese count as words. A text
    without any letter keeps its digits and punctuation, or all such texts would be equal.
    """
    if text.isascii():
        folded = " ".join(text.lower().translate(_LETTERS).split())
        return folded or " ".join(text.lower().split())
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    bare = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", plain).translate(_ACCENTS))
    return " ".join(bare.translate(_LETTERS).split()) or " ".join(plain.split())


def seed_reasons(
    passages: Sequence[Passage], judged: Collection[str], *, min_chars: int, max_seeds: int, seed: int
) -> list[str]:
    """Decide for every passage whether it may seed queries.

    Args:
        passages: sorted by id; of equal ones the first seeds.
        judged: ids of passages relevant to a dev or test query; neither they nor their duplicates seed.
        min_chars: letters and digits that title and text need together.
        max_seeds: sample size; a passage's lot depends on its id alone, so samples of a growing corpus
            overlap as far as they can.
        seed: of the sample.

    Returns:
        One of :data:`REASONS` per passage, ``""`` for the seeds.
    """
    normalised = [normalise(passage.content) for passage in passages]
    reasons = [
        "judged" if passage.id in judged else "short" if _is_short(passage.content, min_chars) else ""
        for passage in passages
    ]
    first: dict[str, int] = {}
    precedence = {"judged": 0, "": 1, "short": 2}  # the equals of a judged passage must not seed either
    for row in sorted(range(len(passages)), key=lambda row: (precedence[reasons[row]], row)):
        if first.setdefault(normalised[row], row) != row and not reasons[row]:
            reasons[row] = "duplicate"
    distinct = list(first.values())
    open_rows = [position for position, row in enumerate(distinct) if not reasons[row]]
    for position in contained([normalised[row] for row in distinct], open_rows):
        reasons[distinct[position]] = "contained"
    seeds = [row for row, reason in enumerate(reasons) if not reason]
    if len(seeds) > max_seeds:
        drawn = sorted(seeds, key=lambda row: (seed_for(seed, "corpus", passages[row].id), passages[row].id))
        for row in drawn[max_seeds:]:
            reasons[row] = "unsampled"
    return reasons


def _is_short(content: str, min_chars: int) -> bool:
    return sum(1 for _ in islice(filter(str.isalnum, content), min_chars)) < min_chars
