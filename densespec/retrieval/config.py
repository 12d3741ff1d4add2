"""Parameters of the student, which several stages load."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class PromptsConfig(BaseModel):
    """``prompts`` of a bi-encoder: what is put before its texts, the space behind included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str | None = Field(default=None, description="before queries; null for the model's own")
    document: str | None = Field(default=None, description="before passages; null for the model's own")


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
    prompts: PromptsConfig | None = Field(
        default=None, description="before texts: query and document; null for the model's own"
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

    def of_trained(self) -> dict[str, Any]:
        """What :func:`~densespec.retrieval.student.load_student` is told of a model trained from this one.

        Its folder says the rest.
        """
        return self.model_dump(include={"revision", "trust_remote_code", "precision", "batch_tokens"})


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
