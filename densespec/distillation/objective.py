"""How a batch of lists becomes embeddings: the collator, and the loss module of the trainer.

sentence-transformers' collator tokenises every slot of every list. Lists of one corpus overlap
heavily, so here each distinct passage of a batch is encoded once (or not at all where the passages'
vectors are fixed), and the slots of the lists point to it. With dropout 0 the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor, nn
from torch.nn import functional

from densespec.distillation.loss import ListBatch, LossParts
from densespec.distillation.matryoshka import matryoshka_loss
from densespec.retrieval.encoding import prompt_for

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class TrainingLists:
    """Training and dev lists as padded tensors.

    Args:
        queries: query texts.
        passages: row numbers per query, the teacher's best first.
        scores: calibrated teacher scores, aligned.
        positive: place of the positive in each list.
        length: lists are cut here; a positive beyond the cut takes the last place.
    """

    def __init__(
        self,
        queries: Sequence[str],
        passages: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        positive: Sequence[int],
        length: int,
    ) -> None:
        self.queries = list(queries)
        count = len(self.queries)
        longest = min(length, max(len(rows) for rows in passages))
        self.passages = torch.full((count, longest), -1, dtype=torch.long)
        self.scores = torch.zeros((count, longest))
        self.positive = torch.zeros(count, dtype=torch.long)
        for number, (rows, values, place) in enumerate(zip(passages, scores, positive, strict=True)):
            keep = list(range(min(len(rows), longest)))
            if place not in keep:
                keep[-1] = place
            self.passages[number, : len(keep)] = torch.tensor([rows[k] for k in keep])
            self.scores[number, : len(keep)] = torch.tensor([values[k] for k in keep])
            self.positive[number] = keep.index(place)

    def __len__(self) -> int:
        return len(self.queries)


class ListCollator:
    """Rows of the dataset → features of the queries (and distinct passages), and the lists' slots.

    ``label`` is int64 (B, 1 + K): number of the list, then for each slot the place of its passage
    among the encoded passages (its row in the corpus where vectors are fixed), -1 for none.

    Args:
        model: tokenises, with the prompts it uses at search time.
        lists: all lists, training and dev.
        passages: passages' content; None where their vectors are fixed.
        max_query_tokens: longer queries are cut.
    """

    valid_label_columns = ("label",)

    def __init__(
        self,
        model: SentenceTransformer,
        lists: TrainingLists,
        passages: Sequence[str] | None,
        max_query_tokens: int,
    ) -> None:
        self.model, self.lists, self.passages = model, lists, passages
        self.max_query_tokens = max_query_tokens

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Features of the lists with these numbers: keys ``query_…``, ``document_…`` and ``label``."""
        numbers = torch.tensor([row["list"] for row in rows])
        slots = self.lists.passages[numbers]
        batch = self._features(
            "query", [self.lists.queries[n] for n in numbers.tolist()], max_length=self.max_query_tokens
        )
        if self.passages is not None:
            distinct = slots[slots >= 0].unique()
            # neighbours of like length share a mini-batch of the gradient cache: little padding
            lengths = np.asarray([len(self.passages[row]) for row in distinct.tolist()])
            distinct = distinct[torch.from_numpy(np.argsort(lengths, kind="stable"))]
            place = torch.full((len(self.passages),), -1, dtype=torch.long)
            place[distinct] = torch.arange(len(distinct))
            slots = torch.where(slots >= 0, place[slots.clamp(min=0)], -1)
            batch |= self._features("document", [self.passages[row] for row in distinct.tolist()])
        batch["label"] = torch.cat([numbers[:, None], slots], dim=1)
        return batch

    def _features(self, task: str, texts: list[str], **limits: int) -> dict[str, Any]:
        features = self.model.preprocess(texts, prompt=prompt_for(self.model, task), task=task, **limits)
        return {f"{task}_{name}": value for name, value in features.items()}


class ListwiseDistillation(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """KL + λ · InfoNCE over the lists of a batch, for sentence-transformers' trainer.

    With fixed passage vectors only the queries are encoded, in one forward pass. Without them queries
    and distinct passages go through the gradient cache (``CachedLossMixin``): memory holds the
    activations of one mini-batch, whatever the batch.

    Args:
        model: the student.
        lists: all lists, training and dev.
        passage_vectors: float32 (passages, dimension), fixed; None trains the passages' side too.
        mini_batch_tokens: tokens per forward pass of the gradient cache.
        terms: keyword arguments of :func:`densespec.distillation.matryoshka.matryoshka_loss`.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        lists: TrainingLists,
        passage_vectors: Tensor | None,
        mini_batch_tokens: int,
        terms: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model, self.lists, self.terms = model, lists, terms
        self.mini_batch_size, self.mini_batch_num_tokens = 1, mini_batch_tokens
        self.passage_vectors = passage_vectors
        self.uses_gradient_cache = passage_vectors is None

    def forward(
        self, features: Iterable[dict[str, Tensor]], labels: Tensor
    ) -> Tensor | dict[str, Tensor]:
        """Loss of a batch; by term where no gradient cache is in the way of reporting it so."""
        features = list(features)
        if self.passage_vectors is None:
            cached: Tensor = self.forward_cached(features, labels)
            return cached
        parts = self.parts(self.model(features[0])["sentence_embedding"], self.passage_vectors, labels)
        return {
            "kl": self.terms["kl_weight"] * parts.kl,
            "infonce": self.terms["infonce_weight"] * parts.infonce,
        }

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Loss from the mini-batches' embeddings (called by the gradient cache)."""
        assert labels is not None
        total = self.parts(torch.cat(reps[0]), torch.cat(reps[1]), labels).total
        if with_backward:
            total.backward()
            total = total.detach()
        return total

    def parts(self, queries: Tensor, passages: Tensor, labels: Tensor) -> LossParts:
        """The loss and its terms for encoded queries and passages."""
        numbers = labels[:, 0].cpu()
        batch = ListBatch(
            slots=labels[:, 1:],
            teacher=self.lists.scores[numbers].to(labels.device),
            positive=self.lists.positive[numbers].to(labels.device),
        )
        return matryoshka_loss(
            functional.normalize(queries.float(), dim=1),
            functional.normalize(passages.float(), dim=1).to(queries.device),
            batch,
            **self.terms,
        )
