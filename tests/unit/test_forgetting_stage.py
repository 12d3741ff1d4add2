"""The stage on another tiny domain: the numbers are those of plain cosines and of a formula written out."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels
from densespec.records import Qrel
from stages import forgetting
from tests.tiny_models import PROMPTS, tiny_bi_encoder

PASSAGES = [
    "open a file and read its lines",
    "a socket connects to a server",
    "vaccine dose for children",
    "boundary layer flow over a wing",
    "a thread waits for the lock",
    "the blue river and the green mountain",
]
#: Id → text and the row of its one relevant passage.
QUERIES = {
    "q0": ("read a file", 0), "q1": ("dose of a vaccine", 2), "q2": ("wing flow", 3), "q3": ("river", 5)
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """The untuned student, and specialised ones of other weights: of the query side, and of both."""
    from densespec.distillation.saving import save_student
    from densespec.retrieval.student import load_student

    folder = tmp_path_factory.mktemp("models")
    made = {name: folder / name for name in ("untuned", "other", "query", "both")}
    untuned, other = (
        load_student(str(tiny_bi_encoder(made[name], seed=seed, prompts=PROMPTS)), device="cpu")
        for seed, name in enumerate(("untuned", "other"))
    )
    for side in ("query", "both"):
        made[side].mkdir()
        save_student(made[side], other, untuned, side, "tiny")
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch, models) -> Path:
    """The other domain's corpus and the parameters, in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    ids = [f"p{n}" for n in range(len(PASSAGES))]
    write_table(tmp_path / "passages.parquet", {"id": ids, "title": [""] * len(ids), "text": PASSAGES})
    write_jsonl(
        tmp_path / "queries.jsonl",
        [{"id": i, "text": text, "kind": "", "split": "test"} for i, (text, _) in QUERIES.items()],
    )
    write_qrels(tmp_path / "test.tsv", [Qrel(i, f"p{row}", 1) for i, (_, row) in QUERIES.items()])
    sections = {
        "evaluate": {"resamples": 500, "permutations": 1000},
        "student": {"model": str(models["untuned"])},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(sections))
    (tmp_path / "conf/domains").mkdir(parents=True)
    (tmp_path / "conf/domains/words.yaml").write_text("evaluate: {}\nstudent: {}\n")
    return tmp_path


def run_stage(specialised: Path, monkeypatch) -> dict:
    flags = {
        "domain": "words", "other": "others", "passages": "passages.parquet", "queries": "queries.jsonl",
        "test": "test.tsv", "specialised": str(specialised), "metrics": "forgetting/others.json",
    }  # fmt: skip
    monkeypatch.setattr(
        sys, "argv", ["forgetting.py", *(part for k, v in flags.items() for part in (f"--{k}", v))]
    )
    forgetting.main()
    return json.loads(Path("forgetting/others.json").read_text())


def ndcg_by_hand(queries_by: Path, passages_by: Path) -> list[float]:
    """Of the one relevant passage per query: 1 / log2(1 + rank)."""
    from sentence_transformers import SentenceTransformer

    passages = SentenceTransformer(str(passages_by), device="cpu").encode(
        [PROMPTS["document"] + text for text in PASSAGES], prompt=""
    )
    vectors = SentenceTransformer(str(queries_by), device="cpu").encode(
        [PROMPTS["query"] + text for text, _ in QUERIES.values()], prompt=""
    )
    values = []
    for vector, (_, relevant) in zip(vectors, QUERIES.values(), strict=True):
        scores = [float(vector @ p / np.linalg.norm(vector) / np.linalg.norm(p)) for p in passages]
        rank = 1 + sum(score > scores[relevant] for score in scores)
        values.append(1 / math.log2(1 + rank))
    return values


@pytest.mark.parametrize(("side", "passages_by"), [("query", "untuned"), ("both", "other")])
def test_both_models_on_the_other_domain(side, passages_by, folder, models, monkeypatch):
    result = run_stage(models[side], monkeypatch)
    untuned = ndcg_by_hand(models["untuned"], models["untuned"])
    specialised = ndcg_by_hand(models["other"], models[passages_by])
    assert untuned != specialised, "the models must differ for this test to tell them apart"
    assert (result["domain"], result["other"], result["queries"]) == ("words", "others", 4)
    rows = result["rows"]
    assert rows["untuned"]["ndcg_at_10"]["mean"] == pytest.approx(np.mean(untuned), abs=1e-6)
    assert rows["specialised"]["ndcg_at_10"]["mean"] == pytest.approx(np.mean(specialised), abs=1e-6)
    compared = rows["specialised"]["vs_untuned"]["ndcg_at_10"]
    changes = np.subtract(specialised, untuned)
    assert compared["difference"] == pytest.approx(changes.mean(), abs=1e-6)
    assert (compared["wins"], compared["losses"]) == ((changes > 1e-6).sum(), (changes < -1e-6).sum())
    signs = [[1 if pattern >> bit & 1 else -1 for bit in range(4)] for pattern in range(16)]
    hits = [abs(np.dot(pattern, changes)) >= abs(changes.sum()) - 1e-9 for pattern in signs]
    assert compared["p"] == pytest.approx(np.mean(hits))
    first = Path("forgetting/others.json").read_bytes()
    run_stage(models[side], monkeypatch)
    assert Path("forgetting/others.json").read_bytes() == first


def test_no_judged_queries_is_an_empty_result_at_once(folder, monkeypatch):
    write_qrels(folder / "test.tsv", [])
    result = run_stage(folder / "no model is loaded", monkeypatch)
    assert (result["queries"], result["rows"]) == (0, {})


def test_a_missing_model_is_one_message(folder, monkeypatch):
    with pytest.raises(InputError, match="a model written by the stage 'distill'"):
        run_stage(folder / "nowhere", monkeypatch)
    assert not Path("forgetting").exists()
