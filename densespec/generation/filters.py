"""What every written query must pass, whoever wrote it."""

from __future__ import annotations

from densespec.generation.words import copied_words, length, normalised, run_key, tokens, verbatim_keys
from densespec.records import Passage

#: Why a query is dropped, in the order in which it is asked.
REASONS = ("empty", "too_long", "equals_title", "copies_passage", "duplicate")


def rejection(text: str, passage: Passage, seen: set[str], max_words: int, copy_ngram: int) -> str:
    """Why a query is dropped, one of :data:`REASONS`, or ``""`` to keep it.

    Args:
        text: the query.
        passage: what it was written for.
        seen: normalised queries kept so far, of all passages; a kept query is added. One that fits two
            passages would teach that one of them is wrong.
        max_words: longest query, in words.
        copy_ngram: most consecutive words shared with the passage. A whole sentence or line of it is a
            copy at any length.
    """
    words = tokens(text)
    key = " ".join(words)
    if not words:
        return "empty"
    if length(text) > max_words:
        return "too_long"
    if key == normalised(passage.title):
        return "equals_title"
    if copied_words(words, run_key(passage.content)) > copy_ngram or key in verbatim_keys(passage):
        return "copies_passage"
    if key in seen:
        return "duplicate"
    seen.add(key)
    return ""
