"""Parameters of the stage ``distill``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DistillConfig(BaseModel):
    """Section ``distill`` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Literal["query", "both"] = Field(
        description="query: train the query encoder against the fixed passage embeddings; both: all of it"
    )
    list_length: int = Field(
        ge=2, description="passages per list in the loss, at most; those of select may be shorter"
    )
    list_sampling: Literal["top", "spread", "random"] = Field(
        description="which candidates of a longer list are trained on: the teacher's best, evenly over the "
        "range of its scores, or drawn; dev lists are always its best"
    )
    student_temperature: float = Field(gt=0, description="τ_s of the student's softmax over cosines")
    teacher_temperature: float | None = Field(
        gt=0,
        description="τ_t of the teacher's softmax over calibrated scores; null matches mean entropies on dev",
    )
    kl_weight: float = Field(ge=0, description="weight of the KL term")
    infonce_weight: float = Field(ge=0, description="λ: weight of the InfoNCE term")
    infonce_temperature: float = Field(gt=0, description="τ_c of InfoNCE")
    mask_ratio: float = Field(
        gt=0,
        description="mask negatives whose teacher score exceeds this share of the positive's (where that is "
        "negative, by the same distance)",
    )
    matryoshka_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        description="leading dimensions that should serve alone; the loss is averaged over them and the whole"
    )
    lora_rank: int = Field(ge=0, description="LoRA adapters of this rank on all linear layers; 0 = none")
    learning_rate: float = Field(gt=0, description="peak of AdamW's learning rate")
    weight_decay: float = Field(ge=0, description="of AdamW, not on biases and norms")
    batch_size: int = Field(ge=1, description="queries per step, of all processes together")
    batching: Literal["random", "overlap"] = Field(
        description="which lists share a batch: any, or those that name the same passages"
    )
    mini_batch_tokens: int = Field(
        ge=256, description="tokens per forward pass; larger batches go through the gradient cache"
    )
    gradient_checkpointing: bool = Field(
        description="keep less of a forward pass in memory and compute the rest again"
    )
    processes: int = Field(ge=1, description="training processes on this machine, one per GPU")
    max_steps: int = Field(ge=1, description="optimisation steps at most")
    max_epochs: float = Field(gt=0, description="passes over the training lists at most")
    warmup_share: float = Field(ge=0, lt=1, description="share of the steps with rising learning rate")
    final_share: float = Field(ge=0, le=1, description="share of the peak learning rate at the last step")
    eval_steps: int = Field(ge=1, description="steps between dev evaluations, which are checkpoints too")
    patience: int = Field(ge=1, description="stop after this many dev evaluations without a better one")
    stop_on: Literal["loss", "ndcg"] = Field(
        description="what picks the checkpoint: loss on dev lists, or nDCG@10 on judged dev queries"
    )
    max_query_tokens: int = Field(
        ge=8,
        description="queries with their prompt are cut at this many tokens in training, or at the student's "
        "lower limit",
    )
    control: bool = Field(description="train the InfoNCE-only control too (the report compares with it)")
    seed: int = Field(description="of the order of the lists, what is drawn from them, clusters, LoRA")

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Self:
        if not self.kl_weight and not self.infonce_weight:
            raise ValueError("kl_weight and infonce_weight are both 0: give one of them a weight")
        return self
