"""The few-shot pools: well-formed, enough of them, and nothing that the filters would drop."""

from __future__ import annotations

import pytest

from densespec.generation.filters import rejection
from densespec.generation.prompt import SHARED
from densespec.generation.words import length, normalised
from densespec.io.jsonl import read_jsonl
from densespec.records import Passage

KINDS = ("question", "claim", "title", "keywords", "web_search", "msmarco")


def pool(kind: str) -> list[dict]:
    return [row for _, row in read_jsonl(SHARED / f"{kind}.examples.jsonl")]


def test_every_pool_has_a_prompt():
    kinds = {path.stem for path in SHARED.glob("*.txt")}
    pools = {path.name.removesuffix(".examples.jsonl") for path in SHARED.glob("*.jsonl")}
    assert kinds >= pools >= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_pass_the_filters(kind):
    pairs, seen = pool(kind), set()
    assert len(pairs) >= 30
    assert len({pair["passage"] for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert set(pair) == {"passage", "query"}
        assert 40 <= length(pair["passage"]) <= 120, pair["passage"]
        # "shorter than 20 words", the prompts say
        reason = rejection(pair["query"], Passage("p", "", pair["passage"]), seen, max_words=19, copy_ngram=6)
        assert reason == "", pair["query"]
        seen.add(normalised(pair["query"]))


def test_no_query_serves_two_kinds():
    queries = [pair["query"].casefold() for kind in KINDS for pair in pool(kind)]
    assert len(set(queries)) == len(queries)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_look_like_their_kind(kind):
    queries = [pair["query"] for pair in pool(kind)]
    looks = {
        "question": lambda text: text.endswith("?") and text[0].isupper(),
        "claim": lambda text: text.endswith(".") and text[0].isupper(),
        "title": lambda text: text[0].isupper() and text[-1] not in ".,;:",
        "keywords": lambda text: text == text.lower() and 3 <= length(text) <= 8 and "," not in text,
        "web_search": lambda text: text == text.lower() and text[-1] != ".",
        "msmarco": lambda text: text == text.lower() and text[-1] not in ".?",
    }[kind]
    assert [text for text in queries if not looks(text)] == []
    openings = [" ".join(text.split()[:2]).casefold() for text in queries]
    assert len(set(openings)) >= 0.6 * len(openings), "too many queries begin alike"
