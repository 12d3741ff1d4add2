"""The benchmark of ablations on the tiny repository: experiments, figures, table."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from tests.pipeline.repository import DOMAIN, PROJECT, environment, git

pytestmark = pytest.mark.slow


def best(distill: dict[str, Any]) -> dict[str, float]:
    """The dev evaluation whose weights were kept."""
    curve = distill["curves"]["specialised"]
    return next(row for row in curve if row["step"] == distill["best_step"]["specialised"])


@pytest.fixture
def ablations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return importlib.import_module("ablations")


@pytest.fixture
def domain(ablations: ModuleType, tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny domain with its default recipe."""
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "commit").write_text("0123456789abcdef")
    monkeypatch.chdir(tiny_copy)  # tiny-student is a relative path
    scratch = str(tmp_path / "scratch")
    made = ablations.Domain(DOMAIN, tiny_copy, figures, environment(tiny_copy, DENSESPEC_SCRATCH=scratch))
    ablations.run_default(made)
    return made


def test_figures_of_an_experiment_are_those_of_its_training(
    ablations: ModuleType, domain: Any, tiny_copy: Path
) -> None:
    figures = domain.figures
    untuned, default = (ablations.read_json(figures / f"{name}.json") for name in ("untuned", "default"))
    distill = domain.read("distill")
    start = distill["curves"]["specialised"][0]
    assert np.mean(untuned["scores"]["ndcg_at_10"]) == pytest.approx(start["dev_ndcg_at_10"], abs=1e-3)
    assert np.mean(default["scores"]["ndcg_at_10"]) == pytest.approx(
        best(distill)["dev_ndcg_at_10"], abs=1e-3
    )

    # the domain's file sets the learning rate, which would hide that of params.yaml
    changes = ("distill.infonce_weight=0", "distill.learning_rate=2.0e-4")
    seconds = ablations.experiment(domain, "kl-only", changes)
    overrides = yaml.safe_load((tiny_copy / "conf/domains" / f"{DOMAIN}.yaml").read_text())
    assert float(overrides["distill"]["learning_rate"]) == 2e-4
    ablations.keep(domain, "kl-only", changes, seconds)
    row = ablations.read_json(figures / "kl-only.json")
    distill = domain.read("distill")
    assert np.mean(row["scores"]["ndcg_at_10"]) == pytest.approx(best(distill)["dev_ndcg_at_10"], abs=1e-3)
    assert row["kl"] == pytest.approx(best(distill)["dev_loss"], rel=0.02)
    assert (
        row["kl"] < untuned["kl"] == pytest.approx(distill["curves"]["specialised"][0]["dev_loss"], rel=0.02)
    )
    assert "kl-only" in git(tiny_copy, "for-each-ref", "refs/exps")
    table = ablations.document(domain, "A machine.")
    assert [line.split(" | ")[0] for line in table.splitlines()[6:]] == [
        "| untuned",
        "| default",
        "| kl-only",
    ]


def test_both_sides_start_from_the_query_encoder_that_was_trained_before(
    ablations: ModuleType, domain: Any, tiny_copy: Path
) -> None:
    from densespec.retrieval.student import load_student

    # 15 s for each: 30 steps of the query side, 4 of both
    trials = {"query": [10.0, 60.0], "both": [10.0, 18.0]}
    lists = domain.read("distill")["train_lists"]
    # so few lists are learnt by heart at the default rate, before the first dev evaluation
    changes = ("select.dev_share=0.4", "distill.learning_rate=2.0e-5")
    assert ablations.budgeted(domain, "query-then-both", 0.5, trials, changes) > 0
    row = ablations.read_json(domain.figures / "query-then-both.json")
    assert row["steps"] == 4
    assert row["lists"] < lists, "more lists are dev on both sides"
    assert {"distill.side=both", "student.model=../query-then-both-query"} <= set(row["changes"])
    start, untuned = (
        load_student(str(folder), device="cpu").encode_query(["how to delete a file"])
        for folder in (domain.figures.parent / "query-then-both-query", tiny_copy / "tiny-student")
    )
    assert np.abs(start - untuned).max() > 1e-4
    distill = domain.read("distill")
    assert distill["curves"]["specialised"][0]["dev_loss"] > distill["curves"]["specialised"][-1]["dev_loss"]
    # a trial that failed
    assert ablations.budgeted(domain, "both", 0.5, {"both": [0.0, 18.0]}) == 0
