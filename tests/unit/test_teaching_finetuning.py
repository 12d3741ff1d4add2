"""Fine-tuning on tiny real models: the loss, the starting point, the measure, resume, and the stage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.losses import ListNetLoss

from densespec.errors import InputError
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels
from densespec.records import Qrel
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.judged import Judged
from densespec.teaching import finetuning
from densespec.teaching.cross_encoder import keep_last_layer_exact, load_cross_encoder
from densespec.teaching.dev import DevLists
from densespec.teaching.finetuning import RELEVANT, dev_ndcg, starting_point
from densespec.teaching.teachers import TEACHERS, Material
from stages import teacher_finetune
from tests.teacher_params import score_config
from tests.tiny_models import WORDS, tiny_bi_encoder, tiny_cross_encoder

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)
PASSAGES, TRAINING, DEV, DEPTH = 24, 20, 8, 6
QUICK = {
    "max_tokens": 48, "negatives": 3, "batch_size": 4, "passes": 2, "eval_steps": 3, "learning_rate": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return tiny_bi_encoder(tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture
def run(tmp_path, monkeypatch, encoder_folder):
    """A function that runs the stage with changed parameters and returns its metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("DENSESPEC_TRACKING", "off")
    random = np.random.default_rng(4)
    words = sorted({word for word in WORDS.split() if len(word) > 3})
    # what a tiny model can learn: a passage is relevant to its query if it is about vaccines
    topics = ["vaccine", "socket"] * (PASSAGES // 2)
    texts = [f"{topic} {' '.join(random.choice(words, 7, replace=False))}" for topic in topics]
    ids = [f"p{n:02}" for n in range(PASSAGES)]
    relevant = [2 * n % PASSAGES for n in range(TRAINING + DEV)]
    lists = []
    for row in relevant:
        others = [int(other) for other in random.permutation(PASSAGES) if other % 2]
        lists.append(random.permutation([row, *others[: DEPTH - 1]]).tolist())
    write_table(
        Path("passages.parquet"),
        {"id": ids, "title": [""] * PASSAGES, "text": texts, "hash": [f"h{n}" for n in range(PASSAGES)]},
    )
    names = [f"log-{n:02}" for n in range(TRAINING)] + [f"d{n}" for n in range(DEV)]
    write_table(
        Path("candidates.parquet"),
        {
            "query_id": names, "text": [" ".join(texts[row].split()[:3]) for row in relevant],
            "split": ["train"] * TRAINING + ["dev"] * DEV,
            "source_id": [ids[row] for row in relevant[:TRAINING]] + [""] * DEV,
            "passages": lists, "dense": random.random((len(lists), DEPTH)).astype(np.float32).tolist(),
        },
    )  # fmt: skip
    labels = [Qrel(name, ids[row], 1) for name, row in zip(names, relevant, strict=True)]
    write_qrels(Path("train.tsv"), labels[:TRAINING])
    write_qrels(Path("dev.tsv"), labels[TRAINING:])
    Path("conf/domains").mkdir(parents=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())

    def stage(out="model", **changes):
        given = {"model": str(encoder_folder), **QUICK} | changes
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("conf/domains/tiny.yaml").write_text(yaml.safe_dump({"teacher_finetune": given}))
        options = {
            "domain": "tiny", "passages": "passages.parquet", "train": "train.tsv", "dev": "dev.tsv",
            "candidates": "candidates.parquet", "code": "none", "out": out, "metrics": f"{out}.json",
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["teacher_finetune", *arguments])
        teacher_finetune.main()
        return json.loads(Path(f"{out}.json").read_text())

    return stage


def read(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_loss_is_the_cross_entropy_of_the_relevant_passage(encoder_folder):
    model, _ = starting_point(str(encoder_folder), None, 48, 1)
    model.eval()
    lists = [["open a file", "a socket", "vaccine dose"], ["heat transfer", "a boundary layer"]]
    labels = [torch.tensor([RELEVANT] + [0.0] * (len(docs) - 1)) for docs in lists]
    queries = ["read a file", "heat"]
    found = ListNetLoss(model)([queries, lists], labels).item()
    expected = []
    for query, docs in zip(queries, lists, strict=True):
        scores = [float(model.predict([(query, d)], activation_fn=torch.nn.Identity())[0]) for d in docs]
        expected.append(-scores[0] + np.log(np.exp(scores).sum()))
    assert found == pytest.approx(np.mean(expected), abs=1e-4)


def test_a_head_starts_random_by_seed_and_a_cross_encoder_keeps_its_own(encoder_folder, tmp_path):
    pair = [("read a file", "open a file")]
    (one, random), (again, _), (other, _) = (
        starting_point(str(encoder_folder), None, 48, seed) for seed in (1, 1, 2)
    )
    assert random and one.num_labels == 1
    assert one.predict(pair) == again.predict(pair) != other.predict(pair)
    folder = str(tiny_cross_encoder(tmp_path / "cross"))
    taken, random = starting_point(folder, None, 48, 1)
    assert not random
    assert taken.predict(pair) == pytest.approx(CrossEncoder(folder, device="cpu").predict(pair), abs=1e-6)


def test_what_cannot_be_started_from_is_refused(tmp_path):
    with pytest.raises(InputError, match="a classifier with 3 labels"):
        starting_point(str(tiny_cross_encoder(tmp_path / "three", labels=3)), None, 48, 1)
    Path(tmp_path, "empty").mkdir()
    with pytest.raises(InputError, match=r"teacher_finetune\.model"):
        starting_point(str(tmp_path / "empty"), None, 48, 1)


def test_dev_ndcg_is_that_of_pairs_scored_one_by_one(encoder_folder):
    model, _ = starting_point(str(encoder_folder), None, 48, 1)
    passages = ["open a file", "a socket", "vaccine dose of a study", "heat", "the wing of a bird"]
    lists, labels = [["p3", "p0", "p1"], ["p4", "p2"]], [Qrel("a", "p0", 1), Qrel("b", "p2", 1)]
    dev = DevLists("", [0, 1], ["file", "bird"], [[3, 0, 1], [4, 2]], Judged(["a", "b"], lists, labels))
    expected = {}
    for query_id, query, rows, relevant in zip("ab", dev.queries, dev.candidates, (0, 2), strict=True):
        scores = {row: float(model.predict([(query, passages[row])])[0]) for row in rows}
        rank = sorted(rows, key=lambda row: -scores[row]).index(relevant) + 1
        expected[query_id] = 1 / np.log2(1 + rank)
    assert dev_ndcg(model, dev, passages, bfloat16=False) == pytest.approx(expected, abs=1e-6)


def test_a_last_layer_that_a_saved_model_keeps_exact_is_found_again(tmp_path):
    model = CrossEncoder(str(tiny_cross_encoder(tmp_path / "cross")), device="cpu")
    keep_last_layer_exact(model)
    first = list(model.keep_in_fp32_modules)
    model.save_pretrained(str(tmp_path / "saved"))
    loaded = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    keep_last_layer_exact(loaded)
    assert loaded.keep_in_fp32_modules == first and "classifier" in first[0]


def test_training_raises_dev_ndcg_and_the_teacher_scores_with_the_saved_model(run, encoder_folder):
    metrics = run(passes=12, eval_steps=10)
    quality = metrics["ndcg_at_10"]
    assert metrics["random_head"] and metrics["labels"] == {"human": TRAINING, "synthetic": 0, "dropped": 0}
    assert metrics["dev"] == {"basis": "judged dev queries", "queries": DEV, "depth": 50}
    assert metrics["best_step"] > 0 and quality["after"] > quality["before"]
    assert quality["gain"]["difference"] == pytest.approx(quality["after"] - quality["before"], abs=1e-5)
    curve = metrics["curves"]["teacher"]
    assert curve[0]["dev_ndcg_at_10"] == quality["before"]
    assert max(row["dev_ndcg_at_10"] for row in curve) == quality["after"]
    assert [path.suffix for path in Path("model").rglob("*") if "model" in path.stem and path.suffix] == [
        ".safetensors"
    ]

    material = Material(
        passages=[], query_ids=[], queries=["a file"], splits=[], sources=[], candidates=[[]], dense=[],
        lexical=Bm25Config(k1=1, b=0.5, language=""), query_vectors=np.zeros((1, 1)), dev=[],
        finetuned=Path("model"),
    )  # fmt: skip
    config = score_config(cross_encoder={"model": "another", "max_tokens": 512})
    _, details = TEACHERS["finetuned"](
        material, config, StudentConfig(model="unused"), Path("scratch"), Path("scratch")
    )
    assert (details["model"], details["max_tokens"]) == ("model", 48)


def test_saved_scores_give_the_figure_of_the_metrics(run):
    metrics = run()
    model = load_cross_encoder("model", max_tokens=48)
    from densespec.io.tables import read_table

    table, passages = read_table(Path("candidates.parquet")), read_table(Path("passages.parquet"))
    values = []
    for number in range(TRAINING, TRAINING + DEV):
        rows = table["passages"][number]
        tokens = model.tokenise([table["text"][number]] * DEPTH, [passages["text"][row] for row in rows])
        order = np.argsort(-model.score(model.replicas[0], tokens), kind="stable")
        rank = [rows[place] for place in order].index(2 * number % PASSAGES) + 1
        values.append(1 / np.log2(1 + rank))
    assert np.mean(values) == pytest.approx(metrics["ndcg_at_10"]["after"], abs=1e-4)


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(run, monkeypatch):
    whole = run(out="whole")
    monkeypatch.setenv("DENSESPEC_SCRATCH", "elsewhere")
    evaluate, calls = finetuning.dev_ndcg, []

    def dies(*given, **named):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*given, **named)

    monkeypatch.setattr(finetuning, "dev_ndcg", dies)
    with pytest.raises(KeyboardInterrupt):
        run(out="resumed")
    assert not Path("resumed").exists()
    resumed = run(out="resumed")
    assert len(calls) == 3 + len(whole["curves"]["teacher"]) - 2  # from the second evaluation on
    assert resumed == whole and read("resumed") == read("whole")
    again = run(out="again")  # nothing left to train
    assert len(calls) == 3 + len(whole["curves"]["teacher"]) - 2
    assert again == whole and read("again") == read("whole")


def test_generated_queries_are_labels_where_people_gave_none_and_some_are_held_out(run):
    write_qrels(Path("train.tsv"), [])
    write_qrels(Path("dev.tsv"), [])
    metrics = run(dev_share=0.3, max_margin=0.0)
    assert metrics["labels"]["human"] == 0 and metrics["labels"]["dropped"] > 0
    assert metrics["dev"]["basis"] == "held-out labelled queries"
    assert metrics["train_queries"] + metrics["dev"]["queries"] == metrics["labels"]["synthetic"]
    assert metrics["dev"]["queries"] > 0
    with pytest.raises(InputError, match="train-labels"):
        run(labels="human")


def test_both_sorts_of_labels_and_a_sample_of_dev_lists(run):
    metrics = run(labels="both", eval_queries=3, eval_depth=4)
    assert metrics["labels"]["human"] == TRAINING and metrics["labels"]["synthetic"] > 0
    assert (metrics["dev"]["queries"], metrics["dev"]["depth"]) == (3, 4)


def test_without_a_model_there_is_a_note_and_the_teacher_is_refused(run):
    assert run(model="") == {"model": ""}
    assert [path.name for path in Path("model").iterdir()] == ["README.md"]
    material = Material(*[[]] * 7, Bm25Config(k1=1, b=0.5, language=""), np.zeros(1), [], Path("model"))
    with pytest.raises(InputError, match=r"teacher_finetune\.model is empty"):
        TEACHERS["finetuned"](
            material, score_config(), StudentConfig(model="unused"), Path("x"), Path("x")
        )


def test_a_training_that_never_beats_its_start_keeps_it(run, encoder_folder, capsys):
    metrics = run(learning_rate=1e-12)
    assert metrics["best_step"] == 0
    assert metrics["ndcg_at_10"]["after"] == metrics["ndcg_at_10"]["before"]
    start, _ = starting_point(str(encoder_folder), None, 48, 1)
    saved = CrossEncoder("model", device="cpu")
    pair = [("open a file", "a file")]
    assert saved.predict(pair) == pytest.approx(start.predict(pair), abs=1e-6)
    assert "no dev evaluation beat" in capsys.readouterr().err


def test_every_parameter_of_the_training_acts(run):
    losses = {}
    changes = ("seed", 2), ("negatives", 2), ("learning_rate", 0.01), ("batch_size", 2), ("warmup_share", 0.5)
    for name, value in (("none", None), *changes):
        metrics = run(**({} if value is None else {name: value}))
        losses[name] = metrics["curves"]["teacher"][1]["train_loss"]
    assert len(set(losses.values())) == len(losses)
    assert run(max_steps=4)["steps"] == 4
    assert run(patience=1, learning_rate=1e-12)["steps"] == 2 * QUICK["eval_steps"]  # the first sets the mark
