"""Parameters of the stage ``generate``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from densespec.generation.registry import WRITERS


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

    @field_validator("writers")
    @classmethod
    def _known_and_distinct(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in WRITERS]
        if unknown:
            raise ValueError(f"unknown writer {', '.join(unknown)}; there are: {', '.join(WRITERS)}")
        if len(set(names)) < len(names):
            raise ValueError("each writer at most once")
        return names
