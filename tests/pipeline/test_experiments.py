"""``dvc exp run -S``: an ablation runs what depends on it, and is there to compare and to share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.repository import DOMAIN, clone, dvc, edit_yaml, git, lock_of, stages_run, status

pytestmark = pytest.mark.slow

METRICS = f"metrics/{DOMAIN}/distill.json"


def experiments(root: Path) -> dict[str, dict[str, Any]]:
    """Name → data of the experiments that ``dvc exp show`` lists."""
    shown = json.loads(dvc(root, "exp", "show", "--json"))
    return {
        experiment["name"]: revision["data"]
        for baseline in shown
        for experiment in baseline["experiments"] or []
        for revision in experiment["revs"]
    }


def test_a_teacher_of_the_domains_own(tiny_copy: Path) -> None:
    # float32: in bfloat16 training rounds elsewhere than scoring, and so few steps leave scores all but tied
    quick = {"max_steps": 4, "eval_steps": 2, "batch_size": 4, "max_tokens": 64, "dtype": "float32"}
    edit_yaml(tiny_copy / f"conf/domains/{DOMAIN}.yaml", "teacher_finetune", value=quick)
    changes = ("-S", "teacher_finetune.model=tiny-student", "-S", "teachers=[finetuned]")
    exact = ("-S", "score.cross_encoder.dtype=float32")
    output = dvc(tiny_copy, "exp", "run", "-n", "own", *changes, *exact, f"evaluate@{DOMAIN}")
    chain = ("teacher_finetune", "select", "distill", "evaluate")
    assert sorted(stages_run(output)) == sorted(
        [f"score@{DOMAIN}-finetuned", *(f"{stage}@{DOMAIN}" for stage in chain)]
    )
    metrics = tiny_copy / "metrics" / DOMAIN
    tuned = json.loads((metrics / "teacher_finetune.json").read_text())
    assert tuned["labels"]["synthetic"] > 0 and tuned["dev"]["basis"] == "judged dev queries"
    scored = json.loads((metrics / "score/finetuned.json").read_text())
    assert (scored["model"], scored["max_tokens"]) == (f"models/{DOMAIN}/teacher", 64)
    # depth 20 is the whole list in both: the audit measures the model that was saved
    assert scored["audit"]["teacher"] == pytest.approx(tuned["ndcg_at_10"]["after"], abs=1e-3)


def test_an_ablation(tiny_copy: Path) -> None:
    lock, metrics = lock_of(tiny_copy), (tiny_copy / METRICS).read_text()
    output = dvc(tiny_copy, "exp", "run", "-n", "less", "-S", "distill.infonce_weight=0.2", "report")
    reran = [f"distill@{DOMAIN}", f"evaluate@{DOMAIN}", f"forgetting@{DOMAIN}-{DOMAIN}", "report"]
    assert sorted(stages_run(output)) == reran
    after = json.loads((tiny_copy / METRICS).read_text())
    assert after["curves"] != json.loads(metrics)["curves"]
    assert after["curves"]["control"] == json.loads(metrics)["curves"]["control"]

    shown = experiments(tiny_copy)
    assert set(shown) == {"less"}
    assert shown["less"]["params"]["params.yaml"]["data"]["distill"]["infonce_weight"] == 0.2
    measured = shown["less"]["metrics"][METRICS]["data"]
    assert measured["fingerprint"] == after["fingerprint"] != json.loads(metrics)["fingerprint"]

    # back again: the run cache has it all
    git(tiny_copy, "checkout", "-q", "params.yaml")
    assert stages_run(dvc(tiny_copy, "repro")) == []
    assert lock_of(tiny_copy) == lock
    assert (tiny_copy / METRICS).read_text() == metrics
    assert git(tiny_copy, "status", "--porcelain") == ""

    # a colleague gets it through git and the remote
    hosted = tiny_copy.parent / "hosted.git"
    git(tiny_copy, "clone", "-q", "--bare", ".", str(hosted))
    git(tiny_copy, "remote", "add", "origin", str(hosted))
    assert "Pushed experiment less" in dvc(tiny_copy, "exp", "push", "origin", "less")
    second = clone(hosted, tiny_copy.parent / "second")
    dvc(second, "exp", "pull", "origin", "less")
    dvc(second, "exp", "apply", "less")
    assert status(second) == {}
    assert stages_run(dvc(second, "repro")) == []
    assert json.loads((second / METRICS).read_text()) == after
