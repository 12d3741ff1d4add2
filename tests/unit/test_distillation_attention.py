"""Training with plain attention on a CPU: the same model, and its own attention afterwards."""

from __future__ import annotations

import pytest
import torch

from densespec.distillation.attention import attention_for_training
from densespec.distillation.lora import add_adapter
from densespec.retrieval.student import load_student
from tests.tiny_models import tiny_bi_encoder

TEXTS = ["open a file", "a socket. It waits for a server! And then a client comes", "heart disease"]


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(
    ("precision", "short", "used"),
    [("float32", True, "eager"), ("float32", False, "sdpa"), ("bfloat16", False, "eager")],
)
def test_plain_attention_where_it_is_faster(tmp_path, precision, short, used, adapter):
    model = load_student(str(tiny_bi_encoder(tmp_path / "m")), device="cpu", precision=precision)
    if adapter:
        add_adapter(model, 2, seed=1)
    encoder = model[0].model
    own = encoder.config._attn_implementation
    assert own == "sdpa"
    before = model.encode(TEXTS)
    with pytest.raises(KeyboardInterrupt), attention_for_training(model, short=short):
        assert encoder.config._attn_implementation == used
        during = model.encode(TEXTS)
        raise KeyboardInterrupt
    assert encoder.config._attn_implementation == own
    torch.testing.assert_close(during, before, rtol=0, atol=1e-5 if precision == "float32" else 1e-2)
