"""How several processes share the texts of one batch, each distinct text encoded by one of them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import broadcast
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.util import all_gather_with_grad, get_rank, get_world_size
from torch import Tensor, distributed
from torch.utils.data import DataLoader

# sentence-transformers calls it, users can't do anything about it
warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional\.all_gather", FutureWarning)


def own_share(count: int) -> list[int]:
    """Numbers, of ``count`` texts, of those that this process encodes: every n-th of n processes.

    Shares are of one size, as gathering needs it; text 0 fills them up.
    """
    rank, processes = get_rank(), get_world_size()
    own = list(range(rank, count, processes))
    return own + [0] * (math.ceil(count / processes) - len(own))


def places(count: int) -> Tensor:
    """int64 (count,): row of each text in what :func:`gather` returns."""
    processes = get_world_size()
    numbers = torch.arange(count)
    return numbers % processes * math.ceil(count / processes) + numbers // processes


def gather(embeddings: Tensor) -> Tensor:
    """Embeddings (share, dimension) of all processes, one process's after the other's.

    Every process computes the whole batch's loss from them. The backward pass adds up the processes'
    equal gradients, DDP's mean over the processes divides by their number: what is left is the gradient
    of one process that encodes everything.
    """
    return all_gather_with_grad(embeddings) if get_world_size() > 1 else embeddings


def most(number: int, device: torch.device) -> int:
    """The largest number of any process, whose shares differ in length where their ways must not."""
    if get_world_size() == 1:
        return number
    numbers = torch.tensor(number, device=device)
    distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
    return int(numbers)


class WholeBatchTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """sentence-transformers' trainer, in which each of several processes gets every batch whole.

    accelerate deals batches out to the processes, and fills up the last ones with lists used before. Here
    a batch is one loss over all processes, so it is the collator that shares out the encoding.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if get_world_size() > 1:
            # every process has the loss of the whole batch; all stop early by the same one
            self.accelerator.gather = broadcast

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training lists."""
        return self._whole_batches(self.train_dataset, self.args.train_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches of the dev lists."""
        return self._whole_batches(eval_dataset or self.eval_dataset, self.args.eval_batch_size)

    def _whole_batches(self, dataset: Any, batch_size: int) -> DataLoader[Any]:
        sampler = self.get_batch_sampler(
            dataset,
            batch_size=batch_size,
            drop_last=False,
            generator=torch.Generator().manual_seed(self.args.seed),
            seed=self.args.seed,
        )
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        whole: DataLoader[Any] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            use_seedable_sampler=self.accelerator.use_seedable_sampler,
            data_seed=self.args.data_seed,
        )
        return whole
