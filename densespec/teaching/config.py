"""Parameters of the stage ``score``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HybridConfig(BaseModel):
    """The embedded teacher: a mix of signals of the untuned student and BM25."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, float] | None = Field(
        description="component → weight (bm25, dense, maxsim, sentence); null chooses on dev queries"
    )
    min_dev_queries: int = Field(
        ge=1, description="with fewer judged dev queries than this, all components weigh the same"
    )


class CrossEncoderConfig(BaseModel):
    """A cross-encoder with one output per pair."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="folder or hub id")
    revision: str | None = Field(description="commit of a hub model")
    max_tokens: int = Field(ge=8, description="query and passage together are cut at this many tokens")
    batch_size: int = Field(ge=1, description="pairs per forward pass")
    trust_remote_code: bool = Field(description="only with a revision you have read")


class ScoreConfig(BaseModel):
    """Section ``score`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    hybrid: HybridConfig
    cross_encoder: CrossEncoderConfig
    allow_weaker: bool = Field(
        description="go on although the teacher does not beat the student on the dev queries"
    )
    batch_size: int = Field(ge=1, description="texts per forward pass of the student")
    seed: int = Field(description="seed of the audit's bootstrap")
