"""The writer that asks an OpenAI-compatible endpoint: a provider's, or one's own (``vllm serve``, …)."""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from densespec.errors import InputError
from densespec.generation.chat import Request
from densespec.generation.language_model import Answer, require_model, write_in_shards
from densespec.generation.writer import Setting, Written
from densespec.records import Passage

OPENAI = "https://api.openai.com/v1"
NO_KEY = "no-key-needed"  # the client insists on one
#: Answers worth another try; so is everything from 500 on.
RETRIED = (408, 409, 425, 429)
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER = 0.5, 60.0, 600.0  # seconds


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield one query per passage; ``setting.usage`` gets the cost, too.

    The key comes from ``$OPENAI_API_KEY`` and goes nowhere else. Whether an endpoint honours the seed,
    and so answers the same way twice, is its own affair; finished shards are not asked again.

    Raises:
        InputError: no client, model or key; the endpoint refuses a request, or fails at one for good.
    """
    llm, own = setting.parameters.llm, setting.parameters.openai
    require_model(llm.model)
    if find_spec("openai") is None:
        raise InputError(
            "params.yaml: generate.writers = openai",
            expected="the package openai",
            found="not installed",
            remedy="pip install 'densespec[client]'",
        )
    address = own.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
    if "@" in address:  # params refuse it already
        raise InputError(
            "OPENAI_BASE_URL",
            expected="an address without user and password",
            found="one with them",
            remedy="take them out; a key belongs in OPENAI_API_KEY",
        )
    key = api_key(address)
    fixed: dict[str, Any] = {"model": llm.model, "temperature": llm.temperature, "max_tokens": llm.max_tokens}
    if llm.template_options:
        fixed["extra_body"] = {"chat_template_kwargs": llm.template_options}

    def answer(requests: Sequence[Request]) -> list[Answer]:
        asked = ask_all(
            address, key, requests, fixed, concurrency=own.concurrency, timeout=own.timeout,
            retries=own.retries,
        )  # fmt: skip
        return asyncio.run(asked)

    yield from write_in_shards("openai", [address, llm.model], answer, passages, kind, setting)
    used = setting.usage["openai"]
    cost = used["prompt_tokens"] * own.price_in + used["completion_tokens"] * own.price_out
    used["cost"] = cost / 1e6


def api_key(address: str) -> str:
    """The key from the environment; endpoints other than OpenAI's may do without.

    Raises:
        InputError: OpenAI's endpoint without a key.
    """
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key and address == OPENAI:
        raise InputError(
            "OPENAI_API_KEY",
            expected=f"the key for {OPENAI} in the environment",
            found="not set",
            remedy="export OPENAI_API_KEY=…, or set generate.openai.base_url to an endpoint of your own",
        )
    return key or NO_KEY


async def ask_all(
    address: str,
    key: str,
    requests: Sequence[Request],
    fixed: Mapping[str, Any],
    *,
    concurrency: int,
    timeout: float,
    retries: int,
) -> list[Answer]:
    """Answers in the order of the requests.

    Args:
        address: of the endpoint, up to ``/v1``.
        key: sent as bearer token.
        requests: any number.
        fixed: fields that all requests have.
        concurrency: most requests at a time.
        timeout: of one request, from sending to the last byte (seconds).
        retries: of one request.

    Raises:
        InputError: one of them failed for good; the others are given up.
    """
    from openai import AsyncOpenAI

    turns = asyncio.Semaphore(concurrency)
    async with AsyncOpenAI(base_url=address, api_key=key, max_retries=0, timeout=timeout) as client:
        endpoint = _Endpoint(client, key, timeout, retries)

        async def in_turn(request: Request) -> Answer:
            async with turns:
                return await endpoint.ask(request, fixed)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(in_turn(request)) for request in requests]
        except* InputError as failures:
            raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class _Endpoint:
    """One endpoint; a request that it puts off puts off all others, too."""

    def __init__(self, client: Any, key: str, timeout: float, retries: int) -> None:
        self.client, self.key, self.timeout, self.retries = client, key, timeout, retries
        self.opens = 0.0  # time.monotonic() before which nothing is sent

    async def ask(self, request: Request, fixed: Mapping[str, Any]) -> Answer:
        """One answer, with retries: exponential backoff with jitter, or as long as the endpoint says."""
        problem = ""
        for attempt in range(self.retries + 1):
            if attempt:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            while (closed := self.opens - time.monotonic()) > 0:
                await asyncio.sleep(closed * random.uniform(1.0, 1.1))
            answer, problem = await self._try(request, fixed)
            if answer is not None:
                return answer
        raise InputError(
            str(self.client.base_url),
            expected=f"an answer within {self.retries + 1} tries",
            found=problem,
            remedy="run the same command again when the endpoint is well: finished shards are kept; for a "
            "limit of rate lower generate.openai.concurrency, for slow answers raise its timeout",
        )

    async def _try(self, request: Request, fixed: Mapping[str, Any]) -> tuple[Answer | None, str]:
        """The answer, or what went wrong if another try may help."""
        import openai

        try:
            async with asyncio.timeout(self.timeout):
                completion = await self.client.chat.completions.create(
                    messages=request.messages, seed=request.seed, **fixed
                )
            return _answer(completion), ""
        except openai.APIStatusError as error:
            if error.code == "content_filter":  # this passage alone, and for good: a query that is dropped
                return Answer("", 0, 0), ""
            problem = self._told(error)
            if error.status_code not in RETRIED and error.status_code < 500:
                remedy = "check generate.openai.base_url, generate.llm and OPENAI_API_KEY"
                raise InputError(
                    str(self.client.base_url), expected="an answer", found=problem, remedy=remedy
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


def _answer(completion: Any) -> Answer:
    try:
        text = completion.choices[0].message.content or ""
    except (AttributeError, IndexError, TypeError):
        raise ValueError(f"not a chat completion: {str(completion)[:80]!r}") from None
    used = completion.usage
    return Answer(str(text), *((used.prompt_tokens, used.completion_tokens) if used else (0, 0)))
