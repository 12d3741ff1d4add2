"""Batches of lists that overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densespec.distillation.batching import (
    cluster_lists,
    distinct_share,
    overlapping_batches,
    random_batches,
)

torch.set_num_threads(1)
TOPICS, OF_EACH = 6, 20


@pytest.fixture(scope="module")
def corpus():
    """Vectors of 6 topics of 20 passages, and 90 lists of 8 passages of one topic (15 each), shuffled."""
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(TOPICS, 16), OF_EACH, axis=0)
    vectors = centres + 0.1 * random.normal(size=centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    topics = random.permutation(np.repeat(np.arange(TOPICS), 15))
    lists = [topic * OF_EACH + random.choice(OF_EACH, 8, replace=False) for topic in topics]
    lists = torch.tensor(np.array(lists))
    lists[3, 5:] = -1
    return lists, torch.tensor(vectors, dtype=torch.float32), topics


def test_clusters_are_the_topics(corpus):
    lists, vectors, topics = corpus
    clusters = cluster_lists(lists, vectors, 15, seed=1)
    pairs = set(zip(clusters.tolist(), topics.tolist(), strict=True))
    assert len(pairs) == TOPICS
    assert np.array_equal(clusters, cluster_lists(lists, vectors, 15, seed=1))


def test_fewer_lists_than_a_batch_are_one_cluster(corpus):
    lists, vectors, _ = corpus
    assert cluster_lists(lists[:5], vectors, 100, seed=1).tolist() == [0] * 5
    assert cluster_lists(lists[:5], vectors, 1, seed=1).shape == (5,)


@pytest.mark.parametrize("batch_size", [1, 7, 15, 89, 90, 200])
def test_every_list_is_in_one_batch_of_an_epoch(corpus, batch_size):
    clusters = cluster_lists(corpus[0], corpus[1], batch_size, seed=1)
    for batches in (overlapping_batches(clusters, batch_size, 1, 0), random_batches(90, batch_size, 1)):
        assert sorted(number for batch in batches for number in batch) == list(range(90))
        sizes = sorted(len(batch) for batch in batches)
        assert len(sizes) == -(-90 // batch_size)
        assert all(size == batch_size for size in sizes[1:])


def test_epochs_differ_in_order_and_in_batches_and_seeds_do(corpus):
    clusters = cluster_lists(corpus[0], corpus[1], 7, seed=1)
    first, second = (overlapping_batches(clusters, 7, 1, epoch) for epoch in (0, 1))
    assert first == overlapping_batches(clusters, 7, 1, 0)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert first != overlapping_batches(clusters, 7, 2, 0)
    assert [len(batch) for batch in overlapping_batches(clusters, 7, 3, 0)][-1] == 7, "shuffled, the rest too"


def test_overlapping_batches_hold_fewer_distinct_passages(corpus):
    lists, vectors, _ = corpus
    clusters = cluster_lists(lists, vectors, 15, seed=1)
    overlap = distinct_share(lists, overlapping_batches(clusters, 15, 1, 0))
    assert overlap < 0.5 * distinct_share(lists, random_batches(90, 15, 1))


def test_distinct_share_by_counting(corpus):
    lists = corpus[0]
    batches = [[3, 0], [5], [1, 2, 4]]
    shares = []
    for batch in batches:
        slots = [row for number in batch for row in lists[number].tolist() if row >= 0]
        shares.append(len(set(slots)) / len(slots))
    assert distinct_share(lists, batches) == pytest.approx(sum(shares) / 3)
    assert distinct_share(torch.tensor([[0, 1], [0, 1]]), [[0, 1]]) == 0.5
