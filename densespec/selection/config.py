"""Parameters of the stage ``select``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SelectConfig(BaseModel):
    """Section ``select`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list_length: int = Field(ge=2, description="passages per training list, the teacher's best first")
    min_candidates: int = Field(ge=2, description="drop queries with fewer candidates")
    source_rank: int = Field(
        ge=0, description="the teacher must rank the source passage this high; 0 keeps every query"
    )
    max_margin: float | None = Field(
        default=None,
        description="drop candidates that the teacher scores this much above the source passage; null = none",
    )
    max_ratio: float | None = Field(
        default=None,
        gt=0,
        description="drop candidates scored above this multiple of the source's score; null = none",
    )
    min_top_quantile: float = Field(
        ge=0, lt=1, description="drop generated queries whose top score is below this quantile of all"
    )
    calibration: Literal["percentile", "zscore", "isotonic"] = Field(
        description="how several teachers' scores become comparable before they are averaged; isotonic: the "
        "grade to expect, learnt on judged dev queries"
    )
    teacher_weights: dict[str, float] | Literal["dev"] | None = Field(
        description="of several teachers: null = even; teacher → weight (one that is not named weighs 1); "
        "dev = best nDCG@10 on judged dev queries"
    )
    min_dev_queries: int = Field(
        ge=1,
        description="with fewer judged dev queries, teacher_weights: dev gives even weights and calibration: "
        "isotonic is refused",
    )
    dev_share: float = Field(gt=0, lt=1, description="share of source passages whose queries become dev")
    seed: int = Field(description="seed of the split")
