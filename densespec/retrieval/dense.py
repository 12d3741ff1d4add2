"""Nearest neighbours by inner product, through faiss."""

from __future__ import annotations

from typing import Any

import numpy as np

from densespec.errors import InputError

Array = np.ndarray[Any, Any]

#: Passages and queries in memory at a time. Multiples of the blocks in which faiss multiplies matrices
#: (1,024 passages by 4,096 queries), so that scores are to the bit those of one search of all passages.
PASSAGE_BLOCK, QUERY_BLOCK = 65_536, 4_096
#: The longest list that faiss-gpu finds, and the most cells that it searches.
GPU_DEPTH = 2_048


def search(passages: Array, queries: Array, depth: int) -> tuple[Array, Array]:
    """Exact top passages of each query, on all GPUs where faiss-gpu sees some.

    Both arrays may be mapped from disk; beside the result, memory holds one block of each.

    Args:
        passages: float32 (passages, dimension), length 1.
        queries: float32 (queries, dimension), length 1.
        depth: list length; fewer where the corpus is smaller.

    Returns:
        Row numbers int64 (queries, depth) and cosines float32 of the same shape, best first (equal ones in
        faiss' order, which is none to rely on).

    Raises:
        InputError: faiss is not installed.
    """
    faiss = faiss_module()
    depth = min(depth, len(passages))
    rows = np.full((len(queries), depth), -1, dtype=np.int64)
    scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    if not len(queries):
        return rows, scores
    index = on_gpus(faiss.IndexFlatIP(passages.shape[1]), depth)
    for start in range(0, len(passages), PASSAGE_BLOCK):
        block = passages[start : start + PASSAGE_BLOCK]
        index.reset()
        index.add(np.ascontiguousarray(block, dtype=np.float32))
        for first in range(0, len(queries), QUERY_BLOCK):
            part = slice(first, first + QUERY_BLOCK)
            found_scores, found = index.search(
                np.ascontiguousarray(queries[part], dtype=np.float32), min(depth, len(block))
            )
            if start:
                found = np.concatenate([rows[part], found + start], axis=1)
                found_scores = np.concatenate([scores[part], found_scores], axis=1)
                best = np.argsort(-found_scores, axis=1, kind="stable")[:, :depth]
                found = np.take_along_axis(found, best, axis=1)
                found_scores = np.take_along_axis(found_scores, best, axis=1)
            rows[part, : found.shape[1]], scores[part, : found.shape[1]] = found, found_scores
    return rows, scores


def on_gpus(index: Any, depth: int) -> Any:
    """A copy of the index on every GPU that faiss-gpu sees; itself where there is none.

    Args:
        index: flat or IVF; faiss-gpu has no other.
        depth: the longest list, or number of IVF's cells, that a search takes; beyond :data:`GPU_DEPTH`
            the index stays where it is.
    """
    faiss = faiss_module()
    return faiss.index_cpu_to_all_gpus(index) if has_gpu(faiss) and depth <= GPU_DEPTH else index


def faiss_module() -> Any:
    """The module ``faiss``.

    Raises:
        InputError: not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError(
            "faiss",
            expected="faiss-cpu or faiss-gpu (exactly one of them)",
            found="not installed",
            remedy="pip install 'densespec[cpu]' or 'densespec[gpu]'",
        ) from None
    return faiss


def has_gpu(faiss: Any) -> bool:
    """Whether this build of faiss sees a GPU."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
