"""Parameters of the stage ``evaluate``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluateConfig(BaseModel):
    """How runs are made, and when a difference is believed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(
        100, ge=100, le=1000, description="Passages per query in every run; Recall@100 needs 100 (passages)."
    )
    fusion_k: int = Field(
        60, ge=1, le=500, description="Constant of reciprocal rank fusion in row hybrid (ranks)."
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="A p of the primary comparison below this is evidence (probability)."
    )
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples behind each interval (count).")
    permutations: int = Field(
        100_000,
        ge=1000,
        description="Random sign flips of the paired test; all are enumerated where they are fewer (count).",
    )
    seed: int = Field(13, ge=0, description="Seed of bootstrap and randomisation (number).")
    min_queries: int = Field(
        20, ge=2, description="Fewer judged test queries than this give the verdict 'not tested' (queries)."
    )
