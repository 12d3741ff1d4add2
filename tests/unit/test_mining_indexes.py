"""Approximate indexes beside exact search."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.mining import indexes
from densespec.retrieval import dense


def clustered(rows, seed, centres=20, dimension=16):
    random = np.random.default_rng(seed)
    middle = np.random.default_rng(99).normal(size=(centres, dimension))
    vectors = middle[random.integers(0, centres, rows)] + 0.5 * random.normal(size=(rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


PASSAGES, QUERIES = clustered(3000, 0), clustered(50, 1)


@pytest.mark.parametrize(
    ("kind", "passages", "gpu", "chosen"),
    [
        ("auto", 1_000_000, False, "flat"),
        ("auto", 1_000_001, False, "hnsw"),
        ("auto", 4_000_001, False, "ivf"),
        ("auto", 10_000_000, True, "flat"),
        ("auto", 10_000_001, True, "ivf"),
        ("ivf", 10, False, "ivf"),
        ("flat", 10**9, False, "flat"),
    ],
)
def test_the_size_chooses_the_index(monkeypatch, kind, passages, gpu, chosen):
    monkeypatch.setattr(dense, "has_gpu", lambda faiss: gpu)
    assert indexes.choose(kind, passages) == chosen


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_cosines_are_exact_and_what_is_found_is_in_order(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "RESCORE_BLOCK", 16)
    np.save(tmp_path / "passages.npy", PASSAGES)
    rows, scores = indexes.search(np.load(tmp_path / "passages.npy", mmap_mode="r"), QUERIES, 30, kind)
    assert rows.shape == scores.shape == (50, 30) and scores.dtype == np.float32
    products = QUERIES @ PASSAGES.T
    np.testing.assert_allclose(scores, np.take_along_axis(products, rows, axis=1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 30 for row in rows.tolist())
    exact = np.argsort(-products, axis=1)[:, :30]
    shared = np.mean([len(set(a) & set(b)) / 30 for a, b in zip(rows.tolist(), exact.tolist(), strict=True)])
    assert indexes.recall(PASSAGES, QUERIES, rows, 30) == pytest.approx(shared)
    assert shared == 1 if kind == "flat" else 0.6 < shared <= 1


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_the_same_passages_give_the_same_lists(kind):
    first, second = (indexes.search(PASSAGES, QUERIES, 10, kind) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes() and first[1].tobytes() == second[1].tobytes()


def test_an_index_that_is_built_by_blocks_is_the_same(monkeypatch):
    whole = indexes.search(PASSAGES, QUERIES, 10, "ivf")[0]
    monkeypatch.setattr(dense, "PASSAGE_BLOCK", 700)
    np.testing.assert_array_equal(indexes.search(PASSAGES, QUERIES, 10, "ivf")[0], whole)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_small_and_empty_corpora(kind):
    rows, _ = indexes.search(PASSAGES[:3], QUERIES, 10, kind)
    assert rows.shape == (50, 3)
    assert all(sorted(row[row >= 0]) == sorted(set(row[row >= 0])) for row in rows)
    for passages, queries in ((PASSAGES[:0], QUERIES), (PASSAGES, QUERIES[:0])):
        assert indexes.search(passages, queries, 10, kind)[0].shape == (len(queries), min(10, len(passages)))


def test_passages_that_were_not_found_fill_up_the_end(monkeypatch):
    monkeypatch.setattr(indexes, "PROBED", 0)
    monkeypatch.setattr(indexes, "LEAST_PROBED", 1)  # of 75 cells
    rows, scores = indexes.search(PASSAGES, QUERIES, 100, "ivf")
    missing = rows < 0
    assert missing.any() and np.isneginf(scores[missing]).all() and np.isfinite(scores[~missing]).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()
    assert indexes.recall(PASSAGES, QUERIES, rows) < 0.5


def test_recall_is_the_shared_part_of_the_exact_lists():
    exact, _ = dense.search(PASSAGES, QUERIES, 10)
    assert indexes.recall(PASSAGES, QUERIES, exact, 10) == 1.0
    half = exact.copy()
    half[:, 5:] = -1
    assert indexes.recall(PASSAGES, QUERIES, half, 10) == 0.5
    assert indexes.recall(PASSAGES, QUERIES[:0], exact[:0]) == 1.0


def test_flat_and_ivf_are_searched_on_gpus(monkeypatch):
    import faiss

    moved = []
    monkeypatch.setattr(dense, "has_gpu", lambda faiss: True)
    monkeypatch.setattr(
        faiss, "index_cpu_to_all_gpus", lambda index: (moved.append(type(index)), index)[1], raising=False
    )
    for kind in ("flat", "hnsw", "ivf"):
        indexes.search(PASSAGES, QUERIES, 10, kind)
    indexes.search(PASSAGES, QUERIES[:1], dense.GPU_DEPTH + 1, "ivf")
    assert moved == [faiss.IndexFlatIP, faiss.IndexIVFScalarQuantizer]


@pytest.mark.gpu
@pytest.mark.skipif(not dense.has_gpu(dense.faiss_module()), reason="no faiss-gpu, or no GPU")
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_on_a_gpu_an_index_finds_what_it_finds_on_the_cpu(monkeypatch, kind):
    rows, scores = indexes.search(PASSAGES, QUERIES, 30, kind)
    monkeypatch.setattr(dense, "has_gpu", lambda faiss: False)
    expected, exact = indexes.search(PASSAGES, QUERIES, 30, kind)
    np.testing.assert_allclose(scores, exact, atol=1e-3)
    shared = [len(set(a) & set(b)) / 30 for a, b in zip(rows.tolist(), expected.tolist(), strict=True)]
    assert np.mean(shared) > 0.98
