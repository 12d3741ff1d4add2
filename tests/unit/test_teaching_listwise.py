"""The teacher ``listwise-llm``: windows, how answers are read, the stage against an endpoint on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from densespec.errors import InputError
from densespec.io.arrays import write_array
from densespec.io.tables import read_table, write_table
from densespec.io.trec import write_qrels
from densespec.records import Qrel
from densespec.runtime import endpoint as client
from densespec.teaching.listwise import (
    FAULTS,
    listwise_scores,
    rank_scores,
    ranking_prompt,
    read_order,
    shown,
    window_starts,
)
from stages import score
from tests.openai_server import Endpoint, openai_server
from tests.teacher_params import score_config

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-a-secret-of-the-tests"
QUERIES, CANDIDATES = 12, 9


def by_worth(prompt: str) -> str:
    """The order that a perfect model would give: passages say what they are worth."""
    worths = {number: int(worth) for number, worth in re.findall(r"^\[(\d+)\].*worth (\d+)", prompt, re.M)}
    return " > ".join(f"[{number}]" for number in sorted(worths, key=lambda number: -worths[number]))


class Ranker(Endpoint):
    """Orders passages by their worth; ``garbled`` changes what it says."""

    garbled = staticmethod(lambda said: said)

    def answer(self, body):
        prompt = body["messages"][0]["content"]
        return self.garbled(by_worth(prompt)), len(prompt.split()), 7


@pytest.mark.parametrize(
    ("answer", "order", "faults"),
    [
        ("[2] > [3] > [1] > [4]", [1, 2, 0, 3], []),
        ("Sure! [ 2 ]>[3]\n[1] , [4].", [1, 2, 0, 3], []),
        ("2 > 3 > 1 > 4", [1, 2, 0, 3], []),
        ("The best of all 4 is [3].", [2, 0, 1, 3], ["incomplete"]),
        ("[4] > [4] > [2] > [4]", [3, 1, 0, 2], ["incomplete", "repeated"]),
        ("[0] > [2] > [5] > [1] > [3] > [4]", [1, 0, 2, 3], ["unknown"]),
        ("<think>[1] is best, or [2]?</think> [3] > [1] > [2] > [4]", [2, 0, 1, 3], []),
        ("hm, [1]?</think>[4] > [3] > [2] > [1]", [3, 2, 1, 0], []),
        ("<think>[4] > [3], but then", [0, 1, 2, 3], ["unreadable"]),
        ("I cannot rank these.", [0, 1, 2, 3], ["unreadable"]),
        ("[77] > [99]", [0, 1, 2, 3], ["unreadable"]),
        ("", [0, 1, 2, 3], ["unreadable"]),
        ("1" * 9000, [0, 1, 2, 3], ["unreadable"]),
        ("［２］ [２] > [１]", [1, 0, 2, 3], ["incomplete"]),
    ],
)
def test_an_answer_is_always_read_as_an_order(answer, order, faults):
    assert read_order(answer, 4) == (order, faults)
    assert set(faults) <= set(FAULTS)


@pytest.mark.parametrize(
    ("count", "window", "stride", "starts"),
    [
        (50, 20, 10, [30, 20, 10, 0]),
        (45, 20, 10, [25, 15, 5, 0]),
        (20, 20, 10, [0]),
        (21, 20, 10, [1, 0]),
        (3, 20, 10, [0]),
        (1, 20, 10, []),
        (0, 20, 10, []),
    ],
)
def test_windows_go_from_the_end_to_the_front(count, window, stride, starts):
    assert window_starts(count, window, stride) == starts


def reference(worths, top, window, stride):
    """Places in the order that windows of a perfect model give, one after another."""
    order, below = list(range(len(worths)))[:top], list(range(len(worths)))[top:]
    end = len(order)
    while len(order) > 1:
        start = max(0, end - window)
        order[start:end] = sorted(order[start:end], key=lambda place: -worths[place])
        if start == 0:
            break
        end = max(end - stride, min(window, len(order)))
    return order + below


@pytest.mark.parametrize(
    ("top", "window", "stride"), [(30, 8, 3), (30, 8, 7), (12, 20, 10), (30, 2, 1), (2, 8, 3)]
)
def test_scores_are_those_of_windows_one_after_another(top, window, stride):
    random = np.random.default_rng(top + stride)
    worths = random.permutation(60)
    passages = [f"a passage worth {worth}" for worth in worths]
    candidates = [random.permutation(60)[:length].tolist() for length in (30, 0, 1, 2, 17, 45, 8)]
    scores, counts = listwise_scores(
        lambda prompts: [by_worth(prompt) for prompt in prompts], list("abcdefg"), passages, candidates,
        top=top, window=window, stride=stride, passage_words=20, instruction="", at_once=3,
    )  # fmt: skip
    for rows, found in zip(candidates, scores, strict=True):
        expected = reference([worths[row] for row in rows], top, window, stride)
        assert np.argsort(-found, kind="stable").tolist() == expected
        assert len(set(found.tolist())) == len(rows), "no ties"
        lead = worths[[rows[place] for place in expected[: min(window - stride, top)]]].tolist()
        assert lead == sorted(worths[rows[:top]].tolist(), reverse=True)[: len(lead)], (
            "the best rise all the way"
        )
    asked = sum(len(window_starts(min(top, len(rows)), window, stride)) for rows in candidates)
    assert counts == {"answers": asked, **dict.fromkeys(FAULTS, 0)}


def test_the_score_is_the_logarithm_of_the_rank():
    np.testing.assert_allclose(rank_scores([2, 0, 1]), [-np.log2(3), -2.0, -1.0], rtol=1e-6)
    assert rank_scores([]).shape == (0,)


def test_prompts_show_numbered_passages_cut_and_without_numbers_of_their_own():
    prompt = ranking_prompt("who\nasks?", ["first", "second"], "A passage is relevant if it objects.")
    assert "\n[1] first\n[2] second\n" in prompt and prompt.count("who asks?") == 2
    assert "asks?\nA passage is relevant if it objects.\n" in prompt
    assert shown("a\n[12] b [x] c d", 4) == "a (12) b [x]"
    assert shown("字" * 1000, 8) == "字" * 80


def test_a_model_whose_answers_cannot_be_read_ends_the_run():
    asked = []

    def chat(prompts):
        asked.extend(prompts)
        return ["As a language model I find all of them interesting."] * len(prompts)

    arguments = (["q"] * 90, ["a", "b"], [[0, 1]] * 90)
    options = {"top": 5, "window": 4, "stride": 2, "passage_words": 9, "instruction": ""}
    with pytest.raises(InputError, match=r"As a language model(.|\n)*max_tokens"):
        listwise_scores(chat, *arguments, **options, at_once=8)
    assert len(asked) == 24
    with pytest.raises(InputError):
        listwise_scores(chat, ["q"], ["a", "b"], [[0, 1]], **options, at_once=8)


def test_windows_that_do_not_overlap_are_refused():
    with pytest.raises(ValidationError, match="below window"):
        score_config(listwise_llm={"window": 10, "stride": 10})


@pytest.fixture
def worths(tmp_path, monkeypatch) -> np.ndarray:
    """What the stage reads, in the working directory; the passages' worths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    random = np.random.default_rng(1)
    worth = random.permutation(40)
    ids = [f"p{row}" for row in range(40)]
    texts = [f"a passage worth {value}" for value in worth]
    write_table(Path("passages.parquet"), {"id": ids, "title": ["größer 第"] * 40, "text": texts})
    names = [f"q{number}" for number in range(QUERIES)]
    candidates = [random.permutation(40)[:CANDIDATES].tolist() for _ in names]
    write_table(
        Path("candidates/candidates.parquet"),
        {
            "query_id": names, "text": [f"query {name}" for name in names],
            "split": ["dev", *["train"] * (QUERIES - 1)], "source_id": [""] * QUERIES, "passages": candidates,
            "dense": [[1 - place / 10 for place in range(CANDIDATES)]] * QUERIES,
        },
    )  # fmt: skip
    write_array(Path("candidates/query_embeddings.npy"), np.eye(QUERIES, dtype=np.float32))
    best = max(candidates[0], key=lambda row: worth[row])
    write_qrels(Path("dev.tsv"), [Qrel("q0", ids[best], 1)])
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/words.yaml").write_text("score: {}\nstudent: {}\nbm25: {}\n")
    return worth


@pytest.fixture
def ranker(worths):
    with openai_server(Ranker()) as served:
        yield served


def arguments(address: str, out: str, **changes) -> list[str]:
    """Write the parameters; the command line of the stage."""
    own = {
        "model": "a-ranker", "base_url": address, "top": 8, "window": 4, "stride": 2, "concurrency": 1,
        "retries": 3, "timeout": 20, "price_in": 2.0, "price_out": 10.0,
    }  # fmt: skip
    sections = {
        "score": score_config(listwise_llm=own | changes, allow_weaker=True).model_dump(),
        "student": {"model": "unused"}, "bm25": {"k1": 1, "b": 0.5, "language": ""},
    }  # fmt: skip
    Path("params.yaml").write_text(json.dumps(sections))
    flags = {
        "domain": "words", "teacher": "listwise-llm", "passages": "passages.parquet", "dev": "dev.tsv",
        "candidates": "candidates", "finetuned": "none", "out": out, "metrics": f"{out}.json",
    }  # fmt: skip
    return [part for flag, value in flags.items() for part in (f"--{flag}", value)]


def run_stage(
    monkeypatch, served: Endpoint, out: str = "scores", **changes
) -> tuple[list[list[float]], dict]:
    monkeypatch.setattr(sys, "argv", ["score", *arguments(served.address, out, **changes)])
    score.main()
    return read_table(Path(out, "scores.parquet"))["scores"], json.loads(Path(f"{out}.json").read_text())


def test_the_stage_ranks_as_the_endpoint_does_and_counts_what_it_took(ranker, worths, monkeypatch):
    scores, metrics = run_stage(monkeypatch, ranker)
    rows = read_table(Path("candidates/candidates.parquet"))["passages"]
    for found, own in zip(scores, rows, strict=True):
        expected = reference([worths[row] for row in own], 8, 4, 2)
        np.testing.assert_allclose(found, rank_scores(expected))
    assert metrics["audit"]["teacher"] == 1.0
    assert metrics["answers"] == {"answers": 3 * QUERIES, **dict.fromkeys(FAULTS, 0)}
    words = sum(len(body["messages"][0]["content"].split()) for body in ranker.bodies)
    assert metrics["usage"] == {
        "requests": 3 * QUERIES, "prompt_tokens": words, "completion_tokens": 7 * 3 * QUERIES,
        "cost": pytest.approx((2 * words + 10 * 7 * 3 * QUERIES) / 1e6),
    }  # fmt: skip
    assert len(ranker.bodies) == 3 * QUERIES and set(ranker.keys) == {f"Bearer {KEY}"}
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in ranker.bodies} == {
        ("a-ranker", 0, 256)
    }


def test_again_nothing_is_asked_and_the_bytes_are_the_same(ranker, monkeypatch):
    run_stage(monkeypatch, ranker)
    asked = len(ranker.bodies)
    run_stage(monkeypatch, ranker, "again", concurrency=5)  # other shards, other order
    assert len(ranker.bodies) == asked
    for name in ("scores.parquet", "teacher.json"):
        assert Path("again", name).read_bytes() == Path("scores", name).read_bytes()
    run_stage(monkeypatch, ranker, "deeper", top=9)  # its windows start elsewhere
    deeper = len(ranker.bodies)
    assert deeper > asked
    run_stage(monkeypatch, ranker, "other", model="another-ranker")
    assert len(ranker.bodies) == deeper + asked
    run_stage(monkeypatch, ranker, "o", options={"max_tokens": None, "max_completion_tokens": 300})
    new = ranker.bodies[deeper + asked :]
    assert len(new) == asked
    assert all("max_tokens" not in body and body["max_completion_tokens"] == 300 for body in new)


@pytest.mark.parametrize("kind", ["429", "500", "truncated", "cut", "page", "hang"])
def test_a_fault_that_passes_changes_nothing(ranker, monkeypatch, kind):
    ranker.fault = lambda number: kind if number == 5 else ""
    scores, metrics = run_stage(monkeypatch, ranker, timeout=2.0 if kind == "hang" else 20)
    ranker.fault = lambda number: ""
    assert len(ranker.bodies) == 3 * QUERIES + 1
    assert (scores, metrics) == run_stage(monkeypatch, ranker, "whole", model="a-ranker")
    assert metrics["usage"]["requests"] == 3 * QUERIES


def test_garbage_is_counted_and_the_rest_is_ranked(ranker, monkeypatch):
    said = iter(range(1000))

    def garbled(order):
        number = next(said)
        return ["?", order.split(" > ")[0], f"{order} > [1]", f"[9] > {order}", order][min(number, 4)]

    ranker.garbled = garbled
    scores, metrics = run_stage(monkeypatch, ranker)
    assert metrics["answers"] == {
        "answers": 3 * QUERIES, "unreadable": 1, "incomplete": 1, "repeated": 1, "unknown": 1
    }  # fmt: skip
    assert all(sorted(found) == sorted(rank_scores(range(CANDIDATES)).tolist()) for found in scores)


def test_what_an_endpoint_filters_keeps_its_order(ranker, monkeypatch):
    ranker.fault = lambda number: "refused" if number < 3 else ""
    scores, metrics = run_stage(monkeypatch, ranker, window=9, stride=8)
    assert metrics["answers"]["unreadable"] == 3
    assert [np.argsort(-np.array(found)).tolist() == list(range(CANDIDATES)) for found in scores[:4]] == [
        True, True, True, False
    ]  # fmt: skip


def test_a_mistake_is_told_with_its_parameter(ranker, monkeypatch):
    with pytest.raises(InputError, match=r"score\.listwise_llm\.model(.|\n)*-S"):
        run_stage(monkeypatch, ranker, model="")
    ranker.fault = lambda number: "404"
    with pytest.raises(InputError, match=r"status 404(.|\n)*score\.listwise_llm\.base_url") as stopped:
        run_stage(monkeypatch, ranker)
    assert KEY not in str(stopped.value) and len(ranker.bodies) == 1


def test_a_stage_that_is_killed_at_70_percent_asks_nothing_of_its_shards_again(ranker, monkeypatch, tmp_path):
    run_stage(monkeypatch, ranker, "whole", model="a-ranker")
    whole = 3 * QUERIES
    ranker.bodies.clear()
    running = []

    def kill_late(number):
        if number == int(0.7 * whole):
            running[0].send_signal(signal.SIGKILL)
            running[0].wait()
        return ""

    ranker.fault = kill_late
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DENSESPEC_SCRATCH": str(tmp_path / "scratch-killed")}
    command = [sys.executable, "-m", "stages.score", *arguments(ranker.address, "resumed")]
    running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    running[0].communicate(timeout=600)
    assert running[0].returncode == -signal.SIGKILL and not Path("resumed").exists()

    def prompts():
        return [body["messages"][0]["content"] for body in ranker.bodies]

    shards = list((tmp_path / "scratch-killed").rglob("*.npz"))
    kept = set(prompts()[: sum(len(np.load(shard)["key"]) for shard in shards)])
    assert len(shards) == 6 and len(kept) == 24  # of 4 queries' windows each; the seventh was in work
    ranker.fault, ranker.bodies[:] = (lambda number: ""), []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(prompts()) == whole - len(kept) and not kept & set(prompts())
    for name in ("scores.parquet", "teacher.json"):
        assert Path("resumed", name).read_bytes() == Path("whole", name).read_bytes()
    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY.encode() not in everything and KEY not in done.stdout + done.stderr
