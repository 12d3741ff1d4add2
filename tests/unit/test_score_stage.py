"""The stage with each teacher that is a model: files as documented, and the same bytes again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.io.arrays import write_array
from densespec.io.tables import read_table, write_table
from densespec.io.trec import write_qrels
from densespec.records import Qrel
from densespec.teaching.causal import load_causal
from densespec.teaching.cross_encoder import load_cross_encoder
from densespec.teaching.seq2seq import load_seq2seq
from stages import score
from tests.teacher_params import score_config
from tests.tiny_models import tiny_cross_encoder, tiny_decoder, tiny_t5

TEXTS = ["open a file", "a socket connects to a server", "vaccine dose", "flow over a wing", "open a file"]
TITLES = ["", "network", "", "", ""]
CONTENTS = [f"{title}\n{text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
QUERIES = {"q0": "read a file", "q1": "dose for children", "q2": "server"}
CANDIDATES = [[0, 1, 3, 4], [2, 3], []]
MADE = {
    "cross-encoder": (tiny_cross_encoder, load_cross_encoder, {"max_tokens": 64}),
    "seq2seq": (tiny_t5, load_seq2seq, {"style": "monot5", "max_tokens": 64}),
    "causal": (
        lambda path: tiny_decoder(path, "qwen3"), load_causal, {"style": "qwen3-reranker", "max_tokens": 500}
    ),
}  # fmt: skip


@pytest.fixture(params=MADE)
def teacher(request, tmp_path, monkeypatch) -> str:
    """A teacher's name, with its tiny model in params, and the stage's inputs in the working directory."""
    name: str = request.param
    make, _, options = MADE[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    model = {"model": str(make(tmp_path / "tiny")), "dtype": "float32", **options}
    sections = {
        "score": score_config(**{name.replace("-", "_"): model}, allow_weaker=True).model_dump(),
        "student": {"model": "unused"},
        "bm25": {"k1": 1, "b": 0.5, "language": ""},
    }
    Path("params.yaml").write_text(json.dumps(sections))
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/words.yaml").write_text("score: {}\nstudent: {}\nbm25: {}\n")
    ids = [f"p{row}" for row in range(len(TEXTS))]
    write_table(Path("passages.parquet"), {"id": ids, "title": TITLES, "text": TEXTS})
    write_table(
        Path("candidates/candidates.parquet"),
        {
            "query_id": list(QUERIES), "text": list(QUERIES.values()), "split": ["dev", "train", "train"],
            "source_id": ["", "p2", "p1"], "passages": CANDIDATES,
            "dense": [[1 - place / 10 for place in range(len(rows))] for rows in CANDIDATES],
        },
    )  # fmt: skip
    write_array(Path("candidates/query_embeddings.npy"), np.eye(3, dtype=np.float32))
    write_qrels(Path("dev.tsv"), [Qrel("q0", "p0", 1)])
    return name


def run_stage(name: str, monkeypatch: pytest.MonkeyPatch, out: str = "scores") -> tuple[Path, dict]:
    flags = {
        "domain": "words", "teacher": name, "passages": "passages.parquet", "dev": "dev.tsv",
        "candidates": "candidates", "finetuned": "none", "out": out, "metrics": f"{out}.json",
    }  # fmt: skip
    arguments = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
    monkeypatch.setattr(sys, "argv", ["score", *arguments])
    score.main()
    return Path(out, "scores.parquet"), json.loads(Path(f"{out}.json").read_text())


def plain(name: str) -> Callable[[str, str], float]:
    """The model's score of one pair."""
    _, load, options = MADE[name]
    model = load("tiny", **options)
    return lambda query, passage: float(
        model.score(model.replicas[0], model.tokenise([query], [passage]))[0]
    )


def test_scores_and_metrics(teacher, monkeypatch):
    path, metrics = run_stage(teacher, monkeypatch)
    table, one = read_table(path), plain(teacher)
    assert table["query_id"] == list(QUERIES)
    for scores, query, rows in zip(table["scores"], QUERIES.values(), CANDIDATES, strict=True):
        np.testing.assert_allclose(scores, [one(query, CONTENTS[row]) for row in rows], atol=1e-4)
    assert metrics["teacher"] == teacher and metrics["model"].endswith("tiny") and metrics["fingerprint"]
    assert metrics["audit"]["basis"] == "judged dev queries"
    assert json.loads(Path("scores/teacher.json").read_text()) == metrics


def test_again_it_writes_the_same_bytes_from_its_shards(teacher, monkeypatch):
    path, _ = run_stage(teacher, monkeypatch)
    before = path.read_bytes()
    assert list(Path("scratch").rglob("*.npz"))
    monkeypatch.setattr("densespec.teaching.pairs._scores", None)
    assert run_stage(teacher, monkeypatch, "again")[0].read_bytes() == before


def test_no_teacher_may_write_a_score_that_is_no_number(teacher, monkeypatch):
    broken = [np.float32([0, 1, np.nan, 2]), np.float32([0, 1]), np.zeros(0, np.float32)]
    monkeypatch.setitem(score.TEACHERS, teacher, lambda *_: (broken, {}))
    with pytest.raises(InputError, match=rf"{teacher}(?s:.*)nan for query 'q0' and passage 'p3'"):
        run_stage(teacher, monkeypatch)
    assert not Path("scores").exists()
