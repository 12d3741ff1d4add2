"""The leak guard, against comparing every pair."""

from __future__ import annotations

import random

import pytest

from densespec.corpus.cleaning import normalise
from densespec.corpus.leakage import (
    LeakGuard,
    admit_log,
    admit_recordings,
    labels_of_kept,
    similar_across,
)
from densespec.corpus.readers import Recording
from densespec.records import Qrel, Query

EVALUATION = ["How do I sort a list of dictionaries by a key?", "obesity decreases life quality", "ls"]


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("how do i SORT a list of dictionaries by a key", "equal"),
        ("Sorting lists by the keys of a dictionary", "same words"),
        ("How do I sort one list of dictionaries by a key", "similar"),
        ("sort a list", ""),
        ("the ls", "same words"),
        ("of the", ""),  # no content words: equals nothing
        ("", ""),
    ],
)
def test_a_leak_is_named(text: str, leak: str) -> None:
    assert LeakGuard(EVALUATION).leak(text) == leak


def test_without_a_stemmer_inflected_words_differ() -> None:
    assert LeakGuard(["sorting lists"], language="").leak("sort list") == ""
    assert LeakGuard(["sorting lists"], language="english").leak("sort list") == "same words"


@pytest.mark.parametrize("jaccard", [0.3, 0.7, 0.8, 1.0])
def test_similar_queries_are_those_that_comparing_all_pairs_finds(jaccard: float) -> None:
    draw = random.Random(3)
    words = [f"w{chr(97 + number)}" for number in range(12)]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 10))) for _ in range(400)]
    guard = LeakGuard(texts[:200], jaccard, language="")
    sets = [set(normalise(text).split()) for text in texts]
    for text, tokens in zip(texts[200:], sets[200:], strict=True):
        similar = any(len(tokens & s) / len(tokens | s) >= jaccard for s in sets[:200])
        same = any(sorted(text.split()) == sorted(other.split()) for other in texts[:200])
        assert bool(guard.leak(text)) == (similar or same)


def test_log_queries_are_dropped_with_a_count_per_reason() -> None:
    texts = ["Obesity decreases life quality!", "x", "y" * 50, "good query", "Good  query", "another one"]
    log = [Query(f"log-{number}", text, "log") for number, text in enumerate(texts)]
    kept, counts = admit_log(log, LeakGuard(EVALUATION), 3, 40)
    assert [query.text for query in kept] == ["good query", "another one"]
    assert counts == {"read": 6, "kept": 2, "short": 1, "long": 1, "duplicates": 1, "leaks": 1}


def test_labels_follow_the_query_that_is_kept() -> None:
    texts = ["good query", "Good  query", "Obesity decreases life quality!", "another one"]
    log = [Query(f"log-{number}", text, "log") for number, text in enumerate(texts)]
    labels = [
        Qrel("log-0", "p1", 1), Qrel("log-1", "p2", 1), Qrel("log-1", "p1", 2), Qrel("log-2", "p3", 1),
    ]  # fmt: skip
    kept, _ = admit_log(log, LeakGuard(EVALUATION), 3, 40)
    assert labels_of_kept(labels, log, kept) == [Qrel("log-0", "p1", 2), Qrel("log-0", "p2", 1)]


def test_recordings_are_dropped_with_a_count_per_kind() -> None:
    here, gone = "0" * 16, "f" * 16
    recordings = [
        Recording(here, "title", "A Good Title", "title/1", "m"),
        Recording(here, "title", "a good title", "title/1", "m"),
        Recording(here, "claim", "a good title", "claim/1", "m"),
        Recording(gone, "claim", "a claim", "claim/1", "m"),
        Recording(here, "claim", "obesity decreases the quality of life", "claim/1", "m"),
    ]
    kept, counts = admit_recordings(recordings, {here}, LeakGuard(EVALUATION), 3, 40)
    assert [(r.kind, r.query) for r in kept] == [("claim", "a good title"), ("title", "A Good Title")]
    assert counts["claim"]["no_passage"] == counts["claim"]["leaks"] == counts["title"]["duplicates"] == 1
    assert list(counts) == ["claim", "title"]


def test_dev_queries_like_test_queries_are_counted() -> None:
    assert similar_across(["LS!", "something else"], EVALUATION, 0.8, "english") == 1
