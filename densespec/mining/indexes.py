"""Faiss indexes for corpora that are too large for exact search, and what they cost in recall.

IVF and HNSW hold one byte per dimension (faiss' 8-bit scalar quantizer). What they find is scored again
with the embeddings themselves, so cosines are exact and only passages that were never looked at are lost.
The numbers follow faiss' "Guidelines to choose an index" (its wiki on GitHub) where it has a rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from densespec.retrieval import dense

Array = np.ndarray[Any, Any]

#: Up to here exact: comparing a query with a million passages costs MiniLM as many operations as encoding it
#: (larger models relatively less), so an approximate index hardly shortens a run before that.
FLAT_UP_TO = 1_000_000
#: The same on a GPU, which is that much quicker at it.
FLAT_UP_TO_ON_GPU = 10_000_000
#: Up to here HNSW, which found more than IVF among real passages. One thread builds it (see :func:`_hnsw`):
#: 2,500 passages of 384 dimensions per second, hence no further.
HNSW_UP_TO = 4_000_000
CELLS = 4  # cells of an IVF index: this × √passages, the least that the guidelines name
PROBED, LEAST_PROBED = 1 / 16, 32  # share of the cells that is searched, but at least so many
TRAINED_ON = 40  # passages per cell; the guidelines ask for 30 to 256
LINKS = 32  # of an HNSW node; the guidelines name 4 to 64
BEAM = 4  # of an HNSW search: this × depth
RESCORED = 2  # candidates that are scored again: this × depth
RESCORE_BLOCK = 128  # queries
RECALL_QUERIES = 200


def choose(kind: str, passages: int) -> str:
    """The index for a number of passages: ``kind`` itself unless it is ``auto``."""
    if kind != "auto":
        return kind
    if passages <= (FLAT_UP_TO_ON_GPU if dense.has_gpu(dense.faiss_module()) else FLAT_UP_TO):
        return "flat"
    return "hnsw" if passages <= HNSW_UP_TO else "ivf"


def search(passages: Array, queries: Array, depth: int, kind: str) -> tuple[Array, Array]:
    """Top passages of each query by a kind of index.

    Args:
        passages: float32 (passages, dimension), length 1, may be mapped from disk.
        queries: float32 (queries, dimension), length 1.
        depth: list length; fewer where the corpus is smaller.
        kind: ``flat`` (exact), ``ivf`` or ``hnsw``.

    Returns:
        Row numbers int64 (queries, depth) and exact cosines float32 of the same shape, best first. An
        approximate search that found fewer fills up with row -1, cosine -inf.
    """
    if kind == "flat" or not len(passages) or not len(queries):
        return dense.search(passages, queries, depth)
    depth = min(depth, len(passages))
    wanted = min(RESCORED * depth, len(passages))
    if kind == "ivf":
        index = _ivf(passages)
        index = dense.on_gpus(index, max(wanted, index.nprobe))
    else:
        index = _hnsw(passages, BEAM * depth)
    rows = np.full((len(queries), depth), -1, dtype=np.int64)
    scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    for first in range(0, len(queries), RESCORE_BLOCK):
        part = slice(first, first + RESCORE_BLOCK)
        block = np.ascontiguousarray(queries[part], dtype=np.float32)
        _, found = index.search(block, wanted)
        found = np.sort(found, axis=1)  # equal cosines go by row, and the disk is read forwards
        exact = np.einsum("qcd,qd->qc", passages[found], block)
        exact[found < 0] = -np.inf
        best = np.argsort(-exact, axis=1, kind="stable")[:, :depth]
        rows[part] = np.take_along_axis(found, best, axis=1)
        scores[part] = np.take_along_axis(exact, best, axis=1)
    return rows, scores


def recall(passages: Array, queries: Array, rows: Array, depth: int = 100) -> float:
    """Share of the exact top passages that a search found, over up to :data:`RECALL_QUERIES` queries.

    Args:
        passages: float32 (passages, dimension), length 1.
        queries: float32 (queries, dimension), length 1.
        rows: int64 (queries, at least depth or all passages), as the search returned them.
        depth: of the comparison; recall@100 by default.

    Returns:
        1.0 for no queries.
    """
    sample = np.unique(np.linspace(0, len(queries) - 1, min(len(queries), RECALL_QUERIES)).astype(int))
    depth = min(depth, rows.shape[1])
    exact, _ = dense.search(passages, queries[sample], depth)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(exact, rows[sample, :depth], strict=True)]
    return float(np.mean(shared) / depth) if shared else 1.0


def _ivf(passages: Array) -> Any:
    """Cells around centroids; the same passages give the same index."""
    faiss = dense.faiss_module()
    cells = max(1, min(int(CELLS * np.sqrt(len(passages))), len(passages) // TRAINED_ON))
    index = faiss.index_factory(passages.shape[1], f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = TRAINED_ON
    index.nprobe = max(LEAST_PROBED, round(PROBED * cells))
    return _filled(index, passages, TRAINED_ON * cells)


def _hnsw(passages: Array, beam: int) -> Any:
    """A navigable graph. One thread builds it: several would link it differently in every run."""
    faiss = dense.faiss_module()
    index = faiss.index_factory(passages.shape[1], f"HNSW{LINKS}_SQ8", faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = beam
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        return _filled(index, passages, dense.PASSAGE_BLOCK)
    finally:
        faiss.omp_set_num_threads(threads)


def _filled(index: Any, passages: Array, trained_on: int) -> Any:
    """Train an index on evenly spaced passages and add all, block by block."""
    spaced = np.unique(np.linspace(0, len(passages) - 1, min(trained_on, len(passages))).astype(int))
    index.train(np.ascontiguousarray(passages[spaced], dtype=np.float32))
    for start in range(0, len(passages), dense.PASSAGE_BLOCK):
        block = passages[start : start + dense.PASSAGE_BLOCK]
        index.add(np.ascontiguousarray(block, dtype=np.float32))
    return index
