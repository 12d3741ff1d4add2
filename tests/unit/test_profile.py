"""Profiles: values that the sections take, in params.yaml and out of it again to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from densespec import cli, doctor
from densespec.corpus.config import CorpusConfig
from densespec.distillation.config import DistillConfig
from densespec.doctor import MISSING, OK, UNCHECKED, UNUSABLE, Component
from densespec.errors import InputError
from densespec.evaluation.config import EvaluateConfig
from densespec.generation.config import GenerateConfig
from densespec.io.params import load_section
from densespec.mining.config import MineConfig
from densespec.profile import DEFAULT, profiles, value_of, with_values
from densespec.reporting.config import ReportConfig
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.selection.config import SelectConfig
from densespec.teaching.config import ScoreConfig
from densespec.teaching.teachers import TEACHERS

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
PROFILES = profiles(ROOT)
SECTIONS = {
    "student": StudentConfig, "bm25": Bm25Config, "corpus": CorpusConfig, "generate": GenerateConfig,
    "mine": MineConfig, "score": ScoreConfig, "select": SelectConfig, "distill": DistillConfig,
    "evaluate": EvaluateConfig, "report": ReportConfig,
}  # fmt: skip


@pytest.fixture
def repository(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path


def params(repository):
    return (repository / "params.yaml").read_text(encoding="utf-8")


def test_the_profiles_that_the_docs_name_are_there():
    assert list(PROFILES) == ["embedded", "gpu", "laptop"]
    page = (ROOT / "docs/profiles.md").read_text(encoding="utf-8")
    models = [v for p in PROFILES.values() for keys, v in p.parsed().items() if keys[-1] == "model"]
    assert [model for model in models if model not in page] == []


def test_the_default_profile_has_every_value_that_another_sets_as_params_yaml_ships_it():
    for name, profile in PROFILES.items():
        assert set(profile.values) == set(PROFILES[DEFAULT].values), name
    assert with_values(SHIPPED, PROFILES[DEFAULT].values) == SHIPPED


def test_a_pinned_revision_does_not_outlive_its_model():
    keys = set(PROFILES[DEFAULT].values)
    assert {(*key[:-1], "revision") for key in keys if key[-1] == "model"} <= keys


@pytest.mark.parametrize("name", PROFILES)
def test_every_section_takes_the_profiles_values(name, repository):
    cli.main(["profile", name])
    document = yaml.safe_load(params(repository))
    for keys, value in PROFILES[name].parsed().items():
        assert value_of(document, keys) == value and type(value_of(document, keys)) is type(value)
    (repository / "conf/domains/pydocs.yaml").write_text("".join(f"{s}: {{}}\n" for s in SECTIONS))
    loaded = {s: load_section(s, model, "pydocs", repository) for s, model in SECTIONS.items()}
    assert set(document["teachers"]) <= set(TEACHERS)
    for teacher in set(document["teachers"]) - {"hybrid"}:
        assert getattr(loaded["score"], teacher.replace("-", "_")).model
    assert loaded["distill"].list_length <= loaded["select"].list_length <= loaded["mine"].depth
    assert loaded["mine"].token_vectors == ("hybrid" in document["teachers"])


@pytest.mark.parametrize("name", PROFILES)
def test_back_to_the_default_is_the_same_bytes_and_what_the_user_changed_stays(name, repository, capsys):
    changed = SHIPPED.replace("domains: [pydocs]", "domains: [pydocs, own]  # mine").replace(
        "k1: 0.9", "k1: 1.2"
    )
    (repository / "params.yaml").write_text(changed, encoding="utf-8")
    cli.main(["profile", name])
    assert (params(repository) == changed) == (name == DEFAULT)
    assert comments(params(repository)) == comments(changed)
    cli.main(["profile", "laptop"])
    cli.main(["profile", DEFAULT])
    assert params(repository) == changed
    cli.main(["profile", DEFAULT])
    assert "already" in capsys.readouterr().out


def comments(text):
    return [line.partition("#")[2] for line in text.splitlines()]


def test_what_it_prints(repository, capsys):
    cli.main(["profile"])
    listed = capsys.readouterr().out
    assert listed.startswith("embedded (in params.yaml)\n") and "\ngpu\n" in listed and "estimated" in listed
    overrides = yaml.safe_load((repository / "conf/domains/pydocs.yaml").read_text())
    overrides["mine"] = {"depth": 30}
    (repository / "conf/domains/pydocs.yaml").write_text(yaml.safe_dump(overrides))
    cli.main(["profile", "laptop"])
    out = capsys.readouterr().out
    assert "conf/domains/pydocs.yaml has values of its own: mine.depth" in out
    assert [line.split() for line in out.splitlines() if line.startswith("teachers")] == [
        ["teachers", "[hybrid]", "[cross-encoder]"]
    ]
    assert "select.list_length" not in out  # the same in both
    cli.main(["profile"])
    assert "laptop (in params.yaml)\n" in capsys.readouterr().out


def test_a_wrong_name_is_told_the_right_ones(repository, capsys):
    with pytest.raises(SystemExit):
        cli.main(["profile", "cloud"])
    assert "embedded, gpu, laptop" in capsys.readouterr().err
    assert params(repository) == SHIPPED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\n  - x   # first\n  - y   # last\n# end\nb: 1\n", "a:\n    [z]   # last\n# end\nb: 1\n"),
        ("a:   # below its key\n- x\nb: 1\n", "a:   # below its key\n  [z]\nb: 1\n"),
        ("a: [x,\n    y]   # two lines\n", "a: [z]   # two lines\n"),
        ('a: "x # y"   # quoted\n', "a: [z]   # quoted\n"),
        ("a: null\n", "a: [z]\n"),
    ],
)
def test_values_are_replaced_in_any_layout(before, after):
    assert with_values(before, {("a",): "[z]"}) == after


@pytest.mark.parametrize("text", ["b: 1\n", "a:\nb: 1\n", "a: {b: 1}\n"])
def test_a_layout_that_cannot_be_edited_is_left_alone(text):
    keys = ("a", "b") if "{" in text else ("a",)
    with pytest.raises(InputError, match="by hand"):
        with_values(text, {keys: "[z]"})


def test_a_profile_that_says_nothing_about_itself(repository):
    (repository / "conf/profiles/mine.yaml").write_text("profile: {purpose: x}\nteachers: [hybrid]\n")
    with pytest.raises(InputError, match=r"mine\.yaml(.|\n)*needs: Field required(.|\n)*takes"):
        profiles(repository)
    assert not [p for p in doctor.examine(repository) if p.name.startswith("profile")]


def test_the_doctor_says_which_profiles_this_machine_can_bear(repository, monkeypatch):
    monkeypatch.setattr(doctor, "room", lambda name, found, needed: Component(name, OK, ""))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = {p.name: p for p in doctor.examine(repository) if p.name.startswith("profile ")}
    assert list(found) == ["profile embedded", "profile gpu", "profile laptop"]
    assert found["profile embedded"].state == OK
    laptop, gpu = found["profile laptop"], found["profile gpu"]
    assert laptop.state == UNCHECKED and "ms-marco-MiniLM" in laptop.detail
    assert gpu.state in (MISSING, UNUSABLE) and "GPU: no CUDA device" in gpu.detail and "24 GB" in gpu.remedy
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.usable_profile("laptop", PROFILES["laptop"], repository).state == UNUSABLE
    assert doctor.usable_profile("embedded", PROFILES["embedded"], repository).state == OK


@pytest.mark.parametrize(("memory", "state"), [([17e9], UNUSABLE), ([8e9, 25.3e9], OK)])
def test_a_gpu_is_measured_by_its_memory(monkeypatch, memory, state):
    class Device:
        def __init__(self, number):
            self.total_memory = memory[number]

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(memory))
    monkeypatch.setattr("torch.cuda.get_device_properties", Device)
    assert doctor.gpu(24).state == state


def test_a_profile_needs_memory_and_room_for_what_is_yet_to_be_downloaded(repository, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor, "memory", lambda: 8e9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(1e9))
    part = doctor.usable_profile("laptop", PROFILES["laptop"], repository)
    assert part.state == UNUSABLE
    assert part.detail == "memory: 8 GB, needed 12; free disk: 1 GB, needed 5"
    embedded = PROFILES["embedded"]
    assert doctor.usable_profile("embedded", embedded, repository).state == OK, "it downloads nothing"
    monkeypatch.setattr(doctor, "memory", lambda: 2e9)
    assert doctor.usable_profile("embedded", embedded, repository).state == UNUSABLE
