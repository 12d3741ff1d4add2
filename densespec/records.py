"""The few record types that every stage speaks.

All of them are plain named tuples: cheap, hashable, comparable in tests, and free of behaviour.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import NamedTuple

#: Prompt of recorded queries that people judged for their passages, in place of a language model's.
LABELLED_PROMPT = "human/1"


class Passage(NamedTuple):
    """One unit of retrieval.

    Attributes:
        id: unique within its corpus.
        title: may be empty.
        text: the body; never empty after the corpus stage.
    """

    id: str
    title: str
    text: str

    @property
    def content(self) -> str:
        """What every model reads: title and text, one line break between them.

        One definition for all stages, so that no side of a comparison loses the titles.
        """
        return f"{self.title}\n{self.text}" if self.title else self.text


class Query(NamedTuple):
    """One query.

    Attributes:
        id: unique within its collection.
        text: what a user would type.
        kind: how it came about (``question``, ``claim``, …, ``log``; ``""`` if unknown).
        source_id: passage that the query was written for; ``""`` for queries of users.
        writer: backend that wrote it; ``""`` for queries of users.
    """

    id: str
    text: str
    kind: str = ""
    source_id: str = ""
    writer: str = ""


class Qrel(NamedTuple):
    """One relevance judgement; ``grade`` 0 means judged and not relevant."""

    query_id: str
    passage_id: str
    grade: int


class Scored(NamedTuple):
    """One entry of a candidate list or run: a passage and its score (higher is better)."""

    passage_id: str
    score: float


#: A run: query id → candidate list, best first.
Run = dict[str, list[Scored]]


def passage_hash(passage: Passage) -> str:
    """Content key of a passage: 16 hex digits of SHA-256 over its NFC-normalised title and text.

    Recorded queries are keyed by it, so a recording follows a passage through renumbering and
    never sticks to one whose wording changed.
    """
    content = unicodedata.normalize("NFC", f"{passage.title}\x1f{passage.text}")
    return hashlib.sha256(content.encode()).hexdigest()[:16]
