"""LoRA adapters: as the model before, merged exactly, and gone from what is saved."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from densespec.distillation.lora import add_adapter, has_adapter, load_adapter, merge_adapter
from densespec.distillation.saving import save_student
from densespec.errors import InputError
from densespec.retrieval.student import load_student
from tests.tiny_models import tiny_bi_encoder

torch.set_num_threads(1)
TEXTS = ["open a file", "a socket. It waits for a server!", "heart disease"]
RANK = 3
LAYER = "encoder.layer.1.attention.self.query"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", prompts={"query": "query: "})


def student(folder):
    return load_student(str(folder), device="cpu")


@pytest.fixture
def adapted(folder):
    """With an adapter that says something."""
    model = student(folder)
    add_adapter(model, RANK, seed=1)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return model


def test_a_new_adapter_changes_no_answer_and_is_all_that_trains(folder):
    model = student(folder)
    before = model.encode_query(TEXTS)
    state = torch.get_rng_state()
    add_adapter(model, RANK, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(model.encode_query(TEXTS), before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in model.state_dict() if "lora_" in name}
    linear = [m for m in student(folder).modules() if isinstance(m, torch.nn.Linear)]
    assert len(trained) == 2 * len(linear), "every linear layer has its two matrices"


def test_the_seed_decides_the_first_values(folder):
    first = [student(folder) for _ in range(3)]
    for model, seed in zip(first, (1, 1, 2), strict=True):
        add_adapter(model, RANK, seed)
    name = f"0.model.{LAYER}.lora_A.default.weight"
    one, same, other = (model.state_dict()[name] for model in first)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_merging_adds_twice_the_product_and_leaves_a_plain_model(folder, adapted):
    weights = {name: value.clone() for name, value in adapted.state_dict().items()}
    answers = adapted.encode_query(TEXTS)
    plain = student(folder).state_dict()
    assert has_adapter(adapted)
    merge_adapter(adapted)
    assert not has_adapter(adapted)
    merged = adapted.state_dict()
    assert set(merged) == set(plain)
    assert all(parameter.requires_grad for parameter in adapted.parameters())
    layer = f"0.model.{LAYER}"
    a, b = (weights[f"{layer}.lora_{matrix}.default.weight"] for matrix in "AB")
    torch.testing.assert_close(merged[f"{layer}.weight"], plain[f"{layer}.weight"] + 2 * b @ a)
    assert torch.equal(
        merged["0.model.embeddings.LayerNorm.weight"], plain["0.model.embeddings.LayerNorm.weight"]
    )
    np.testing.assert_allclose(adapted.encode_query(TEXTS), answers, atol=1e-5)
    assert np.abs(answers - student(folder).encode_query(TEXTS)).max() > 1e-2


def test_a_saved_student_loads_without_peft(folder, adapted, tmp_path):
    answers = adapted.encode_query(TEXTS)
    merge_adapter(adapted)
    for side in ("query", "both"):
        (tmp_path / side).mkdir()
        save_student(tmp_path / side, adapted, student(folder), side, "tiny")
    assert not list(tmp_path.rglob("adapter*"))
    script = (
        "import sys; sys.modules['peft'] = None\n"
        "from sentence_transformers import SentenceTransformer; import numpy as np\n"
        "for side in ('query', 'both'):\n"
        f"    model = SentenceTransformer({str(tmp_path)!r} + '/' + side, device='cpu')\n"
        f"    np.save({str(tmp_path)!r} + f'/{{side}}.npy', model.encode_query({TEXTS!r}))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    for side in ("query", "both"):
        np.testing.assert_allclose(np.load(tmp_path / f"{side}.npy"), answers, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Could not find a config file")
def test_an_adapter_is_loaded_into_the_model_at_hand(folder, adapted, tmp_path):
    """Not onto a base model loaded by name: it may be another revision, or gone."""
    expected = {name: value.clone() for name, value in adapted.state_dict().items()}
    adapted.transformers_model.peft_config["default"].base_model_name_or_path = str(tmp_path / "gone")
    adapted.save_pretrained(str(tmp_path), create_model_card=False)
    model = student(folder)
    add_adapter(model, RANK, seed=5)
    load_adapter(model, tmp_path)
    found = model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_student_of_two_encoders_is_not_adapted_on_one_side_only(folder, tmp_path):
    (tmp_path / "router").mkdir()
    save_student(tmp_path / "router", student(folder), student(folder), "query", "tiny")
    with pytest.raises(InputError, match="one for queries and one for passages"):
        add_adapter(student(tmp_path / "router"), RANK, seed=1, both=True)
    model = student(tmp_path / "router")
    add_adapter(model, RANK, seed=1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(name.startswith("0.sub_modules.query.") for name in trained)


def test_without_peft_the_error_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"densespec\[lora\]"):
        add_adapter(student(folder), RANK, seed=1)
