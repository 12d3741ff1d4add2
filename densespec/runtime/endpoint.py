"""Asking an OpenAI-compatible endpoint: bounded concurrency, retries, rate limits, a key kept to itself."""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from densespec.errors import InputError
from densespec.runtime.answers import Answer
from densespec.runtime.progress import say

OPENAI = "https://api.openai.com/v1"
ADDRESS = r"https?://[^\s@?#]+"  # no user, password or query: they hold secrets
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
    """The address to ask, up to ``/v1``, and the key from the environment.

    Endpoints other than OpenAI's may do without a key.

    Args:
        base_url: of the parameters; empty for ``$OPENAI_BASE_URL``, or OpenAI's own.
        section: of the parameters, such as ``generate.openai``, for messages.

    Raises:
        InputError: no client, no key for OpenAI's endpoint, or a password in the address.
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
    key = os.environ.get("OPENAI_API_KEY", "")
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
        InputError: one of them failed for good; the others are given up.
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
                raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    return asyncio.run(asked())


class _Endpoint:
    """One endpoint; a request that it puts off puts off all others, too."""

    def __init__(self, client: Any, key: str, section: str, timeout: float, retries: int) -> None:
        self.client, self.key, self.section = client, key, section
        self.timeout, self.retries = timeout, retries
        self.opens = 0.0  # time.monotonic() before which nothing is sent
        self.quiet = 0.0  # and before which nothing is said of a failed try

    async def ask(self, request: Mapping[str, Any]) -> Answer:
        """One answer, with retries: exponential backoff with jitter, or as long as the endpoint says."""
        problem = ""
        for attempt in range(self.retries + 1):
            if attempt:
                self._warn(problem)
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            while (closed := self.opens - time.monotonic()) > 0:
                await asyncio.sleep(closed * random.uniform(1.0, 1.1))
            answer, problem = await self._try(request)
            if answer is not None:
                return answer
        raise InputError(
            str(self.client.base_url),
            expected=f"an answer within {self.retries + 1} tries",
            found=problem,
            remedy=f"check {self.section}.base_url; run the same command again when the endpoint is well, "
            f"finished shards are kept; for a limit of rate lower {self.section}.concurrency, for slow "
            "answers raise its timeout",
        )

    def _warn(self, problem: str) -> None:
        """Say that a request is tried again; one line stands for those of all requests for a while."""
        if (now := time.monotonic()) >= self.quiet:
            self.quiet = now + BETWEEN_WARNINGS
            say(f"warning: {self.client.base_url}: {problem}; trying again, {self.retries} times at most")

    async def _try(self, request: Mapping[str, Any]) -> tuple[Answer | None, str]:
        """The answer, or what went wrong if another try may help."""
        import openai

        try:
            async with asyncio.timeout(self.timeout):
                completion = await self.client.chat.completions.create(**request)
            return _completion(completion), ""
        except openai.APIStatusError as error:
            if error.code == "content_filter":  # these texts alone, and for good: an empty answer
                return Answer("", 0, 0), ""
            problem = self._told(error)
            if error.status_code not in RETRIED and error.status_code < 500:
                raise InputError(
                    str(self.client.base_url),
                    expected="an answer",
                    found=problem,
                    remedy=f"check {self.section}.base_url, the model's name and OPENAI_API_KEY; "
                    f"{self.section}.options leaves out or replaces fields that the endpoint does not take",
                ) from None
            wait = min(retry_after(error.response.headers), LONGEST_RETRY_AFTER)
            self.opens = max(self.opens, time.monotonic() + wait)
            return None, problem
        except (TimeoutError, openai.APITimeoutError):
            return None, f"no answer within {self.timeout:g} s"
        except (openai.APIError, ValueError) as error:  # connection lost, or an answer cut short
            return None, self._told(error)

    def _told(self, error: Exception) -> str:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        text = f"{type(error).__name__}: {error}{cause}".replace(self.key, "***")  # some servers repeat it
        return " ".join(text.split())[:300]


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float:
    """Seconds that an answer's ``Retry-After`` asks to wait (a number or a date); 0 without one.

    Args:
        headers: of the answer.
        now: seconds since 1970; the clock's if None.
    """
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
        seconds = email.utils.mktime_tz(date) if date else 0
        return max(0.0, seconds - (time.time() if now is None else now))


def _completion(completion: Any) -> Answer:
    try:
        choice = completion.choices[0]
        text = choice.message.content or ""
    except (AttributeError, IndexError, TypeError):
        raise ValueError(f"not a chat completion: {str(completion)[:80]!r}") from None
    used = completion.usage
    asked, answered = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
    return Answer(str(text), asked, answered, getattr(choice, "finish_reason", None) == "length")
