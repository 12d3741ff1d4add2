"""The stage with one teacher and with two: calibration, and how alike they rank."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from densespec.io.params import merged
from densespec.io.tables import read_table, write_table
from densespec.selection.lists import agreement, calibrate, ensemble, standardise

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages import select  # noqa: E402

QUERIES, CANDIDATES = 12, 6


@pytest.fixture
def teachers(tmp_path, monkeypatch) -> dict[str, list[np.ndarray]]:
    """Two teachers' scores, the second ones on another scale with outliers; all files are in place."""
    random = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    ids = [f"q{number}" for number in range(QUERIES)]
    first = random.normal(size=(QUERIES, CANDIDATES))
    second = np.exp(2 * first + random.normal(size=first.shape))
    scores = {"hybrid": [np.float32(row) for row in first], "causal": [np.float32(row) for row in second]}
    rows = [f"p{row}" for row in range(CANDIDATES)]
    write_table(Path("passages.parquet"), {"id": rows, "hash": rows})
    write_table(
        Path("candidates.parquet"),
        {
            "query_id": ids, "text": ids, "kind": ["log"] * QUERIES, "source_id": [""] * QUERIES,
            "split": ["train"] * QUERIES, "passages": [list(range(CANDIDATES))] * QUERIES,
        },
    )  # fmt: skip
    for name, values in scores.items():
        lists = [row.tolist() for row in values]
        write_table(Path("scores", name, "scores.parquet"), {"query_id": ids, "scores": lists})
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/words.yaml").write_text("select: {}\n")
    return scores


def run_stage(monkeypatch, names: list[str], **changes) -> tuple[list[dict[int, float]], dict]:
    """Passage row → score per query, and the metrics."""
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())["select"]
    options = merged(shipped, {"min_candidates": 2, "dev_share": 0.5, **changes})
    Path("params.yaml").write_text(json.dumps({"teachers": names, "select": options}))
    flags = {
        "domain": "words", "passages": "passages.parquet", "candidates": "candidates.parquet",
        "scores": "scores", "out": "lists.parquet", "metrics": "select.json",
    }  # fmt: skip
    arguments = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
    monkeypatch.setattr(sys, "argv", ["select", *arguments])
    select.main()
    table = read_table(Path("lists.parquet"))
    lists = [dict(zip(*pair, strict=True)) for pair in zip(table["passages"], table["scores"], strict=True)]
    return lists, json.loads(Path("select.json").read_text())


def compare(found, expected):
    for scores, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose([scores[row] for row in range(CANDIDATES)], wanted, atol=1e-5)


def test_two_teachers_are_made_comparable_as_asked_and_their_agreement_is_told(teachers, monkeypatch):
    percentile, metrics = run_stage(monkeypatch, list(teachers))
    compare(percentile, ensemble({name: calibrate(lists) for name, lists in teachers.items()}, {}))
    assert metrics["agreement"] == pytest.approx(agreement(teachers))
    assert 0 < metrics["agreement"]["hybrid, causal"] < 1
    zscore, _ = run_stage(monkeypatch, list(teachers), calibration="zscore")
    compare(zscore, calibrate(ensemble({name: standardise(lists) for name, lists in teachers.items()}, {})))
    assert zscore != percentile


def test_of_a_single_teacher_the_calibration_makes_no_difference(teachers, monkeypatch):
    percentile, metrics = run_stage(monkeypatch, ["causal"])
    assert "agreement" not in metrics
    zscore, _ = run_stage(monkeypatch, ["causal"], calibration="zscore")
    compare(zscore, [[scores[row] for row in range(CANDIDATES)] for scores in percentile])
