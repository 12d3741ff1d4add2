"""The benchmark of ablations, without running the pipeline."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from densespec.io.params import load_section
from densespec.io.tables import write_table
from densespec.retrieval.measures import MEASURES
from tests.benchmark_program import load_program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_program("ablations")


def repository(root: Path, overrides: dict[str, Any], funnel: dict[str, int]) -> Path:
    """Parameters and funnel of a domain 'tiny'."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    domain = {name: {} for name, value in yaml.safe_load(params).items() if isinstance(value, dict)}
    for folder in ("conf/domains", "metrics/tiny"):
        (root / folder).mkdir(parents=True)
    (root / "params.yaml").write_text(params, encoding="utf-8")
    (root / "conf/domains/tiny.yaml").write_text(yaml.safe_dump(domain | overrides), encoding="utf-8")
    counts = {kind: {"written": number} for kind, number in funnel.items()}
    (root / "metrics/tiny/select.json").write_text(json.dumps({"funnel": counts}), encoding="utf-8")
    return root


def test_every_ablation_sets_known_parameters_to_other_values(benchmark: ModuleType, tmp_path: Path) -> None:
    stages = {"generate": "generation", "mine": "mining", "select": "selection", "distill": "distillation"}
    root = repository(tmp_path, {}, {})
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    same_as_the_default = []
    for name, ablation in benchmark.ABLATIONS.items():
        changed: dict[str, Any] = {section: {} for section in values if isinstance(values[section], dict)}
        for change in ablation.changes:
            key, value = change.split("=", 1)
            if "." in key:
                section, parameter = key.split(".")
                changed[section][parameter] = yaml.safe_load(value)
            else:
                assert key == "kinds"
        (root / "conf/domains/tiny.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        for section, package in stages.items():
            config = getattr(import_module(f"densespec.{package}.config"), f"{section.title()}Config")
            loaded = load_section(section, config, "tiny", root)
            assert loaded.model_dump().items() >= changed[section].items()
        if all(benchmark.same(change, values) for change in ablation.changes):
            same_as_the_default.append(name)
    assert same_as_the_default == ["lambda-0.1", "lr-1e-4", "more-extractive"]  # not so in all domains


def test_a_value_of_a_section_goes_to_the_domains_file_and_a_list_to_params(benchmark: ModuleType) -> None:
    assert benchmark.settings("tiny", ["distill.seed=2", "kinds=[claim]"]) == [
        "-S", "conf/domains/tiny.yaml:++distill.seed=2", "-S", "kinds=[claim]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "funnel", "expected"),
    [
        ("no-log", {"question": 5, "log": 3}, True),
        ("no-log", {"question": 5, "log": 0}, False),
        ("no-log", {"question": 0, "log": 3}, False),
        ("no-filter", {"question": 5}, True),
        ("claim-alone", {"question": 5, "claim": 5}, True),
        ("claim-alone", {"question": 5, "title": 5, "claim": 0}, False),
        ("question-alone", {"question": 5, "log": 3}, False),
        ("kl-only", {"log": 3}, False),
        ("lambda-0.1", {"log": 3}, True),
    ],
)
def test_a_domain_gets_the_rows_that_change_it(
    benchmark: ModuleType, tmp_path: Path, name: str, funnel: dict[str, int], expected: bool
) -> None:
    root = repository(tmp_path, {"distill": {"infonce_weight": 0}}, funnel)
    domain = benchmark.Domain("tiny", root, tmp_path, {})
    assert (benchmark.applicable(name, domain) is not None) == expected


def test_wrong_rows_end_in_a_message(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for only in ("kl-onyl", "both"):
        with pytest.raises(SystemExit):
            benchmark.chosen_rows(only, None)
    message = capsys.readouterr().err
    assert "'kl-onyl'" in message and "--minutes" in message
    assert "both" in benchmark.chosen_rows("", 5.0)
    assert "both" not in benchmark.chosen_rows("", None)


def test_training_queries_become_dev_queries(benchmark: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "beir"
    (source / "qrels").mkdir(parents=True)
    passages = [{"_id": f"p{n}", "title": "", "text": f"passage {n}"} for n in range(30)]
    queries = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(30)]
    for name, rows in (("corpus", passages), ("queries", queries)):
        (source / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"q{n // 2 * 2}\tp{n}\t1" for n in range(30)]
    (source / "qrels/train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")

    made = benchmark.with_dev(source, tmp_path / "split")
    train, dev = ((made / "qrels" / f"{name}.tsv").read_text().splitlines()[1:] for name in ("train", "dev"))
    assert sorted(train + dev) == sorted(judged)
    assert train and dev and not {r.split("\t")[0] for r in train} & {r.split("\t")[0] for r in dev}

    (source / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp1\t1\n")
    made = benchmark.with_dev(source, tmp_path / "same")
    assert (made / "qrels/dev.tsv").read_text() == (source / "qrels/dev.tsv").read_text()


def test_kl_of_lists_of_different_lengths(benchmark: ModuleType) -> None:
    random = np.random.default_rng(0)
    queries, passages = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        for rows in (random.normal(size=(3, 8)), random.normal(size=(10, 8)))
    )
    slots = [[4, 0, 7, 2], [9, 1], [3, 5, 8]]
    teacher = [[0.9, 0.5, 0.4, 0.1], [0.7, 0.6], [1.1, 0.2, 0.1]]
    expected = 0.0
    for query, rows, scores in zip(queries, slots, teacher, strict=True):
        t = [math.exp(score / 0.1) for score in scores]
        s = [math.exp(float(passages[row] @ query) / 0.05) for row in rows]
        expected += sum(a / sum(t) * math.log(a / sum(t) / (b / sum(s))) for a, b in zip(t, s, strict=True))
    found = benchmark.mean_kl(queries, passages, slots, teacher, 0.05, 0.1)
    assert found == pytest.approx(expected / 3, rel=1e-5)


def test_as_many_steps_as_fit_and_no_more(benchmark: ModuleType) -> None:
    start, step = 70.0, 2.5
    for side, counts in benchmark.TRIALS.items():
        short, long = (start + step * count for count in counts)
        for budget in (75.0, 100.0, 601.0):
            count = benchmark.steps_within(budget, counts, (short, long))
            assert start + step * count <= budget < start + step * (count + 1)
        assert benchmark.steps_within(60.0, counts, (short, long)) == 0
        assert benchmark.steps_within(60.0, counts, (long, short)) == 0
        for count in counts:
            numbers = [int(change.split("=")[1]) for change in benchmark.steps(side, count)]
            assert numbers[0] == count
            assert math.ceil(count / numbers[1]) == benchmark.EVALUATIONS[side]


def test_the_table_shows_differences_and_corrects_p_over_its_rows(benchmark: ModuleType) -> None:
    def row(change: str, p: float | None) -> dict[str, Any]:
        against = {"untuned": {"difference": 0.02, "low": 0.01, "high": 0.03, "p": 0.001}}
        if p is not None:
            against["default"] = {"difference": -0.01, "low": -0.02, "high": 0.001, "p": p}
        return {
            "changes": [change], "scores": {"ndcg_at_10": [0.5, 0.7]}, "kl": 0.25, "minutes": 1.5,
            "lists": 1200, "steps": 240, "best_step": 220, "against": against,
        }  # fmt: skip

    untuned = {"changes": [], "scores": {"ndcg_at_10": [0.5, 0.6]}, "kl": 0.5}
    rows = {"untuned": untuned, "default": row("a=1", None), "x": row("a=2", 0.04), "y": row("a=3", 0.03)}
    table = [dict(zip(benchmark.HEAD, cells, strict=True)) for cells in benchmark.cells_of(rows)]
    assert [line["p (Holm)"] for line in table] == ["", "", "0.0400 (0.060)", "0.0300 (0.060)"]
    assert table[2] == {
        "experiment": "x", "change": "`a=2`", "lists": "1,200", "steps (best)": "240 (220)",
        "dev nDCG@10": "0.6000", "against default [95 %]": "-0.0100 [-0.0200, +0.0010]",
        "p (Holm)": "0.0400 (0.060)", "against untuned [95 %]": "+0.0200 [+0.0100, +0.0300]",
        "dev KL": "0.2500", "minutes": "1.5",
    }  # fmt: skip


def test_the_table_compares_with_any_row(benchmark: ModuleType, tmp_path: Path) -> None:
    figures = {"untuned": [0.1, 0.2, 0.3], "default": [0.2, 0.3, 0.4], "list-16": [0.3, 0.2, 0.9]}
    scores = {name: dict.fromkeys(MEASURES, values) for name, values in figures.items()}
    for name in figures:
        row: dict[str, Any] = {"changes": [], "scores": scores[name], "kl": 0.5}
        if name != "untuned":
            found = benchmark.compared(row, {"scores": scores["untuned"]})
            row |= {"against": {"untuned": found}, "lists": 9, "steps": 2, "best_step": 1, "minutes": 1}
        (tmp_path / f"{name}.json").write_text(json.dumps(row))
    (tmp_path / "commit").write_text("0123456789abcdef")
    (tmp_path / "lists.json").write_text('{"length": 2}')
    lists = {"split": ["dev"], "text": ["q"], "passages": [[0, 1]], "scores": [[1.0, 0.5]]}
    write_table(tmp_path / "lists.parquet", lists)
    domain = benchmark.Domain("tiny", tmp_path, tmp_path, {})
    page = benchmark.document(domain, "A machine.", "list-16")
    assert "against list-16 [95 %]" in page
    lines = [line.split(" | ") for line in page.splitlines()[7:]]
    assert {cells[0]: cells[5][:7] for cells in lines} == {"| default": "-0.1667", "| list-16": ""}
    with pytest.raises(SystemExit):
        benchmark.document(domain, "A machine.", "list-17")
