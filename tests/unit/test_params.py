"""Sections of params.yaml under a domain's overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from densespec.distillation.config import DistillConfig
from densespec.errors import InputError
from densespec.io.params import load_section, load_value, merged, read_yaml
from densespec.mining.config import MineConfig
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.selection.config import SelectConfig
from densespec.teaching.config import ScoreConfig

ROOT = Path(__file__).parent.parent.parent


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: float = Field(gt=0)
    steps: int = 3


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    depth: int
    rate: float = Field(gt=0)
    inner: Inner


@pytest.fixture
def root(tmp_path):
    (tmp_path / "conf" / "domains").mkdir(parents=True)
    write(tmp_path, shared="s: {depth: 10, rate: 0.5, inner: {weight: 1.0, steps: 2}}\nkinds: [a]\n")
    write(tmp_path, domain="s: {}\n")
    return tmp_path


def write(root, shared=None, domain=None):
    if shared is not None:
        (root / "params.yaml").write_text(shared)
    if domain is not None:
        (root / "conf/domains/d.yaml").write_text(domain)


def load(root):
    return load_section("s", Section, "d", root)


def complaint(root) -> InputError:
    with pytest.raises(InputError) as caught:
        load(root)
    return caught.value


def test_an_empty_override_changes_nothing(root):
    assert load(root) == Section(depth=10, rate=0.5, inner=Inner(weight=1.0, steps=2))


def test_a_domain_overrides_single_keys_at_any_depth(root):
    write(root, domain="s: {depth: 3, inner: {steps: 9}}\n")
    assert load(root) == Section(depth=3, rate=0.5, inner=Inner(weight=1.0, steps=9))


def test_merging_leaves_its_arguments_alone():
    base, override = {"a": {"b": 1, "c": 2}, "l": [1, 2]}, {"a": {"b": 3}, "l": [9], "n": {"x": 1}}
    assert merged(base, override) == {"a": {"b": 3, "c": 2}, "l": [9], "n": {"x": 1}}
    assert base == {"a": {"b": 1, "c": 2}, "l": [1, 2]}
    assert merged({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merged({"a": None}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def test_a_section_that_params_do_not_have_is_refused(root):
    write(root, shared="score: {depth: 1}\ns: {depth: 10, rate: 0.5, inner: {weight: 1.0}}\nkinds: [a]\n")
    write(root, domain="s: {}\nscor: {depth: 2}\n")
    error = complaint(root)
    assert str(error.where).endswith("conf/domains/d.yaml")
    assert error.found == "'scor:', did you mean 'score:'?" and "indent it" in error.remedy
    write(root, domain="s: {}\nkinds: [b]\n")
    error = complaint(root)
    assert error.found == "'kinds:'" and error.remedy == "set it in params.yaml, for all domains"


@pytest.mark.parametrize(
    ("section", "model", "values"),
    [
        ("select", SelectConfig, "{teacher_weights: even}"),
        ("mine", MineConfig, "{retrievers: [student, 5]}"),
        ("mine", MineConfig, "{depth: x}"),
    ],
)
def test_a_value_of_the_domain_is_named_with_the_domains_file(tmp_path, section, model, values):
    (tmp_path / "conf" / "domains").mkdir(parents=True)
    write(tmp_path, shared=(ROOT / "params.yaml").read_text(), domain=f"{section}: {values}\n")
    with pytest.raises(InputError) as caught:
        load_section(section, model, "d", tmp_path)
    assert str(caught.value.where).endswith("conf/domains/d.yaml")
    assert "params.yaml:" not in caught.value.found


def test_an_unknown_parameter_gets_a_suggestion(root):
    write(root, shared="s: {depht: 10, rate: 0.5, inner: {weight: 1.0}}\n")
    found = complaint(root).found
    assert "params.yaml: s.depht = 10: unknown parameter, did you mean 'depth'?" in found
    assert "s.depth" in found and "Field required" in found


def test_a_nested_unknown_parameter_gets_a_suggestion_of_its_own_level(root):
    write(root, domain="s: {inner: {wieght: 2.0, depht: 1}}\n")
    lines = complaint(root).found.splitlines()
    assert "s.inner.wieght = 2.0: unknown parameter, did you mean 'weight'?" in lines[0]
    assert lines[1].endswith("unknown parameter")


def test_all_errors_come_at_once_each_with_its_file(root):
    write(
        root, shared="s: {depth: many, rate: 0.5, inner: {weight: -1}}\n", domain="s: {rate: 0, extra: 1}\n"
    )
    error = complaint(root)
    lines = [line.strip() for line in error.found.splitlines()]
    assert len(lines) == 4
    files = {line.split(": ")[1].split(" = ")[0]: Path(line.split(": ")[0]).name for line in lines}
    assert files == {
        "s.depth": "params.yaml",
        "s.inner.weight": "params.yaml",
        "s.rate": "d.yaml",
        "s.extra": "d.yaml",
    }
    assert "dvc exp run -S" in error.remedy


@pytest.mark.parametrize(
    ("shared", "domain", "file"),
    [
        ("kinds: [a]\n", "s: {}\n", "params.yaml"),
        ("s: 3\n", "s: {}\n", "params.yaml"),
        ("s: {depth: 1}\n", "other: {}\n", "conf/domains/d.yaml"),
        ("s: {depth: 1}\n", "s:\n", "conf/domains/d.yaml"),
        ("s: {depth: 1}\n", "", "conf/domains/d.yaml"),
        ("- s\n", "s: {}\n", "params.yaml"),
        ("s: {depth: 1\n", "s: {}\n", "params.yaml"),
        ("s: {depth: \t1}\n\t- x", "s: {}\n", "params.yaml"),
    ],
)
def test_a_missing_or_malformed_section_names_its_file(root, shared, domain, file):
    write(root, shared=shared, domain=domain)
    assert complaint(root).where == str(root / file)


def test_a_missing_domain_file_says_what_writes_it(root):
    with pytest.raises(InputError, match="densespec new-domain") as caught:
        load_section("s", Section, "other", root)
    assert caught.value.where.endswith("other.yaml")


@pytest.mark.parametrize(
    "content",
    [b"s: \xfc", b"s: " + b"[" * 3000, b"s: " + b"9" * 5000, b"s: &a [*a, *b]"],
    ids=["latin-1", "nesting", "digits", "alias"],
)
def test_absurd_yaml_is_a_users_mistake(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert caught.value.where == str(path)


def test_yaml_does_not_make_objects(tmp_path):
    (tmp_path / "params.yaml").write_text("s: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError):
        read_yaml(tmp_path / "params.yaml")


def test_a_top_level_value_and_its_absence(root):
    assert load_value("kinds", root) == ["a"]
    with pytest.raises(InputError, match="a top-level key 'teachers'"):
        load_value("teachers", root)


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("student", StudentConfig),
        ("bm25", Bm25Config),
        ("mine", MineConfig),
        ("score", ScoreConfig),
        ("select", SelectConfig),
        ("distill", DistillConfig),
    ],
)
def test_the_shipped_parameters_are_valid_described_and_complete(section, model):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())[section]
    assert load_section(section, model, "pydocs", ROOT)
    assert set(values) == set(model.model_fields), "every parameter is written out in params.yaml"
    assert all(
        field.description or isinstance(field.annotation, type) for field in model.model_fields.values()
    )
    with pytest.raises(Exception, match="frozen"):
        model.model_validate(values).__setattr__(next(iter(values)), None)


@pytest.mark.parametrize(
    ("prompts", "complaint"),
    [
        ("{passage: 'passage: '}", "student.prompts.passage = 'passage: ': unknown parameter"),
        ("{querry: 'query: '}", "student.prompts.querry = 'query: ': unknown parameter"),
        ("{query: 3}", "student.prompts.query = 3: Input should be a valid string"),
        ("'query: '", "student.prompts = 'query: '"),
    ],
)
def test_prompts_are_of_queries_and_documents(root, prompts, complaint):
    write(root, "student: {model: m, prompts: null}\n", f"student: {{prompts: {prompts}}}\n")
    with pytest.raises(InputError) as caught:
        load_section("student", StudentConfig, "d", root)
    assert f"d.yaml: {complaint}" in caught.value.found


def test_a_training_without_any_loss_is_refused():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["distill"]
    with pytest.raises(ValueError, match="both 0"):
        DistillConfig.model_validate(values | {"kl_weight": 0.0, "infonce_weight": 0.0})


def test_numbers_are_read_as_dvc_does_and_hashes_as_text(tmp_path):
    numbers = "a: 3e-5, b: 1e3, c: -2.5E+2, d: 3.0e-5, e: 12"
    (tmp_path / "a.yaml").write_text(f"{{{numbers}, f: 1e, g: e5, h: '3e-5', i: 0968e5468e, j: 1e5f}}")
    assert read_yaml(tmp_path / "a.yaml") == {
        "a": 3e-5, "b": 1e3, "c": -250.0, "d": 3e-5, "e": 12, "f": "1e", "g": "e5", "h": "3e-5",
        "i": "0968e5468e", "j": "1e5f",
    }  # fmt: skip
