"""Parameters of the stage ``mine``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from densespec.retrieval.config import StudentConfig


class MineConfig(BaseModel):
    """Section ``mine`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(ge=2, description="candidates per query after fusion (passages)")
    retrievers: list[str] = Field(description="lists to fuse: student, bm25, names in dense")
    dense: dict[str, StudentConfig] = Field(
        default={}, description="further bi-encoders: name -> as section student (model, revision, …)"
    )
    fusion: Literal["rrf", "weighted"] = Field(
        default="rrf", description="of the lists: by reciprocal rank, or a weighted sum of scores"
    )
    rrf_k: int = Field(ge=1, description="constant of reciprocal rank fusion")
    weights: dict[str, float] = Field(
        default={}, description="of retrievers in either fusion; one that is not named weighs 1"
    )
    normalise: Literal["min-max", "z-score"] = Field(
        default="min-max", description="scale of each list's scores in the weighted fusion"
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        default="auto", description="faiss index of dense retrievers; auto goes by the number of passages"
    )
    round_trip: int = Field(
        ge=0, description="the source passage must be in the student's top N; 0 keeps every query"
    )
    use_log: bool = Field(description="mine for the domain's unlabelled query log too")
    token_vectors: bool = Field(
        description="keep token vectors in scratch while encoding; the hybrid teacher needs them"
    )
