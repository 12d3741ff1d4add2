"""Matryoshka representation learning (Kusupati et al. 2022): leading dimensions that serve alone.

sentence-transformers' MatryoshkaLoss cuts what the model returns. It neither cuts passage vectors that
are fixed, nor reports a loss by terms; a sum over dimensions does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from densespec.distillation.loss import ListBatch, LossParts, distillation_loss, named_passages


def matryoshka_loss(
    queries: Tensor, passages: Tensor, batch: ListBatch, *, dims: Sequence[int] = (), **terms: Any
) -> LossParts:
    """Mean of the loss over the whole embeddings and their first ``dims`` values, set to length 1 again.

    Args:
        queries: (B, dimension), length 1.
        passages: (P, dimension), length 1.
        batch: the lists.
        dims: leading dimensions, each under the whole; none leaves the plain loss.
        terms: see :func:`densespec.distillation.loss.distillation_loss`.
    """
    parts = [distillation_loss(queries, passages, batch, **terms)]
    if dims:  # of fixed vectors of a whole corpus, cut those that the lists name
        passages, batch = named_passages(passages, batch)
    for dim in dims:
        short_queries, short_passages = (
            functional.normalize(vectors[:, :dim], dim=1) for vectors in (queries, passages)
        )
        parts.append(distillation_loss(short_queries, short_passages, batch, **terms))
    return LossParts(*(sum(values) / len(parts) for values in zip(*parts, strict=True)))
