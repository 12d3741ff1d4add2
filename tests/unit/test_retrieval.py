"""BM25, nearest neighbours, fusion, measures."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Qrel, Scored
from densespec.retrieval import dense
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from densespec.retrieval.measures import mean, per_query

TEXTS = [
    "open a file and read its lines",
    "connect a socket to a server",
    "files are opened, read and closed; a file is read by lines",
    "the of and",
    "",
    "open a file and read its lines",
]


def test_bm25_is_lucenes_formula():
    texts = ["apple apple pear", "pear", "plum tree in a garden", "apple tree"]
    index = Bm25(texts, k1=1.2, b=0.6, language="")
    words = [[w for w in text.split() if len(w) > 1] for text in texts]
    average = np.mean([len(tokens) for tokens in words])
    for query in ("apple", "apple tree pear", "garden garden"):
        expected = []
        for tokens in words:
            total = 0.0
            for term in query.split():
                frequency = tokens.count(term)
                holding = sum(term in other for other in words)
                weight = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
                norm = 1.2 * (1 - 0.6 + 0.6 * len(tokens) / average)
                total += weight * frequency / (frequency + norm)
            expected.append(total)
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5, atol=1e-7)


def test_a_language_without_stemmer_is_a_users_mistake():
    with pytest.raises(InputError, match=r"bm25\.language(?s:.*)swedish(?s:.*)klingon"):
        Bm25(TEXTS, language="klingon")


def test_search_agrees_with_scores():
    index = Bm25(TEXTS)
    for query in ("open files", "reading lines", "server", "file"):
        scores = index.scores(query)
        assert scores.dtype == np.float32 and scores.shape == (len(TEXTS),)
        rows, found = index.search(query, 10)
        expected = sorted(
            (row for row in range(len(TEXTS)) if scores[row] > 0), key=lambda r: (-scores[r], r)
        )
        assert rows.tolist() == expected
        np.testing.assert_array_equal(found, scores[expected])
        assert index.search(query, 1)[0].tolist() == expected[:1]
    assert index.search("open", 10)[0].tolist() == [0, 5, 2], "ties go by row, stems match"


def test_a_query_without_a_word_of_the_corpus_finds_nothing():
    for language in ("english", ""):
        index = Bm25(TEXTS, language=language)
        for query in ("", "zebra", "?!", "季節"):
            assert index.scores(query).tolist() == [0.0] * len(TEXTS)
            assert index.search(query, 3)[0].tolist() == []
    assert Bm25(TEXTS).scores("what is the of and").tolist() == [0.0] * len(TEXTS)


@pytest.mark.parametrize("texts", [[], [""], ["the of", "and"]])
def test_a_corpus_without_words_finds_nothing(texts):
    index = Bm25(texts)
    assert index.scores("open the file").tolist() == [0.0] * len(texts)
    assert index.search("open the file", 5)[0].tolist() == []


def unit(rows, seed, dimension=8):
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("depth", [1, 5, 40, 100])
def test_dense_search_is_a_sorted_matrix_product(depth):
    passages, queries = unit(40, 0), unit(7, 1)
    rows, scores = dense.search(passages, queries, depth)
    products = queries @ passages.T
    expected = np.argsort(-products, axis=1)[:, :depth]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(products, expected, axis=1), atol=1e-6)
    assert rows.shape == (7, min(depth, 40)) and scores.dtype == np.float32


@pytest.mark.parametrize("depth", [1, 9, 40, 100])
def test_search_by_blocks_is_search(monkeypatch, depth):
    passages, queries = unit(40, 0), unit(7, 1)
    expected = dense.search(passages, queries, depth)
    monkeypatch.setattr(dense, "PASSAGE_BLOCK", 16)
    monkeypatch.setattr(dense, "QUERY_BLOCK", 3)
    rows, scores = dense.search(passages, queries, depth)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def test_dense_search_takes_any_layout_and_no_queries(tmp_path):
    passages, queries = unit(40, 0), unit(7, 1)
    expected = dense.search(passages, queries, 3)[0]
    np.testing.assert_array_equal(
        dense.search(np.asfortranarray(passages), queries.astype(float), 3)[0], expected
    )
    np.save(tmp_path / "passages.npy", passages)
    mapped = np.load(tmp_path / "passages.npy", mmap_mode="r")
    np.testing.assert_array_equal(dense.search(mapped, queries, 3)[0], expected)
    rows, scores = dense.search(passages, queries[:0], 3)
    assert rows.shape == scores.shape == (0, 3)


def test_without_faiss_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def no_faiss(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_faiss)
    with pytest.raises(InputError, match=r"densespec\[cpu\]"):
        dense.search(unit(2, 0), unit(1, 1), 1)


def test_fusion_adds_reciprocal_ranks():
    rows, scores = reciprocal_rank_fusion([[3, 1, 2], [1, 9]], 10, k=60)
    assert rows == [1, 3, 9, 2]
    np.testing.assert_allclose(scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63])


def test_fusion_of_one_ranking_keeps_it_and_ties_go_by_row():
    assert reciprocal_rank_fusion([[5, 3, 4]], 2)[0] == [5, 3]
    assert reciprocal_rank_fusion([[5, 3], [3, 5]], 5)[0] == [3, 5]
    assert reciprocal_rank_fusion([np.array([9], np.int64), np.array([2], np.int64)], 5)[0] == [2, 9]
    assert reciprocal_rank_fusion([], 5) == ([], [])


def test_weighted_fusion_of_lists_on_different_scales():
    rankings, scores = [[3, 1, 2], [1, 9]], [[30.0, 20.0, 10.0], [0.9, 0.8]]
    rows, sums = weighted_fusion(rankings, scores, 10, [1.0, 1.0])
    assert (rows, sums) == ([1, 3, 2, 9], [1.5, 1.0, 0.0, 0.0])
    assert weighted_fusion(rankings, scores, 1, [1.0, 0.2])[0] == [3]
    rows, sums = weighted_fusion(rankings, scores, 10, [1.0, 1.0], "z-score")
    assert rows == [1, 3, 2, 9]
    np.testing.assert_allclose(sums, [1, 1.5**0.5 - 1, -(1.5**0.5) - 1, -(1.5**0.5) - 1])
    assert weighted_fusion([[4], []], [[7.0], []], 10, [1.0, 1.0]) == ([4], [1.0])
    for normalise in ("min-max", "z-score"):  # a list without spread says which passages it has
        rows, _ = weighted_fusion([[1, 2, 3], [9]], [[0.3, 0.2, 0.1], [25.0]], 4, [1.0, 3.0], normalise)
        assert rows == [9, 1, 2, 3]
    assert weighted_fusion([], [], 10, []) == ([], [])


def test_measures_are_those_of_trec_eval():
    run = {
        "a": [Scored("p1", 0.1), Scored("p2", 0.2), Scored("p3", 0.3)],  # its order counts, not its scores
        "c": [Scored("p1", 1.0)],
        "unjudged": [Scored("p1", 1.0)],
    }
    qrels = [
        Qrel("a", "p2", 2),
        Qrel("a", "p9", 1),
        Qrel("a", "p1", 0),
        Qrel("b", "p1", 1),
        Qrel("c", "p1", 0),
    ]
    found = per_query(run, qrels)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert found["ndcg_at_10"] == pytest.approx({"a": 2 / math.log2(3) / ideal, "b": 0.0, "c": 0.0})
    assert found["recall_at_100"] == pytest.approx({"a": 0.5, "b": 0.0, "c": 0.0})
    assert found["mrr_at_10"] == pytest.approx({"a": 0.5, "b": 0.0, "c": 0.0})
    assert mean(found["mrr_at_10"]) == pytest.approx(0.5 / 3)
    assert mean({}) == 0.0
    assert list(per_query(run, qrels, ["mrr_at_10"])) == ["mrr_at_10"]


def test_measures_count_only_their_depth():
    run = {"q": [Scored(f"p{n}", 0.0) for n in range(200)]}
    for place, expected in ((9, (1.0, 0.1)), (10, (1.0, 0.0)), (100, (0.0, 0.0))):
        found = per_query(run, [Qrel("q", f"p{place}", 1)])
        assert (found["recall_at_100"]["q"], found["mrr_at_10"]["q"]) == pytest.approx(expected)
