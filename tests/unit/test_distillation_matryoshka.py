"""The loss over leading dimensions against an explicit mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from densespec.distillation.loss import ListBatch, distillation_loss
from densespec.distillation.matryoshka import matryoshka_loss

TERMS = {
    "student_temperature": 0.05,
    "teacher_temperature": 0.1,
    "kl_weight": 1.0,
    "infonce_weight": 0.3,
    "infonce_temperature": 0.05,
    "mask_ratio": 0.6,
}


@pytest.fixture
def given():
    torch.manual_seed(0)
    queries, passages = (functional.normalize(torch.randn(n, 12), dim=1) for n in (3, 40))
    slots = torch.tensor([[30, 1, 2], [2, 3, -1], [4, 16, 5]])  # most passages in none
    scores = torch.rand(3, 3).sort(descending=True).values
    relevant = torch.tensor([[16, 35], [-1, 0], [30, 4]])
    batch = ListBatch(slots, scores, torch.tensor([0, 1, 0]), relevant)
    return queries.requires_grad_(), passages.requires_grad_(), batch


def test_it_is_the_mean_over_renormalised_leading_dimensions(given):
    queries, passages, batch = given
    found = matryoshka_loss(queries, passages, batch, dims=(8, 3), **TERMS)
    expected = [distillation_loss(queries, passages, batch, **TERMS)]
    for dim in (8, 3):
        short = [
            torch.stack([row[:dim] / row[:dim].square().sum().sqrt() for row in vectors])
            for vectors in (queries, passages)
        ]
        expected.append(distillation_loss(*short, batch, **TERMS))
    for name in ("total", "kl", "infonce"):
        mean = sum(getattr(parts, name) for parts in expected) / 3
        assert getattr(found, name).item() == pytest.approx(mean.item(), rel=1e-5)
    gradients = torch.autograd.grad(found.total, (queries, passages))
    by_hand = torch.autograd.grad(sum(parts.total for parts in expected) / 3, (queries, passages))
    for one, other in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(one, other)


def test_without_dims_it_is_the_plain_loss_to_the_bit(given):
    found, plain = matryoshka_loss(*given, **TERMS), distillation_loss(*given, **TERMS)
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
