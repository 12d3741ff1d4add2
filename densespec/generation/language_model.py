"""What the writers with a language model share: answers that are kept, and what they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.generation.chat import Request, chat_requests
from densespec.generation.embedding import student_name
from densespec.generation.tidying import unwrapped
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.retrieval.student import model_location, require_pinned
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, load_shard, map_shards


class Answer(NamedTuple):
    """A model's answer.

    Attributes:
        text: all of it; post-processing finds the query in it.
        prompt_tokens: of the request.
        completion_tokens: of the answer.
        cut: it ended at the longest answer allowed.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool = False


class Kept(NamedTuple):
    """An answer as a shard keeps it; ``seconds`` is its share of its shard's.

    ``cut`` is false where the answer was cut at a line break: its lines are whole.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cut: bool


def write_in_shards(
    name: str,
    identity: Sequence[Any],
    answer: Callable[[Sequence[Request]], Sequence[Answer]],
    passages: Sequence[Passage],
    kind: str,
    setting: Setting,
) -> Iterator[Written]:
    """Yield one query per passage; answers are kept shard by shard, so that none is bought twice.

    Each answer is found again by all that decides it, wherever its passage stands: after a killed run,
    with other filters, or in a corpus that has grown. Tokens and seconds are kept with it: those of the
    dataset, in however many runs it was written, go to ``setting.usage``.

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
        passage_chars=llm.passage_chars, seed=setting.seed, structured=llm.structured,
    )  # fmt: skip
    # "cut": not what earlier versions kept, which did not say whether an answer was whole
    decides = (name, "cut", identity, llm.temperature, llm.max_tokens, llm.structured, llm.template_options)
    keys = [digest(*decides, request) for request in requests]
    kept = kept_answers(setting.scratch)
    missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in kept}

    def compute(part: Sequence[tuple[str, Request]]) -> Shard:
        started = time.monotonic()
        answers = answer([request for _, request in part])
        return {
            "key": np.array([key for key, _ in part]),
            "text": np.array([_storable(given.text) for given in answers]),
            "tokens": np.array([given[1:3] for given in answers], dtype=np.int64),
            "seconds": np.full(len(part), (time.monotonic() - started) / len(part)),
            "cut": np.array([given.cut and not given.text.endswith("\n") for given in answers]),
        }

    shards = map_shards(
        setting.scratch, list(missing.items()), llm.shard_size,
        lambda part: digest([key for key, _ in part]), compute, f"{name} {kind}",
    )  # fmt: skip
    for _, shard in shards:
        kept.update(_rows(shard))
    used = [kept[key] for key in keys]
    setting.usage[name] = {
        "requests": len(used),
        "prompt_tokens": sum(given.prompt_tokens for given in used),
        "completion_tokens": sum(given.completion_tokens for given in used),
        "seconds": sum(given.seconds for given in used),
    }
    model = student_name(llm.model, llm.revision)
    for passage, given in zip(passages, used, strict=True):
        text, cut = given.text, given.cut
        if llm.structured:
            query = unwrapped(text)
            text, cut = query or "", cut and query is None
        yield Written(passage, text, setting.prompt.version, model, cut)


def kept_answers(folder: Path) -> dict[str, Kept]:
    """All answers in the shards of a folder, by key; not those of earlier versions, without ``cut``."""
    shards = (load_shard(path) for path in sorted(folder.glob("*.npz")))
    return {key: kept for shard in shards if shard and "cut" in shard for key, kept in _rows(shard).items()}


def _rows(shard: Shard) -> dict[str, Kept]:
    columns = (shard[name].tolist() for name in ("key", "text", "tokens", "seconds", "cut"))
    return {
        key: Kept(text, prompt, completion, seconds, cut)
        for key, text, (prompt, completion), seconds, cut in zip(*columns, strict=True)
    }


def llm_location(model: str, revision: str | None, trust_remote_code: bool) -> str:
    """Folder or hub id of the model that params ``generate.llm`` name.

    Raises:
        InputError: no model, a folder that is not there, or remote code without a pinned revision.
    """
    require_model(model)
    require_pinned("generate.llm", revision, trust_remote_code)
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


def _storable(text: str) -> str:
    """The text; half of a surrogate pair, which no file can hold, is replaced."""
    return text.strip().encode("utf-8", "replace").decode("utf-8")
