"""Settings of the corpus stage, and the card of a source."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SourceCard(BaseModel):
    """``data/source/<domain>/source.yaml``: where the passages come from and what may be done with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: Literal["files", "pydocs"] = Field(
        "files", description="files: corpus.jsonl beside the card; pydocs: docstrings of the running Python"
    )
    title: str = Field("", description="what the corpus is, for reports and dataset cards")
    licence: str = Field("unknown", description="licence of the text (SPDX name where it has one)")
    chunk_words: int = Field(
        0, ge=0, description="cut texts into passages of at most this many words; 0 = leave them whole"
    )


class CorpusConfig(BaseModel):
    """Section ``corpus`` of ``params.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_chars: int = Field(40, ge=0, description="letters and digits a passage needs to seed queries")
    max_seeds: int = Field(100_000, ge=1, description="passages that may seed queries, sampled beyond that")
    very_long_chars: int = Field(
        100_000, ge=1, description="characters from which a passage is counted as very long (models cut it)"
    )
    min_query_chars: int = Field(
        3, ge=1, description="characters; shorter log queries and recordings are dropped"
    )
    max_query_chars: int = Field(1000, ge=1, description="characters; longer ones are dropped")
    leak_jaccard: float = Field(
        0.8,
        gt=0,
        le=1,
        description="token-set Jaccard similarity from which a training query counts as a dev or test query",
    )
    language: str = Field("english", description="Snowball stemmer of the leak guard; '' for none")
    seed: int = Field(1, ge=0, description="seed of the sample of max_seeds passages")

    @field_validator("language")
    @classmethod
    def _is_a_stemmer(cls, language: str) -> str:
        import Stemmer

        known = Stemmer.algorithms()
        if language and language not in known:
            raise ValueError(f"no such stemmer; one of {', '.join(known)}, or '' for none")
        return language

    @model_validator(mode="after")
    def _limits_in_order(self) -> CorpusConfig:
        if self.min_query_chars > self.max_query_chars:
            raise ValueError(
                f"min_query_chars ({self.min_query_chars}) is over max_query_chars ({self.max_query_chars})"
            )
        return self
