"""The writer ``openai`` against a real endpoint on loopback, with what goes wrong at endpoints."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from densespec.errors import InputError
from densespec.generation.config import GenerateConfig
from densespec.generation.openai import write as openai
from densespec.generation.prompt import Prompt, write_prompt
from densespec.generation.transformers import write as transformers
from densespec.generation.writer import Setting
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.records import Passage
from densespec.runtime import endpoint as module
from densespec.runtime.endpoint import ask_all, retry_after
from tests.openai_server import Endpoint, openai_server
from tests.tiny_models import tiny_language_model

PROMPT = Prompt("question/1", "Ask.\n\nPassage:\n{passage}\n")
PASSAGES = [Passage(f"p{n:02}", "", f"Passage {n}, 第{n}章, größer. " * (1 + n % 3)) for n in range(10)]
KEY = "sk-a-secret-of-the-tests"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny_language_model(tmp_path_factory.mktemp("llama") / "tiny-llama")


@pytest.fixture
def endpoint(llama, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    with openai_server(Endpoint(llama)) as served:
        yield served


def setting(scratch, address, *, llm=None, **own) -> Setting:
    parameters = GenerateConfig(
        llm={"model": "tiny-llama", "shard_size": 4, "max_tokens": 12, **(llm or {})},
        openai={"base_url": address, "retries": 3, "timeout": 20, **own},
    )
    return Setting(
        PASSAGES, {}, PROMPT, "en", 20, 6, 0, lambda texts, task: np.zeros((len(texts), 2)), "tiny",
        parameters, scratch, {},
    )  # fmt: skip


def written(made: Setting) -> list[str]:
    return [query.text for query in openai(PASSAGES, "question", made)]


def faults(served, *kinds: str) -> None:
    """Befall the first requests; the others get their answers."""
    served.fault = lambda number: kinds[number] if number < len(kinds) else ""


def test_an_endpoint_answers_as_the_model_behind_it_does(endpoint, llama, tmp_path):
    made = setting(tmp_path / "a", endpoint.address, price_in=2.0, price_out=10.0)
    texts = written(made)
    local = setting(tmp_path / "b", "", llm={"model": str(llama)})
    assert texts == [query.text for query in transformers(PASSAGES, "question", local)]
    use, there = made.usage["openai"], local.usage["transformers"]
    assert {k: use[k] for k in ("requests", "prompt_tokens", "completion_tokens")} == {
        k: there[k] for k in ("requests", "prompt_tokens", "completion_tokens")
    }
    assert use["cost"] == pytest.approx((2 * use["prompt_tokens"] + 10 * use["completion_tokens"]) / 1e6)
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    body = endpoint.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-llama", 0.8, 12)
    assert "stop" not in body  # the query may stand below a preamble
    assert "第0章, größer" in json.dumps([b["messages"] for b in endpoint.bodies], ensure_ascii=False)


def test_an_endpoint_is_told_what_ends_an_answer(endpoint, llama, tmp_path):
    llm = {"stop": ["e", "\n"]}
    texts = written(setting(tmp_path / "a", endpoint.address, llm=llm))
    assert all(body["stop"] == ["e", "\n"] for body in endpoint.bodies)
    local = setting(tmp_path / "b", "", llm={**llm, "model": str(llama)})
    assert texts == [query.text for query in transformers(PASSAGES, "question", local)]
    with pytest.raises(ValueError, match="stop would end the JSON"):
        GenerateConfig(llm={**llm, "structured": True})


def test_finished_shards_are_not_asked_again_and_cost_what_they_cost(endpoint, tmp_path):
    first, again = (setting(tmp_path, endpoint.address, price_out=1.0) for _ in range(2))
    assert written(first) == written(again)
    assert len(endpoint.bodies) == len(PASSAGES)
    assert first.usage == again.usage


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_is_bounded(endpoint, tmp_path, concurrency):
    written(setting(tmp_path, endpoint.address, concurrency=concurrency, llm={"shard_size": 100}))
    assert endpoint.most_at_once == concurrency


@pytest.mark.parametrize("kind", ["500", "503", "408", "truncated", "cut", "page"])
def test_a_fault_that_passes_changes_nothing(endpoint, tmp_path, kind, capsys):
    expected = written(setting(tmp_path / "a", endpoint.address))
    before = len(endpoint.bodies)
    endpoint.fault = lambda number: kind if number < before + 3 else ""
    assert written(setting(tmp_path / "b", endpoint.address)) == expected
    assert len(endpoint.bodies) == before + len(PASSAGES) + 3
    assert capsys.readouterr().err.count("trying again") == 1  # not one line for each


def test_a_hanging_request_is_given_up_and_sent_again(endpoint, tmp_path):
    faults(endpoint, "hang")
    assert len(written(setting(tmp_path, endpoint.address, timeout=2.0, retries=9))) == len(PASSAGES)
    assert len(endpoint.bodies) > len(PASSAGES) and len(list(tmp_path.glob("*.npz"))) == 3


def test_a_limited_endpoint_is_left_alone_as_long_as_it_says(endpoint, tmp_path):
    """All wait, and the request that was put off is sent again after it."""
    times = []

    def fault(number):
        times.append(time.monotonic())
        return "429" if number == 0 else ""

    endpoint.fault = fault
    written(setting(tmp_path, endpoint.address, concurrency=1))
    assert len(times) == len(PASSAGES) + 1 and times[1] - times[0] >= 1.0


def quick(served) -> None:
    """Answer at once, without the language model."""
    served.answer = lambda body: ("what now?", 5, 3)


def test_all_requests_pause_where_an_endpoint_does_not_say_how_long(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 1.0)  # half of it at least
    quick(endpoint)
    times = []

    def fault(number):
        times.append(time.monotonic())
        if number == 1:
            time.sleep(0.2)  # its answer comes after the other's refusal
        return "" if number else "busy"

    endpoint.fault = fault
    written(setting(tmp_path, endpoint.address, concurrency=2, llm={"shard_size": 100}))
    assert len(times) == len(PASSAGES) + 1 and min(times[2:]) - times[0] >= 0.5


def test_a_limited_request_waits_for_its_turn_while_others_are_answered(endpoint, tmp_path):
    quick(endpoint)
    late, put_off = [], []

    def fault(number):
        seed = endpoint.bodies[number]["seed"]
        late[:] = late or [seed]
        if seed != late[0] or len(put_off) == 2:
            time.sleep(0.1)
            return ""
        put_off.append(number)
        until = time.monotonic() + 10
        while len(endpoint.bodies) < number + 3 and time.monotonic() < until:  # the other's next request
            time.sleep(0.01)
        return "busy"

    endpoint.fault = fault
    made = setting(tmp_path, endpoint.address, concurrency=2, retries=0, llm={"shard_size": 100})
    assert len(written(made)) == len(PASSAGES) and len(put_off) == 2


def test_a_limit_that_lets_nothing_through_ends_the_run(endpoint, tmp_path):
    endpoint.fault = lambda number: "busy"
    with pytest.raises(InputError, match=r"too many requests(.|\n)*concurrency"):
        written(setting(tmp_path, endpoint.address, concurrency=1, retries=2))
    assert len(endpoint.bodies) == 3


def test_without_credit_nothing_is_tried_again(endpoint, tmp_path, capsys):
    endpoint.fault = lambda number: "no-credit" if number >= 2 else ""
    with pytest.raises(InputError, match=r"exceeded your quota(.|\n)*add credit"):
        written(setting(tmp_path, endpoint.address, concurrency=1))
    assert len(endpoint.bodies) == 3 and "trying again" not in capsys.readouterr().err


def test_an_endpoint_that_keeps_failing_ends_the_run_and_all_answers_are_kept(endpoint, tmp_path):
    endpoint.fault = lambda number: "500" if number >= 6 else ""
    with pytest.raises(InputError) as stopped:
        written(setting(tmp_path, endpoint.address, concurrency=1, retries=2))
    assert stopped.value.expected == "an answer within 3 tries"
    assert "status 500" in stopped.value.found and "all answers are kept" in stopped.value.remedy
    assert len(list(tmp_path.glob("*.npz"))) == 2  # of 4; the second has 2
    assert len(endpoint.bodies) == 6 + 3
    assert KEY not in str(stopped.value)  # which the server repeats
    kept = set(endpoint.answered)
    endpoint.fault, endpoint.bodies[:] = (lambda number: ""), []
    assert len(written(setting(tmp_path, endpoint.address))) == len(PASSAGES)
    assert len(endpoint.bodies) == len(PASSAGES) - 6
    assert not kept & {body["seed"] for body in endpoint.bodies}


@pytest.mark.parametrize("status", ["400", "401", "404"])
def test_a_refusal_is_not_tried_again(endpoint, tmp_path, status):
    endpoint.fault = lambda number: status
    with pytest.raises(InputError, match=f"status {status}(.|\n)*OPENAI_API_KEY") as stopped:
        written(setting(tmp_path, endpoint.address, concurrency=1))
    assert len(endpoint.bodies) == 1 and KEY not in str(stopped.value)


def test_a_filtered_passage_gets_an_empty_query(endpoint, tmp_path):
    faults(endpoint, "refused")
    texts = written(setting(tmp_path, endpoint.address, concurrency=1))
    assert texts[0] == "" and all(texts[1:])


def test_answers_that_the_endpoint_cut_are_known_as_such(endpoint, tmp_path):
    def cut(scratch) -> set[bool]:
        made = setting(tmp_path / scratch, endpoint.address)
        found = {query.cut for query in openai(PASSAGES, "question", made)}
        assert found == {query.cut for query in openai(PASSAGES, "question", made)}  # from shards
        return found

    assert cut("whole") == {False}
    endpoint.finish_reason = "length"
    assert cut("cut") == {True}


def test_options_are_merged_into_every_request_and_null_leaves_a_field_out(endpoint, tmp_path):
    endpoint.answer = lambda body: ("what now?", 5, 3)
    options = {"max_tokens": None, "max_completion_tokens": 200, "temperature": 1, "top_k": 5, "seed": None}
    plain = written(setting(tmp_path, endpoint.address))
    bodies = list(endpoint.bodies)
    assert written(setting(tmp_path, endpoint.address, options=options)) == plain
    asked = endpoint.bodies[len(bodies) :]
    assert len(asked) == len(bodies) == len(PASSAGES)  # other options, other shards
    for body in asked:
        assert body.items() >= {"max_completion_tokens": 200, "temperature": 1, "top_k": 5}.items()
        assert not body.keys() & {"max_tokens", "seed", "extra_body"} and body["messages"]
    made = setting(tmp_path, endpoint.address, llm={"template_options": {"a": 1}}, options={"top_k": 5})
    written(made)
    assert endpoint.bodies[-1].items() >= {"chat_template_kwargs": {"a": 1}, "top_k": 5}.items()
    with pytest.raises(ValueError, match="messages: not here"):
        GenerateConfig(openai={"options": {"messages": []}})


def test_structured_answers_are_asked_for_by_schema_and_read(endpoint, tmp_path):
    said = iter(['{"query": "what is \\"here\\"?"}', 'a query without "JSON"', '{"query": "half a que', ""])

    def answer(body):
        schema = body["response_format"]["json_schema"]
        assert body["response_format"]["type"] == "json_schema" and schema["strict"] is True
        assert schema["schema"] == {
            "type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"],
            "additionalProperties": False,
        }  # fmt: skip
        assert '{"query": "…"}' in body["messages"][0]["content"]
        return next(said), 5, 12

    plain = setting(tmp_path, endpoint.address)
    written(plain)
    assert all("response_format" not in body for body in endpoint.bodies)
    endpoint.answer, endpoint.finish_reason = answer, "length"
    made = setting(tmp_path, endpoint.address, concurrency=1, llm={"structured": True})
    for _ in range(2):  # the second time from shards
        found = [(q.text, q.cut) for q in openai(PASSAGES[:4], "question", made)]
        assert found == [('what is "here"?', False), ("", True), ("", True), ("", True)]


def test_no_server(endpoint, tmp_path):
    with pytest.raises(InputError, match="Connection error") as stopped:
        written(setting(tmp_path, "http://127.0.0.1:9/v1", retries=1))
    assert "generate.openai.base_url" in stopped.value.remedy


def test_the_key_shows_nowhere(endpoint, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    faults(endpoint, "500")
    list(openai(PASSAGES, "question", setting(tmp_path, endpoint.address)))
    out, err = capfd.readouterr()
    assert caplog.records and KEY not in caplog.text + out + err
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*.npz"))


def test_white_space_around_the_key_is_not_sent(endpoint, tmp_path, monkeypatch):
    quick(endpoint)
    monkeypatch.setenv("OPENAI_API_KEY", f"\t{KEY}\r\n")
    written(setting(tmp_path, endpoint.address))
    assert set(endpoint.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize("between", ["\n", "\r", "\x7f", " ", "é", "\udcff"])
def test_a_key_that_no_header_takes_is_refused_and_shows_nowhere(
    endpoint, tmp_path, monkeypatch, capfd, between
):
    monkeypatch.setenv("OPENAI_API_KEY", f"sk-hunter2{between}hunter3")
    with pytest.raises(InputError, match="OPENAI_API_KEY") as stopped:
        written(setting(tmp_path, endpoint.address))
    assert "hunter" not in str(stopped.value) + "".join(capfd.readouterr()) and not endpoint.bodies


def test_a_key_that_the_client_escapes_is_masked(endpoint, capfd):
    request = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    with pytest.raises(InputError, match="llegal header") as stopped:
        ask_all(endpoint.address, "hunter2\r", [request], "s", concurrency=1, timeout=9, retries=1)
    assert "hunter2" not in str(stopped.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize("usage", [None, {"total_tokens": 8}])
def test_an_endpoint_that_tells_no_usage_is_told_of_once(endpoint, tmp_path, capsys, usage):
    module._warn_of_no_usage.cache_clear()
    quick(endpoint)
    complete = endpoint.complete
    endpoint.complete = lambda body: complete(body) | {"usage": usage}
    made = setting(tmp_path, endpoint.address, price_out=1.0)
    assert len(written(made)) == len(PASSAGES) and made.usage["openai"]["cost"] == 0
    assert capsys.readouterr().err.count("without usage") == 1


def test_where_the_address_and_the_key_come_from(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.address)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert len(written(setting(tmp_path, ""))) == len(PASSAGES)  # a server of one's own needs none
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(InputError, match=r"OPENAI_API_KEY(.|\n)*not set"):
        written(setting(tmp_path, ""))
    for address in ("https://me:hunter2@example.org/v1", "https://example.org/v1?key=hunter2"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        with pytest.raises(InputError, match="without user, password and query") as stopped:
            written(setting(tmp_path, ""))
        assert "hunter2" not in str(stopped.value)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"densespec\[client\]"):
        written(setting(tmp_path, endpoint.address))
    with pytest.raises(ValueError, match="base_url"):
        GenerateConfig(openai={"base_url": "https://me:secret@example.org/v1"})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after({"retry-after": value}, now=10.0) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [("1500", 1.5), ("-3", 0.0), ("0", 0.0), ("soon", 7.0), ("", 7.0)]
)
def test_retry_after_ms_goes_first(value, seconds):
    assert retry_after({"retry-after-ms": value, "retry-after": "7"}) == seconds


@pytest.fixture
def repository(tmp_path, endpoint):
    """What the stage ``generate`` reads, with 30 passages and shards of 3."""
    texts = [f"Chapter {n} tells of river {n} and of bridge {n}." for n in range(30)]
    ids = [f"p{n:02}" for n in range(30)]
    write_table(
        tmp_path / "passages.parquet",
        {"id": ids, "title": [""] * 30, "text": texts, "hash": ids, "seed": [True] * 30, "reason": [""] * 30},
    )
    write_jsonl(tmp_path / "recordings.jsonl", [])
    (tmp_path / "source.yaml").write_text("title: Rivers\nlicence: MIT\n")
    write_prompt(tmp_path / "prompt.json", Prompt("question/1", "Ask.\n\n{passage}\n"))
    (tmp_path / "conf/domains").mkdir(parents=True)
    (tmp_path / "conf/domains/rivers.yaml").write_text("generate: {}\nstudent: {}\n")
    generate = {
        "writers": ["openai"],
        "llm": {"model": "tiny-llama", "shard_size": 3, "max_tokens": 12},
        "openai": {"base_url": endpoint.address, "concurrency": 2, "retries": 1},
    }
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"kinds": ["question"], "generate": generate, "student": {"model": "none"}})
    )
    return tmp_path


def stage(repository: Path, out: str, scratch: str) -> subprocess.Popen[bytes]:
    arguments = {
        "--domain": "rivers", "--kind": "question", "--passages": "passages.parquet",
        "--recordings": "recordings.jsonl", "--prompt": "prompt.json", "--licence-from": "source.yaml",
        "--out": out, "--metrics": f"{out}.json",
    }  # fmt: skip
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "stages.generate", *(part for pair in arguments.items() for part in pair)],
        cwd=repository, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "DENSESPEC_SCRATCH": str(repository / scratch)},
    )  # fmt: skip


def finished(run: subprocess.Popen[bytes]) -> str:
    _, told = run.communicate(timeout=900)
    assert run.returncode == 0, told.decode()
    return told.decode()


def test_a_stage_that_is_killed_at_70_percent_goes_on(repository, endpoint):
    finished(stage(repository, "whole", "scratch-whole"))
    endpoint.bodies.clear()
    endpoint.answered.clear()
    running = []

    def kill_late(number):
        if number == 21:
            running[0].send_signal(signal.SIGKILL)
            running[0].wait()
        return ""

    endpoint.fault = kill_late
    running.append(stage(repository, "resumed", "scratch"))
    running[0].communicate(timeout=900)
    assert running[0].returncode == -signal.SIGKILL and not (repository / "resumed").exists()
    shards = list((repository / "scratch").rglob("*.npz"))
    assert 6 <= len(shards) <= 7
    published = {body["seed"] for body in endpoint.bodies[: 3 * len(shards)]}

    endpoint.fault, endpoint.bodies[:] = (lambda number: ""), []
    told = finished(stage(repository, "resumed", "scratch"))
    assert not published & {body["seed"] for body in endpoint.bodies}
    assert len(endpoint.bodies) == 30 - len(published)
    for name in ("queries.jsonl", "card.json", "README.md"):
        assert (repository / "resumed" / name).read_bytes() == (repository / "whole" / name).read_bytes()
    metrics = json.loads((repository / "resumed.json").read_text())
    assert metrics["usage"]["openai"]["requests"] == 30
    everything = b"".join(path.read_bytes() for path in repository.rglob("*") if path.is_file())
    assert KEY.encode() not in everything and KEY not in told
