"""Parameters of the stage ``generate``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from densespec.generation.registry import WRITERS
from densespec.runtime.endpoint import EndpointConfig


class LlmConfig(BaseModel):
    """``generate.llm``: what the writers transformers, openai and vllm ask their language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default="", description="folder or hub id of an instruct model, or the name that an endpoint gives it"
    )
    revision: str | None = Field(default=None, description="commit of a hub model; null for its newest")
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with the model; needs a pinned revision"
    )
    temperature: float = Field(default=0.8, ge=0, description="of sampling; 0 for the likeliest token")
    max_tokens: int = Field(
        default=50, ge=1, description="longest answer (tokens); a query that it cuts is dropped"
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="texts that end an answer, such as the line break; they are not part of it"
    )
    passage_chars: int = Field(default=2048, ge=100, description="where passages are cut (characters)")
    examples: int = Field(default=3, ge=0, description="few-shot examples, drawn per passage; 0 for none")
    structured: bool = Field(
        default=False,
        description="have the query as JSON, by its schema, and drop what is none; writers openai and vllm",
    )
    template_options: dict[str, Any] = Field(
        default={}, description="for the chat template, such as {enable_thinking: false}"
    )
    shard_size: int = Field(
        default=256, ge=1, description="queries kept at a time: as many are lost when a run is killed"
    )

    @model_validator(mode="after")
    def _json_is_not_stopped(self) -> LlmConfig:
        if self.structured and self.stop:
            raise ValueError("stop would end the JSON of structured answers early: leave one of the two out")
        return self


class TransformersConfig(BaseModel):
    """``generate.transformers``: the writer that runs a model in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=16, ge=1, description="requests per forward pass")
    device: str | None = Field(default=None, description="torch device; null for a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto: the checkpoint's on a GPU, float32 on a CPU"
    )


class VllmConfig(BaseModel):
    """``generate.vllm``: the writer that runs vLLM's engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that one copy of the model is split over")
    data_parallel: int = Field(default=1, ge=1, description="copies of the model, a process each")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="share of a GPU's memory for weights and cache"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto: the checkpoint's, float32 as 16 bits"
    )
    max_model_len: int | None = Field(
        default=None, ge=64, description="longest prompt with its answer (tokens); null for the model's own"
    )
    enforce_eager: bool = Field(
        default=False, description="no CUDA graphs or compilation: starts sooner, writes slower"
    )


class GenerateConfig(BaseModel):
    """Section ``generate`` of params.yaml; every number counts for each query kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    writers: list[str] = Field(
        default=["recorded", "extractive"],
        min_length=1,
        description="in order of preference: a passage gets queries of the first that has some for it",
    )
    max_passages: int = Field(default=0, ge=0, description="passages to write for, sampled; 0 for all")
    extractive_passages: int = Field(
        default=200,
        ge=0,
        description="passages that no other writer served and that get an extractive query; 0 for none",
    )
    max_words: int = Field(default=20, ge=3, description="longest query (words)")
    copy_ngram: int = Field(
        default=6, ge=1, description="most consecutive words a query may share with its passage"
    )
    language: str = Field(
        default="en",
        pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]+)*$",
        description="of the passages and queries, as BCP 47; only en is phrased, others get bare spans",
    )
    check_language: bool = Field(
        default=True,
        description="drop queries in another language than their passage; false where they are to differ",
    )
    seed: int = Field(default=0, description="of sampling and phrasing")
    kinds: list[str] | None = Field(
        default=None, description="of params kinds, those this domain gets queries of; null for all"
    )
    prompts: dict[str, str] = Field(
        default={}, description="kind → a domain's own prompt, its version line first"
    )
    examples: dict[str, list[dict[str, str]]] = Field(
        default={}, description="kind → own few-shot pool, of entries with passage and query"
    )
    llm: LlmConfig = LlmConfig()
    transformers: TransformersConfig = TransformersConfig()
    openai: EndpointConfig = EndpointConfig()
    vllm: VllmConfig = VllmConfig()

    @field_validator("writers")
    @classmethod
    def _known_and_distinct(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in WRITERS]
        if unknown:
            raise ValueError(f"unknown writer {', '.join(unknown)}; there are: {', '.join(WRITERS)}")
        if len(set(names)) < len(names):
            raise ValueError("each writer at most once")
        return names
