"""The contenders of the teacher benchmark give the same scores; what it times is not tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmark_program import load_program
from tests.tiny_models import HIDDEN

TINY = Path(__file__).resolve().parents[1] / "data" / "tiny"
SMALL = ["--queries", "2", "--list", "5", "--passages", "9", "--passage-tokens", "12"]
SIZES = {
    "minilm": {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2},
    "t5-small": {"d_model": HIDDEN, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2},
    "qwen3-0.6b": {
        "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def program() -> Any:
    return load_program("teacher")


@pytest.fixture(params=SIZES)
def shape(request: pytest.FixtureRequest, program: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shape whose models are tiny."""
    whole = program.SHAPES[request.param]
    tiny = whole._replace(config=whole.config | SIZES[request.param])
    monkeypatch.setitem(program.SHAPES, request.param, tiny)
    return str(request.param)


@pytest.mark.parametrize("long", [False, True])
def test_scores_are_the_same_but_for_rounding(program: Any, shape: str, tmp_path: Path, long: bool) -> None:
    program.build(shape, "float32", tmp_path / "model")
    options = ["--shape", shape, "--folder", str(tmp_path), *SMALL, "--batch", "2", "--batch-tokens", "64"]
    options += ["--passage-tokens", "90", "--max-tokens", "128"] if long else []
    args = program.parser().parse_args(options)
    work = program.work_of(args)
    scores = {name: program.CONTENDERS[name](args)[0](work) for name in program.available(shape)}
    assert len(scores) == (3 if shape == "minilm" else 2)
    for found in scores.values():
        np.testing.assert_allclose(found, scores["authors"], atol=1e-4)
    assert np.ptp(scores["authors"]) > 1e-3


def test_lists_are_of_distinct_passages_of_the_data(program: Any, tmp_path: Path) -> None:
    program.build("minilm", "float32", tmp_path / "model")
    args = program.parser().parse_args(["--data", str(TINY), "--folder", str(tmp_path), *SMALL])
    work = program.work_of(args)
    assert [len(set(rows)) for rows in work.candidates] == [5, 5]
    assert max(max(rows) for rows in work.candidates) < len(work.passages) and len(work.queries) == 2
    args = program.parser().parse_args(["--folder", str(tmp_path), *SMALL])
    assert program.work_of(args) == program.work_of(args)


def test_operations_of_a_decoder_count_per_pair_but_for_its_view_of_the_text(program: Any) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    model = T5ForConditionalGeneration(T5Config(**sizes, tie_word_embeddings=True))
    norms, square, feed_forward = 8, 8 * 8, 2 * 8 * 16
    encoder = 4 * square + feed_forward + 2 * norms + norms
    decoder = 8 * square + feed_forward + 3 * norms + norms
    assert program.weights_of(model) == encoder + decoder
    keys_and_values = 2 * square
    expected = 2 * (100 * (encoder + keys_and_values) + 7 * (decoder - keys_and_values))
    assert program.operations(model, 100, 7) == expected


def test_a_table_is_printed_and_appended(
    program: Any, shape: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def in_this_process(script: str, *options: str) -> Any:
        found = program.measure(program.parser().parse_args([*sys.argv[1:], *options]))
        return json.loads(json.dumps(found))

    out = tmp_path / "RESULTS.md"
    out.write_text("# Results\n")
    monkeypatch.setattr(program, "in_own_process", in_this_process)
    monkeypatch.setattr(program, "matmul_rate", lambda dtype: 1e9)
    monkeypatch.setattr(sys, "argv", ["teacher.py", "--shape", shape, *SMALL, "--out", str(out)])
    program.main()
    text = out.read_text()
    assert text.startswith("# Results\n")
    assert text.strip().endswith(capsys.readouterr().out.strip())
    assert "10 pairs, lists of 5" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in rows][2:] == [f"| {name}" for name in program.available(shape)]
    assert all(float(cells[5].strip(" |")) < 1e-4 for cells in rows[2:])
