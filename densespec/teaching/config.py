"""Parameters of the stages ``score`` and ``teacher_finetune``."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from densespec.runtime.endpoint import EndpointConfig


class HybridConfig(BaseModel):
    """The embedded teacher: a mix of signals of the untuned student and BM25."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, float] | None = Field(
        description="component → weight (bm25, dense, maxsim, sentence); null chooses on dev queries"
    )
    min_dev_queries: int = Field(
        ge=1, description="with fewer judged dev queries than this, all components weigh the same"
    )


class PairModelConfig(BaseModel):
    """What all models that read query and passage together have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="folder or hub id")
    revision: str | None = Field(description="commit of a hub model")
    max_tokens: int = Field(ge=8, description="of a pair; what is longer is cut")
    batch_tokens: int | None = Field(
        ge=8, description="tokens per forward pass, padding included; null = 2048, on a GPU 65536"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="auto = bfloat16 where the hardware multiplies it (GPUs since Ampere, CPUs with AMX), "
        "else float32"
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        description="auto = the model's best; flash_attention_2 needs the package flash-attn"
    )
    compile: bool = Field(description="torch.compile the model; needs a C++ compiler")
    trust_remote_code: bool = Field(description="only with a revision you have read")

    def options(self) -> dict[str, Any]:
        """What loads the model: all but the budget."""
        return self.model_dump(exclude={"batch_tokens"})


class CrossEncoderConfig(PairModelConfig):
    """A sentence-transformers CrossEncoder."""

    label: int | Literal["expected"] | None = Field(
        description="of a model with several labels: its number, or expected = the mean grade"
    )


class Seq2SeqConfig(PairModelConfig):
    """An encoder-decoder reranker: RankT5, monoT5."""

    style: Literal["auto", "rankt5", "monot5"] = Field(description="auto = told from the model's name")
    template: str = Field(description="with {query} and {passage}; '' = the style's")
    positive: str = Field(description="token whose logit is the score; '' = the style's two")
    negative: str = Field(description="token whose logit is subtracted, beside positive; '' = none")


class CausalConfig(PairModelConfig):
    """A decoder-only reranker that answers yes or no."""

    style: Literal["auto", "qwen3-reranker", "bge-reranker"] = Field(
        description="auto = told from the model's name"
    )
    instruction: str = Field(description="what counts as relevant; '' = the style's")
    template: str = Field(description="with {query} and {passage}; '' = the style's")
    positive: str = Field(description="token whose logit is the score; '' = the style's")
    negative: str = Field(description="token whose logit is subtracted, beside positive; '' = none")
    layer: int | None = Field(description="stop at this layer, for models whose code takes cutoff_layers")
    share_prefix: bool = Field(description="compute what pairs of a query begin with once per batch")


class ListwiseLlmConfig(EndpointConfig):
    """A language model behind an OpenAI-compatible endpoint, which orders lists."""

    model: str = Field(description="the name that the endpoint gives it")
    top: int = Field(ge=2, description="candidates that are reordered; the rest keeps its order below them")
    window: int = Field(ge=2, description="candidates per request")
    stride: int = Field(ge=1, description="by which windows move to the front; below window")
    passage_words: int = Field(ge=8, description="of each candidate; what is longer is cut")
    instruction: str = Field(description="what counts as relevant; '' = nothing is added")
    max_tokens: int = Field(ge=8, description="longest answer (tokens)")
    template_options: dict[str, Any] = Field(
        description="for the chat template, such as {enable_thinking: false}"
    )

    @field_validator("stride")
    @classmethod
    def _windows_overlap(cls, stride: int, given: ValidationInfo) -> int:
        if stride >= given.data.get("window", math.inf):
            raise ValueError("must be below window, or no passage could rise beyond its own")
        return stride


class TeacherFinetuneConfig(BaseModel):
    """Section ``teacher_finetune`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="what to start from: packaged model, folder or hub id of a cross-encoder or of any "
        "encoder, whose head then starts random; '' = no fine-tuning"
    )
    revision: str | None = Field(description="commit of a hub model")
    labels: Literal["auto", "human", "synthetic", "both"] = Field(
        description="human: judgements of log queries; synthetic: generated queries with their source "
        "passages; auto = human where there are any, else synthetic"
    )
    max_tokens: int = Field(ge=8, description="of a pair; what is longer is cut, in scoring too")
    negatives: int = Field(ge=1, description="mined candidates drawn for each labelled pair, in each pass")
    max_margin: float | None = Field(
        description="candidates whose cosine exceeds the source passage's by more are no negatives of a "
        "generated query; null = all are"
    )
    learning_rate: float = Field(gt=0, description="peak of AdamW's learning rate")
    weight_decay: float = Field(ge=0, description="of AdamW, not on biases and norms")
    batch_size: int = Field(ge=1, description="labelled pairs per step, each with its negatives")
    passes: int = Field(ge=1, description="over the labelled pairs, at most")
    max_steps: int = Field(ge=1, description="optimisation steps at most")
    warmup_share: float = Field(ge=0, lt=1, description="share of the steps with rising learning rate")
    eval_steps: int = Field(ge=1, description="steps between dev evaluations, which are checkpoints too")
    eval_queries: int = Field(
        ge=1, description="dev queries that pick the weights, sampled where there are more"
    )
    eval_depth: int = Field(ge=2, description="candidates of each that the model ranks")
    patience: int = Field(ge=1, description="stop after this many dev evaluations without a better one")
    dev_share: float = Field(
        gt=0, lt=1, description="share of source passages held out where there are no judged dev queries"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="of matrix products in training, as in section score"
    )
    seed: int = Field(description="of a random head, order, negatives, dropout and samples")


class ScoreConfig(BaseModel):
    """Section ``score`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    hybrid: HybridConfig
    cross_encoder: CrossEncoderConfig
    seq2seq: Seq2SeqConfig
    causal: CausalConfig
    listwise_llm: ListwiseLlmConfig
    allow_weaker: bool = Field(
        description="go on although the teacher does not beat the student on the dev queries"
    )
    seed: int = Field(description="seed of the audit's bootstrap")
