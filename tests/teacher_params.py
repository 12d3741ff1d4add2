"""Section ``score`` as params.yaml ships it, with changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from densespec.io.params import merged
from densespec.teaching.config import ScoreConfig

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def score_config(**changes: Any) -> ScoreConfig:
    """Changes are nested as in the file: ``score_config(hybrid={"weights": None})``."""
    shipped = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["score"]
    return ScoreConfig.model_validate(merged(shipped, changes))
