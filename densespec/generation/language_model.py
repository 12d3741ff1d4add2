"""What the writers with a language model share: shards of finished queries, and what they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.generation.chat import Request, chat_requests
from densespec.generation.embedding import student_name
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.retrieval.student import model_location
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

#: Where every writer stops: a query is one line.
STOP = "\n"


class Answer(NamedTuple):
    """A model's answer.

    Attributes:
        text: up to :data:`STOP`.
        prompt_tokens: of the request.
        completion_tokens: of the answer.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


def write_in_shards(
    name: str,
    identity: Sequence[Any],
    answer: Callable[[Sequence[Request]], Sequence[Answer]],
    passages: Sequence[Passage],
    kind: str,
    setting: Setting,
) -> Iterator[Written]:
    """Yield one query per passage; every finished shard is kept, so that a killed run buys nothing twice.

    Tokens and seconds are kept with the queries: they are those of the dataset, in however many runs it
    was written, and go to ``setting.usage``.

    Args:
        name: of the writer.
        identity: what besides section ``generate.llm`` decides its answers: weights, number format, ….
        answer: the model; one answer per request, in order.
        passages: to write for.
        kind: of the queries.
        setting: see there.
    """
    llm = setting.parameters.llm
    requests = chat_requests(
        passages, kind, setting.prompt, language=setting.language, examples=llm.examples,
        passage_chars=llm.passage_chars, seed=setting.seed,
    )  # fmt: skip
    used = setting.usage.setdefault(
        name, {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "seconds": 0.0}
    )

    def key(part: Sequence[Request]) -> str:
        return digest(name, identity, llm.temperature, llm.max_tokens, llm.template_options, part)

    def compute(part: Sequence[Request]) -> Shard:
        started = time.monotonic()
        answers = answer(part)
        return {
            "text": np.array([_one_line(given.text) for given in answers], dtype=np.str_),
            "tokens": np.array([given[1:] for given in answers], dtype=np.int64),
            "seconds": np.array(time.monotonic() - started),
        }

    model = student_name(llm.model, llm.revision)
    shards = map_shards(setting.scratch, requests, llm.shard_size, key, compute, f"{name} {kind}")
    for part, shard in shards:
        used["requests"] += len(shard["text"])
        used["prompt_tokens"] += int(shard["tokens"][:, 0].sum())
        used["completion_tokens"] += int(shard["tokens"][:, 1].sum())
        used["seconds"] += float(shard["seconds"])
        for passage, text in zip(passages[part], shard["text"], strict=True):
            yield Written(passage, str(text), setting.prompt.version, model)


def llm_location(model: str, revision: str | None, trust_remote_code: bool) -> str:
    """Folder or hub id of the model that params ``generate.llm`` name.

    Raises:
        InputError: no model, a folder that is not there, or remote code without a pinned revision.
    """
    require_model(model)
    if trust_remote_code and not revision:
        raise InputError(
            "params.yaml: generate.llm.trust_remote_code",
            expected="a pinned revision beside it",
            found="no revision",
            remedy="set generate.llm.revision to the commit you have read",
        )
    return model_location(model)


def require_model(model: str) -> None:
    """Refuse an empty name.

    Raises:
        InputError: no model is named.
    """
    if not model:
        raise InputError(
            "params.yaml: generate.llm.model",
            expected="the language model that writes the queries",
            found="''",
            remedy="name it, for example -S generate.llm.model=Qwen/Qwen3-4B-Instruct-2507",
        )


def _one_line(text: str) -> str:
    """The text up to its first line break; half of a surrogate pair, which no file can hold, is replaced."""
    return text.partition(STOP)[0].strip().encode("utf-8", "replace").decode("utf-8")
