"""Training: resume after a kill, early stop, the untuned weights where nothing was better."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from densespec.distillation.batching import overlapping_batches
from densespec.distillation.dev import dev_ndcg_measure, require_affordable
from densespec.distillation.lora import add_adapter, merge_adapter
from densespec.distillation.loss import distillation_loss
from densespec.distillation.objective import ListCollator, TrainingLists
from densespec.distillation.training import train
from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.student import load_student, quiet_libraries
from densespec.runtime.checkpoints import COMPLETE
from densespec.runtime.devices import is_fast_in_bfloat16
from tests.tiny_models import PROMPTS, tiny_bi_encoder, tiny_static

torch.set_num_threads(1)
TOPICS = [
    "file line read",
    "socket server network",
    "heart disease drug",
    "wing flow shock",
    "lock thread queue",
]
PASSAGES = [f"{topic} {word}" for topic in TOPICS for word in ("open", "time", "small")]
QUERIES = [f"{word} {TOPICS[n % 5].split()[n % 3]}" for n, word in enumerate(["new", "what is a", "how"] * 6)]
TERMS = {
    "student_temperature": 0.05,
    "teacher_temperature": 0.1,
    "kl_weight": 1.0,
    "infonce_weight": 0.1,
    "infonce_temperature": 0.05,
    "mask_ratio": 0.6,
}


def lists(seed=0):
    """Five passages per query: its topic's three first, then two others."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(len(QUERIES)):
        own = [3 * (number % 5) + place for place in range(3)]
        rows.append(
            [*own, *random.choice([row for row in range(15) if row not in own], 2, replace=False).tolist()]
        )
    scores = [[1.0, 0.9, 0.8, 0.2, 0.1] for _ in rows]
    return TrainingLists(QUERIES, rows, scores, [0] * len(rows), 5)


#: Dev losses of a training with these go up and down: the best is step 2.
RESTLESS = {"learning_rate": 0.05, "warmup_share": 0.0, "eval_steps": 1, "max_steps": 6}


@pytest.fixture(scope="module", autouse=True)
def no_cards():
    """Checkpoints without model cards, and short garbage collections: half of the time of a tiny training."""
    from sentence_transformers import SentenceTransformer

    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentenceTransformer, "_create_model_card", lambda *a, **o: None)
        yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    quiet_libraries()
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", prompts=PROMPTS)


@pytest.fixture(scope="module")
def vectors(folder):
    return torch.tensor(load_student(str(folder)).encode_document(PASSAGES, normalize_embeddings=True))


@pytest.fixture
def run(folder, vectors, tmp_path):
    """A function that trains a fresh tiny model; returns the outcome and the weights."""

    def train_once(name="checkpoints", side="query", model=None, dev=range(14, 18), **changes):
        model = model or load_student(str(folder), device="cpu")
        both = side == "both"
        options = {
            "terms": TERMS,
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
            "batch_size": 4,
            "mini_batch_tokens": 64,
            "max_steps": 9,
            "max_epochs": 9,
            "warmup_share": 0.1,
            "final_share": 0.1,
            "eval_steps": 3,
            "patience": 9,
            "stop_on": "loss",
            "max_query_tokens": 16,
            "seed": 3,
            **changes,
        }
        outcome = train(
            model, lists(), list(range(14)), list(dev), PASSAGES if both else None,
            None if both else vectors, tmp_path / name, **options,
        )  # fmt: skip
        return outcome, {name: value.clone() for name, value in model.state_dict().items()}

    return train_once


@pytest.fixture(scope="module")
def uninterrupted():
    return {}


@pytest.fixture
def whole(run, uninterrupted):
    """The same function, for trainings that several tests compare with: each made once."""

    def known(side="query", **changes):
        key = json.dumps([side, changes], sort_keys=True)
        if key not in uninterrupted:
            uninterrupted[key] = run("whole", side, **changes)
        return uninterrupted[key]

    return known


def same(one, two):
    assert set(one) == set(two)
    return all(torch.equal(one[name], two[name]) for name in one)


class Killed(BaseException):
    pass


def killer(at_step, log):
    """A log function that dies at a step, at the training loss or at the dev evaluation."""

    def die(numbers, step):
        if step == at_step and log in numbers:
            raise Killed

    return die


@pytest.fixture
def untuned(folder):
    return load_student(str(folder)).state_dict()


def test_training_lowers_the_dev_loss_and_keeps_the_best(whole, untuned):
    outcome, weights = whole()
    losses = {int(row["step"]): row["dev_loss"] for row in outcome.curve}
    assert list(losses) == [0, 3, 6, 9] and outcome.steps == 9
    assert losses[9] < losses[0]
    assert outcome.best_step == min(losses, key=losses.get) > 0
    assert not same(weights, untuned)
    assert all(row["train_loss"] > 0 for row in outcome.curve[1:])
    assert all(
        row["dev_kl"] + row["dev_infonce"] == pytest.approx(row["dev_loss"], rel=1e-4)
        for row in outcome.curve[1:]
    )


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run, whole):
    one, two, three = whole(), run("two"), run("three", seed=4)
    assert one[0] == two[0] and same(one[1], two[1])
    assert not same(one[1], three[1])


@pytest.mark.parametrize(
    ("side", "step", "log"),
    [
        ("query", 3, "loss"),  # before the first checkpoint
        ("query", 6, "loss"),
        ("query", 6, "eval_loss"),  # evaluated, not saved
        ("query", 9, "eval_loss"),
        ("both", 6, "eval_loss"),
    ],
)
def test_a_killed_training_ends_with_the_same_weights_and_curve(run, whole, side, step, log):
    expected, weights = whole(side)
    with pytest.raises(Killed):
        run("killed", side, log=killer(step, log))
    steps = []
    resumed, resumed_weights = run("killed", side, log=lambda numbers, step: steps.append(step))
    assert resumed == expected
    assert same(resumed_weights, weights)
    assert min(step for step in steps if step) >= step, "finished steps are not made again"


#: Of the 14 training lists, by topic.
CLUSTERS = np.arange(14) % 5


@pytest.mark.parametrize("step", [3, 6, 7])
def test_overlapping_batches_are_the_same_after_a_kill(run, step, monkeypatch):
    """Four steps per epoch: 6 and 7 go on inside the second one."""
    batches = []
    collate = ListCollator.__call__

    def looking(self, rows):
        batches.append([row["list"] for row in rows])
        return collate(self, rows)

    monkeypatch.setattr(ListCollator, "__call__", looking)
    options = {"clusters": CLUSTERS, "eval_steps": 1}
    expected, weights = run("whole", **options)
    seen = [batch for batch in batches if max(batch) < 14]
    for epoch in (0, 1):
        assert seen[4 * epoch : 4 * epoch + 4] == overlapping_batches(CLUSTERS, 4, 3, epoch)
    dev = [batch for batch in batches if min(batch) >= 14]
    batches.clear()
    random, _ = run("random", eval_steps=1)
    assert [batch for batch in batches if min(batch) >= 14] == dev, "dev batches do not depend on it"
    assert random.curve[0] == expected.curve[0] and random != expected
    with pytest.raises(Killed):
        run("killed", log=killer(step, "loss"), **options)
    resumed, resumed_weights = run("killed", **options)
    assert resumed == expected and same(resumed_weights, weights)


def adapted(folder):
    model = load_student(str(folder), device="cpu")
    add_adapter(model, 4, seed=1)
    return model


@pytest.mark.parametrize("side", ["query", "both"])
def test_an_adapter_alone_is_trained_and_survives_a_kill(run, folder, side):
    options = {"side": side, "learning_rate": 0.02}
    expected, weights = run("whole", model=adapted(folder), **options)
    assert expected.best_step > 0 and expected.curve[-1]["dev_loss"] < expected.curve[0]["dev_loss"]
    before = adapted(folder).state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, weights[name])]
    assert moved and all("lora_" in name for name in moved)
    for step, log in ((3, "eval_loss"), (6, "loss"), (6, "eval_loss")):
        with pytest.raises(Killed):
            run("killed", model=adapted(folder), log=killer(step, log), **options)
    resumed, resumed_weights = run("killed", model=adapted(folder), **options)
    assert resumed == expected and same(resumed_weights, weights)


@pytest.mark.skipif(not is_fast_in_bfloat16(torch.device("cpu")), reason="no bfloat16 in this CPU")
def test_a_training_in_bfloat16_survives_a_kill(run, whole, folder):
    def rounded():
        return load_student(str(folder), device="cpu", precision="bfloat16")

    expected, weights = run("rounded", "both", model=rounded())
    assert expected != whole("both")[0], "the precision acts"
    with pytest.raises(Killed):
        run("killed", "both", model=rounded(), log=killer(6, "eval_loss"))
    resumed, resumed_weights = run("killed", "both", model=rounded())
    assert resumed == expected and same(resumed_weights, weights)


@pytest.mark.parametrize("learning_rate", [0.05, 0.3])
def test_the_best_adapter_is_kept_or_none(run, folder, untuned, learning_rate):
    options = {**RESTLESS, "learning_rate": learning_rate}
    model = adapted(folder)
    outcome, _ = run(model=model, **options)
    merge_adapter(model)
    best = min(outcome.curve, key=lambda row: row["dev_loss"])
    assert outcome.best_step == best["step"] and (outcome.best_step == 0) == (learning_rate == 0.3)
    assert same(model.state_dict(), untuned) == (outcome.best_step == 0)
    again, _ = run("again", model=model, max_steps=1)
    assert again.curve[0]["dev_loss"] == pytest.approx(best["dev_loss"], rel=1e-4)


def test_a_training_killed_again_and_again_ends_the_same(run, whole):
    expected, weights = whole(eval_steps=2)
    for step, log in ((2, "eval_loss"), (4, "loss"), (4, "eval_loss"), (8, "eval_loss")):
        with pytest.raises(Killed):
            run("killed", eval_steps=2, log=killer(step, log))
    resumed, resumed_weights = run("killed", eval_steps=2)
    assert resumed == expected and same(resumed_weights, weights)


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_steps": 10}, {**RESTLESS, "patience": 1}, {**RESTLESS, "learning_rate": 0.1, "patience": 2}],
    ids=["all steps", "a last step without evaluation", "stopped early", "stopped early and untuned"],
)
def test_a_finished_training_is_not_continued(run, changes):
    """A kill between the end of training and the end of the stage, or in the control's training."""
    expected, weights = run(**changes)
    logged = []
    again, same_weights = run(**changes, log=lambda numbers, step: logged.append(step))
    assert again == expected
    assert same(same_weights, weights)
    assert not logged, "nothing was trained"


def test_incomplete_checkpoints_are_ignored_and_removed(run, whole, tmp_path):
    expected, weights = whole()
    with pytest.raises(Killed):
        run("killed", log=killer(6, "eval_loss"))
    folder = tmp_path / "killed"
    (complete,) = folder.iterdir()
    half = folder / "checkpoint-6"
    shutil.copytree(complete, half)
    (half / COMPLETE).unlink()
    (half / "model.safetensors").write_bytes(b"half")
    (folder / "checkpoint-7").mkdir()
    resumed, resumed_weights = run("killed", max_steps=9)
    assert resumed == expected and same(resumed_weights, weights)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-6", "checkpoint-9"]


@pytest.mark.parametrize("damage", ["deleted", "cut", "marker cut"])
def test_a_checkpoint_that_lost_files_is_not_resumed_from(run, whole, tmp_path, damage):
    """A process killed while it deletes an old checkpoint leaves a folder whose marker still stands."""
    expected, weights = whole(eval_steps=2)
    with pytest.raises(Killed):
        run("killed", eval_steps=2, log=killer(6, "loss"))
    newest = tmp_path / "killed" / "checkpoint-4"
    assert newest.is_dir()
    if damage == "deleted":
        (newest / "optimizer.pt").unlink()
    else:
        path = newest / ("optimizer.pt" if damage == "cut" else COMPLETE)
        path.write_bytes(path.read_bytes()[:20])
    resumed, resumed_weights = run("killed", eval_steps=2)
    assert resumed == expected and same(resumed_weights, weights)


def test_a_checkpoint_whose_best_is_gone_is_not_resumed_from(run, whole, tmp_path):
    expected, weights = whole(**RESTLESS)
    assert 0 < expected.best_step < 5, "the case that is meant"
    with pytest.raises(Killed):
        run("killed", log=killer(6, "loss"), **RESTLESS)
    shutil.rmtree(tmp_path / "killed" / f"checkpoint-{expected.best_step}")
    resumed, resumed_weights = run("killed", **RESTLESS)
    assert resumed == expected and same(resumed_weights, weights)


def test_a_training_may_be_moved_between_a_kill_and_its_end(run, whole, tmp_path):
    """Checkpoints name one another by path; the weights kept must be the best all the same."""
    expected, weights = whole(**RESTLESS)
    with pytest.raises(Killed):
        run("killed", log=killer(6, "loss"), **RESTLESS)
    (tmp_path / "killed").rename(tmp_path / "moved")
    resumed, resumed_weights = run("moved", **RESTLESS)
    assert resumed == expected and same(resumed_weights, weights)


def test_disk_holds_two_checkpoints_at_most(run, tmp_path):
    outcome, _ = run(eval_steps=1)
    kept = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "checkpoints").iterdir())
    assert len(kept) <= 2 and kept[-1] == outcome.steps and outcome.best_step in kept
    marker = json.loads((tmp_path / "checkpoints" / f"checkpoint-{kept[-1]}" / COMPLETE).read_text())
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json"} <= set(marker)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_early_stopping_honours_patience(run, patience):
    outcome, _ = run(**RESTLESS, patience=patience)
    losses = [row["dev_loss"] for row in outcome.curve[1:]]
    best, waited, stop = float("inf"), 0, len(losses)
    for place, loss in enumerate(losses, start=1):
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            stop = place
            break
    assert outcome.steps == len(losses) == stop < 6


def test_patience_counts_on_after_a_kill(run, whole):
    expected, weights = whole(**RESTLESS, patience=3)
    assert (expected.best_step, expected.steps) == (2, 5)
    with pytest.raises(Killed):
        run("killed", log=killer(5, "loss"), **RESTLESS, patience=3)
    resumed, resumed_weights = run("killed", **RESTLESS, patience=3)
    assert resumed == expected and same(resumed_weights, weights)


def test_no_better_than_untuned_keeps_the_untuned_weights(run, untuned, capsys):
    outcome, weights = run(**{**RESTLESS, "learning_rate": 0.1})
    assert outcome.best_step == 0
    assert all(row["dev_loss"] > outcome.curve[0]["dev_loss"] for row in outcome.curve[1:])
    assert same(weights, untuned)
    assert "no dev evaluation beat the untuned student's dev_loss" in capsys.readouterr().err


@pytest.mark.parametrize("final_share", [1.0, 0.0, 0.5])
def test_the_learning_rate_falls_to_its_final_share(run, final_share):
    found = {}

    def log(numbers, step):
        found.update({step: numbers["learning_rate"]} if "learning_rate" in numbers else {})

    run(learning_rate=3e-4, warmup_share=0.0, final_share=final_share, max_steps=6, eval_steps=2, log=log)
    line = {step: 3e-4 * (1 - (1 - final_share) * (step - 1) / 6) for step in (2, 4, 6)}
    assert found == pytest.approx(line)


@pytest.mark.parametrize("side", ["query", "both"])
def test_the_untuned_numbers_are_the_trainers(run, side):
    """With InfoNCE a dev loss depends on which lists are a batch, so all evaluations need the same ones."""
    terms = {**TERMS, "infonce_weight": 1.0, "infonce_temperature": 1.0}
    options = {"terms": terms, "learning_rate": 1e-12, "batch_size": 3, "max_steps": 3}
    outcome, _ = run(side=side, dev=range(11, 18), **options)  # three, three and one
    before, after = outcome.curve
    assert after["dev_infonce"] > 1
    for name in ("dev_loss", "dev_kl", "dev_infonce"):
        assert before[name] == pytest.approx(after[name], rel=1e-5)


def test_the_dev_loss_is_a_mean_over_lists_not_over_batches(run, folder, vectors):
    terms = {**TERMS, "infonce_weight": 0.0}
    outcome, _ = run(dev=range(11, 18), batch_size=3, max_steps=1, terms=terms)
    queries = load_student(str(folder)).encode_query(QUERIES[11:18], normalize_embeddings=True)
    batch = lists().batch(torch.arange(11, 18))
    expected = distillation_loss(torch.tensor(queries), vectors, batch, **terms).total
    assert outcome.curve[0]["dev_loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_a_checkpoint_can_be_chosen_by_ndcg_on_judged_queries(run):
    worth = iter([0.5, 0.4, 0.7, 0.6])
    outcome, _ = run(stop_on="ndcg", dev_ndcg=lambda model: next(worth))
    assert [row["dev_ndcg_at_10"] for row in outcome.curve] == [0.5, 0.4, 0.7, 0.6]
    assert outcome.best_step == 6
    worth = iter([0.5, 0.5, 0.4, 0.3])
    assert run("other", stop_on="ndcg", dev_ndcg=lambda model: next(worth))[0].best_step == 0
    worth = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    stopped, _ = run("third", stop_on="ndcg", dev_ndcg=lambda m: next(worth), eval_steps=1, patience=2)
    assert (stopped.steps, stopped.best_step) == (3, 1), "patience counts nDCG, too"


def test_a_training_that_diverges_is_told_of(run, untuned, capsys):
    outcome, weights = run(learning_rate=1e30, warmup_share=0.0, eval_steps=1, max_steps=3)
    assert outcome.best_step == 0 and same(weights, untuned)
    assert "training diverged, the dev loss is not finite at step 1" in capsys.readouterr().err


def test_an_untuned_dev_loss_that_is_no_number_is_an_error(run):
    with pytest.raises(InputError, match=r"untuned student's loss(?s:.*)found: +nan(?s:.*)temperatures"):
        run(terms={**TERMS, "teacher_temperature": 0.0}, max_steps=1)


def test_ndcg_without_judged_queries_is_refused(run):
    with pytest.raises(InputError, match="judged dev queries"):
        run(stop_on="ndcg")


@pytest.mark.parametrize("side", ["query", "both"])
def test_gradient_checkpointing_gives_the_same_weights(run, whole, folder, side):
    passes = {}
    for checkpointed in (False, True):
        model = load_student(str(folder), device="cpu")
        inside = next(part for part in model.modules() if type(part).__name__.endswith("Attention"))
        counted = passes.setdefault(checkpointed, [])
        inside.register_forward_pre_hook(lambda module, given, counted=counted: counted.append(1))
        name = f"checkpointed {checkpointed}"
        outcome, weights = run(name, side, model=model, gradient_checkpointing=checkpointed)
        assert outcome == whole(side)[0] and same(weights, whole(side)[1])
    assert len(passes[True]) > len(passes[False]), "activations were computed again"


@pytest.mark.parametrize("side", ["query", "both"])
def test_static_word_vectors_are_trained_without_a_cache(run, tmp_path, side):
    model = load_student(str(tiny_static(tmp_path / "static", prompts=PROMPTS)), device="cpu", max_tokens=256)
    outcome, _ = run(side=side, model=model, learning_rate=0.02, mini_batch_tokens=8, max_query_tokens=8)
    assert outcome.best_step > 0 and outcome.curve[-1]["dev_loss"] < outcome.curve[0]["dev_loss"]


@pytest.mark.parametrize("side", ["query", "both"])
def test_fewer_queries_than_a_batch(run, side):
    outcome, _ = run(side=side, batch_size=100, max_steps=4, max_epochs=2, eval_steps=1)
    assert outcome.steps == 2, "one step per epoch"
    assert np.isfinite([row["dev_loss"] for row in outcome.curve]).all()


def test_epochs_bound_the_steps_and_count_the_ragged_batch(run):
    assert run(max_steps=100, max_epochs=1, batch_size=4, eval_steps=1)[0].steps == 4, "14 lists in fours"
    assert run("half", max_steps=100, max_epochs=0.5, batch_size=4, eval_steps=1)[0].steps == 2


def test_dropout_is_0_in_training(run, whole, folder):
    model = load_student(str(folder), device="cpu")
    drops = [part for part in model.modules() if isinstance(part, nn.Dropout)]
    for part in drops:
        part.p = 0.5
    attention = next(part for part in model.modules() if type(part).__name__.endswith("Attention"))
    attention.attention_dropout = 0.5  # where Llama, Qwen and T5 keep it
    outcome, weights = run("with", model=model)
    assert drops and all(part.p == 0 for part in drops) and attention.attention_dropout == 0
    plain, plain_weights = whole()
    assert outcome == plain and same(weights, plain_weights)


def test_everything_logged_has_its_step(run):
    logged = []
    run(log=lambda numbers, step: logged.append((step, set(numbers))))
    assert [at for at, names in logged if "eval_loss" in names] == [0, 3, 6, 9], "each evaluation once"
    assert {"eval_loss", "eval_kl", "eval_infonce"} <= logged[0][1]
    for step in (3, 6, 9):
        names = set().union(*(names for at, names in logged if at == step))
        assert {"loss", "learning_rate", "eval_loss", "eval_kl", "eval_infonce"} <= names


def test_ndcg_of_the_dev_queries_is_measured_with_the_model_given(folder, vectors):
    model = load_student(str(folder))
    questions = {"q1": "read a file", "q2": "supersonic wing flow", "other": "x"}
    qrels = [Qrel("q1", "p0", 1), Qrel("q2", "p9", 1)]
    ids = [f"p{row}" for row in range(len(PASSAGES))]
    measure = dev_ndcg_measure(questions, qrels, ids, vectors.numpy())
    expected = []
    for query, relevant in (("q1", 0), ("q2", 9)):
        cosines = vectors.numpy() @ model.encode_query(questions[query], normalize_embeddings=True)
        rank = int((cosines > cosines[relevant]).sum())
        expected.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    assert measure(model) == pytest.approx(np.mean(expected))
    assert dev_ndcg_measure(questions, [], ids, vectors.numpy()) is None


def test_ndcg_of_a_trained_index_is_that_of_its_own_vectors(folder, vectors):
    model = load_student(str(folder))
    qrels = [Qrel("q1", "p0", 1), Qrel("q2", "p9", 1)]
    questions, ids = {"q1": "read a file", "q2": "supersonic wing flow"}, [f"p{n}" for n in range(15)]
    fixed, encoded = (dev_ndcg_measure(questions, qrels, ids, by) for by in (vectors.numpy(), PASSAGES))
    assert encoded(model) == pytest.approx(fixed(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    trained = model.encode_document(PASSAGES, normalize_embeddings=True)
    assert encoded(model) == pytest.approx(dev_ndcg_measure(questions, qrels, ids, trained)(model))
    assert encoded(model) != fixed(model)


def test_a_corpus_too_large_to_encode_at_every_evaluation_is_refused():
    require_affordable(100, 100)
    with pytest.raises(InputError, match="side 'both'"):
        require_affordable(101, 100)
