"""The stage with one teacher and with two: calibration, weights, and how alike they rank."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from densespec.errors import InputError
from densespec.io.params import merged
from densespec.io.tables import read_table, write_table
from densespec.io.trec import write_qrels
from densespec.records import Qrel
from densespec.selection.calibration import calibrate, isotonic, standardise
from densespec.selection.ensemble import agreement, ensemble
from stages import select

ROOT = Path(__file__).resolve().parents[2]
QUERIES, DEV, TEST, CANDIDATES = 12, 8, 5, 6


@pytest.fixture
def teachers(tmp_path, monkeypatch) -> dict[str, list[np.ndarray]]:
    """Two teachers' scores, the second ones on another scale with outliers; all files are in place.

    The dev queries, which come second, are judged; the second teacher ranks them as they are judged.
    """
    random = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    ids = [f"q{number}" for number in range(QUERIES + DEV + TEST)]
    first = random.normal(size=(len(ids), CANDIDATES))
    second = np.exp(2 * first + random.normal(size=first.shape))
    scores = {"hybrid": [np.float32(row) for row in first], "causal": [np.float32(row) for row in second]}
    rows = [f"p{row}" for row in range(CANDIDATES)]
    write_table(Path("passages.parquet"), {"id": rows, "hash": rows})
    write_table(
        Path("candidates.parquet"),
        {
            "query_id": ids, "text": ids, "kind": ["log"] * len(ids), "source_id": [""] * len(ids),
            "split": ["train"] * QUERIES + ["dev"] * DEV + ["test"] * TEST,
            "passages": [list(range(CANDIDATES))] * len(ids),
        },
    )  # fmt: skip
    for name, values in scores.items():
        lists = [row.tolist() for row in values]
        write_table(Path("scores", name, "scores.parquet"), {"query_id": ids, "scores": lists})
    best = {n: second[n].argsort()[-2:] for n in range(QUERIES, QUERIES + DEV)}
    judged = [Qrel(ids[n], rows[place], 2) for n, places in best.items() for place in places]
    write_qrels(Path("dev.tsv"), [*judged, Qrel("never-mined", rows[0], 1)])
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/words.yaml").write_text("select: {}\n")
    return scores


def run_stage(monkeypatch, names: list[str], **changes) -> tuple[list[dict[int, float]], dict]:
    """Passage row → score per query, and the metrics."""
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())["select"]
    options = merged(shipped, {"min_candidates": 2, "dev_share": 0.5, **changes})
    Path("params.yaml").write_text(json.dumps({"teachers": names, "select": options}))
    flags = {
        "domain": "words", "passages": "passages.parquet", "dev": "dev.tsv", "scores": "scores",
        "candidates": "candidates.parquet", "out": "lists.parquet", "held-out": "held_out.parquet",
        "metrics": "select.json",
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


def split(teachers):
    """Scores of the training queries, and of the dev queries."""
    parts = (slice(QUERIES), slice(QUERIES, QUERIES + DEV))
    return [{name: lists[part] for name, lists in teachers.items()} for part in parts]


def test_two_teachers_are_made_comparable_as_asked_and_their_agreement_is_told(teachers, monkeypatch):
    percentile, metrics = run_stage(monkeypatch, list(teachers))
    train, _ = split(teachers)
    compare(percentile, ensemble({name: calibrate(lists) for name, lists in train.items()}, {}))
    assert metrics["agreement"] == pytest.approx(agreement(train))
    assert 0 < metrics["agreement"]["hybrid, causal"] < 1
    zscore, _ = run_stage(monkeypatch, list(teachers), calibration="zscore")
    compare(zscore, calibrate(ensemble({name: standardise(lists) for name, lists in train.items()}, {})))
    assert zscore != percentile


def test_a_query_with_lists_for_several_passages_is_in_one_split(teachers, monkeypatch):
    table = read_table(Path("candidates.parquet"))
    ids = table["query_id"]
    sources = [f"p{number % CANDIDATES}" for number in range(QUERIES)] + [""] * (DEV + TEST)
    texts = [f"text {number // 2}" for number in range(QUERIES)] + ids[QUERIES:]
    write_table(Path("candidates.parquet"), table | {"text": texts, "source_id": sources})
    run_stage(monkeypatch, ["hybrid"], source_rank=0, seed=3)
    lists = read_table(Path("lists.parquet"))
    assert len(lists["text"]) == QUERIES
    splits = dict(zip(lists["text"], lists["split"], strict=True))
    assert [splits[text] for text in lists["text"]] == lists["split"]
    assert set(lists["split"]) == {"train", "dev"}


def test_of_a_single_teacher_the_calibration_makes_no_difference(teachers, monkeypatch):
    percentile, metrics = run_stage(monkeypatch, ["causal"])
    assert "agreement" not in metrics
    zscore, _ = run_stage(monkeypatch, ["causal"], calibration="zscore")
    compare(zscore, [[scores[row] for row in range(CANDIDATES)] for scores in percentile])


def test_isotonic_calibration_learns_from_the_judged_dev_queries(teachers, monkeypatch):
    (train, dev), grades = split(teachers), []
    for scores in dev["causal"]:
        grades.append(np.where(scores >= np.sort(scores)[-2], 2.0, 0.0))
    found, _ = run_stage(monkeypatch, list(teachers), calibration="isotonic", min_dev_queries=DEV)
    expected = {name: isotonic(train[name], dev[name], grades) for name in teachers}
    compare(found, ensemble(expected, {}))
    alone, metrics = run_stage(monkeypatch, ["causal"], calibration="isotonic", min_dev_queries=DEV)
    compare(alone, expected["causal"])
    assert set(metrics) == {"funnel", "train", "dev"}
    write_qrels(Path("dev.tsv"), [])
    with pytest.raises(InputError, match=r"no judged dev query(.|\n)*qrels/dev\.tsv"):
        run_stage(monkeypatch, list(teachers), calibration="isotonic")


def test_isotonic_calibration_is_refused_with_few_judged_dev_queries(teachers, monkeypatch):
    told = rf"at least {DEV + 1} judged(.|\n)*found: +{DEV}\n(.|\n)*qrels/dev\.tsv"
    with pytest.raises(InputError, match=told):
        run_stage(monkeypatch, list(teachers), calibration="isotonic", min_dev_queries=DEV + 1)


@pytest.mark.parametrize("calibration", ["percentile", "zscore", "isotonic"])
def test_dev_and_test_queries_are_scored_like_training_queries(teachers, monkeypatch, calibration):
    options = {"calibration": calibration, "teacher_weights": {"hybrid": 3}, "min_dev_queries": DEV}
    run_stage(monkeypatch, list(teachers), **options)
    held_out = read_table(Path("held_out.parquet"))
    assert held_out["query_id"] == [f"q{number}" for number in range(QUERIES, QUERIES + DEV + TEST)]
    # the first training query's scores, given to the last test query, too
    for name, lists in teachers.items():
        given = [row.tolist() for row in [*lists[:-1], lists[0]]]
        ids = [f"q{number}" for number in range(len(lists))]
        write_table(Path("scores", name, "scores.parquet"), {"query_id": ids, "scores": given})
    found, _ = run_stage(monkeypatch, list(teachers), **options)
    again = read_table(Path("held_out.parquet"))
    assert again["scores"][:-1] == held_out["scores"][:-1]
    assert again["scores"][-1] == [found[0][row] for row in range(CANDIDATES)]


def test_weights_come_from_dev_from_params_or_are_even(teachers, monkeypatch):
    train, _ = split(teachers)
    train = {name: calibrate(lists) for name, lists in train.items()}
    found, metrics = run_stage(monkeypatch, list(teachers), teacher_weights="dev", min_dev_queries=DEV)
    chosen, quality = metrics["teacher_weights"], metrics["judged_dev"]
    assert chosen["rule"] == f"best nDCG@10 on {DEV} judged dev queries" and chosen["weights"]["causal"] > 0.5
    assert quality["queries"] == DEV
    assert quality["ndcg_at_10"]["together"] == quality["ndcg_at_10"]["causal"] == 1.0
    assert quality["ndcg_at_10"]["hybrid"] < 1.0
    compare(found, ensemble(train, chosen["weights"]))

    _, metrics = run_stage(monkeypatch, list(teachers), teacher_weights="dev", min_dev_queries=DEV + 1)
    rule = f"even: fewer than {DEV + 1} judged dev queries"
    assert metrics["teacher_weights"] == {"weights": {"hybrid": 0.5, "causal": 0.5}, "rule": rule}

    found, metrics = run_stage(monkeypatch, list(teachers), teacher_weights={"hybrid": 3})
    assert metrics["teacher_weights"] == {"weights": {"hybrid": 0.75, "causal": 0.25}, "rule": "params"}
    compare(found, ensemble(train, {"hybrid": 3}))


def test_without_judgements_nothing_is_said_of_dev(teachers, monkeypatch):
    write_qrels(Path("dev.tsv"), [])
    _, metrics = run_stage(monkeypatch, list(teachers))
    assert metrics["teacher_weights"]["rule"] == "even" and "judged_dev" not in metrics
