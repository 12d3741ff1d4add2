"""Parameters of the stage ``mine``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MineConfig(BaseModel):
    """Section ``mine`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(ge=2, description="candidates per query after fusion (passages)")
    retrievers: list[str] = Field(description="lists to fuse: student, bm25")
    rrf_k: int = Field(ge=1, description="constant of reciprocal rank fusion")
    round_trip: int = Field(
        ge=0, description="the source passage must be in the student's top N; 0 keeps every query"
    )
    use_log: bool = Field(description="mine for the domain's unlabelled query log too")
    token_vectors: bool = Field(
        description="keep token vectors in scratch while encoding; the hybrid teacher needs them"
    )
    batch_size: int = Field(ge=1, description="texts per forward pass")
