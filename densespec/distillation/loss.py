"""The listwise distillation loss: KL(teacher ‖ student) + λ · InfoNCE with teacher-driven masking.

arXiv 2502.19712. Everything here is a function of embeddings; how they come about (one fixed matrix,
or each distinct passage of the batch encoded once) is :mod:`densespec.distillation.objective`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

#: Numbers held at a time per copy of similarities and gathered lists; beyond it the loss of a batch is
#: computed block by block, the intermediate values of a block once more in the backward pass.
BLOCK = 2**25


class ListBatch(NamedTuple):
    """The lists of a batch of B queries, K slots each.

    Attributes:
        slots: int64 (B, K), place of each candidate among the batch's passage vectors; -1 = no candidate.
        teacher: float (B, K), calibrated teacher scores; ignored where there is no candidate.
        positive: int64 (B,), slot of the positive.
        relevant: int64 (B, R), places of the passages that are known to answer the query, in its list or
            not, whatever the teacher says; -1 = none.
    """

    slots: Tensor
    teacher: Tensor
    positive: Tensor
    relevant: Tensor


class LossParts(NamedTuple):
    """Scalars: ``total`` = kl_weight · kl + infonce_weight · infonce."""

    total: Tensor
    kl: Tensor
    infonce: Tensor


def distillation_loss(
    queries: Tensor,
    passages: Tensor,
    batch: ListBatch,
    *,
    student_temperature: float,
    teacher_temperature: float,
    kl_weight: float,
    infonce_weight: float,
    infonce_temperature: float,
    mask_ratio: float,
) -> LossParts:
    """The loss of a batch, averaged over its queries.

    InfoNCE sets each query's positive against every other distinct passage of the batch's lists: the
    query's own hard negatives, other queries' positives and their hard negatives. Each distinct passage
    counts once, so the same passage is never its own negative.

    Args:
        queries: (B, dimension), length 1.
        passages: (P, dimension), length 1, each distinct passage once; those in no list do not count.
        batch: the lists.
        student_temperature: τ_s.
        teacher_temperature: τ_t. There is no factor τ² : the KL is that of the two distributions.
        kl_weight: weight of the KL term; 0 leaves it out.
        infonce_weight: λ; 0 leaves InfoNCE out.
        infonce_temperature: τ_c.
        mask_ratio: see :func:`masked_pairs`.
    """
    candidates, batch = named_passages(passages, batch)

    def sums(queries: Tensor, *lists: Tensor) -> tuple[Tensor, Tensor]:
        block, kl, infonce = ListBatch(*lists), queries.new_zeros(()), queries.new_zeros(())
        if kl_weight:
            in_lists = candidates[block.slots.clamp(min=0)]
            cosines = torch.einsum("bd,bkd->bk", queries, in_lists)
            kl = listwise_kl(
                cosines, block.teacher, block.slots >= 0, student_temperature, teacher_temperature
            )
        if infonce_weight:
            infonce = masked_infonce(queries, candidates, block, infonce_temperature, mask_ratio)
        return kl, infonce

    rows = max(1, BLOCK // (len(candidates) + batch.slots.shape[1] * queries.shape[1]))
    blocks = list(zip(*(values.split(rows) for values in (queries, *batch)), strict=True))
    if len(blocks) == 1:
        kl, infonce = sums(*blocks[0])
    else:
        terms = [checkpoint(sums, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
        kl, infonce = (torch.stack(values).sum() for values in zip(*terms, strict=True))
    kl, infonce = kl / len(queries), infonce / len(queries)
    return LossParts(kl_weight * kl + infonce_weight * infonce, kl, infonce)


def named_passages(passages: Tensor, batch: ListBatch) -> tuple[Tensor, ListBatch]:
    """The passages that lists name, each once, and the lists with their places among these.

    Args:
        passages: (P, dimension).
        batch: the lists. A passage known to answer a query and named by no list is left out.
    """
    named = batch.slots[batch.slots >= 0].unique()
    ranks = torch.arange(len(named), device=named.device)
    slots, relevant = (
        renumbered(given, named, ranks, len(passages)) for given in (batch.slots, batch.relevant)
    )
    return passages[named], batch._replace(slots=slots, relevant=relevant)


def renumbered(given: Tensor, old: Tensor, new: Tensor, count: int) -> Tensor:
    """Numbers with ``new`` in place of ``old``, and -1 in place of all others.

    Args:
        given: int64, any shape, from -1 (none) to ``count`` - 1.
        old: int64 (N,), each once.
        new: int64 (N,).
        count: of the numbers that ``given`` may hold.
    """
    table = given.new_full((count,), -1)
    table[old] = new
    return torch.where(given >= 0, table[given.clamp(min=0)], -1)


def listwise_kl(
    cosines: Tensor, teacher: Tensor, present: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Sum over queries of KL(softmax(teacher / τ_t) ‖ softmax(cosines / τ_s)) over their lists.

    Args:
        cosines: student (B, K).
        teacher: scores (B, K).
        present: bool (B, K), false where a list is shorter than K.
        student_temperature: τ_s.
        teacher_temperature: τ_t.
    """
    lowest = torch.finfo(cosines.dtype).min
    student_log = functional.log_softmax((cosines / student_temperature).masked_fill(~present, lowest), dim=1)
    teacher_log = functional.log_softmax(
        (teacher.to(cosines.dtype) / teacher_temperature).masked_fill(~present, lowest), dim=1
    )
    pointwise = teacher_log.exp() * (teacher_log - student_log)
    return pointwise.masked_fill(~present, 0.0).sum()


def masked_infonce(
    queries: Tensor, candidates: Tensor, block: ListBatch, temperature: float, mask_ratio: float
) -> Tensor:
    """Sum over queries of InfoNCE of their positive against all candidates that are not masked.

    Args:
        queries: (B, dimension).
        candidates: (C, dimension), the distinct passages of the whole batch.
        block: the lists of these queries.
        temperature: τ_c.
        mask_ratio: see :func:`masked_pairs`.
    """
    targets = block.slots.gather(1, block.positive[:, None]).squeeze(1)
    logits = queries @ candidates.T / temperature
    logits = logits.masked_fill(
        masked_pairs(block, len(candidates), mask_ratio), torch.finfo(logits.dtype).min
    )
    return functional.cross_entropy(logits, targets, reduction="sum")


def masked_pairs(block: ListBatch, candidates: int, mask_ratio: float) -> Tensor:
    """False negatives: passages that are known or likely to be relevant to the query.

    Masked for a query is what is known to answer it, whichever query's list it stands in, and of its own list
    what the teacher scores above ``mask_ratio`` × the positive's score; where the positive's score p is
    negative, above p + (``mask_ratio`` - 1) · abs(p), as in
    :func:`densespec.selection.lists.false_negatives`. Other passages outside the list have no teacher score
    for the query and stay negatives. The positive itself is never masked.

    Args:
        block: the lists.
        candidates: number of candidates.
        mask_ratio: share of the positive's score; scores are calibrated, mostly in [0, 1].

    Returns:
        bool (B, candidates), true where masked.
    """
    positive_score = block.teacher.gather(1, block.positive[:, None])
    limit = torch.where(positive_score < 0, (2 - mask_ratio) * positive_score, mask_ratio * positive_score)
    likely = block.slots.where(block.teacher > limit, -1)
    named = torch.cat([likely, block.relevant], dim=1)
    rows = torch.arange(len(named), device=named.device)[:, None].expand_as(named)
    masked = torch.zeros((len(named), candidates), dtype=torch.bool, device=named.device)
    masked[rows[named >= 0], named[named >= 0]] = True
    return masked.scatter(1, block.slots.gather(1, block.positive[:, None]), False)
