"""The contenders of the training-step benchmark train alike; what it times is not tested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.benchmark_program import load_program
from tests.tiny_models import tiny_bi_encoder

if TYPE_CHECKING:
    from distill_step import Batch

WORDS = ["gene", "protein", "heart", "wing", "shock", "file", "socket", "thread", "river", "bread"]
SIZE = 6


@pytest.fixture(scope="module")
def step() -> Any:
    return load_program("distill_step")


def drawn(step: Any, size: int = SIZE, **changes: Any) -> Batch:
    options = {
        "passages": 40, "length": 4, "passage_tokens": 12, "spread": 0.5, "pool": 60, "overlap": False,
        "seed": 0,
    }  # fmt: skip
    batch: Batch = step.draw_batch(size, WORDS, **(options | changes))
    return batch


def test_lists_are_of_distinct_passages_and_the_same_for_a_seed(step: Any) -> None:
    batch = drawn(step)
    assert batch.candidates.shape == batch.scores.shape == (SIZE, 4)
    assert all(len(set(rows)) == 4 for rows in batch.candidates.tolist())
    assert (np.diff(batch.scores, axis=1) <= 0).all()
    again, other = drawn(step), drawn(step, seed=1)
    assert (again.passages, again.queries) == (batch.passages, batch.queries)
    assert (again.candidates == batch.candidates).all()
    assert other.passages != batch.passages


def test_lengths_are_as_asked(step: Any) -> None:
    assert {len(text.split()) for text in drawn(step, spread=0.0).passages} == {10}
    many = [len(text.split()) + 2 for text in drawn(step, passages=2000, passage_tokens=100).passages]
    assert np.mean(many) == pytest.approx(100, rel=0.05)
    assert np.std(np.log(many)) == pytest.approx(0.5, rel=0.1)


def test_neighbouring_queries_share_passages(step: Any) -> None:
    def distinct(overlap: bool) -> int:
        batch = drawn(step, 64, passages=1000, pool=1000, length=20, overlap=overlap)
        return len(np.unique(batch.candidates))

    assert distinct(True) < 0.7 * distinct(False)


def test_all_contenders_make_the_same_training(step: Any, tmp_path: Path) -> None:
    from densespec.retrieval.student import load_student

    folder = tiny_bi_encoder(tmp_path / "tiny")
    batch = drawn(step)
    # small enough for a gradient cache in the engine, and micro-batches elsewhere
    setting = step.Setting(steps=3, tokens=100, passage_tokens=12)
    assert step.micro_batch(batch, setting) < SIZE
    before = load_student(str(folder)).encode(batch.queries)
    losses, after, texts = [], [], []
    for contender in step.CONTENDERS.values():
        model = load_student(str(folder), device="cpu")
        done = contender(model, batch, setting)
        losses.append(done.losses)
        texts.append(len(done.texts))
        after.append(model.encode(batch.queries))
        assert done.seconds > 0
    assert [len(values) for values in losses] == [3, 3, 3]
    assert losses[0][0] != pytest.approx(losses[0][2], rel=1e-3)  # it does train
    for values, vectors in zip(losses[1:], after[1:], strict=True):
        assert values == pytest.approx(losses[0], rel=1e-4)
        assert np.abs(vectors - after[0]).max() < 0.1 * np.abs(before - after[0]).max()
    assert texts == [SIZE + len(np.unique(batch.candidates)), SIZE * 5, SIZE * 5]


def test_a_micro_batch_divides_the_batch(step: Any) -> None:
    batch = drawn(step, 24, length=20)
    setting = step.Setting(steps=1, tokens=4096, passage_tokens=100)
    assert step.micro_batch(batch, setting) == 2
    assert step.micro_batch(batch, setting._replace(tokens=10**9)) == 24
    assert step.micro_batch(batch, setting._replace(tokens=10)) == 1


def test_a_row_extrapolates_from_the_queries_that_were_timed(step: Any) -> None:
    result = {
        "queries": 64, "seconds": 2.0, "losses": [0.5], "texts": 1000, "tokens": 10**5, "weights": 10**7,
        "roof": 1e13, "peak": 2 * 10**9,
    }  # fmt: skip
    slow = result | {"queries": 32, "seconds": 8.0, "texts": 672}
    assert step.row(64, "engine", result, result) == [
        "64", "engine", "1,000", "all", "2.0", "32", "1.00", "2.00", "0.50000", "30",
    ]  # fmt: skip
    assert step.row(64, "per-slot", slow, result)[2:9] == [
        "1,344", "32 (rest extrapolated)", "16.0", "4", "8.00", "2.00", "",
    ]  # fmt: skip
    assert step.row(64, "per-slot", slow, None)[6] == ""


def test_of_several_steps_the_first_does_not_count(step: Any) -> None:
    assert step.per_step([0.0, 10.0, 20.0], [9.0, 11.0, 23.0]) == pytest.approx(2.0)
    assert step.per_step([1.0], [4.0]) == pytest.approx(3.0)
