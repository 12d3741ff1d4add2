"""What rerankers with a language model's head share: few of its logits are needed, and those exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def narrow_head(model: Any, tokens: Sequence[int]) -> None:
    """Keep the rows of these tokens only of the output layer, and compute them in float32.

    A vocabulary has 32,000 to 256,000 tokens and a reranker looks at two; and bfloat16 has 8 bits,
    which would tie most of a list's scores. What the model does to its logits afterwards stays.

    Args:
        model: of transformers, with an output layer.
        tokens: their logits are the last dimension of the model's from now on, in this order.
    """
    import torch
    from torch import nn

    head = model.get_output_embeddings()
    narrow = nn.Linear(head.in_features, len(tokens), bias=head.bias is not None)
    with torch.no_grad():
        narrow.weight.copy_(head.weight[list(tokens)])
        if head.bias is not None:
            narrow.bias.copy_(head.bias[list(tokens)])
    narrow.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    model.set_output_embeddings(narrow)


def margin(logits: torch.Tensor) -> torch.Tensor:
    """Logit of the positive token less that of the negative one, where there is one.

    The difference is the log-odds of the positive among the two; its logistic function is the
    probability that the families document, without that one's crowding at 0 and 1.

    Args:
        logits: (pairs, 1 or 2).

    Returns:
        (pairs,).
    """
    return logits[:, 0] - logits[:, 1] if logits.shape[1] == 2 else logits[:, 0]
