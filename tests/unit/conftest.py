"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import PROMPTS, tiny_bi_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny student with prompts."""
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", prompts=PROMPTS)


@pytest.fixture(scope="module")
def model(folder: Path):
    """That student, loaded."""
    from densespec.retrieval.student import load_student

    return load_student(str(folder))
