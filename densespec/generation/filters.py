"""What every written query must pass, whoever wrote it."""

from __future__ import annotations

from collections.abc import Collection

from densespec.generation.language import wrong_language
from densespec.generation.tidying import mentions_passage, refused
from densespec.generation.words import copied_words, length, normalised, run_key, tokens, verbatim_keys
from densespec.records import Passage

#: Why a query is dropped, in the order in which it is asked: first what is no answer at all.
NO_ANSWER = ("cut_off", "empty", "refusal", "mentions_passage", "wrong_language")
REASONS = (*NO_ANSWER, "too_long", "equals_title", "copies_passage", "duplicate")


def rejection(
    text: str,
    passage: Passage,
    seen: Collection[str],
    max_words: int,
    copy_ngram: int,
    language: str | None = None,
    *,
    by_people: bool = False,
) -> str:
    """Why a query is dropped, one of :data:`REASONS`, or ``""`` to keep it.

    ``cut_off`` is not among the answers: it shows in what the query was found in, not in the query.

    Args:
        text: the query, tidied.
        passage: what it was written for.
        seen: normalised queries kept so far, of all passages, since one that fits two of them would teach
            that one is wrong; of this passage alone where people judged the query.
        max_words: longest query, in words.
        copy_ngram: most consecutive words shared with the passage. A whole sentence or line of it is a
            copy at any length.
        language: of passage and query, as BCP 47; None if they may differ.
        by_people: not of a language model: what sounds like its refusals, or speaks of a passage, is meant.
    """
    words = tokens(text)
    key = " ".join(words)
    if not words:
        return "empty"
    if not by_people and refused(text):
        return "refusal"
    if not by_people and mentions_passage(text, passage.content):
        return "mentions_passage"
    if language is not None and wrong_language(text, passage.content, language):
        return "wrong_language"
    if length(text) > max_words:
        return "too_long"
    if key == normalised(passage.title):
        return "equals_title"
    if copied_words(words, run_key(passage.content)) > copy_ngram or key in verbatim_keys(passage):
        return "copies_passage"
    return "duplicate" if key in seen else ""
