"""Quality of queries: every number is what a slow, obvious count finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densespec.generation.quality import quality
from densespec.generation.words import tokens
from densespec.generation.writing import Kept

WORDS = ["a", "b", "c", "Ab?", "日", "本", "ไทย", "…", "don't"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def slow(queries, passages):
    numbers = {}
    for n in (1, 2, 3):
        total, distinct = 0, []
        for query in queries:
            words = tokens(query.text)
            for start in range(len(words)):
                gram = words[start : start + n]
                if len(gram) == n:
                    total += 1
                    if gram not in distinct:
                        distinct.append(gram)
        numbers[f"distinct_{n}"] = len(distinct) / total if total else 0
    shares = []
    for query in queries:
        words, there = tokens(query.text), tokens(passages[query.source_id])
        found = [word for word in words if word in there]
        shares += [len(found) / len(words)] if words else []
    return {**numbers, "passage_overlap": sum(shares) / len(shares) if shares else 0}


@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(st.tuples(TEXTS, st.integers(0, 2)), max_size=8))
def test_quality_is_what_a_slow_count_finds(contents, written):
    passages = {f"p{number}": text for number, text in enumerate(contents)}
    queries = [
        Kept(f"q{number}", text, "claim", f"p{source % len(contents)}", "w", "claim/1", "llm")
        for number, (text, source) in enumerate(written)
    ]
    assert quality(queries, passages) == pytest.approx(slow(queries, passages))


def test_an_example_by_hand():
    queries = [
        Kept("1", "the cat sat", "claim", "p", "w", "claim/1", "llm"),
        Kept("2", "The cat ran!", "claim", "p", "w", "claim/1", "llm"),
    ]
    assert quality(queries, {"p": "A cat sat."}) == pytest.approx(
        {"distinct_1": 4 / 6, "distinct_2": 3 / 4, "distinct_3": 1.0, "passage_overlap": (2 / 3 + 1 / 3) / 2}
    )
