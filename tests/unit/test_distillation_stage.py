"""The stage on tiny lists with a tiny real model: what its options do to files and metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer

from densespec.errors import InputError
from densespec.io.arrays import write_array
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels
from densespec.retrieval.student import load_student
from stages import distill
from tests.tiny_models import WORDS, tiny_bi_encoder

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)
PASSAGES, QUERIES, DEPTH = 30, 24, 10
QUICK = {
    "list_length": 6,
    "batch_size": 5,
    "max_steps": 4,
    "eval_steps": 2,
    "learning_rate": 0.01,
    "control": False,
}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny_bi_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def run(tmp_path, monkeypatch, student):
    """A function that runs the stage with changed parameters and returns its metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("DENSESPEC_TRACKING", "off")
    random = np.random.default_rng(3)
    words = sorted({word for word in WORDS.split() if len(word) > 3})
    texts = [" ".join(random.choice(words, 8, replace=False)) for _ in range(PASSAGES)]
    queries = [" ".join(texts[n % 18].split()[:3]) for n in range(QUERIES)]  # dev: 6 of those for training
    ids = [f"p{n:02}" for n in range(PASSAGES)]
    model = load_student(str(student), device="cpu")
    vectors = model.encode_document(texts, normalize_embeddings=True)
    cosines = model.encode_query(queries, normalize_embeddings=True) @ vectors.T
    best = np.argsort(-cosines, axis=1)[:, DEPTH - 1 :: -1]  # a teacher of another mind
    write_table(Path("corpus/passages.parquet"), {"id": ids, "title": [""] * PASSAGES, "text": texts})
    write_jsonl(Path("corpus/queries.jsonl"), [])
    write_qrels(Path("corpus/dev.tsv"), [])
    write_array(Path("vectors.npy"), vectors)
    write_table(
        Path("lists.parquet"),
        {
            "query_id": [f"q{n:02}" for n in range(QUERIES)], "text": queries,
            "split": ["train"] * 18 + ["dev"] * 6, "passages": best.astype(np.int32).tolist(),
            "scores": [np.linspace(1, 0, DEPTH).tolist()] * QUERIES, "positive": [0] * QUERIES,
            "relevant": [[int(rows[0]), n] for n, rows in enumerate(best)],
        },
    )  # fmt: skip
    Path("conf/domains").mkdir(parents=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())

    def stage(**changes):
        encoder = {"model": str(student), "max_tokens": 32, "precision": "float32"}
        sections = {"student": encoder, "distill": QUICK | changes}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("conf/domains/tiny.yaml").write_text(yaml.safe_dump(sections))
        options = {
            "domain": "tiny", "corpus": "corpus", "lists": "lists.parquet", "code": "none",
            "passage-embeddings": "vectors.npy", "out": "models", "metrics": "metrics.json",
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["distill", *arguments])
        if changes.get("processes", 1) > 1:  # they replace the process that starts them
            command = [sys.executable, "-m", "stages.distill", *arguments]
            subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        else:
            distill.main()
        return json.loads(Path("metrics.json").read_text())

    return stage


@pytest.mark.slow
@pytest.mark.parametrize("side", ["query", "both"])
def test_two_processes_write_what_one_writes(run, side):
    def outcome(processes):
        metrics = run(side=side, control=True, learning_rate=0.001, processes=processes)
        asked = ["open a file", "a socket waits"]
        models = [SentenceTransformer(f"models/{name}", device="cpu") for name in ("specialised", "control")]
        return metrics, [model.encode_query(asked) for model in models]

    one, embeddings = outcome(1)
    two, others = outcome(2)
    assert one.pop("fingerprint") != two.pop("fingerprint")
    curves, other_curves = one.pop("curves"), two.pop("curves")
    assert one == two and one["best_step"]["specialised"] > 0
    for name, curve in curves.items():
        for row, other in zip(curve, other_curves[name], strict=True):
            assert other == pytest.approx(row, rel=1e-3)
    np.testing.assert_allclose(others, embeddings, atol=1e-3)


def losses(metrics):
    return [row["dev_loss"] for row in metrics["curves"]["specialised"]]


def test_lists_shorter_than_asked_are_trained_as_they_are_and_said_to_be(run, capsys):
    whole = run(list_length=DEPTH)
    assert whole["list_length"] == DEPTH and "acts as" not in capsys.readouterr().err
    longer = run(list_length=50 * DEPTH)
    assert longer["list_length"] == DEPTH and losses(longer) == losses(whole)
    assert f"distill.list_length {50 * DEPTH} acts as {DEPTH}" in capsys.readouterr().err


def test_a_corpus_is_too_large_to_encode_by_the_lists_there_are(run):
    """Between two evaluations 2 x 1 x 10 passages are trained, fewer than the corpus has."""
    assert 2 * DEPTH < PASSAGES
    with pytest.raises(InputError, match=f"at most {2 * DEPTH} passages"):
        run(list_length=50 * DEPTH, side="both", stop_on="ndcg", batch_size=1)


@pytest.mark.parametrize("side", ["query", "both"])
def test_an_adapter_is_merged_into_the_saved_student(run, student, side):
    metrics = run(lora_rank=8, side=side, learning_rate=0.02, max_steps=16)
    assert metrics["best_step"]["specialised"] > 0
    folder = Path("models/specialised")
    assert not list(folder.rglob("adapter*"))
    model, untuned = (SentenceTransformer(str(path), device="cpu") for path in (folder, student))
    assert sum(p.numel() for p in model.parameters()) == (1 + (side == "query")) * sum(
        p.numel() for p in untuned.parameters()
    )
    assert np.abs(model.encode_query(["open a file"]) - untuned.encode_query(["open a file"])).max() > 1e-4


def test_batches_that_overlap_have_fewer_distinct_passages(run):
    random, overlap = run(), run(batching="overlap")
    assert 0 < overlap["distinct_share"] < random["distinct_share"] <= 1
    assert losses(overlap)[0] == losses(random)[0] and losses(overlap) != losses(random)


def test_only_training_lists_are_sampled(run):
    found = {rule: run(list_sampling=rule) for rule in ("top", "spread", "random")}
    assert len({losses(metrics)[0] for metrics in found.values()}) == 1, "dev lists are the same"
    assert len({losses(metrics)[-1] for metrics in found.values()}) == 3
    assert len({str(metrics["temperatures"]) for metrics in found.values()}) == 1


def test_short_embeddings_are_part_of_the_loss_and_served_by_the_saved_student(run):
    plain, short = run(), run(matryoshka_dims=[16, 8])
    assert losses(short)[0] != losses(plain)[0]
    model = SentenceTransformer("models/specialised", device="cpu", truncate_dim=8)
    assert model.encode_query(["a"]).shape == model.encode_document(["a"]).shape == (1, 8)


def test_dimensions_that_are_not_there_are_refused(run):
    with pytest.raises(InputError, match="under the student's 32"):
        run(matryoshka_dims=[16, 32])
