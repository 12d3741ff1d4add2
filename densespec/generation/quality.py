"""How varied the queries of one kind are, and how much they lean on their passages' words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from densespec.generation.words import tokens
from densespec.generation.writing import Kept

#: Lengths of the n-grams that variety is told by.
DISTINCT = (1, 2, 3)


def quality(queries: Sequence[Kept], passages: Mapping[str, str]) -> dict[str, float]:
    """Variety and overlap of the queries of one kind, in tokens (:func:`~densespec.generation.words.tokens`).

    Args:
        queries: of one kind.
        passages: id → content, of all their passages.

    Returns:
        ``distinct_1`` to ``distinct_3``: distinct n-grams ÷ n-grams of all queries (Li et al., 2016,
        arXiv 1510.03055), which falls as queries are added: compare like numbers of them.
        ``passage_overlap``: share of a query's tokens that its passage has, averaged over the queries.
        Each is 0 where there is nothing to count.
    """
    words = [tokens(query.text) for query in queries]
    vocabulary = {source: frozenset(tokens(passages[source])) for source in {q.source_id for q in queries}}
    numbers = {}
    for n in DISTINCT:
        grams = [tuple(of[at : at + n]) for of in words for at in range(len(of) - n + 1)]
        numbers[f"distinct_{n}"] = len(set(grams)) / max(1, len(grams))
    shares = [
        sum(word in vocabulary[query.source_id] for word in of) / len(of)
        for query, of in zip(queries, words, strict=True)
        if of
    ]
    return numbers | {"passage_overlap": sum(shares) / max(1, len(shares))}
