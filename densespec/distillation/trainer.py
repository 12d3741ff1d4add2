"""sentence-transformers' trainer, with batches of overlapping lists and checkpoints of adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from densespec.distillation.batching import overlapping_batches
from densespec.distillation.lora import has_adapter, load_adapter
from densespec.distillation.sharing import WholeBatchTrainer

Array = np.ndarray[Any, Any]


class OverlapSampler(DefaultBatchSampler):  # type: ignore[misc]
    """Batches of :func:`overlapping_batches`; the trainer sets the epoch, after a resume too."""

    def __init__(self, clusters: Array, **given: Any) -> None:
        super().__init__(range(len(clusters)), **given)
        self.clusters = clusters

    def __iter__(self) -> Iterator[list[int]]:
        yield from overlapping_batches(self.clusters, self.batch_size, self.seed, self.epoch)


class ListTrainer(WholeBatchTrainer):
    """The trainer of lists.

    Args:
        clusters: int64 (training lists,), see :func:`densespec.distillation.batching.cluster_lists`;
            None draws batches at random.
        given: arguments of ``SentenceTransformerTrainer``.
    """

    def __init__(self, *, clusters: Array | None = None, **given: Any) -> None:
        self.clusters = clusters
        super().__init__(**given)

    def get_batch_sampler(self, dataset: Any, **given: Any) -> Any:
        """Batches that overlap, for the training lists; those of dev are drawn alike in any case."""
        if self.clusters is None or dataset is not self.train_dataset:
            return super().get_batch_sampler(dataset, **given)
        return OverlapSampler(self.clusters, **given)

    def load_weights(self, checkpoint: Path) -> None:
        """Put the weights of a checkpoint into the model.

        Args:
            checkpoint: its folder, wherever that lies now.
        """
        if has_adapter(self.model):
            # loading the folder would load the base model by its name, without its revision
            load_adapter(self.model, checkpoint)
        else:
            super()._load_from_checkpoint(str(checkpoint))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        self.load_weights(Path(checkpoint_path))
