"""``densespec search`` on a corpus of six passages and tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from densespec import cli
from densespec.io.arrays import write_array
from densespec.io.jsonl import write_json
from densespec.io.tables import write_table
from densespec.records import Passage
from densespec.retrieval.student import load_student
from densespec.search import Comparison, Hit, search, side_by_side
from densespec.terminal import cut, width
from tests.tiny_models import tiny_bi_encoder

PASSAGES = [
    Passage("p1", "open", "open a file and read its lines"),
    Passage("p2", "socket", "connect a socket to a server over the network"),
    Passage("p3", "wing", "boundary layer flow over a wing at supersonic velocity"),
    Passage("p4", "", "vaccine dose for children with heart disease"),
    Passage("p5", "lock", "a thread waits for the lock of another thread"),
    Passage("p6", "季節", "四季の風景 summer day\nafter a storm"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The untuned student, another model in its place, and one that routes queries to that one."""
    from densespec.distillation.saving import save_student

    folder = tmp_path_factory.mktemp("models")
    tiny_bi_encoder(folder / "untuned", prompts={"query": "query: ", "document": "passage: "})
    tiny_bi_encoder(folder / "both", seed=1, prompts={"query": "query: ", "document": "passage: "})
    untuned, other = load_student(str(folder / "untuned")), load_student(str(folder / "both"))
    (folder / "query").mkdir()
    save_student(folder / "query", other, untuned, "query", "tiny")
    write_json(folder / "both" / "densespec.json", {"side": "both", "student": "tiny"})
    return folder


@pytest.fixture
def repository(tmp_path, monkeypatch, models):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DENSESPEC_SCRATCH", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("conf/domains").mkdir(parents=True)
    student = f"{{model: {models}/untuned, precision: float32}}"
    Path("params.yaml").write_text(f"domain: d\nstudent: {student}\nevaluate: {{}}\n")
    Path("conf/domains/d.yaml").write_text("student: {}\nevaluate: {}\n")
    write_table(
        Path("data/corpus/d/passages.parquet"),
        {name: [getattr(passage, name) for passage in PASSAGES] for name in ("id", "title", "text")},
    )
    vectors = load_student(str(models / "untuned")).encode_document(
        [passage.content for passage in PASSAGES], normalize_embeddings=True
    )
    write_array(Path("data/candidates/d/passage_embeddings.npy"), np.asarray(vectors, dtype=np.float32))
    Path("models/d").mkdir(parents=True)
    return tmp_path


def expected(query_model, document_model):
    documents = document_model.encode_document([p.content for p in PASSAGES], normalize_embeddings=True)
    scores = documents @ query_model.encode_query("read a file line by line", normalize_embeddings=True)
    return [PASSAGES[row].id for row in np.argsort(-scores)], sorted(map(float, scores), reverse=True)


@pytest.mark.parametrize("side", ["query", "both"])
def test_rankings_are_those_of_the_models(repository, models, side):
    shutil.copytree(models / side, "models/d/specialised")
    found = search("d", "read a file line by line", 6, repository)
    untuned, other = load_student(str(models / "untuned")), load_student(str(models / "both"))
    ids, cosines = expected(untuned, untuned)
    assert [hit.id for hit in found.untuned] == ids
    assert [hit.cosine for hit in found.untuned] == pytest.approx(cosines, abs=1e-5)
    assert ids[0] == "p1"
    ids, cosines = expected(other, untuned if side == "query" else other)
    assert [hit.id for hit in found.specialised] == ids
    assert [hit.cosine for hit in found.specialised] == pytest.approx(cosines, abs=1e-5)
    there = {hit.id: hit.rank for hit in found.untuned}
    assert all(hit.other_rank == there[hit.id] for hit in found.specialised)
    shards = list(Path(".densespec/scratch/encode").glob("*.npz"))
    assert len(shards) == (side == "both")  # with side query the index is used as it is


def test_a_student_named_by_a_folder_of_the_repository_is_found_from_anywhere(
    repository, models, monkeypatch
):
    shutil.copytree(models / "query", "models/d/specialised")
    before = search("d", "read a file line by line", 6, repository)
    shutil.copytree(models / "untuned", "models/base")
    student = "{model: models/base, precision: float32}"
    Path("params.yaml").write_text(f"domain: d\nstudent: {student}\nevaluate: {{}}\n")
    monkeypatch.chdir("conf")
    assert search("d", "read a file line by line", 6, repository) == before


def test_json_and_k(repository, models, capsys):
    shutil.copytree(models / "query", "models/d/specialised")
    cli.main(["search", "d", "lock of a thread", "-k", "2", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert len(document["specialised"]) == len(document["untuned"]) == 2
    assert document["untuned"][0]["id"] == "p5"
    assert set(document["untuned"][0]) == set(Hit._fields)


def hits(order):
    return [Hit(rank, f"p{n}", "題" * 60 if n == 2 else f"title {n}", "text " * 40, 0.5, other)
            for rank, (n, other) in enumerate(order, start=1)]  # fmt: skip


@pytest.mark.parametrize("columns", [60, 120, 200])
def test_layout_fits_the_terminal_and_marks_what_moved(columns):
    found = Comparison(hits([(1, 1), (2, 3), (3, 9)]), hits([(1, 1), (4, 7), (2, 2)]))
    lines = side_by_side(found, columns)
    assert max(width(line) for line in lines) <= columns
    text = "\n".join(lines)
    assert "1 0.500 =     title 1" in text
    assert "2 0.500 ↑1" in text
    assert "3 0.500 new" in text
    assert "3 0.500 ↓1" in text
    assert ("│" in text) == (columns >= 100)


def test_cut_counts_columns_not_characters():
    assert cut("short", 10) == "short"
    assert cut("a  b\nc", 10) == "a b c"
    assert width(cut("題" * 20, 11)) <= 11


@pytest.mark.parametrize(
    "missing",
    ["data/corpus/d/passages.parquet", "data/candidates/d/passage_embeddings.npy", "models/d/specialised"],
)
def test_what_is_missing_is_named_with_a_remedy(repository, models, missing, capsys):
    shutil.copytree(models / "query", "models/d/specialised")
    shutil.rmtree(missing) if Path(missing).is_dir() else Path(missing).unlink()
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", "d", "a query"])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith(f"error: {missing}")
    assert "dvc repro distill@d" in err and "dvc pull" in err


@pytest.mark.parametrize("arguments", [["d", " "], ["d", "query", "-k", "0"]])
def test_nonsense_arguments(repository, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", *arguments])
    assert stop.value.code == 2
    assert "remedy" in capsys.readouterr().err


def test_embeddings_of_another_corpus(repository, models, capsys):
    shutil.copytree(models / "query", "models/d/specialised")
    write_array(Path("data/candidates/d/passage_embeddings.npy"), np.zeros((4, 32), dtype=np.float32))
    with pytest.raises(SystemExit):
        cli.main(["search", "d", "a query"])
    err = capsys.readouterr().err
    assert "6 embeddings of 32 dimensions" in err and "4 × 32" in err and "dvc repro mine@d" in err
