"""Leak audit: does anything that trained the model give test answers away?"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from densespec.records import Query

WORD = re.compile(r"\w+")
#: Token-set Jaccard similarity from which two queries count as the same request.
NEAR = 0.8


class LeakAudit(NamedTuple):
    """Counts of training queries, and of those that break a rule; all but the first should be 0.

    Attributes:
        training_queries: how many were looked at.
        from_judged_passages: written for a passage that is relevant to a test or dev query.
        same_as_judged_query: same text as a judged query, but for case and punctuation.
        near_judged_query: token-set Jaccard of 0.8 or more with a judged query, not the same.
    """

    training_queries: int
    from_judged_passages: int
    same_as_judged_query: int
    near_judged_query: int


def audit_leaks(
    training: Iterable[Query], judged_queries: Mapping[str, str], judged_passages: Collection[str]
) -> tuple[LeakAudit, list[str]]:
    """Look for training queries that share their answer or their wording with judged ones.

    Args:
        training: queries that lists were made of.
        judged_queries: id → text of all test and dev queries.
        judged_passages: ids of passages with a grade of 1 or more.

    Returns:
        The counts, and one line per leak, in the order of the training queries.
    """
    tokens = {query_id: _tokens(text) for query_id, text in judged_queries.items()}
    exact = {words: query_id for query_id, words in tokens.items()}
    frequency = Counter(word for words in tokens.values() for word in set(words))
    index: dict[str, list[str]] = defaultdict(list)
    for query_id, words in tokens.items():
        for word in set(words):
            index[word].append(query_id)
    counts = dict.fromkeys(LeakAudit._fields, 0)
    leaks = []
    for query in training:
        counts["training_queries"] += 1
        if query.source_id and query.source_id in judged_passages:
            counts["from_judged_passages"] += 1
            leaks.append(f"{query.id}: written for the judged passage {query.source_id}")
        words = _tokens(query.text)
        if words in exact:
            counts["same_as_judged_query"] += 1
            leaks.append(f"{query.id}: same as {exact[words]} ({query.text})")
            continue
        near = _nearest(set(words), tokens, frequency, index)
        if near:
            counts["near_judged_query"] += 1
            leaks.append(f"{query.id}: close to {near} ({query.text})")
    return LeakAudit(**counts), leaks


def _nearest(
    words: set[str],
    tokens: Mapping[str, tuple[str, ...]],
    frequency: Mapping[str, int],
    index: Mapping[str, list[str]],
) -> str:
    """Some judged query at Jaccard ≥ 0.8, or ``""``.

    Such a query shares one of the |x| − ⌈0.8 |x|⌉ + 1 rarest words (prefix filter of Chaudhuri et al., 2006).
    """
    rare = sorted(words, key=lambda word: (frequency.get(word, 0), word))
    prefix = rare[: len(words) - math.ceil(NEAR * len(words) - 1e-9) + 1]
    for query_id in sorted({query_id for word in prefix for query_id in index.get(word, ())}):
        other = set(tokens[query_id])
        if len(words & other) >= NEAR * len(words | other):
            return query_id
    return ""


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
