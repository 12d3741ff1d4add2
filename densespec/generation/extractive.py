"""The writer without a language model: salient spans, chosen with the student itself, phrased by kind.

After QExt of AugTriever (Meng et al., 2022, arXiv 2212.08841), which takes as the query of a passage the
span that the retriever itself finds most like the passage. Here the spans are shortened and rephrased by
kind, because verbatim sentences as queries were seen to make a student worse. A query never equals a
sentence or line of its passage and never shares six consecutive words with it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from densespec.generation.english import DETERMINERS, STOP_WORDS, VAGUE_WORDS, is_english
from densespec.generation.lexicon import Lexicon
from densespec.generation.shaping import FORMS, KINDS, shape_english, shape_plain
from densespec.generation.spans import Span, content_words, cut_spans, has_grammar, readable, shortened
from densespec.generation.words import copied_words, length, run_key, tokens, verbatim_keys
from densespec.generation.writer import Array, Setting, Written
from densespec.records import Passage, passage_hash
from densespec.runtime.seeds import seed_for

VERSION = "extractive/1"
#: Most consecutive words shared with the passage, whatever the filter allows.
MAX_RUN = 5
#: How much likeness to the spans of earlier kinds counts against a span.
REDUNDANCY = 0.4
#: Words of a passage that the student judges for keywords, and how many of them make a query.
WORD_CANDIDATES, KEYWORDS = 12, 5
#: What a participle ("called", "passed") is worth as a keyword beside other words.
PARTICIPLE = 0.7


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield at most one query per passage.

    All kinds embed the same texts, so the shards of one kind serve the next.
    """
    english = is_english(setting.language)
    lexicon = Lexicon((passage.content for passage in setting.corpus), english)
    spans = [cut_spans(passage.title, passage.text, lexicon) for passage in passages]
    words = [_weighted_words(passage, lexicon) for passage in passages]
    texts = sorted({span.text for of in spans for span in of} | {word for of in words for word in of})
    if not texts:
        return
    row_of = {text: row for row, text in enumerate(texts)}
    text_vectors = setting.embed(texts, "query")
    passage_vectors = setting.embed([passage.content for passage in passages], "document")
    for passage, vector, of, weights in zip(passages, passage_vectors, spans, words, strict=True):
        rows = [row_of[text] for text in [*(span.text for span in of), *weights]]
        vectors = text_vectors[rows]
        likeness = vectors @ vector
        if kind == "keywords":
            likeness_of = dict(zip(weights, likeness[len(of) :].tolist(), strict=True))
            text = _keywords(passage, likeness_of, weights, setting)
        else:
            plain = not has_grammar(passage.text, lexicon)
            text = _phrased(passage, kind, of, vectors[: len(of)], likeness[: len(of)], plain, setting)
        if text:
            yield Written(passage, text, VERSION, setting.student)


def _phrased(
    passage: Passage,
    kind: str,
    spans: Sequence[Span],
    vectors: Array,
    likeness: Array,
    plain: bool,
    setting: Setting,
) -> str:
    """The kind's phrasing of the best span that the kinds before it left; ``""`` if none will do."""
    place, name = _anchors(passage.title)
    allowed = _checker(passage, setting)
    taken: list[int] = []
    text = ""
    for turn in (*KINDS[: KINDS.index(kind)], kind) if kind in KINDS else (*KINDS, kind):
        variant = seed_for(setting.seed, "extractive", passage_hash(passage), turn)
        forms = {} if plain else FORMS.get(turn, {})
        text = ""
        for number in _ranked(spans, vectors, likeness, taken, forms):
            phrasings = (
                shape_plain(turn, span) if plain else shape_english(turn, span, place, name, variant)
                for span in _wordings(spans[number])
            )
            text = next(filter(allowed, phrasings), "")
            if text:
                taken.append(number)
                break
    return text


def _ranked(
    spans: Sequence[Span],
    vectors: Array,
    likeness: Array,
    taken: Sequence[int],
    forms: Mapping[str, float],
) -> list[int]:
    """Numbers of the spans, best first: likeness to the passage minus redundancy (MMR)."""
    worth = {}
    for number, span in enumerate(spans):
        if not forms or span.form in forms:
            again = max((float(vectors[number] @ vectors[other]) for other in taken), default=0.0)
            value = float(likeness[number]) + forms.get(span.form, 0.0) - REDUNDANCY * max(again, 0.0)
            worth[number] = round(value, 4)  # so that rounding differences decide nothing
    return sorted(worth, key=lambda number: (-worth[number], number))


def _wordings(span: Span) -> Iterator[Span]:
    """The span, then with fewer and fewer determiners, then with fewer phrases at its end."""
    subject, told = span.subject, span.object
    while any(word.casefold() not in STOP_WORDS | VAGUE_WORDS for word in (*subject, *told)):
        for words in _with_fewer_determiners((*subject, "", *told)):
            border = words.index("")
            yield span._replace(subject=words[:border], object=words[border + 1 :])
        if told:
            told = shortened(told)
            if not told:
                return
        else:
            subject = shortened(subject)


def _with_fewer_determiners(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    places = [place for place, word in enumerate(words) if word.casefold() in DETERMINERS][:5]
    for count in range(len(places) + 1):
        for dropped in combinations(reversed(places), count):
            yield tuple(word for place, word in enumerate(words) if place not in dropped)


def _checker(passage: Passage, setting: Setting) -> Callable[[str], bool]:
    """Does a query keep clear of the passage's wording, and of the longest length?"""
    forbidden, content = verbatim_keys(passage), run_key(passage.content)
    longest_run = min(MAX_RUN, setting.copy_ngram)

    def allowed(text: str) -> bool:
        words = tokens(text)
        return (
            length(text) >= 3
            and length(text) <= setting.max_words
            and " ".join(words) not in forbidden
            and copied_words(words, content) <= longest_run
        )

    return allowed


def _anchors(title: str) -> tuple[str, str]:
    """Where a thing with a dotted name lives and what it is called; empty for any other title."""
    head = re.split(r"[(\[{]", title, maxsplit=1)[0]
    called = title[len(head) :].startswith("(")
    if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", head) or not (called or re.search(r"[._]|[a-z][A-Z]", head)):
        return "", ""
    parts = head.split(".")
    lower = [part for part in parts[:-1] if part.islower()]
    in_class = len(parts) > 1 and not parts[-2].islower()
    return ".".join(lower[:2]), ".".join(parts[-2:] if in_class else parts[-1:])


def _weighted_words(passage: Passage, lexicon: Lexicon) -> dict[str, float]:
    """The content words with the highest tf-idf, in the order of the text, and their tf-idf."""
    counts = Counter(tokens(f"{passage.title}\n{readable(passage.text)}"))
    weights = {}
    for word in content_words(passage.title, passage.text, lexicon):
        parts = tokens(word)
        weight = sum(lexicon.idf(part) * (1 + math.log1p(counts[part])) for part in parts) / len(parts)
        weights[word] = weight * (PARTICIPLE if lexicon.english and word.endswith("ed") else 1)
    best = sorted(weights, key=lambda word: (-round(weights[word], 6), word))[:WORD_CANDIDATES]
    return {word: weight for word, weight in weights.items() if word in best}


def _keywords(
    passage: Passage, likeness: Mapping[str, float], weights: Mapping[str, float], setting: Setting
) -> str:
    """The most salient distinct words, in the order of the passage."""
    salience = {word: round(weights[word] * max(likeness[word], 0.0), 4) for word in weights}
    chosen: dict[str, str] = {}  # by beginning, so that "parse" and "parser" don't both take a place
    for word in sorted(salience, key=lambda word: (-salience[word], word)):
        if len(chosen) < KEYWORDS:
            chosen.setdefault(word.casefold()[:5], word)
    best = list(chosen.values())
    allowed = _checker(passage, setting)
    for count in range(len(best), 1, -1):
        text = " ".join(word for word in weights if word in best[:count]).lower()
        if allowed(text):
            return text
    return ""
