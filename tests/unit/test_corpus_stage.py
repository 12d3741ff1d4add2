"""The stage script end to end: outputs, their bytes, and nothing half written."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from densespec.io.jsonl import read_json, read_jsonl
from densespec.io.tables import read_table
from densespec.io.trec import read_qrels
from densespec.records import Passage, passage_hash

SCRIPT = Path(__file__).parents[2] / "stages" / "corpus.py"
NAMES = {
    "passages": "passages.parquet",
    "queries": "queries.jsonl",
    "log": "log.jsonl",
    "recordings": "recordings.jsonl",
    "train": "train.tsv",
    "dev": "dev.tsv",
    "test": "test.tsv",
    "card": "card.yaml",
    "metrics": "corpus.json",
}
TEXTS = {
    "b": "Heat conduction in composite slabs of two materials.",
    "a": "How a wing makes lift in the slipstream of a propeller.",
    "c": "heat conduction, in composite slabs of two materials (2)",
    "d": "too short",
    "e": "A method for the flutter of thin panels at supersonic speed.",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "domains").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("corpus: {}\n")
    (tmp_path / "conf" / "domains" / "tiny.yaml").write_text("corpus: {min_chars: 20}\n")
    folder = tmp_path / "source"
    (folder / "qrels").mkdir(parents=True)
    (folder / "recorded").mkdir()
    (folder / "source.yaml").write_text("title: Tiny\nlicence: CC0-1.0\n")
    rows = [{"_id": i, "title": "", "text": text} for i, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "what makes lift", "kind": "question"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    (folder / "queries.log.jsonl").write_text(
        '{"_id": "f", "text": "flutter of panels"}\n{"text": "What makes lift?"}\n'
    )
    recorded = {
        "passage": passage_hash(Passage("e", "", TEXTS["e"])),
        "query": "When do thin panels flutter?",
    }
    (folder / "qrels" / "train.tsv").write_text("f\te\t1\n")
    (folder / "recorded" / "question.jsonl").write_text(
        json.dumps({**recorded, "prompt": "question/1", "model": "m"}) + "\n"
    )
    return tmp_path


def run_stage(monkeypatch: pytest.MonkeyPatch, out: Path, domain: str = "tiny") -> None:
    outputs = [part for flag, name in NAMES.items() for part in (f"--{flag}", str(out / name))]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--domain", domain, "--source", "source", *outputs])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_outputs(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = repository / "out"
    run_stage(monkeypatch, out)
    table = read_table(out / "passages.parquet")
    assert table["id"] == ["a", "b", "c", "d", "e"]
    assert table["reason"] == ["judged", "", "duplicate", "short", ""]
    assert table["seed"] == [False, True, False, False, True]
    assert table["hash"][4] == passage_hash(Passage("e", "", TEXTS["e"]))
    (_, query), (_, log), (_, recording) = (
        next(read_jsonl(out / name)) for name in ("queries.jsonl", "log.jsonl", "recordings.jsonl")
    )
    assert query == {"id": "q1", "text": "what makes lift", "kind": "question", "split": "test"}
    assert log["text"] == "flutter of panels" and log["id"].startswith("log-")
    assert recording == {
        "passage": table["hash"][4],
        "kind": "question",
        "query": "When do thin panels flutter?",
        "prompt": "question/1",
        "model": "m",
    }
    assert len(read_qrels(out / "test.tsv")) == 1
    assert read_qrels(out / "train.tsv") == [("log-f", "e", 1)]
    assert (out / "dev.tsv").read_text() == "query-id\tcorpus-id\tscore\n"
    metrics = read_json(out / "corpus.json")
    assert metrics["passages"]["seeds"] == 2
    assert metrics["leaks"]["log_queries_dropped"] == 1
    assert metrics["recordings"]["question"]["kept"] == 1
    assert "1 of 2 queries kept (not: 1 leaks)" in capsys.readouterr().err


def test_the_same_input_gives_the_same_bytes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(monkeypatch, repository / "one")
    run_stage(monkeypatch, repository / "two")
    for name in NAMES.values():
        assert (repository / "one" / name).read_bytes() == (repository / "two" / name).read_bytes()
        assert str(repository).encode() not in (repository / "one" / name).read_bytes()


def test_documents_are_cut_where_nothing_is_judged(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "source" / "source.yaml").write_text("chunk_words: 5\n")
    for split in ("test", "train"):
        (repository / "source" / "qrels" / f"{split}.tsv").unlink()
    (repository / "source" / "queries.log.jsonl").unlink()
    run_stage(monkeypatch, repository / "out")
    assert read_table(repository / "out" / "passages.parquet")["id"][:3] == ["a#0", "a#1", "a#2"]
    for name in ("queries.jsonl", "log.jsonl"):  # DVC warns of files without a byte
        assert (repository / "out" / name).read_bytes() == b"\n"
        assert list(read_jsonl(repository / "out" / name)) == []


def test_a_mistake_ends_with_a_code_and_without_outputs(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (repository / "source" / "queries.log.jsonl").open("a") as log:
        log.write("{\n")
    with pytest.raises(SystemExit) as ended:
        run_stage(monkeypatch, repository / "out")
    assert ended.value.code == 2
    assert "queries.log.jsonl:3" in capsys.readouterr().err
    assert not (repository / "out").exists()


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("{min_char: 3}", "did you mean 'min_chars'"),
        ("{language: klingon}", "no such stemmer"),
        ("{min_query_chars: 50, max_query_chars: 10}", "is over max_query_chars"),
        ("{leak_jaccard: 0}", "greater than 0"),
    ],
)
def test_a_wrong_parameter_is_named(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    section: str,
    found: str,
) -> None:
    (repository / "conf" / "domains" / "tiny.yaml").write_text(f"corpus: {section}\n")
    with pytest.raises(SystemExit) as ended:
        run_stage(monkeypatch, repository / "out")
    assert ended.value.code == 2
    assert found in capsys.readouterr().err
