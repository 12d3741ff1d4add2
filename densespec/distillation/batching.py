"""Which lists share a batch: drawn at random, or lists that overlap.

Each distinct passage of a batch is encoded once, so a batch of lists that name the same passages costs
less. Lists overlap when their queries ask about the same part of the corpus. Spherical k-means over the
mean vector of each list's passages finds those parts; an epoch goes through them one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from densespec.runtime.seeds import generator_for

Array = np.ndarray[Any, Any]

#: More clusters than this would make k-means the longest part of training on very many lists.
MOST_CLUSTERS = 1024


def cluster_lists(lists: Tensor, vectors: Tensor, batch_size: int, seed: int) -> Array:
    """Cluster of each list, about one cluster per batch.

    Args:
        lists: int64 (lists, K), rows of ``vectors``; -1 = no candidate.
        vectors: float32 (passages, dimension), length 1, of the untuned student.
        batch_size: queries per batch.
        seed: of the first centroids.

    Returns:
        int64 (lists,).
    """
    import faiss

    means = np.stack([vectors[rows[rows >= 0]].mean(dim=0).numpy() for rows in lists])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    clusters = min(MOST_CLUSTERS, -(-len(lists) // batch_size))
    kmeans = faiss.Kmeans(
        means.shape[1], clusters, niter=10, spherical=True, seed=seed, min_points_per_centroid=1
    )
    kmeans.train(means)
    nearest: Array = kmeans.index.search(means, 1)[1][:, 0]
    return nearest


def overlapping_batches(clusters: Array, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch, each list once; another order and other cuts in every epoch.

    Args:
        clusters: int64 (lists,) of :func:`cluster_lists`.
        batch_size: lists per batch; the remainder makes one smaller batch.
        seed: of the order.
        epoch: from 0.

    Returns:
        Batches of numbers of lists, in the order of training.
    """
    random = generator_for(seed, "batches", str(epoch))
    place = random.permutation(clusters.max() + 1)  # clusters in another order, so the cuts fall elsewhere
    order = np.lexsort((random.permutation(len(clusters)), place[clusters]))
    batches = [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]


def random_batches(count: int, batch_size: int, seed: int) -> list[list[int]]:
    """Batches of one epoch as the trainer draws them by default (not the same ones)."""
    order = generator_for(seed, "batches").permutation(count)
    return [order[start : start + batch_size].tolist() for start in range(0, count, batch_size)]


def distinct_share(lists: Tensor, batches: Sequence[Sequence[int]]) -> float:
    """Distinct passages of a batch ÷ its slots, mean over batches: the share that is encoded.

    Args:
        lists: int64 (lists, K); -1 = no candidate.
        batches: numbers of lists.
    """
    shares = []
    for batch in batches:
        slots = lists[list(batch)]
        slots = slots[slots >= 0]
        shares.append(len(slots.unique()) / len(slots))
    return float(np.mean(shares))
