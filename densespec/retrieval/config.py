"""Parameters of the student, which several stages load."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StudentConfig(BaseModel):
    """Section ``student`` of params.yaml: the bi-encoder that is specialised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, description="packaged model, folder, or hub id of a bi-encoder")
    revision: str | None = Field(default=None, description="commit of a hub model; null for its newest")
    max_tokens: int | None = Field(
        default=None,
        ge=8,
        description="cut texts at this many tokens; null for the model's own limit (static word vectors have "
        "none in any case)",
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with the model; needs a pinned revision"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of the encoder's matrix products, in encoding and training; auto is bfloat16 where "
        "the hardware has them (GPUs since Ampere, CPUs with AMX), else float32",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="tokens per forward pass of encoding, padding included; null = 512, on a GPU 16384",
    )


class Bm25Config(BaseModel):
    """Section ``bm25`` of params.yaml: lexical scores in mining and in the hybrid teacher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["bm25s", "pyserini"] = Field(
        default="bm25s", description="of the lists in mining; pyserini is Lucene and needs Java 21 or newer"
    )
    k1: float = Field(ge=0, description="term-frequency saturation")
    b: float = Field(ge=0, le=1, description="length normalisation")
    language: str = Field(
        description="stemmer and stop words (pyserini: Lucene's analyzer); empty for neither"
    )
