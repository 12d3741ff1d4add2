"""The benchmark on real collections, without running the pipeline."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "real_collections.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_collections", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def beir(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("{}\n")
    return folder


def test_a_folder_of_collections_or_one_collection_is_found(benchmark: ModuleType, tmp_path: Path) -> None:
    scifact = beir(tmp_path / "scifact")
    assert benchmark.source_of("scifact-log", ["scifact-log"], tmp_path) == scifact
    assert benchmark.source_of("scifact-log", ["scifact-log", "scifact"], scifact) == scifact


@pytest.mark.parametrize(
    ("name", "chosen", "inside", "found"),
    [
        ("trec", ["trec"], "", "'trec'"),
        ("cranfield", ["cranfield"], "", "no corpus.jsonl"),
        ("scifact", ["scifact", "cranfield"], "scifact", "one BEIR folder"),
    ],
)
def test_a_mistake_ends_in_one_message(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, chosen: list[str], inside: str, found: str,
) -> None:  # fmt: skip
    beir(tmp_path / "scifact")
    with pytest.raises(SystemExit) as ended:
        benchmark.source_of(name, chosen, tmp_path / inside)
    assert ended.value.code == 2
    assert f"found:    {found}" in capsys.readouterr().err


def test_a_row_shows_what_the_stages_measured(benchmark: ModuleType, tmp_path: Path) -> None:
    against = {"difference": 0.052, "low": 0.03, "high": 0.071, "p": 0.00004}
    rows = {
        name: {"ndcg_at_10": {"mean": value}}
        for name, value in {"untuned": 0.648, "specialised": 0.7, "bm25": 0.676, "teacher": 0.728}.items()
    }
    rows["specialised"]["vs_untuned"] = {"ndcg_at_10": against}  # type: ignore[dict-item]
    documents = {
        "corpus": {"passages": {"total": 5183}},
        "select": {"train": 733},
        "evaluate": {"verdict": "ship", "rows": rows},
    }
    for stage, document in documents.items():
        (tmp_path / f"{stage}.json").write_text(json.dumps(document))
    cells = benchmark.row("scifact-log", tmp_path, benchmark.Spent(0, 600.0, 2_100_000_000), True)
    assert dict(zip(benchmark.HEAD, cells, strict=True)) == {
        "collection": "scifact-log", "passages": "5,183", "training lists": "733",
        "untuned": "0.648", "specialised": "0.700", "difference [95 %]": "+0.052 [+0.030, +0.071]",
        "p": "< 0.0001", "control": "", "BM25": "0.676", "hybrid": "", "teacher": "0.728",
        "verdict": "ship", "minutes": "10.0*", "GB": "2.1",
    }  # fmt: skip


def test_a_failed_collection_says_so(benchmark: ModuleType, tmp_path: Path) -> None:
    cells = benchmark.row("cranfield", tmp_path, benchmark.Spent(255, 60.0, 10**9), False)
    assert len(cells) == len(benchmark.HEAD)
    assert "failed (exit code 255)" in cells


def test_a_command_is_measured(benchmark: ModuleType, tmp_path: Path) -> None:
    code = "import sys; data = bytearray(200_000_000); sys.exit(3)"
    spent = benchmark.timed([sys.executable, "-c", code], tmp_path, {})
    assert spent.code == 3
    assert 200e6 < spent.peak < 2e9
    assert spent.seconds > 0
