"""What loading decides for all teachers that are models: devices, precision, compiling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densespec.errors import InputError
from densespec.runtime.devices import compiler
from densespec.teaching import loading
from densespec.teaching.causal import load_causal
from densespec.teaching.cross_encoder import load_cross_encoder
from densespec.teaching.seq2seq import load_seq2seq
from tests.tiny_models import tiny_bi_encoder, tiny_cross_encoder, tiny_decoder, tiny_t5

MADE = {
    "cross-encoder": (tiny_cross_encoder, load_cross_encoder, {}),
    "seq2seq": (tiny_t5, load_seq2seq, {"style": "rankt5"}),
    "causal": (lambda path: tiny_decoder(path, "qwen3"), load_causal, {"style": "bge-reranker"}),
}


@pytest.fixture(params=MADE)
def teacher(request, tmp_path):
    """How to load a tiny teacher, with options."""
    make, load, options = MADE[request.param]
    folder = make(tmp_path / "tiny")
    return lambda **changes: load(str(folder), **options, **changes)


def scores(model, replica=0):
    tokens = model.tokenise(["server", "river"], ["a socket", "the river and the mountain"])
    return model.score(model.replicas[replica], tokens)


def test_compiling_takes_the_forward_passes(teacher, monkeypatch):
    calls = []

    def compiled(call, **how):
        return lambda *args, **named: (calls.append(how["dynamic"]), call(*args, **named))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(loading, "compiler", lambda: "g++")
    found = scores(teacher(compile=True))
    assert calls == [True]
    np.testing.assert_allclose(found, scores(teacher()), atol=1e-5)
    assert calls == [True]


def test_compiling_without_a_compiler_is_refused(teacher, monkeypatch):
    monkeypatch.setattr(loading, "compiler", lambda: None)
    with pytest.raises(InputError, match=r"params.yaml: score\.[a-z0-9_]+\.compile\n.*\$CXX"):
        teacher(compile=True)
    assert teacher().replicas


def test_a_model_without_the_weights_of_its_kind_is_refused(tmp_path):
    """The library would draw them, others at each load."""
    from transformers import AutoModel

    bare = {
        "cross-encoder": tiny_bi_encoder(tmp_path / "bi-encoder"),
        "seq2seq": tiny_t5(tmp_path / "t5"),
        "causal": tiny_decoder(tmp_path / "decoder", "qwen3", tie_word_embeddings=False),
    }
    for kind in ("seq2seq", "causal"):
        whole = AutoModel.from_pretrained(bare[kind])
        (whole.encoder if kind == "seq2seq" else whole).save_pretrained(bare[kind])
    for kind, (_, load, options) in MADE.items():
        with pytest.raises(InputError, match=r"expected: a (model|cross-encoder).*weights") as caught:
            load(str(bare[kind]), **options)
        assert str(bare[kind]) in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not compiler(), reason="no C++ compiler")
def test_compiled_for_real_scores_are_the_same_for_batches_of_any_shape(tmp_path):
    folder = str(tiny_cross_encoder(tmp_path / "tiny"))
    compiled = load_cross_encoder(folder, dtype="float32", compile=True)
    plain = load_cross_encoder(folder, dtype="float32")
    torch._dynamo.utils.counters.clear()
    for count in (1, 2, 5):
        tokens = plain.tokenise(["a server"] * count, ["the river and the sea " * n for n in range(count)])
        found = compiled.score(compiled.replicas[0], tokens)
        np.testing.assert_allclose(found, plain.score(plain.replicas[0], tokens), atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "it was compiled"


def test_every_device_has_a_model_of_its_own(teacher, monkeypatch):
    monkeypatch.setattr(loading, "devices", lambda: ["cpu", "cpu"])
    model = teacher()
    one, two = model.replicas
    assert not {id(part) for part in one.parameters()} & {id(part) for part in two.parameters()}
    # rounding may differ with where in memory the weights lie
    np.testing.assert_allclose(scores(model, 0), scores(model, 1), rtol=1e-5)


def test_no_device_holds_two_models(monkeypatch):
    moved = []
    monkeypatch.setattr(loading, "devices", lambda: ["cpu", "cpu"])
    monkeypatch.setattr(loading.copy, "deepcopy", lambda model: moved.append("copied") or model)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: moved.append("moved") or self)
    loading.replicas(torch.nn.Linear(1, 1), "score.x", compile=False)
    assert moved == ["copied", "moved", "moved"], "before anything is on a device"


@pytest.mark.parametrize(
    ("device", "fast", "dtype", "expected"),
    [
        ("cpu", False, "auto", torch.float32),
        ("cpu", True, "auto", torch.bfloat16),
        ("cuda:0", False, "auto", torch.float32),
        ("cuda:0", True, "auto", torch.bfloat16),
        ("cuda:0", True, "float32", torch.float32),
        ("cpu", False, "bfloat16", torch.bfloat16),
        ("mps", True, "auto", torch.float32),
    ],
)
def test_precision(monkeypatch, device, fast, dtype, expected):
    """``fast`` is what torch says of the device asked about; of the other kind it says the opposite."""
    monkeypatch.setattr(loading, "devices", lambda: [device])
    on_gpu, on_cpu = (fast, not fast) if device.startswith("cuda") else (not fast, fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: on_gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": on_cpu})
    assert loading.precision(dtype) == expected


def test_all_cuda_devices_are_taken_and_their_batches_are_larger(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert loading.devices() == ["cuda:0", "cuda:1", "cuda:2"]
    assert loading.batch_tokens_for(None) == loading.GPU_BATCH_TOKENS
    monkeypatch.setattr(loading, "devices", lambda: ["cpu"])
    assert (loading.batch_tokens_for(None), loading.batch_tokens_for(64)) == (loading.CPU_BATCH_TOKENS, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_scores_are_those_of_the_cpu(teacher, monkeypatch):
    on_gpu = teacher(dtype="float32")
    assert next(on_gpu.replicas[0].parameters()).is_cuda
    found, fast = scores(on_gpu), scores(teacher(dtype="auto"))
    monkeypatch.setattr(loading, "devices", lambda: ["cpu"])
    expected = scores(teacher(dtype="float32"))
    np.testing.assert_allclose(found, expected, atol=1e-2)
    np.testing.assert_allclose(fast, expected, rtol=0.3, atol=0.5)
