"""The stage on a tiny corpus with tiny real models: every file, both sides, every verdict it can reach."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.io.arrays import write_array
from densespec.io.jsonl import write_json, write_jsonl
from densespec.io.tables import read_table, write_table
from densespec.io.trec import read_run, write_qrels
from densespec.records import Qrel
from densespec.reporting.results import ROW_ORDER
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.dense import search
from densespec.retrieval.rows import in_order
from densespec.show import results
from stages import evaluate
from tests.tiny_models import WORDS, tiny_bi_encoder

ROOT = Path(__file__).resolve().parents[2]
ROWS = ["untuned", "specialised", "control", "bm25", "hybrid", "teacher"]


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """An untuned student, a specialised one (queries only, worse: other weights) and a control (both)."""
    from densespec.distillation.saving import save_student
    from densespec.retrieval.student import load_student

    folder = tmp_path_factory.mktemp("models")
    untuned = load_student(str(tiny_bi_encoder(folder / "untuned", seed=0)), device="cpu")
    other = load_student(str(tiny_bi_encoder(folder / "other", seed=1)), device="cpu")
    for name, trained, side in (
        ("specialised", other, "query"),
        ("same", untuned, "query"),
        ("control", other, "both"),
    ):
        (folder / name).mkdir()
        save_student(folder / name, trained, untuned, side, "tiny")
    return folder


@pytest.fixture(scope="session")
def collection(models) -> dict:
    """40 passages of random words; a query is some words of one passage."""
    from densespec.retrieval.student import load_student

    generator = np.random.default_rng(3)
    words = sorted({word for word in WORDS.split() if len(word) > 3})
    texts = [" ".join(generator.choice(words, 12, replace=False)) for _ in range(40)]
    queries = [" ".join(generator.permutation(texts[n % 40].split())[:4]) for n in range(36)]
    model = load_student(str(models / "untuned"), device="cpu")
    return {
        "texts": texts,
        "queries": queries,
        "passages": np.asarray(model.encode_document(texts, normalize_embeddings=True)),
        "vectors": np.asarray(model.encode_query(queries, normalize_embeddings=True)),
    }


@pytest.fixture
def domain(tmp_path, monkeypatch, models, collection) -> Path:
    """Everything that the stage reads, in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    texts, queries = collection["texts"], collection["queries"]
    ids = [f"p{n:02}" for n in range(40)]
    splits = ["test"] * 24 + ["dev"] * 8 + ["train"] * 4
    names = [f"q{n:02}" for n in range(36)]
    write_table(
        tmp_path / "corpus/passages.parquet",
        {"id": ids, "title": [""] * 40, "text": texts, "hash": ids, "seed": [True] * 40, "reason": [""] * 40},
    )
    write_jsonl(
        tmp_path / "corpus/queries.jsonl",
        [
            {"id": name, "text": text, "kind": "task" if n % 2 else "", "split": split}
            for n, (name, text, split) in enumerate(zip(names, queries, splits, strict=True))
            if split != "train"
        ],
    )
    for split in ("test", "dev"):
        qrels = [Qrel(name, ids[n % 40], 1 + n % 2) for n, name in enumerate(names) if splits[n] == split]
        write_qrels(tmp_path / f"corpus/{split}.tsv", qrels)
    rows, cosines = search(collection["passages"], collection["vectors"], 20)
    write_table(
        tmp_path / "candidates/candidates.parquet",
        {
            "query_id": names, "text": queries, "kind": ["task"] * 36,
            "source_id": ["" if split != "train" else ids[n % 40] for n, split in enumerate(splits)],
            "writer": ["recorded"] * 36, "split": splits, "passages": rows.astype(np.int32),
            "dense": cosines, "source_rank": [1] * 36,
        },
    )  # fmt: skip
    index = Bm25(texts)
    found = [index.search(text, 20) for text in queries[:32]]
    write_table(
        tmp_path / "candidates/bm25.parquet",
        {
            "query_id": names[:32],
            "passages": [rows.tolist() for rows, _ in found],
            "scores": [scores.tolist() for _, scores in found],
        },
    )
    write_array(tmp_path / "candidates/passage_embeddings.npy", collection["passages"])
    write_array(tmp_path / "candidates/query_embeddings.npy", collection["vectors"])
    perfect = [[1.0 if row == n % 40 else 0.0 for row in found] for n, found in enumerate(rows.tolist())]
    write_table(tmp_path / "scores/hybrid/scores.parquet", {"query_id": names, "scores": perfect})
    write_table(
        tmp_path / "lists/lists.parquet",
        {
            "query_id": names[32:], "text": queries[32:], "kind": ["task", "task", "log", "task"],
            "source_id": [ids[32], "", "", ids[35]], "split": ["train"] * 4,
        },
    )  # fmt: skip
    write_json(
        tmp_path / "metrics/corpus.json", {"leaks": {"log_equal": 2}, "source": {"licence": "CC0-1.0"}}
    )
    # the order of both teachers together: the relevant passage last
    worst = [[-score for score in scores] for scores in perfect[:32]]
    write_table(tmp_path / "lists/held_out.parquet", {"query_id": names[:32], "scores": worst})
    for name in ("specialised", "control"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, teachers: str = "[hybrid]", **values: object) -> None:
    settings = {"resamples": 500, "permutations": 5000, **values}
    (folder / "params.yaml").write_text(
        f"teachers: {teachers}\nevaluate: {json.dumps(settings)}\nstudent: {{model: tiny}}\n"
    )
    (folder / "conf/domains").mkdir(parents=True, exist_ok=True)
    (folder / "conf/domains/words.yaml").write_text("evaluate: {}\nstudent: {}\n")


def run_stage(folder: Path, monkeypatch) -> dict:
    flags = {
        "domain": "words", "passages": "corpus/passages.parquet", "queries": "corpus/queries.jsonl",
        "test": "corpus/test.tsv", "dev": "corpus/dev.tsv", "candidates": "candidates", "scores": "scores",
        "lists": "lists/lists.parquet", "held-out": "lists/held_out.parquet",
        "specialised": "models/specialised", "control": "models/control",
        "corpus-metrics": "metrics/corpus.json", "out": "evaluation",
        "metrics": "metrics/evaluate.json", "shipped": "models/shipped",
    }  # fmt: skip
    monkeypatch.setattr(
        sys, "argv", ["evaluate.py", *(part for k, v in flags.items() for part in (f"--{k}", v))]
    )
    evaluate.main()
    return json.loads((folder / "metrics/evaluate.json").read_text())


def outputs(folder: Path) -> dict[str, bytes]:
    files = [
        *folder.glob("evaluation/**/*"),
        *folder.glob("models/shipped/**/*"),
        folder / "metrics/evaluate.json",
    ]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files) if path.is_file()
    }


def test_all_outputs_and_the_same_bytes_twice(domain, monkeypatch):
    result = run_stage(domain, monkeypatch)
    assert list(result["rows"]) == sorted(ROWS)  # JSON keys are sorted
    assert (result["queries"], result["dev"]["queries"]) == (24, 8)
    assert (result["domain"], result["split"]) == ("words", "test")
    assert result["rows"]["bm25"]["ndcg_at_10"]["mean"] > 0.9
    assert (
        result["rows"]["untuned"]["ndcg_at_10"]["mean"] > result["rows"]["specialised"]["ndcg_at_10"]["mean"]
    )
    assert result["verdict"] == "regression"
    assert set(result["kinds"]) == {"task", "unspecified"}
    assert result["kinds"]["task"]["queries"] == 12
    assert "verdict" not in result["dev"]
    assert result["leaks"] == {
        "log_equal": 2, "training_queries": 4, "from_judged_passages": 0,
        "same_as_judged_query": 0, "near_judged_query": 0,
    }  # fmt: skip
    assert set(result["specialised_vs_control"]) == {"ndcg_at_10", "recall_at_100", "mrr_at_10"}

    table = read_table(domain / "evaluation/per_query.parquet")
    assert len(table["row"]) == 24 * 6
    assert list(dict.fromkeys(table["row"])) == ROWS
    bm25 = [value for value, row in zip(table["ndcg_at_10"], table["row"], strict=True) if row == "bm25"]
    assert np.mean(bm25) == pytest.approx(result["rows"]["bm25"]["ndcg_at_10"]["mean"], abs=1e-6)
    runs = {path.stem: read_run(path) for path in (domain / "evaluation/runs").iterdir()}
    assert set(runs) == set(ROWS)
    assert {len(run) for run in runs.values()} == {24}
    for run in runs.values():
        for entries in run.values():
            assert [entry.score for entry in entries] == sorted((e.score for e in entries), reverse=True)

    shipped = list((domain / "models/shipped").iterdir())
    assert [path.name for path in shipped] == ["README.md"]
    assert "No model is shipped for words" in shipped[0].read_text()
    first = outputs(domain)
    run_stage(domain, monkeypatch)
    assert outputs(domain) == first


def test_query_side_model_uses_the_untouched_index_and_both_side_does_not(domain, monkeypatch, models):
    shutil.rmtree(domain / "models/specialised")
    shutil.copytree(models / "same", domain / "models/specialised")  # the untuned weights behind a Router
    result = run_stage(domain, monkeypatch)
    compared = result["rows"]["specialised"]["vs_untuned"]["ndcg_at_10"]
    assert (compared["difference"], compared["p"], compared["ties"]) == (0.0, 1.0, 24)
    assert result["verdict"] == "no evidence"
    # the control brings its own passage encoder: like finds like again, whatever its weights
    assert result["rows"]["control"]["ndcg_at_10"]["mean"] > 0.5


def test_a_model_with_short_embeddings_is_measured_at_each_length_beside_the_untuned_one(
    domain, monkeypatch, models, collection
):
    """Reference: what sentence-transformers does with ``truncate_dim``, ranked by cosine."""
    from sentence_transformers import SentenceTransformer

    note = domain / "models/specialised/densespec.json"
    write_json(note, {"side": "query", "student": "tiny", "dims": [12, 5]})
    result = run_stage(domain, monkeypatch)
    assert set(result["rows"]) == {*ROWS, *(f"{m}-{n}" for m in ("untuned", "specialised") for n in (12, 5))}
    for row, folder in {"untuned": models / "untuned", "specialised": domain / "models/specialised"}.items():
        model = SentenceTransformer(str(folder), device="cpu", truncate_dim=5)
        cosines = model.similarity(
            model.encode_query(collection["queries"][:24]), model.encode_document(collection["texts"])
        ).numpy()
        run = read_run(domain / f"evaluation/runs/{row}-5.trec")
        for n, found in enumerate(cosines):
            listed = {int(entry.passage_id[1:]): entry.score for entry in run[f"q{n:02}"]}
            for place, score in listed.items():
                assert score == pytest.approx(found[place], abs=1e-5)
            assert len(listed) == 40
    shipped = (domain / "models/shipped/README.md").read_text()
    assert "**specialised model**, first 5 dimensions" in shipped
    in_page = ["specialised", "specialised-12", "specialised-5", "untuned", "untuned-12", "untuned-5"]
    assert in_order(result["rows"], ROW_ORDER) == [*in_page, "control", "bm25", "hybrid", "teacher"]
    shown = [line.split()[0] for line in results(result, "page") if line]
    shown = shown[shown.index("untuned") :]
    assert shown[:6] == [*in_page[3:], *in_page[:3]] and shown[9] == "teacher"


def test_short_embeddings_cost_no_other_row_its_significance(domain, monkeypatch):
    plain = run_stage(domain, monkeypatch)
    write_json(
        domain / "models/specialised/densespec.json", {"side": "query", "student": "tiny", "dims": [12]}
    )
    short = run_stage(domain, monkeypatch)["rows"]
    for row, values in plain["rows"].items():
        assert short[row] == values
    tests = short["specialised-12"]["vs_untuned"].values()
    assert all(test["p"] <= test["p_holm"] <= 6 * test["p"] for test in tests)


def test_ship_copies_the_model_with_its_card(domain, monkeypatch, models, collection):
    # the "untuned" row gets vectors of other weights, so the specialised model, with the right ones, wins
    from densespec.retrieval.student import load_student

    vectors = load_student(str(models / "other"), device="cpu").encode_query(
        collection["queries"], normalize_embeddings=True
    )
    write_array(domain / "candidates/query_embeddings.npy", np.asarray(vectors))
    shutil.rmtree(domain / "models/specialised")
    shutil.copytree(models / "same", domain / "models/specialised")
    result = run_stage(domain, monkeypatch)
    assert result["verdict"] == "ship"
    specialised, shipped = domain / "models/specialised", domain / "models/shipped"
    files = {path.relative_to(specialised) for path in specialised.rglob("*")}
    assert {path.relative_to(shipped) for path in shipped.rglob("*")} == files | {Path("README.md")}
    assert all(
        (shipped / f).read_bytes() == (specialised / f).read_bytes() for f in files if (shipped / f).is_file()
    )
    card = (shipped / "README.md").read_text()
    import yaml

    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "sentence-transformers"
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "ndcg_at_10"
    for said in (
        "**Verdict: ship.**", "encode_query", "encode_document", "CC0-1.0", "1 log, 3 task", "4 recorded",
        "the teacher hybrid", "Only the query encoder was trained", "| **specialised model** |",
        "models/words/shipped",
    ):  # fmt: skip
        assert said in card, said
    assert "(KL divergence of the two rankings, and\n  InfoNCE beside it), after arXiv 2502.19712." in card
    for losses, method in (
        (["kl"], "distillation of the teacher hybrid (KL divergence of the two rankings), after"),
        (["infonce"], "- Method: InfoNCE on lists that the teacher hybrid selected, without distillation."),
    ):
        note = specialised / "densespec.json"
        write_json(note, json.loads(note.read_text()) | {"losses": losses})
        run_stage(domain, monkeypatch)
        assert method in (shipped / "README.md").read_text()
    model = load_student(str(shipped), device="cpu")
    query = model.encode_query([collection["queries"][0]], normalize_embeddings=True)
    assert query @ collection["passages"].T == pytest.approx(
        collection["vectors"][:1] @ collection["passages"].T, abs=1e-5
    )


def test_without_test_queries_nothing_is_claimed(domain, monkeypatch):
    write_qrels(domain / "corpus/test.tsv", [])
    result = run_stage(domain, monkeypatch)
    assert result["verdict"] == "not tested"
    assert (result["queries"], result["rows"], result["kinds"]) == (0, {}, {})
    assert result["dev"]["rows"]["specialised"]
    assert read_table(domain / "evaluation/per_query.parquet")["row"] == []

    write_qrels(domain / "corpus/dev.tsv", [])
    assert run_stage(domain, monkeypatch)["dev"]["queries"] == 0


def test_too_few_queries_several_teachers_and_no_control(domain, monkeypatch):
    configure(domain, "[hybrid, cross-encoder]", min_queries=30)
    shutil.copytree(domain / "scores/hybrid", domain / "scores/cross-encoder")
    shutil.rmtree(domain / "models/control")
    result = run_stage(domain, monkeypatch)
    assert result["verdict"] == "not tested"
    assert "24 judged test queries are too few" in result["reason"]
    assert {"teacher", "teacher-hybrid", "teacher-cross-encoder"} < set(result["rows"])
    together, alone = (
        read_run(domain / f"evaluation/runs/{row}.trec") for row in ("teacher", "teacher-hybrid")
    )
    for number in range(24):
        query, relevant = f"q{number:02}", f"p{number:02}"
        assert alone[query][0].passage_id == together[query][-1].passage_id == relevant
    assert result["dev"]["rows"]["teacher"]["ndcg_at_10"]["mean"] == 0
    assert "control" not in result["rows"]
    assert "specialised_vs_control" not in result
    card = (domain / "models/shipped/README.md").read_text()
    assert "| teacher as reranker |" in card and "| teacher cross-encoder alone as reranker |" in card


def test_a_missing_model_is_one_message_and_leaves_nothing(domain, monkeypatch):
    shutil.rmtree(domain / "models/specialised")
    with pytest.raises(InputError, match="a model written by the stage 'distill'"):
        run_stage(domain, monkeypatch)
    assert not (domain / "metrics/evaluate.json").exists()
    assert not (domain / "evaluation").exists()


def test_help_teaches():
    # -P: the folder of the script, which holds a select.py, must not hide the standard library
    command = [sys.executable, "-P", "stages/evaluate.py", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert "ceiling of distillation" in shown
    assert "--shipped" in shown
