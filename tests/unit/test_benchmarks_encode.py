"""The contenders of the encoding benchmark give the model's vectors; what it times is not tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmark_program import load_program

TINY = Path(__file__).resolve().parents[1] / "data" / "tiny"
TEXTS = ["heart", "gene therapy in mice", "the river and the mountain", "open a file", "a b c d e f g h i j"]


@pytest.fixture(scope="module")
def program() -> Any:
    return load_program("encode")


@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize(
    ("contender", "tolerance"),
    [("sentence-transformers", 1e-6), ("densespec", 1e-5), ("densespec-tokens", 1e-5), ("budget", 1e-5),
     ("budget-bf16", 0.1)],
)  # fmt: skip
def test_vectors_are_those_of_the_model(
    program: Any, folder: Path, tmp_path: Path, contender: str, tolerance: float, task: str
) -> None:
    from densespec.retrieval.student import load_student

    model = load_student(str(folder), device="cpu")
    encode = program.CONTENDERS[contender](model, 24, tmp_path)
    expected = model.encode([model.prompts[task] + text for text in TEXTS], normalize_embeddings=True)
    found = encode(TEXTS, task)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < tolerance


def test_vectors_of_onnxruntime_are_those_of_the_model(program: Any, folder: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from densespec.retrieval.student import load_student

    model = load_student(str(folder), device="cpu")
    expected = model.encode_document(TEXTS, normalize_embeddings=True)
    found = program.CONTENDERS["onnx"](model, 24, tmp_path)(TEXTS, "document")
    assert np.abs(found - expected).max() < 1e-5


def test_relevant_passages_stay_in_a_smaller_collection(program: Any) -> None:
    whole, few = (program.collection_of(TINY, "test", at_most) for at_most in (0, 1))
    relevant = {qrel.passage_id for qrel in whole.qrels if qrel.grade > 0}
    assert set(few.passage_ids) == relevant < set(whole.passage_ids)
    assert set(whole.query_ids) == {qrel.query_id for qrel in whole.qrels}
    assert program.collection_of(None, "test", 0).passages == []


def test_ndcg_is_one_for_vectors_that_find_the_relevant_passage(program: Any, tmp_path: Path) -> None:
    from densespec.records import Qrel

    collection = program.Collection(["a", "b"], ["", ""], ["q"], [""], [Qrel("q", "b", 1)])
    for query, expected in (([0.0, 1.0], 1.0), ([1.0, 0.0], 1 / np.log2(3))):
        np.savez(
            tmp_path / "v.npz", passages=np.eye(2, dtype=np.float32), queries=np.array([query], np.float32)
        )
        assert program.judged(collection, tmp_path / "v.npz")["ndcg"] == pytest.approx(expected)


def test_a_table_is_printed_and_appended(
    program: Any, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "RESULTS.md"
    out.write_text("# Results\n")
    monkeypatch.setattr(program, "in_own_process", lambda script, *options: in_this_process(program, options))
    monkeypatch.setattr(
        sys, "argv",
        ["encode.py", "--model", str(folder), "--data", str(TINY), "--contenders", "densespec,budget",
         "--out", str(out)],
    )  # fmt: skip
    program.main()
    text = out.read_text()
    assert text.startswith("# Results\n")
    assert text.strip().endswith(capsys.readouterr().out.strip())
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in rows] == ["| contender", "| ---", "| densespec", "| budget"]
    assert rows[3][6:] == ["1.0000", rows[2][7], "+0.0000 |"]


def in_this_process(program: Any, options: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        json.dumps(program.measure(program.parser().parse_args([*sys.argv[1:], *options])))
    )
    return result
