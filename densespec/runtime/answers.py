"""Answers of a language model, kept in shards so that none is bought twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, load_shard, map_shards


class Answer(NamedTuple):
    """A model's answer.

    Attributes:
        text: all of it, once kept without white space around it; empty where an endpoint's filter refused
            the request.
        prompt_tokens: of the request.
        completion_tokens: of the answer.
        cut: it ended at the most tokens, and not with a line.
        seconds: once kept, its share of the time that its shard took.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool = False
    seconds: float = 0.0


class Unfinished(InputError):
    """A request failed for good when others had their answers.

    Args:
        failure: of that request.
        answers: in the order of the requests; None for those without.
    """

    def __init__(self, failure: InputError, answers: Sequence[Answer | None]) -> None:
        super().__init__(
            failure.where, expected=failure.expected, found=failure.found, remedy=failure.remedy
        )
        self.answers = answers


class Answers:
    """Answers to requests, each found again by all that decides it, wherever it stands among others.

    So a killed run, other parameters around it, or a corpus that has grown ask for what is new only.

    Args:
        folder: where shards live.
        decides: what decides an answer beside its request: model, options, ….
        ask: the model; one answer per request, in order.
        shard_size: requests per shard; None for all that are asked together.
        label: what the progress line says; none without.
    """

    def __init__(
        self,
        folder: Path,
        decides: Sequence[Any],
        ask: Callable[[Sequence[Any]], Sequence[Answer]],
        *,
        shard_size: int | None = None,
        label: str = "",
    ) -> None:
        self._folder, self._decides, self._ask = folder, decides, ask
        self._shard_size, self._label = shard_size, label
        self._kept: dict[str, Answer] = {}
        for path in sorted(folder.glob("*.npz")):
            self._keep(load_shard(path))
        self._used: set[str] = set()

    def __call__(self, requests: Sequence[Any]) -> list[Answer]:
        """The model's answer to each; those that are new are asked for, shard by shard.

        Raises:
            Unfinished: the model failed at one for good; the answers that it holds are kept.
        """
        keys = [digest(*self._decides, request) for request in requests]
        self._used.update(keys)
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._kept}
        shards = map_shards(
            self._folder, list(new.items()), self._shard_size or max(1, len(new)), _name, self._shard,
            self._label,
        )  # fmt: skip
        for _, shard in shards:
            self._keep(shard)
        return [self._kept[key] for key in keys]

    def usage(self) -> dict[str, float]:
        """Requests and tokens behind all answers that were given, in however many runs they were bought."""
        used = [self._kept[key] for key in self._used]
        return {
            "requests": len(used),
            "prompt_tokens": sum(answer.prompt_tokens for answer in used),
            "completion_tokens": sum(answer.completion_tokens for answer in used),
        }

    def seconds(self) -> float:
        """What the same answers took, each counted once."""
        return sum(self._kept[key].seconds for key in self._used)

    def _shard(self, part: Sequence[tuple[str, Any]]) -> Shard:
        started = time.monotonic()
        try:
            answers = self._ask([request for _, request in part])
        except Unfinished as failure:
            answered = [(key, one) for (key, _), one in zip(part, failure.answers, strict=True) if one]
            size = max(1, len(answered))
            kept = map_shards(self._folder, answered, size, _name, lambda one: _columns(one, started), "")
            list(kept)  # for the next run
            raise
        return _columns([(key, one) for (key, _), one in zip(part, answers, strict=True)], started)

    def _keep(self, shard: Shard | None) -> None:
        if shard and "cut" in shard:  # those of earlier versions do not say whether an answer is whole
            columns = (shard[name].tolist() for name in ("key", "text", "tokens", "cut", "seconds"))
            for key, text, (prompt_tokens, completion_tokens), cut, seconds in zip(*columns, strict=True):
                self._kept[key] = Answer(text, prompt_tokens, completion_tokens, cut, seconds)


def _name(part: Sequence[tuple[str, Any]]) -> str:
    """Of the shard that holds these keys, whatever stands beside them."""
    return digest([key for key, _ in part])


def _columns(answered: Sequence[tuple[str, Answer]], started: float) -> Shard:
    """What is kept of answers, each with its key, that were asked for at a time of ``time.monotonic()``."""
    # half of a surrogate pair, which no file can hold, is replaced
    texts = [one.text.strip().encode("utf-8", "replace").decode("utf-8") for _, one in answered]
    return {
        "key": np.array([key for key, _ in answered]),
        "text": np.array(texts),
        "tokens": np.array([one[1:3] for _, one in answered], dtype=np.int64),
        "cut": np.array([one.cut and not one.text.endswith("\n") for _, one in answered]),
        "seconds": np.full(len(answered), (time.monotonic() - started) / len(answered)),
    }
