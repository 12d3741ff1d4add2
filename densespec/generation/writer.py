"""What a query writer is: one function that is given passages and yields queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from densespec.generation.prompt import Prompt
from densespec.records import Passage

if TYPE_CHECKING:
    from densespec.generation.config import GenerateConfig

Array = np.ndarray[Any, Any]
#: Texts and task (``"query"`` or ``"document"``) → float32 (texts, dimension), length 1.
Embed = Callable[[Sequence[str], str], Array]


class Recording(NamedTuple):
    """A query that was written before; ``prompt`` and ``model`` say how."""

    text: str
    prompt: str
    model: str


class Written(NamedTuple):
    """One query as a writer delivers it, before any filter.

    Attributes:
        passage: what it was written for.
        text: the query.
        prompt: version of the prompt or method, such as ``"question/1"``.
        model: what wrote it.
        cut: the text ends inside a line, at the longest answer allowed.
    """

    passage: Passage
    text: str
    prompt: str
    model: str
    cut: bool = False


class Setting(NamedTuple):
    """What every writer may use, beside the passages and the kind.

    Attributes:
        corpus: all passages of the domain.
        recordings: of this kind, by :func:`~densespec.records.passage_hash`.
        prompt: of this kind.
        language: of the passages, as BCP 47 (``"en"``).
        max_words: longest query, in words.
        copy_ngram: most consecutive words that a query may share with its passage.
        seed: of the run; derive one per request with :func:`~densespec.runtime.seeds.seed_for`.
        embed: the untuned student; finished shards are kept in scratch.
        student: the student's name.
        parameters: section ``generate``, for what single writers need beyond this.
        scratch: where finished shards live.
        usage: writer → what it took (tokens, seconds, …); a writer adds its own entry.
    """

    corpus: Sequence[Passage]
    recordings: Mapping[str, Sequence[Recording]]
    prompt: Prompt
    language: str
    max_words: int
    copy_ngram: int
    seed: int
    embed: Embed
    student: str
    parameters: GenerateConfig
    scratch: Path
    usage: dict[str, dict[str, float]]


class QueryWriter(Protocol):
    """Write queries of one kind.

    A writer yields any number of queries per passage, none where it has nothing to say, in the order of
    the passages; the same arguments always give the same queries. Filters come after it.
    """

    def __call__(self, passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
        """Yield queries for the passages."""
        ...
