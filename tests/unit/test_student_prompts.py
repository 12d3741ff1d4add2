"""Params ``student.prompts``: in every stage, in the trained models, and said to be missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from densespec.distillation.saving import save_student
from densespec.generation.embedding import student_embedder
from densespec.io.params import load_section
from densespec.profile import profiles, with_values
from densespec.retrieval.config import StudentConfig
from densespec.retrieval.encoding import encode, prompt_for
from densespec.retrieval.student import load_student
from densespec.teaching.teachers import TEACHERS
from stages import distill
from tests.tiny_models import PROMPTS, tiny_bi_encoder, tiny_static
from tests.unit import test_distillation_stage as of_distill
from tests.unit.test_teaching_hybrid import config, material

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["open a file and read its lines", "a socket. It waits for a server!", "heart disease"]
GIVEN = {"query": "river: ", "document": "mountain: "}

# fixtures
run, student = of_distill.run, of_distill.student


def params(model, **prompts):
    """Section ``student`` as stages pass it to ``load_student``."""
    return StudentConfig(model=str(model), precision="float32", **prompts).model_dump()


@pytest.mark.parametrize(
    ("own", "given", "query", "document"),
    [
        (None, GIVEN, *GIVEN.values()),
        (PROMPTS, GIVEN, *GIVEN.values()),
        (PROMPTS, None, *PROMPTS.values()),
        (PROMPTS, {"query": None, "document": None}, *PROMPTS.values()),
        (PROMPTS, {"query": "river: "}, "river: ", "passage: "),
        (PROMPTS, {"query": "", "document": ""}, "", ""),
        ({"query": "query: ", "passage": "passage: "}, None, "query: ", "passage: "),
        ({"query": "query: ", "passage": "passage: "}, {"document": ""}, "query: ", ""),
        ({"query": "query: ", "corpus": "passage: "}, GIVEN, *GIVEN.values()),
    ],
)
def test_embeddings_are_those_with_the_prompt_and_a_saved_model_carries_it(
    tmp_path, own, given, query, document
):
    model = load_student(**params(tiny_bi_encoder(tmp_path / "m", prompts=own), prompts=given))
    plain = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    loaded = [("params", model)]
    for side in ("query", "both"):
        (tmp_path / side).mkdir()
        save_student(tmp_path / side, model, model, side, "tiny")
        loaded += [(side, load_student(str(tmp_path / side)))]  # as evaluation and search do
        loaded += [(f"plain {side}", SentenceTransformer(str(tmp_path / side), device="cpu"))]
    for task, prompt in (("query", query), ("document", document)):
        expected = plain.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
        for name, found in loaded:
            assert prompt_for(found, task) == prompt, name
            serve = found.encode_query if task == "query" else found.encode_document
            np.testing.assert_allclose(serve(TEXTS, normalize_embeddings=True), expected, atol=1e-6)
        shards = encode(model, "f", TEXTS, tmp_path / "shards", task=task, label="x")
        np.testing.assert_allclose(shards, expected, atol=1e-6)


def test_a_default_prompt_keeps_its_name(tmp_path):
    """A model that prepends 'passage' to all that it is not told about must load again after saving."""
    tiny = SentenceTransformer(str(tiny_bi_encoder(tmp_path / "m")), device="cpu")
    tiny.prompts, tiny.default_prompt_name = {"query": "query: ", "passage": "passage: "}, "passage"
    tiny.save(str(tmp_path / "default"))
    model = load_student(**params(tmp_path / "default", prompts={"document": ""}))
    save_student(tmp_path, model, model, "query", "tiny")
    again = load_student(str(tmp_path))
    assert (prompt_for(again, "query"), prompt_for(again, "document")) == ("query: ", "")
    np.testing.assert_allclose(again.encode(TEXTS), tiny.encode(TEXTS, prompt=""), atol=1e-6)


def test_the_writer_without_a_language_model_embeds_with_them(folder, tmp_path):
    plain = student_embedder(params(folder), tmp_path)(TEXTS, "query")
    found = student_embedder(params(folder, prompts=GIVEN), tmp_path)(TEXTS, "query")
    expected = SentenceTransformer(str(folder), device="cpu").encode(
        TEXTS, prompt="river: ", normalize_embeddings=True
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - plain).max() > 1e-3


def test_the_hybrid_teacher_does_not_find_the_scores_of_other_prompts(folder, tmp_path):
    vectors = np.zeros((4, 32), dtype=np.float32)

    def maxsim(scratch, **prompts):
        student = StudentConfig.model_validate(params(folder, **prompts))
        scores, _ = TEACHERS["hybrid"](
            material(vectors), config({"maxsim": 1.0}), student, tmp_path / scratch, tmp_path / "encode"
        )
        return np.concatenate(scores)

    plain, other, fresh = maxsim("a"), maxsim("a", prompts=GIVEN), maxsim("b", prompts=GIVEN)
    np.testing.assert_array_equal(other, fresh)
    assert np.abs(other - plain).max() > 1e-3


def test_distill_gives_them_to_both_models_and_trains_anew(run):
    before = run(control=True, max_steps=2)
    overrides = yaml.safe_load(Path("conf/domains/tiny.yaml").read_text())
    overrides["student"]["prompts"] = GIVEN
    Path("conf/domains/tiny.yaml").write_text(yaml.safe_dump(overrides))
    distill.main()
    after = json.loads(Path("metrics.json").read_text())
    assert after["fingerprint"] != before["fingerprint"], "it must not go on from the other's checkpoint"
    assert after["curves"] != before["curves"]
    for name in ("specialised", "control"):
        assert SentenceTransformer(f"models/{name}", device="cpu").prompts == GIVEN


@pytest.mark.parametrize(
    ("name", "warned"),
    [("e5-base-v2", 1), ("multilingual-E5_large", 1), ("bge-base-en-v1.5", 1), ("cafe5-bger", 0)],
)
def test_a_model_that_wants_prompts_and_has_none_is_said_to(tmp_path, capsys, name, warned):
    folder = tmp_path / name
    tiny_static(folder)
    for _ in range(2):
        load_student(**params(folder), section="mine.dense.other")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "mine.dense.other.prompts" in line] == lines and len(lines) == warned


def test_prompts_from_either_place_are_enough(tmp_path, capsys):
    tiny_static(tmp_path / "e5-bare")
    tiny_static(tmp_path / "e5-own", prompts=PROMPTS)
    load_student(**params(tmp_path / "e5-own"))
    for given in (GIVEN, {"query": "river: "}, {"query": "", "document": ""}):
        load_student(**params(tmp_path / "e5-bare", prompts=given))
    assert capsys.readouterr().err == ""


def test_prompts_do_not_outlive_their_model_when_a_profile_brings_another(tmp_path):
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    edited = shipped.replace("  prompts: null ", f"  prompts: {json.dumps(GIVEN)} ")
    (tmp_path / "params.yaml").write_text(edited, encoding="utf-8")
    shutil.copytree(ROOT / "conf/domains", tmp_path / "conf/domains")
    own = load_section("student", StudentConfig, "pydocs", tmp_path)
    assert own.model_dump()["prompts"] == GIVEN
    assert with_values(edited, profiles(ROOT)["embedded"].values) == shipped
    assert yaml.safe_load(with_values(edited, profiles(ROOT)["gpu"].values))["student"]["prompts"] is None
