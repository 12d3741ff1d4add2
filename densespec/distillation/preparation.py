"""What a training needs to know before it starts: its lists, which of them share a batch, temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from densespec.distillation.batching import (
    cluster_lists,
    distinct_share,
    overlapping_batches,
    random_batches,
)
from densespec.distillation.objective import TrainingLists
from densespec.distillation.sampling import Lists, sample_lists
from densespec.distillation.temperature import temperatures_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]


class Prepared(NamedTuple):
    """Lists that are ready for training.

    Attributes:
        lists: all of them.
        training: numbers of the training lists.
        dev: numbers of the dev lists.
        clusters: int64 (training lists,), see :func:`~densespec.distillation.batching.cluster_lists`;
            None where batches are drawn at random.
        distinct_share: distinct passages of a batch ÷ its slots, in the first epoch.
    """

    lists: TrainingLists
    training: list[int]
    dev: list[int]
    clusters: Array | None
    distinct_share: float


def prepare_lists(
    table: Mapping[str, Any],
    vectors: Tensor,
    *,
    length: int,
    sampling: str,
    batching: str,
    batch_size: int,
    seed: int,
) -> Prepared:
    """Cut the lists of the stage ``select`` to length, and find those that overlap.

    Args:
        table: columns ``query_id``, ``text``, ``split``, ``passages``, ``scores``, ``positive`` and
            ``relevant``.
        vectors: float32 (passages, dimension), length 1, of the untuned student.
        length: candidates per list.
        sampling: which candidates of longer training lists, see
            :func:`~densespec.distillation.sampling.sample_lists`.
        batching: ``"overlap"`` or ``"random"``.
        batch_size: queries per batch.
        seed: of all draws.
    """
    training, dev = (
        [number for number, found in enumerate(table["split"]) if found == split]
        for split in ("train", "dev")
    )
    given = Lists(table["passages"], table["scores"], table["positive"])
    sampled = sample_lists(given, table["query_id"], training, length, sampling, seed)
    lists = TrainingLists(table["text"], *sampled, length, table["relevant"])
    slots = lists.passages[training]
    clusters = cluster_lists(slots, vectors, batch_size, seed) if batching == "overlap" else None
    if clusters is None:
        batches = random_batches(len(training), batch_size, seed)
    else:
        batches = overlapping_batches(clusters, batch_size, seed, epoch=0)
    return Prepared(lists, training, dev, clusters, distinct_share(slots, batches))


def dev_temperatures(
    student: SentenceTransformer,
    lists: TrainingLists,
    dev: Sequence[int],
    vectors: Tensor,
    student_temperature: float,
    teacher_temperature: float | None,
) -> dict[str, float]:
    """Temperatures on the dev lists, see :func:`~densespec.distillation.temperature.temperatures_of`.

    Args:
        student: untuned.
        lists: all lists.
        dev: numbers of the dev lists.
        vectors: float32 (passages, dimension), length 1, of the untuned student.
        student_temperature: τ_s.
        teacher_temperature: τ_t; None takes the matching one.
    """
    query_vectors = student.encode_query([lists.queries[n] for n in dev], normalize_embeddings=True)
    lengths = (lists.passages >= 0).sum(dim=1).tolist()
    cosines = [
        vectors[lists.passages[n][: lengths[n]]].numpy() @ vector
        for n, vector in zip(dev, query_vectors, strict=True)
    ]
    teacher = [lists.scores[n][: lengths[n]].numpy() for n in dev]
    return temperatures_of(cosines, teacher, student_temperature, teacher_temperature)
