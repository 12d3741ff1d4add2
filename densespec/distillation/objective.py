"""How a batch of lists becomes embeddings: the collator, and the loss module of the trainer.

sentence-transformers' collator tokenises every slot of every list. Lists of one corpus overlap
heavily, so here each distinct text of a batch is encoded once (passages not at all where their vectors
are fixed), by one of the processes, and the lists point to it. With dropout 0 the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.base.modules import Router
from sentence_transformers.util import get_world_size
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from densespec.distillation.loss import ListBatch, LossParts, renumbered
from densespec.distillation.matryoshka import matryoshka_loss
from densespec.distillation.sharing import gather, most, own_share, places
from densespec.retrieval.encoding import prompt_for
from densespec.retrieval.like_length import by_length

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: Largest share of padding in a mini-batch of the gradient cache.
PADDING = 0.1
#: The same in a pass of a batch without the cache, on a CPU. Each pass adds a gradient as large as the
#: vocabulary's embeddings, so fewer and fuller ones are faster: three of pydocs' queries, not seven.
PADDING_OF_PASSES = 0.25


class TrainingLists:
    """Training and dev lists as padded tensors.

    Args:
        queries: query texts.
        passages: row numbers per query, the teacher's best first.
        scores: calibrated teacher scores, aligned.
        positive: place of the positive in each list.
        length: lists are cut here; a positive beyond the cut takes the last place.
        relevant: row numbers per query of the passages known to answer it; None where only the positive is.
    """

    def __init__(
        self,
        queries: Sequence[str],
        passages: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        positive: Sequence[int],
        length: int,
        relevant: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.queries = list(queries)
        count = len(self.queries)
        longest = min(length, max(len(rows) for rows in passages))
        self.passages = torch.full((count, longest), -1, dtype=torch.long)
        self.scores = torch.zeros((count, longest))
        self.positive = torch.zeros(count, dtype=torch.long)
        answers = [torch.tensor(rows, dtype=torch.long) for rows in relevant or [[]] * count]
        self.relevant = pad_sequence(answers, batch_first=True, padding_value=-1)
        for number, (rows, values, place) in enumerate(zip(passages, scores, positive, strict=True)):
            keep = list(range(min(len(rows), longest)))
            if place not in keep:
                keep[-1] = place
            self.passages[number, : len(keep)] = torch.tensor([rows[k] for k in keep])
            self.scores[number, : len(keep)] = torch.tensor([values[k] for k in keep])
            self.positive[number] = keep.index(place)

    def __len__(self) -> int:
        return len(self.queries)

    def batch(self, numbers: Tensor) -> ListBatch:
        """The lists with these numbers; passages are their rows in the corpus."""
        columns = self.passages, self.scores, self.positive, self.relevant
        return ListBatch(*(values[numbers] for values in columns))


class ListCollator:
    """Rows of the dataset → features of the distinct queries (and passages), and where lists find them.

    ``label`` is int64 (B, 2 + K + R): number of the list, row of its query among the gathered embeddings,
    then for each slot that of its passage (its row in the corpus where vectors are fixed), -1 for none,
    and the same for the passages known to answer the query. Of several processes each has the features of
    its share, and the same labels.

    Args:
        model: tokenises, with the prompts it uses at search time.
        lists: all lists, training and dev.
        passages: passages' content; None where their vectors are fixed.
        max_query_tokens: queries are cut here, or at the model's own limit where that is lower.
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
        texts = [self.lists.queries[n] for n in numbers.tolist()]
        number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        queries = places(len(number_of))[[number_of[text] for text in texts]]
        batch = self._query_features(list(number_of))
        slots, *_, relevant = self.lists.batch(numbers)
        passages = torch.cat([slots, relevant], dim=1)
        if self.passages is not None:
            distinct = slots[slots >= 0].unique()
            passages = renumbered(passages, distinct, places(len(distinct)), len(self.passages))
            batch |= self._features("document", [self.passages[row] for row in distinct.tolist()])
        batch["label"] = torch.cat([numbers[:, None], queries[:, None], passages], dim=1)
        return batch

    def _query_features(self, texts: list[str]) -> dict[str, Any]:
        features = self._features("query", texts)  # cut by the model; a given limit would override its own
        longest = features.get("query_max_length_q", features["query_input_ids"].shape[-1])
        if longest > self.max_query_tokens:
            features = self._features("query", texts, max_length=self.max_query_tokens)
        return features

    def _features(self, task: str, texts: list[str], **limits: int) -> dict[str, Any]:
        own = [texts[number] for number in own_share(len(texts))]
        features = self.model.preprocess(own, prompt=prompt_for(self.model, task), task=task, **limits)
        return {f"{task}_{name}": value for name, value in features.items()}


class ListwiseDistillation(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """KL + λ · InfoNCE over the lists of a batch, for sentence-transformers' trainer.

    A batch whose texts fill more than a mini-batch goes through the gradient cache (``CachedLossMixin``):
    memory holds the activations of one mini-batch and all embeddings, whatever the batch. The mixin packs
    neighbours into mini-batches up to a number of tokens, but in the order given and with padding on the
    left kept, so it gets groups of texts of like length. The loss itself is computed on all embeddings at
    once, by every process.

    Args:
        model: the student.
        lists: all lists, training and dev.
        passage_vectors: float32 (passages, dimension), fixed; None trains the passages' side too.
        mini_batch_tokens: tokens per forward pass.
        terms: keyword arguments of :func:`densespec.distillation.matryoshka.matryoshka_loss`.
    """

    passage_vectors: Tensor | None

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
        self.cacheable = not has_static_embedding_input(model)  # word vectors: nothing to keep in memory
        # DDP wants each parameter in every forward pass; the cache makes them one at a time
        self.one_by_one = get_world_size() > 1 and isinstance(model[0], Router)
        if passage_vectors is not None:
            passage_vectors = functional.normalize(passage_vectors, dim=1)
        self.register_buffer("passage_vectors", passage_vectors, persistent=False)

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Terms of the loss, weighted; they add up to it."""
        features = list(features)
        if not self._needs_cache(features):
            return self._weighted(self.parts([self._encode(given) for given in features], labels))
        groups, ranks = zip(*(_groups(given, PADDING) for given in features), strict=True)
        total = self.forward_cached([group for part in groups for group in part], (labels, ranks))
        terms = self._weighted(self._last)
        return terms | {"kl": total - terms["infonce"]}  # the one with the cache's backward pass

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """Loss from the mini-batches' embeddings (called by the gradient cache)."""
        labels, ranks = labels
        rows = torch.cat([rows for group in reps for rows in group])
        embeddings = rows.split([len(rank) for rank in ranks])
        parts = self.parts([part[rank] for part, rank in zip(embeddings, ranks, strict=True)], labels)
        # forward_cached returns the total alone; forward reads the terms of this same call from here
        self._last = LossParts(*(value.detach() for value in parts))
        if with_backward:
            parts.total.backward()
        return self._last.total

    def _encode(self, features: dict[str, Tensor]) -> Tensor:
        """Embeddings of a batch; on a CPU, where padding costs as much as text, by groups of like length."""
        if not self.cacheable or features["input_ids"].device.type != "cpu":
            return self.model(features)["sentence_embedding"]
        groups, rank = _groups(features, PADDING_OF_PASSES)
        return torch.cat([self.model(group)["sentence_embedding"] for group in groups])[rank]

    def parts(self, embeddings: Sequence[Tensor], labels: Tensor) -> LossParts:
        """The loss and its terms for this process's embeddings of the queries (and passages)."""
        # in single precision at least, whatever the encoder's
        unit = [
            functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
            for rows in map(gather, embeddings)
        ]
        lists = self.lists.batch(labels[:, 0].cpu())
        slots, relevant = labels[:, 2:].tensor_split([lists.slots.shape[1]], dim=1)
        batch = ListBatch(slots, lists.teacher.to(labels.device), lists.positive.to(labels.device), relevant)
        passages = unit[1] if self.passage_vectors is None else self.passage_vectors
        return matryoshka_loss(unit[0][labels[:, 1]], passages, batch, **self.terms)

    def _weighted(self, parts: LossParts) -> dict[str, Tensor]:
        return {
            "kl": self.terms["kl_weight"] * parts.kl,
            "infonce": self.terms["infonce_weight"] * parts.infonce,
        }

    def _needs_cache(self, features: Sequence[dict[str, Tensor]]) -> bool:
        tokens = most(sum(given["input_ids"].numel() for given in features), features[0]["input_ids"].device)
        return self.cacheable and (self.one_by_one or tokens > self.mini_batch_num_tokens)


def _groups(features: dict[str, Any], padding: float) -> tuple[list[dict[str, Any]], Tensor]:
    """Features in groups with little padding; each text's row in all of them."""
    if "cu_seq_lens_q" in features:  # flash attention packs texts without padding
        return [features], torch.arange(len(features["cu_seq_lens_q"]) - 1)
    rows, groups = zip(*by_length(features, padding=padding), strict=True)
    return list(groups), torch.cat(rows).argsort()
