"""What holds for extractive queries on any passage in any script."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densespec.generation.config import GenerateConfig
from densespec.generation.embedding import student_embedder
from densespec.generation.extractive import write as extractive
from densespec.generation.filters import rejection
from densespec.generation.prompt import Prompt
from densespec.generation.shaping import KINDS
from densespec.generation.words import (
    copied_words,
    length,
    normalised,
    run_key,
    tokens,
    verbatim_keys,
    weight,
)
from densespec.generation.writer import Setting
from densespec.records import Passage
from densespec.retrieval.config import StudentConfig
from tests.tiny_models import WORDS, tiny_bi_encoder

ENGLISH = st.sampled_from(
    [*WORDS.split()[:160], "returns", "reads", "opens", "If", "File.size", "e.g.", "don't"]
)
ANY_SCRIPT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=0x1FFFF), min_size=1, max_size=9
)
SENTENCE = st.lists(st.one_of(ENGLISH, ENGLISH, ANY_SCRIPT), min_size=1, max_size=14).map(" ".join)
TEXT = st.lists(
    st.tuples(SENTENCE, st.sampled_from([". ", "\n", "\n\n", ", ", "。", "; ", " (", "? "])), max_size=6
)
PASSAGES = st.lists(
    st.builds(
        lambda title, parts: (title, "".join(s + end for s, end in parts)),
        st.one_of(st.just(""), SENTENCE, st.just("files.read(path)")),
        TEXT,
    ),
    min_size=1,
    max_size=4,
)
QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def embed(texts, task):
    """Vectors that depend on nothing but the text."""
    rows = [[(sum(text.encode("utf-8")) * (n + 3)) % 97 - 48.0 for n in range(4)] for text in texts]
    vectors = np.asarray(rows, dtype=np.float32) + 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def setting(passages, **changes) -> Setting:
    values = {
        "corpus": passages,
        "recordings": {},
        "prompt": Prompt("question/1", "{passage}"),
        "language": "en",
        "max_words": 20,
        "copy_ngram": 6,
        "seed": 0,
        "embed": embed,
        "student": "test",
        "parameters": GenerateConfig(),
        "scratch": Path(),
        "usage": {},
    }
    return Setting(**{**values, **changes})


def checked(passages, kind, **changes):
    written = list(extractive(passages, kind, setting(passages, **changes)))
    for query in written:
        words = tokens(query.text)
        assert normalised(query.text) not in verbatim_keys(query.passage)
        assert copied_words(words, run_key(query.passage.content)) <= 5
        assert 3 <= length(query.text) <= changes.get("max_words", 20)
        assert rejection(query.text, query.passage, set(), 20, 6) == ""
        for start in range(len(words) - 5):  # the same, said without our own functions
            run = words[start : start + 6]
            if all(len(word) > 1 and word.isascii() for word in run):
                assert f" {' '.join(run)} " not in f" {' '.join(tokens(query.passage.content))} "
    assert len({query.passage.id for query in written}) == len(written)
    return written


@QUIET
@given(PASSAGES, st.sampled_from([*KINDS, "keywords", "own-kind"]), st.sampled_from(["en", "de", "zh"]))
def test_never_verbatim_never_long_always_the_same(contents, kind, language):
    passages = [Passage(f"p{n}", title, text) for n, (title, text) in enumerate(contents)]
    first = checked(passages, kind, language=language)
    assert first == checked(passages, kind, language=language)


@QUIET
@given(PASSAGES, st.integers(3, 8))
def test_short_limits_are_kept(contents, max_words):
    passages = [Passage(f"p{n}", title, text) for n, (title, text) in enumerate(contents)]
    for query in extractive(passages, "question", setting(passages, max_words=max_words, copy_ngram=2)):
        assert length(query.text) <= max_words
        assert copied_words(tokens(query.text), run_key(query.passage.content)) <= 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=PASSAGES)
def test_with_a_real_encoder_shards_change_nothing(contents, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    passages = [Passage(f"p{n}", title, text) for n, (title, text) in enumerate(contents)]
    student = StudentConfig(model=str(model), precision="float32")
    changes = {"embed": student_embedder(student.model_dump(), folder)}
    for kind in ("question", "keywords"):
        assert checked(passages, kind, **changes) == checked(passages, kind, **changes)


@given(st.lists(st.sampled_from("ab日本กข"), max_size=12), st.lists(st.sampled_from("ab日本กข"), max_size=12))
def test_longest_copied_run_is_what_a_slow_search_finds(query, passage):
    text, content = " ".join(query), " ".join(passage)
    words, of_passage = tokens(text), tokens(content)
    runs = [words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    found = [run for run in runs if any(of_passage[k : k + len(run)] == run for k in range(len(of_passage)))]
    assert copied_words(words, run_key(content)) == max(map(weight, found), default=0)
