"""Two processes (gloo) against one: the same loss, gradients and training."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from densespec.distillation.lora import add_adapter
from densespec.distillation.objective import ListwiseDistillation
from densespec.distillation.saving import save_student
from densespec.distillation.training import train
from densespec.retrieval.student import load_student, quiet_libraries
from tests.tiny_models import PROMPTS, tiny_bi_encoder
from tests.unit.test_distillation_reference import TERMS, case, encoded, features_of

torch.set_num_threads(1)
WHOLE = [0, 1, 2, 3, 4, 5, 6]
BATCHES = [WHOLE, [6, 0, 3], [4], WHOLE]  # a text twice; fewer queries than processes
CUTS = [1, 40, 100_000, 100_000]  # above all texts, so no gradient cache


def gradients(model, fixed):
    """Loss and gradients of some batches, in double precision, by what the trainer would do."""
    lists = case(1)
    vectors = None
    if fixed:
        with torch.no_grad():
            vectors = torch.stack([encoded(model, "passage: ", text) for text in lists.passages])
    found = []
    for numbers, budget in zip(BATCHES, CUTS, strict=True):
        loss = ListwiseDistillation(model, lists.lists, vectors, budget, TERMS)
        features, labels = features_of(model, lists, numbers, fixed=vectors)
        if distributed.is_initialized():
            loss.model = DistributedDataParallel(model, find_unused_parameters=True)
        model.zero_grad()
        value = sum(loss(features, labels).values())
        value.backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((value.item(), len(features[-1]["input_ids"]), grads))
    return found


class Killed(BaseException):
    pass


ADAPTED, OVERLAPPING, STOPPED = "both, LoRA and checkpointing", "both, overlap", "query, early stop"
ROUTED = "both, encoders behind a Router"
CASES = ("query", "both", ADAPTED, OVERLAPPING, STOPPED, ROUTED)
#: What a case does otherwise. Dev losses at such a learning rate go up and down.
CHANGES = {
    ADAPTED: {"gradient_checkpointing": True},
    OVERLAPPING: {"clusters": np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])},
    STOPPED: {"learning_rate": 0.01, "max_steps": 9, "eval_steps": 1, "patience": 1},
}


def trainings(folder, scratch, kill=False):
    """Curves, and weights, of a training of each case."""
    lists = case(2, queries=14)
    outcomes = {}
    for name in CASES:
        both, adapted = name.startswith("both"), name == ADAPTED

        def student(adapted=adapted, routed=name == ROUTED):
            model = load_student(str(folder.with_name("routed") if routed else folder), device="cpu")
            if adapted:
                add_adapter(model, 4, seed=1, both=True)
            return model

        model = student()
        vectors = torch.tensor(model.encode_document(lists.passages, normalize_embeddings=True))

        def go(log, model=model, both=both, vectors=vectors, name=name):
            options = {"learning_rate": 1e-3, "max_steps": 4, "eval_steps": 2, "patience": 9}
            return train(
                model, lists.lists, list(range(9)), list(range(9, 14)),
                lists.passages if both else None, None if both else vectors, scratch / name,
                terms={**TERMS, "infonce_temperature": 0.05}, weight_decay=0.01,
                batch_size=3, mini_batch_tokens=64, max_epochs=9, warmup_share=0.0,
                final_share=0.1, stop_on="loss", max_query_tokens=64, seed=3,
                dev_ndcg=lambda model: float(model.encode_query(["open a file"]).sum()), log=log,
                **options | CHANGES.get(name, {}),
            )  # fmt: skip

        def die(numbers, step, name=name):
            if step == (2 if name == STOPPED else 4) and "loss" in numbers:
                raise Killed

        if kill:
            with pytest.raises(Killed):
                go(die)
            model.load_state_dict(student().state_dict())
        outcome = go(lambda numbers, step: None)
        outcomes[name] = (outcome, {name: value.clone() for name, value in model.state_dict().items()})
    return outcomes


def worker(rank, folder, scratch):
    quiet_libraries()
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # asked for, not used: see the file
    distributed.init_process_group(
        "gloo", init_method=f"file://{scratch / 'meeting'}", rank=rank, world_size=2
    )
    model = load_student(str(folder), device="cpu").double()
    found = {
        "gradients": {fixed: gradients(model, fixed) for fixed in (False, True)},
        "trainings": trainings(folder, scratch / "whole"),
        "resumed": trainings(folder, scratch / "killed", kill=True),
    }
    torch.save(found, scratch / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    quiet_libraries()
    folder = tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", prompts=PROMPTS)
    routed = folder.with_name("routed")
    routed.mkdir()
    trained, untuned = (load_student(str(folder), device="cpu") for _ in range(2))
    save_student(routed, trained, untuned, "query", "tiny")
    return folder


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """What each of two processes found."""
    scratch = tmp_path_factory.mktemp("scratch")
    multiprocessing.spawn(worker, (folder, scratch), nprocs=2)
    return [torch.load(scratch / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [False, True], ids=["both sides", "query side"])
def test_loss_and_gradients_are_those_of_one_process(two, folder, fixed):
    one = gradients(load_student(str(folder), device="cpu").double(), fixed)
    for rank in range(2):
        for (loss, texts, expected), (found, share, grads) in zip(
            one, two[rank]["gradients"][fixed], strict=True
        ):
            assert found == pytest.approx(loss, abs=1e-6)
            assert share == (texts + 1) // 2, "each distinct text is encoded by one process"
            assert set(grads) == set(expected)
            for name, gradient in expected.items():
                torch.testing.assert_close(grads[name], gradient, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_training_is_that_of_one_process(two, folder, name, tmp_path):
    expected, _ = trainings(folder, tmp_path)[name]
    (first, weights), (second, other_weights) = (found["trainings"][name] for found in two)
    assert first == second and all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert (first.steps, first.best_step) == (expected.steps, expected.best_step)
    assert 0 < first.best_step <= first.steps == 4, "early stop: of 9"
    assert first.curve[0]["dev_loss"] == pytest.approx(expected.curve[0]["dev_loss"], rel=1e-5)
    for found, row in zip(first.curve, expected.curve, strict=True):
        assert found == pytest.approx(row, rel=1e-3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_of_two_processes_ends_the_same(two, name):
    for found in two:
        outcome, weights = found["resumed"][name]
        expected, expected_weights = found["trainings"][name]
        assert outcome == expected
        assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)
