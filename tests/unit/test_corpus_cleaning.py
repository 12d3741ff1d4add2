"""Normalisation, containment, and the choice of seeds."""

from __future__ import annotations

import random

import pytest

from densespec.corpus.cleaning import normalise, seed_reasons
from densespec.corpus.containment import contained
from densespec.records import Passage


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ärger  im\nCafé, 2024!", "arger im cafe"),
        ("ﬁle ½ Ⅷ ＡＢＣ", "file viii abc"),
        ("Straße don't snake_case", "strasse don t snake case"),
        ("日本語のテキスト、です。", "日 本 語 の テ キ ス ト で す"),
        ("हिन्दी में", "हिन्दी में"),
        ("404 / 500", "404 / 500"),  # no letters: digits and punctuation stay
        ("  ", ""),
    ],
)
def test_normalise(text: str, words: str) -> None:
    assert normalise(text) == words


def reasons(*texts: str, judged: set[str] = frozenset(), **settings: int) -> list[str]:
    passages = [Passage(f"p{number}", "", text) for number, text in enumerate(texts)]
    defaults = {"min_chars": 10, "max_seeds": 100, "seed": 1}
    return seed_reasons(passages, judged, **{**defaults, **settings})


LONG = "the lift of a wing grows with the square of the speed of the air around it"


def test_short_passages_do_not_seed() -> None:
    assert reasons("-- ab1 --", "abcdefgh 12") == ["short", ""]


def test_the_title_counts_towards_the_length() -> None:
    assert seed_reasons([Passage("a", "A long title", "x")], (), min_chars=10, max_seeds=9, seed=1) == [""]


def test_of_duplicates_the_first_seeds() -> None:
    assert reasons(LONG, LONG.upper() + " 12!", LONG) == ["", "duplicate", "duplicate"]


def test_duplicates_of_a_judged_passage_do_not_seed() -> None:
    assert reasons(LONG, LONG + ".", LONG + "!", judged={"p1"}) == ["duplicate", "judged", "duplicate"]


def test_a_short_equal_does_not_keep_a_long_enough_passage_from_seeding() -> None:
    assert reasons("abc", "abc 123456789") == ["short", ""]


def test_contained_passages_do_not_seed_and_judged_ones_contain() -> None:
    inner = " ".join(LONG.split()[2:12])
    assert reasons(LONG, inner, judged={"p0"}) == ["judged", "contained"]


def test_the_sample_depends_on_ids_and_seed_alone() -> None:
    texts = [f"passage about {word} and nothing else" for word in ("alpha", "beta", "gamma", "delta", "eps")]
    first, second = reasons(*texts, max_seeds=2), reasons(*texts, max_seeds=3)
    assert first.count("") == 2 and second.count("unsampled") == 2
    assert {i for i, reason in enumerate(first) if not reason} < {i for i, r in enumerate(second) if not r}
    assert any(reasons(*texts, max_seeds=2, seed=seed) != first for seed in range(2, 9))


def contained_by_pairs(texts: list[str]) -> list[int]:
    padded = [f" {text} " for text in texts]
    return [
        position
        for position, text in enumerate(padded)
        if any(text in other for place, other in enumerate(padded) if place != position)
    ]


@pytest.mark.parametrize("vocabulary", [2, 5, 40])
def test_containment_finds_what_comparing_all_pairs_finds(vocabulary: int) -> None:
    draw = random.Random(vocabulary)
    texts = [
        " ".join(draw.choices([f"w{number}" for number in range(vocabulary)], k=draw.randint(1, 14)))
        for _ in range(300)
    ]
    for text in list(texts[:40]):
        words = text.split()
        texts += [" ".join(words[1:]), " ".join(["x", *words, *words])]
    distinct = [text for text in dict.fromkeys(texts) if text]
    everything = range(len(distinct))
    assert contained(distinct, everything) == contained_by_pairs(distinct)
    assert contained(distinct, [3, 5]) == [p for p in contained_by_pairs(distinct) if p in (3, 5)]


def test_a_text_is_not_contained_across_the_border_of_two_texts() -> None:
    assert contained(["a b c", "d e f", "c d"], [2]) == []
    assert contained(["a b c", "b"], []) == []


def test_many_texts_over_one_word_are_compared_quickly() -> None:
    texts = ["a " * count + "a" for count in range(300)]
    assert contained(texts, range(len(texts))) == list(range(299))
