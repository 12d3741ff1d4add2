"""Is a query in another language than its passage? Scripts first, then function words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

from densespec.generation.words import tokens

#: A script counts as the passage's own from this share of its letters.
OWN_SCRIPT = 0.1
#: Share of a query's letters that must be of such scripts; names and code may be of others.
SHARED_SCRIPT = 0.25
#: Function words of another language give a query away if there are this many of them, if they are this share
#: of its words ("Non-ASCII filenames in mail headers per RFC 2231" is not Italian), and more than twice as
#: many as those of its own language; words of both are no sign of either.
SIGNS, SIGNS_SHARE = 2, 0.25
#: The same of English ones in a query for a passage in a language without such a list, whose own short words
#: may look like them ("to", "do", "by" are Polish, too). A passage of fewer words does not show its language,
#: one with as many of them is English.
ENGLISH_SIGNS, ENGLISH_SHARE, LEAST_PASSAGE = 4, 0.5, 8
#: Languages whose function words are English ones too often.
LIKE_ENGLISH = ("af", "fy", "sco")
#: Primary subtags of BCP 47 → name of the list of stop words in bm25s.
STOP_WORD_LISTS = {
    "da": "DANISH",
    "de": "GERMAN",
    "en": "EN_PLUS",
    "es": "SPANISH",
    "fr": "FRENCH",
    "it": "ITALIAN",
    "nb": "NORWEGIAN",
    "nl": "DUTCH",
    "nn": "NORWEGIAN",
    "no": "NORWEGIAN",
    "pt": "PORTUGUESE",
    "ru": "RUSSIAN",
    "sv": "SWEDISH",
    "tr": "TURKISH",
}


def wrong_language(query: str, passage: str, language: str) -> bool:
    """Is a query in another language than its passage?

    It is if hardly any of its letters are of the passage's scripts, or if function words of another
    language, which its own language and the passage lack, prevail over those of its own. Of a language
    without a list of function words only English is told, which models fall into; a bag of content words
    passes in any language of the script.

    Args:
        query: to look at.
        passage: content of the passage that it was written for.
        language: of the passage, as BCP 47 (``"en"``); its own function words overrule it.
    """
    letters, of_passage = script_counts(query), script_counts(passage)
    enough = OWN_SCRIPT * of_passage.total()
    shared = sum(count for script, count in letters.items() if of_passage[script] >= enough)
    if of_passage and shared < SHARED_SCRIPT * letters.total():
        return True
    lists, code = _function_words(), language.split("-")[0].lower()
    words, context = set(tokens(query)), set(tokens(passage))
    if code not in lists:
        english = lists["en"]
        if code in LIKE_ENGLISH or len(context) < LEAST_PASSAGE or len(context & english) >= ENGLISH_SIGNS:
            return False
        return len((words & english) - context) >= max(ENGLISH_SIGNS, ENGLISH_SHARE * len(words))
    own, spoken = lists[code], max(lists.values(), key=lambda known: len(known & context))
    if len(spoken & context) > 2 * len(own & context):
        own = spoken
    enough = max(SIGNS, SIGNS_SHARE * len(words))
    return any(
        len((words & known) - own - context) >= max(enough, 2 * len((words & own) - known) + 1)
        for known in lists.values()
    )


def script_counts(text: str) -> Counter[str]:
    """Letters per script, by the first word of their Unicode names; both kana are one script."""
    counts: Counter[str] = Counter()
    for character, count in Counter(unicodedata.normalize("NFKC", text)).items():
        if character.isalpha():
            script = unicodedata.name(character, "unknown").split()[0]
            counts["KANA" if script in ("HIRAGANA", "KATAKANA") else script] += count
    return counts


@cache
def _function_words() -> dict[str, frozenset[str]]:
    from bm25s import stopwords

    return {
        code: frozenset(getattr(stopwords, f"STOPWORDS_{name}")) for code, name in STOP_WORD_LISTS.items()
    }
