"""The listwise distillation loss: KL(teacher ‖ student) + λ · InfoNCE with teacher-driven masking.

arXiv 2502.19712. Everything here is a function of embeddings; how they come about (one fixed matrix,
or each distinct passage of the batch encoded once) is :mod:`densespec.distillation.objective`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class ListBatch(NamedTuple):
    """The lists of a batch of B queries, K slots each.

    Attributes:
        slots: int64 (B, K), place of each candidate among the batch's passage vectors; -1 = no candidate.
        teacher: float (B, K), calibrated teacher scores; ignored where there is no candidate.
        positive: int64 (B,), slot of the positive.
    """

    slots: Tensor
    teacher: Tensor
    positive: Tensor


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

    Args:
        queries: (B, dimension), length 1.
        passages: (P, dimension), length 1, each distinct passage once.
        batch: the lists.
        student_temperature: τ_s.
        teacher_temperature: τ_t. There is no factor τ² : the KL is that of the two distributions.
        kl_weight: weight of the KL term; 0 leaves it out.
        infonce_weight: λ; 0 leaves InfoNCE out.
        infonce_temperature: τ_c.
        mask_ratio: see :func:`masked_pairs`.
    """
    zero = queries.new_zeros(())
    kl = infonce = zero
    present = batch.slots >= 0
    if kl_weight:
        in_lists = passages[batch.slots.clamp(min=0)]
        cosines = torch.einsum("bd,bkd->bk", queries, in_lists)
        kl = listwise_kl(cosines, batch.teacher, present, student_temperature, teacher_temperature)
    if infonce_weight:
        infonce = masked_infonce(queries, passages, batch, infonce_temperature, mask_ratio)
    return LossParts(kl_weight * kl + infonce_weight * infonce, kl, infonce)


def listwise_kl(
    cosines: Tensor, teacher: Tensor, present: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Mean over queries of KL(softmax(teacher / τ_t) ‖ softmax(cosines / τ_s)) over their lists.

    Args:
        cosines: student (B, K).
        teacher: scores (B, K).
        present: bool (B, K), false where a list is shorter than K.
        student_temperature: τ_s.
        teacher_temperature: τ_t.
    """
    lowest = torch.finfo(cosines.dtype).min
    student_log = functional.log_softmax(
        (cosines / student_temperature).masked_fill(~present, lowest), dim=1
    )
    teacher_log = functional.log_softmax(
        (teacher.to(cosines.dtype) / teacher_temperature).masked_fill(~present, lowest), dim=1
    )
    pointwise = teacher_log.exp() * (teacher_log - student_log)
    return pointwise.masked_fill(~present, 0.0).sum(dim=1).mean()


def masked_infonce(
    queries: Tensor, passages: Tensor, batch: ListBatch, temperature: float, mask_ratio: float
) -> Tensor:
    """InfoNCE of each query's positive against every other distinct passage of the batch.

    The other passages are the query's own hard negatives, other queries' positives and their hard
    negatives. Each distinct passage counts once, so the same passage is never its own negative.

    Args:
        queries: (B, dimension).
        passages: (P, dimension).
        batch: the lists.
        temperature: τ_c.
        mask_ratio: see :func:`masked_pairs`.
    """
    used = batch.slots[batch.slots >= 0].unique()
    column = torch.full((len(passages),), -1, dtype=torch.long, device=queries.device)
    column[used] = torch.arange(len(used), device=queries.device)
    targets = column[batch.slots.gather(1, batch.positive[:, None]).squeeze(1)]
    masked = masked_pairs(batch, column, len(used), mask_ratio)
    logits = queries @ passages[used].T / temperature
    logits = logits.masked_fill(masked, torch.finfo(logits.dtype).min)
    return functional.cross_entropy(logits, targets)


def masked_pairs(batch: ListBatch, column: Tensor, columns: int, mask_ratio: float) -> Tensor:
    """Likely false negatives: passages of the query's list that the teacher scores close to the positive.

    A passage in the list of a query is masked for that query when its teacher score exceeds
    ``mask_ratio`` × the positive's, whichever query's list it also stands in. Passages outside the
    list have no teacher score for the query and stay negatives. The positive itself is never masked.

    Args:
        batch: the lists.
        column: int64 (P,), column of each passage in the similarity matrix, -1 if unused.
        columns: number of columns.
        mask_ratio: share of the positive's score; scores are calibrated, mostly in [0, 1].

    Returns:
        bool (B, columns), true where masked.
    """
    present = batch.slots >= 0
    positive_score = batch.teacher.gather(1, batch.positive[:, None])
    likely = present & (batch.teacher > mask_ratio * positive_score)
    likely = likely.scatter(1, batch.positive[:, None], False)
    masked = torch.zeros((len(batch.slots), columns), dtype=torch.bool, device=batch.slots.device)
    rows = torch.arange(len(batch.slots), device=batch.slots.device)[:, None].expand_as(batch.slots)
    masked[rows[likely], column[batch.slots[likely]]] = True
    return masked
