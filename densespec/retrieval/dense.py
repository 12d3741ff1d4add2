"""Nearest neighbours by inner product, through faiss."""

from __future__ import annotations

from typing import Any

import numpy as np

from densespec.errors import InputError

Array = np.ndarray[Any, Any]


def search(passages: Array, queries: Array, depth: int) -> tuple[Array, Array]:
    """Exact top passages of each query.

    Args:
        passages: float32 (passages, dimension), length 1.
        queries: float32 (queries, dimension), length 1.
        depth: list length; fewer where the corpus is smaller.

    Returns:
        Row numbers int64 (queries, depth) and cosines float32 of the same shape, best first.

    Raises:
        InputError: faiss is not installed.
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
    depth = min(depth, len(passages))
    if not len(queries):
        return np.zeros((0, depth), np.int64), np.zeros((0, depth), np.float32)
    index: Any = faiss.IndexFlatIP(passages.shape[1])
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(np.ascontiguousarray(passages, dtype=np.float32))
    scores, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), depth)
    return rows, scores
