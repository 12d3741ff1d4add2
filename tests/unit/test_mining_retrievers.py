"""The retrievers that mining fuses, and the whole stage with a second model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from densespec.errors import InputError
from densespec.io.arrays import read_array
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import read_table, write_table
from densespec.mining import indexes
from densespec.mining.retrievers import Ranking, check_retrievers, dense_lists, fuse, lexical_lists
from densespec.retrieval import dense
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from densespec.retrieval.student import load_student
from tests.tiny_models import tiny_bi_encoder

TEXTS = [f"open a file and read line {n}. A socket connects to server {n % 7}" for n in range(40)]
QUERIES = ["read lines of a file", "connect to a server", "socket 3", "the"]


@pytest.mark.parametrize(
    ("retrievers", "models", "weights", "named"),
    [
        ([], [], {}, "retrievers"),
        (["student", "bge"], [], {}, "retrievers"),
        (["student"], ["bm25"], {}, "retrievers"),
        (["student", "bm25"], [], {"bge": 1}, "weights"),
        (["student", "bm25"], [], {"student": -1}, "weights"),
        (["student", "bm25"], [], {"student": 0, "bm25": 0}, "weights"),
        (["student"], [], {"student": float("nan")}, "weights"),
    ],
)
def test_names_and_weights_that_make_no_fusion_are_refused(retrievers, models, weights, named):
    with pytest.raises(InputError, match=rf"mine\.{named}"):
        check_retrievers(retrievers, models, weights)


def test_a_model_may_be_described_and_not_used():
    check_retrievers(["bm25", "bge"], ["bge", "e5"], {"bge": 0.5})


def test_fuse_does_what_its_method_says():
    lists = {
        "student": Ranking(np.array([3, 1, 2]), np.array([0.9, 0.8, 0.1])),
        "bm25": Ranking(np.array([9, 1]), np.array([20.0, 1.0])),
    }
    rows, scores = zip(*lists.values(), strict=True)
    options = {"rrf_k": 60, "weights": {}, "normalise": "min-max"}
    assert fuse(lists, 3, method="rrf", **options) == reciprocal_rank_fusion(rows, 3, 60)[0] == [1, 3, 9]
    options["weights"] = {"bm25": 3.0}
    assert fuse(lists, 3, method="rrf", **options) == [1, 9, 3]
    for normalise in ("min-max", "z-score"):
        found = fuse(lists, 4, method="weighted", **{**options, "normalise": normalise})
        assert found == weighted_fusion(rows, scores, 4, [1.0, 3.0], normalise)[0]


def test_bm25_is_asked_for_what_is_wanted_only():
    index = Bm25(TEXTS)
    lists = lexical_lists(index, QUERIES, [True, False, True, True], 5)
    assert [len(found.rows) for found in lists] == [5, 0, 5, 0]
    np.testing.assert_array_equal(lists[2].rows, index.search(QUERIES[2], 5)[0])


def test_a_model_is_read_with_its_own_prompts_and_searched_on_disk(tmp_path, capsys):
    folder = tiny_bi_encoder(
        tmp_path / "m", seed=3, pooling="cls", prompts={"query": "q: ", "passage": "p: "}
    )
    files = (tmp_path / "p.npy", tmp_path / "q.npy")

    def lists(**options):
        return dense_lists(
            {"model": str(folder), "max_tokens": 16}, TEXTS, QUERIES, files=files, shards=tmp_path / "s",
            depth=10, **options,
        )  # fmt: skip

    found = lists(index="auto")
    model = load_student(str(folder), max_tokens=16)
    for vectors, prompt, texts in ((found.passages, "p: ", TEXTS), (found.queries, "q: ", QUERIES)):
        expected = model.encode([prompt + text for text in texts], prompt="", normalize_embeddings=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    rows, scores = dense.search(read_array(files[0]), read_array(files[1]), 10)
    np.testing.assert_array_equal([ranking.rows for ranking in found.lists], rows)
    np.testing.assert_array_equal([ranking.scores for ranking in found.lists], scores)
    details = {key: found.details[key] for key in ("index", "recall_at_100", "max_tokens")}
    assert details == {"index": "flat", "recall_at_100": 1.0, "max_tokens": 16}
    assert capsys.readouterr().err.count("warning") == 0


def test_an_index_that_loses_much_says_so(tmp_path, capsys, monkeypatch):
    for name, value in {"PROBED": 0, "LEAST_PROBED": 1, "TRAINED_ON": 2}.items():
        monkeypatch.setattr(indexes, name, value)
    folder = tiny_bi_encoder(tmp_path / "m")
    found = dense_lists(
        {"model": str(folder)}, TEXTS, QUERIES, files=(tmp_path / "p.npy", tmp_path / "q.npy"),
        shards=tmp_path / "s", depth=30, index="ivf",
    )  # fmt: skip
    rows, _ = indexes.search(read_array(tmp_path / "p.npy"), read_array(tmp_path / "q.npy"), 100, "ivf")
    deep = indexes.recall(read_array(tmp_path / "p.npy"), read_array(tmp_path / "q.npy"), rows)
    assert found.details["recall_at_100"] == deep < 0.95, "of lists of 100, whatever the depth"
    assert "warning: the ivf index found" in capsys.readouterr().err
    assert all(len(ranking.rows) < 30 and (ranking.rows >= 0).all() for ranking in found.lists)


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """A repository with the inputs of the stage, and two tiny models."""
    from densespec.records import Passage

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    params = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    params["kinds"] = ["claim"]
    params["student"]["model"] = str(tiny_bi_encoder(tmp_path / "student"))
    params["mine"] |= {"depth": 10, "round_trip": 12}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/d.yaml").write_text(yaml.safe_dump({s: {} for s in ("mine", "student", "bm25")}))
    passages = [Passage(f"p{n}", "", text) for n, text in enumerate(TEXTS)]
    Path("corpus").mkdir()
    write_table(
        Path("corpus/passages.parquet"),
        {name: [getattr(p, name) for p in passages] for name in ("id", "title", "text")},
    )
    row = {"id": "g1", "text": QUERIES[0], "kind": "claim", "source_id": "p1", "writer": "w"}
    write_jsonl(Path("queries/claim/queries.jsonl"), [row])
    write_jsonl(Path("corpus/log.jsonl"), [{"id": "l1", "text": QUERIES[1]}])
    judged = {"id": "t1", "text": QUERIES[2], "kind": "", "split": "test"}
    write_jsonl(Path("corpus/queries.jsonl"), [judged])
    return tmp_path


def mine(monkeypatch, **changes):
    from stages.mine import main

    Path("conf/domains/d.yaml").write_text(yaml.safe_dump({"mine": changes, "student": {}, "bm25": {}}))
    options = "--domain d --corpus corpus --queries queries --out out --metrics metrics.json"
    monkeypatch.setattr(sys, "argv", ["mine", *options.split()])
    main()
    return read_table(Path("out/candidates.parquet")), json.loads(Path("metrics.json").read_text())


def test_the_stage_with_a_second_model(domain, monkeypatch):
    plain, metrics = mine(monkeypatch, round_trip=0)
    assert metrics["retrievers"]["student"]["recall_at_100"] == 1.0
    other = str(tiny_bi_encoder(domain / "other", seed=5, prompts={"query": "query: "}))
    mixed, metrics = mine(
        monkeypatch, round_trip=0, retrievers=["other", "student"], dense={"other": {"model": other}},
        fusion="weighted", weights={"student": 0},
    )  # fmt: skip
    assert set(metrics["retrievers"]) == {"bm25", "student", "other"}
    vectors = load_student(other).encode_document(TEXTS, normalize_embeddings=True)
    asked = load_student(other).encode_query(mixed["text"], normalize_embeddings=True)
    best = dense.search(np.asarray(vectors), np.asarray(asked), 3)[0].tolist()
    assert [rows[:3] for rows in mixed["passages"]] == best
    assert mixed["passages"] != plain["passages"]
    assert mixed["source_rank"] == plain["source_rank"], "the round trip stays the student's"
    student = read_array(Path("out/passage_embeddings.npy")) @ read_array(Path("out/query_embeddings.npy")).T
    for number, (rows, cosines) in enumerate(zip(mixed["passages"], mixed["dense"], strict=True)):
        np.testing.assert_allclose(cosines, student[rows, number], atol=1e-6)
    assert not list((domain / "scratch/mine/d").glob("*.npy")), "further embeddings are dropped"


def test_each_model_of_the_stage_has_prompts_of_its_own(domain, monkeypatch):
    other = str(tiny_bi_encoder(domain / "other", seed=5, prompts={"query": "query: "}))
    alone = {"round_trip": 0, "retrievers": ["other"]}
    plain, _ = mine(monkeypatch, **alone, dense={"other": {"model": other}})
    student = np.array(read_array(Path("out/query_embeddings.npy")))
    given = {"query": "river mountain: ", "document": "fire: "}
    prompted, _ = mine(monkeypatch, **alone, dense={"other": {"model": other, "prompts": given}})
    model = SentenceTransformer(other, device="cpu")
    vectors = model.encode(TEXTS, prompt=given["document"], normalize_embeddings=True)
    asked = model.encode(prompted["text"], prompt=given["query"], normalize_embeddings=True)
    found = dense.search(np.asarray(vectors), np.asarray(asked), 3)[0].tolist()
    assert [rows[:3] for rows in prompted["passages"]] == found
    assert prompted["passages"] != plain["passages"]
    np.testing.assert_array_equal(read_array(Path("out/query_embeddings.npy")), student)


def test_bm25_lists_are_written_for_judged_queries_whatever_is_fused(domain, monkeypatch):
    left = [domain / folder / ".passages.npy.1.tmp" for folder in ("out", "scratch/mine/d")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.touch()
    mine(monkeypatch, retrievers=["student"])
    assert not any(path.exists() for path in left), "what a killed run had begun is dropped"
    table = read_table(Path("out/bm25.parquet"))
    assert table["query_id"] == ["t1"]
    rows, scores = Bm25(TEXTS).search(QUERIES[2], 100)  # Recall@100 of their row, whatever mine.depth is
    assert (table["passages"], table["scores"]) == ([rows.tolist()], [scores.tolist()])
    assert len(rows) > 10


def test_a_long_round_trip_does_not_lengthen_the_lists_that_are_fused(domain, monkeypatch):
    short, _ = mine(monkeypatch, depth=5, round_trip=5)
    long, _ = mine(monkeypatch, depth=5, round_trip=30)
    judged = [n for n, split in enumerate(short["split"]) if split != "train"]
    assert judged and all(short["passages"][n] == long["passages"][n] for n in judged)


def test_a_judged_query_with_the_id_of_a_training_query_is_refused(domain, monkeypatch):
    write_jsonl(Path("corpus/log.jsonl"), [{"id": "t1", "text": QUERIES[1]}])
    with pytest.raises(InputError, match="an id that no training query has"):
        mine(monkeypatch)
