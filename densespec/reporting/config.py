"""Parameters of the stage ``report``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ReportConfig(BaseModel):
    """Section ``report`` of params.yaml: how much the page shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples_per_kind: int = Field(
        5, ge=0, description="kept and, apart from them, rejected queries shown per kind (queries)"
    )
    snippet_chars: int = Field(180, ge=20, description="where passages are cut (characters)")
    explorer_queries: int = Field(
        1200, ge=0, description="test queries to look at one by one; beyond that, the largest differences"
    )
    explorer_passages: int = Field(5, ge=1, le=20, description="top passages shown per model (passages)")
    max_bytes: int = Field(
        2_500_000, ge=200_000, description="snippets are shortened until the explorer's data fits (bytes)"
    )
