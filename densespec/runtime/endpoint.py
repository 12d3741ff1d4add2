"""Asking an OpenAI-compatible endpoint: bounded concurrency, retries, rate limits, a key kept to itself."""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from densespec.errors import InputError
from densespec.runtime.answers import Answer, Unfinished
from densespec.runtime.progress import say

OPENAI = "https://api.openai.com/v1"
ADDRESS = r"https?://[^\s@?#]+"  # no user, password or query: they hold secrets
KEY = r"[!-~]*"  # what a header takes
NO_KEY = "no-key-needed"  # the client insists on one
#: Answers worth another try; so is everything from 500 on.
RETRIED = (408, 409, 425, 429)
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER = 0.5, 60.0, 600.0  # seconds
BETWEEN_WARNINGS = 30.0  # seconds


class EndpointConfig(BaseModel):
    """An OpenAI-compatible endpoint, how it is asked, and what it costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(
        default="",
        pattern=f"^({ADDRESS})?$",
        description="address up to /v1; empty for $OPENAI_BASE_URL, or OpenAI's own",
    )
    options: dict[str, Any] = Field(
        default={},
        description="further fields of every request, such as {reasoning_effort: low}; they replace ours, "
        "null leaves one out",
    )
    concurrency: int = Field(default=16, ge=1, description="most requests at a time")
    timeout: float = Field(default=120.0, gt=0, description="of one request (seconds)")
    retries: int = Field(default=8, ge=0, description="of one request, each after a longer pause")
    price_in: float = Field(default=0.0, ge=0, description="of a million prompt tokens, in any currency")
    price_out: float = Field(default=0.0, ge=0, description="of a million completion tokens")

    @field_validator("options")
    @classmethod
    def _not_what_makes_a_request(cls, options: dict[str, Any]) -> dict[str, Any]:
        taken = [name for name in ("model", "messages", "stream", "n") if name in options]
        if taken:
            raise ValueError(f"{', '.join(taken)}: not here, these are the pipeline's own")
        return options


def endpoint_and_key(base_url: str, section: str) -> tuple[str, str]:
    """The address to ask, up to ``/v1``, and the key from the environment, without white space around it.

    Endpoints other than OpenAI's may do without a key.

    Args:
        base_url: of the parameters; empty for ``$OPENAI_BASE_URL``, or OpenAI's own.
        section: of the parameters, such as ``generate.openai``, for messages.

    Raises:
        InputError: no client, no key for OpenAI's endpoint, one that no header takes, or a password in the
            address.
    """
    if find_spec("openai") is None:
        raise InputError(
            f"params.yaml: {section}",
            expected="the package openai",
            found="not installed",
            remedy="pip install 'densespec[client]'",
        )
    address = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
    if not re.fullmatch(ADDRESS, address):  # of params it is known already
        raise InputError(
            "OPENAI_BASE_URL",
            expected="an address up to /v1, without user, password and query",
            found="another one",  # which may hold a secret
            remedy="correct it; a key belongs in OPENAI_API_KEY",
        )
    key = os.environ.get("OPENAI_API_KEY", "").strip()  # files and secrets end in a line break
    if not re.fullmatch(KEY, key):
        raise InputError(
            "OPENAI_API_KEY",
            expected="printable ASCII characters without blanks",
            found="another character among them",  # the value stays secret
            remedy="export the key alone, in one line",
        )
    if not key and address == OPENAI:
        raise InputError(
            "OPENAI_API_KEY",
            expected=f"the key for {OPENAI} in the environment",
            found="not set",
            remedy=f"export OPENAI_API_KEY=…, or set {section}.base_url to an endpoint of your own",
        )
    return address, key or NO_KEY


def with_options(request: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A request with further fields, which the client need not know; they replace those that it has.

    Args:
        request: arguments of the client's ``chat.completions.create``.
        options: field → value; None leaves the field out.
    """
    kept = {name: value for name, value in request.items() if name not in options}
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        kept["extra_body"] = {**kept.get("extra_body", {}), **given}
    return kept


def cost_of(usage: Mapping[str, float], price_in: float, price_out: float) -> float:
    """Cost of ``prompt_tokens`` and ``completion_tokens`` at prices per million."""
    return (usage["prompt_tokens"] * price_in + usage["completion_tokens"] * price_out) / 1e6


def ask_all(
    address: str,
    key: str,
    requests: Sequence[Mapping[str, Any]],
    section: str,
    *,
    concurrency: int,
    timeout: float,
    retries: int,
) -> list[Answer]:
    """Answers in the order of the requests.

    Args:
        address: of the endpoint, up to ``/v1``.
        key: sent as bearer token.
        requests: arguments of the client's ``chat.completions.create``, any number of them.
        section: of the parameters, for messages.
        concurrency: most requests at a time.
        timeout: of one request, from sending to the last byte (seconds).
        retries: of one request.

    Raises:
        Unfinished: one of them failed for good; it holds the answers until then, the others are given up.
    """

    async def asked() -> list[Answer]:
        from openai import AsyncOpenAI

        turns = asyncio.Semaphore(concurrency)
        async with AsyncOpenAI(base_url=address, api_key=key, max_retries=0, timeout=timeout) as client:
            endpoint = _Endpoint(client, key, section, timeout, retries)

            async def in_turn(request: Mapping[str, Any]) -> Answer:
                async with turns:
                    return await endpoint.ask(request)

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(in_turn(request)) for request in requests]
            except* InputError as failures:
                failure = next(one for one in failures.exceptions if isinstance(one, InputError))
                raise Unfinished(failure, [_answer_of(task) for task in tasks]) from None
        return [task.result() for task in tasks]

    return asyncio.run(asked())


def _answer_of(task: asyncio.Task[Answer]) -> Answer | None:
    return None if task.cancelled() or task.exception() else task.result()


class _Failed(NamedTuple):
    """A try that another one may make good; ``limited`` if it came too early."""

    problem: str
    limited: bool = False


class _Endpoint:
    """One endpoint; a request that it puts off puts off all others, too."""

    def __init__(self, client: Any, key: str, section: str, timeout: float, retries: int) -> None:
        self.client, self.key, self.section = client, key, section
        self.timeout, self.retries = timeout, retries
        self.opens = 0.0  # time.monotonic() before which nothing is sent
        self.quiet = 0.0  # and before which nothing is said of a failed try
        self.answered = 0  # requests

    async def ask(self, request: Mapping[str, Any]) -> Answer:
        """One answer, with retries: exponential backoff with jitter, or as long as the endpoint says.

        Raises:
            InputError: the retries are used up, or none would help.
        """
        tries, failed, seen = 0, 0, self.answered
        while True:
            while (closed := self.opens - time.monotonic()) > 0:
                await asyncio.sleep(closed * random.uniform(1.0, 1.1))
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 20)) * random.uniform(0.5, 1.0)
            outcome = await self._try(request, pause)
            if isinstance(outcome, Answer):
                self.answered += 1
                return outcome
            # where others get their answers, a limited request has to wait for its turn only
            if not (outcome.limited and self.answered > seen):
                failed += 1
            if failed > self.retries:
                raise self._given_up(outcome.problem)
            tries, seen = tries + 1, self.answered
            self._warn(outcome.problem)
            await asyncio.sleep(pause)

    def _given_up(self, problem: str) -> InputError:
        return InputError(
            str(self.client.base_url),
            expected=f"an answer within {self.retries + 1} tries",
            found=problem,
            remedy=f"check {self.section}.base_url; run the same command again when the endpoint is well, "
            f"all answers are kept; for a limit of rate lower {self.section}.concurrency, for slow "
            "answers raise its timeout",
        )

    def _warn(self, problem: str) -> None:
        """Say that a request is tried again; one line stands for those of all requests for a while."""
        if (now := time.monotonic()) >= self.quiet:
            self.quiet = now + BETWEEN_WARNINGS
            say(f"warning: {self.client.base_url}: {problem}; trying again, {self.retries} times at most")

    async def _try(self, request: Mapping[str, Any], pause: float) -> Answer | _Failed:
        """The answer, or what went wrong if another try may help.

        Args:
            request: see :func:`ask_all`.
            pause: of all requests after a limit of rate that does not say how long it lasts (seconds).

        Raises:
            InputError: no other try would help.
        """
        import openai

        try:
            async with asyncio.timeout(self.timeout):
                completion = await self.client.chat.completions.create(**request)
            return _completion(completion, str(self.client.base_url))
        except openai.APIStatusError as error:
            if error.code == "content_filter":  # these texts alone, and for good: an empty answer
                return Answer("", 0, 0)
            self._require_retriable(error)
            limited = error.status_code == 429
            wait = min(retry_after(error.response.headers), LONGEST_RETRY_AFTER) or pause * limited
            self.opens = max(self.opens, time.monotonic() + wait)
            return _Failed(self._told(error), limited)
        except (TimeoutError, openai.APITimeoutError):
            return _Failed(f"no answer within {self.timeout:g} s")
        except (openai.APIError, ValueError) as error:  # connection lost, or an answer cut short
            return _Failed(self._told(error))

    def _require_retriable(self, error: Any) -> None:
        """Refuse an ``openai.APIStatusError`` that stays as it is.

        Raises:
            InputError: no credit is left, or the endpoint does not take the request.
        """
        if "insufficient_quota" in (error.code, error.type):  # with status 429, as if it would pass
            raise InputError(
                str(self.client.base_url),
                expected="credit for the account of OPENAI_API_KEY",
                found=self._told(error),
                remedy="add credit or raise the account's limit of spending, then run the same command "
                "again; all answers are kept",
            ) from None
        if error.status_code not in RETRIED and error.status_code < 500:
            raise InputError(
                str(self.client.base_url),
                expected="an answer",
                found=self._told(error),
                remedy=f"check {self.section}.base_url, the model's name and OPENAI_API_KEY; "
                f"{self.section}.options leaves out or replaces fields that the endpoint does not take",
            ) from None

    def _told(self, error: Exception) -> str:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        text = f"{type(error).__name__}: {error}{cause}"
        for key in (self.key, repr(self.key)[1:-1]):  # some servers repeat it, some clients escape it
            text = text.replace(key, "***")
        return " ".join(text.split())[:300]


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float:
    """Seconds that an answer's headers ask to wait; 0 without one.

    ``Retry-After-Ms`` goes first, a number (milliseconds); ``Retry-After`` is one (seconds) or a date.

    Args:
        headers: of the answer.
        now: seconds since 1970; the clock's if None.
    """
    with suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
        seconds = email.utils.mktime_tz(date) if date else 0
        return max(0.0, seconds - (time.time() if now is None else now))


def _completion(completion: Any, address: str) -> Answer:
    try:
        choice = completion.choices[0]
        text = choice.message.content or ""
    except (AttributeError, IndexError, TypeError):
        raise ValueError(f"not a chat completion: {str(completion)[:80]!r}") from None
    ended = getattr(choice, "finish_reason", None)
    if ended == "content_filter":  # what was said until then is no answer
        text = ""
    names = ("prompt_tokens", "completion_tokens")
    asked, answered = (getattr(completion.usage, name, None) for name in names)
    if asked is None or answered is None:
        _warn_of_no_usage(address)
    return Answer(str(text), asked or 0, answered or 0, ended == "length")


@cache
def _warn_of_no_usage(address: str) -> None:
    """Say, once in a process, that an endpoint does not tell what its answers cost."""
    say(
        f"warning: {address}: answers come without usage; they count as 0 tokens, and their cost cannot be "
        "counted: read it at the provider's"
    )
