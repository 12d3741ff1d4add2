"""Texts that stand whole inside another text, found without comparing every pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Words of a shingle; texts that share none of them cannot contain one another.
SHINGLE_WORDS = 8


def contained(texts: Sequence[str], among: Sequence[int]) -> list[int]:
    """Positions of texts whose words all stand, in order and without a gap, inside a longer text.

    Every shingle of a contained text occurs in the text that contains it, so only the longer texts
    that hold a text's rarest shingle are compared with it word by word. Hashes only narrow the
    search; they decide nothing.

    Args:
        texts: distinct, not empty, words separated by one space.
        among: positions to decide on; the others only contain.
    """
    if not among:
        return []
    lengths = np.asarray([text.count(" ") + 1 for text in texts], dtype=np.int64)
    longest_first = np.argsort(-lengths, kind="stable")
    ordered = [texts[position] for position in longest_first]
    lengths = lengths[longest_first]
    wanted = set(among)
    members = [place for place, position in enumerate(longest_first.tolist()) if position in wanted]
    codes = _word_codes(ordered, int(lengths.sum()))
    found: list[int] = []
    for words in range(1, SHINGLE_WORDS + 1):
        of_size = [member for member in members if min(lengths[member], SHINGLE_WORDS) == words]
        if of_size:
            for member, others in _sharing_rarest_shingle(codes, lengths, words, of_size):
                if _any_contains(ordered, member, others):
                    found.append(int(longest_first[member]))
    return sorted(found)


def _any_contains(ordered: Sequence[str], member: int, others: Array) -> bool:
    words = f" {ordered[member]} "
    for other, _ in groupby(others):  # a text may hold the shingle many times
        if other >= member:  # from here on none is longer
            return False
        if words in f" {ordered[other]} ":
            return True
    return False


def _word_codes(texts: Sequence[str], count: int) -> Array:
    """A random 64-bit code per distinct word, for all words of all texts in one array."""
    vocabulary: dict[str, int] = {}
    words = (word for text in texts for word in text.split(" "))
    numbers = (vocabulary.setdefault(word, len(vocabulary)) for word in words)
    flat = np.fromiter(numbers, dtype=np.int64, count=count)
    codes = np.random.default_rng(0).integers(0, 2**64, size=len(vocabulary), dtype=np.uint64)
    return np.asarray(codes[flat])


def _sharing_rarest_shingle(
    codes: Array, lengths: Array, words: int, members: Sequence[int]
) -> Iterator[tuple[int, Array]]:
    """Yield each member with the texts, ascending, that hold its rarest shingle; none if it is alone."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    shingles = len(codes) - words + 1
    hashes = np.zeros(shingles, dtype=np.uint64)
    for offset in range(words):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + shingles]
    inside = np.flatnonzero(owners[:shingles] == owners[words - 1 :])  # not across two texts
    order = inside[np.argsort(hashes[inside], kind="stable")]
    ranked = hashes[order]
    group_starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sizes = np.diff(np.concatenate([group_starts, [len(ranked)]]))
    group_of = np.zeros(shingles, dtype=np.int64)
    group_of[order] = np.repeat(np.arange(len(sizes)), sizes)
    for member in members:
        groups = group_of[ends[member] - lengths[member] : ends[member] - words + 1]
        rarest = groups[np.argmin(sizes[groups])]
        if sizes[rarest] > 1:
            begin = group_starts[rarest]
            yield member, owners[order[begin : begin + sizes[rarest]]]
