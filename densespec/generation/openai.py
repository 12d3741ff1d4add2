"""The writer that asks an OpenAI-compatible endpoint: a provider's, or one's own (``vllm serve``, …)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from densespec.generation.chat import QUERY_SCHEMA, Request
from densespec.generation.language_model import require_model, write_in_shards
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.runtime.answers import Answer
from densespec.runtime.endpoint import ask_all, cost_of, endpoint_and_key, with_options


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield one query per passage; ``setting.usage`` gets the cost, too.

    The key comes from ``$OPENAI_API_KEY`` and goes nowhere else. Whether an endpoint honours the seed,
    and so answers the same way twice, is its own affair; finished shards are not asked again.

    Raises:
        InputError: no client, model or key; the endpoint refuses a request, or fails at one for good.
    """
    llm, own = setting.parameters.llm, setting.parameters.openai
    require_model(llm.model)
    address, key = endpoint_and_key(own.base_url, "generate.openai")
    fixed: dict[str, Any] = {
        "model": llm.model,
        "temperature": llm.temperature,
        "max_tokens": llm.max_tokens,
    }
    if llm.stop:
        fixed["stop"] = llm.stop
    if llm.structured:
        schema = {"name": "query", "strict": True, "schema": QUERY_SCHEMA}
        fixed["response_format"] = {"type": "json_schema", "json_schema": schema}
    if llm.template_options:
        fixed["extra_body"] = {"chat_template_kwargs": llm.template_options}

    def answer(requests: Sequence[Request]) -> list[Answer]:
        return ask_all(
            address, key, [with_options({**fixed, **request._asdict()}, own.options) for request in requests],
            "generate.openai", concurrency=own.concurrency, timeout=own.timeout, retries=own.retries,
        )  # fmt: skip

    identity = [address, llm.model, own.options]
    yield from write_in_shards("openai", identity, answer, passages, kind, setting)
    used = setting.usage["openai"]
    used["cost"] = cost_of(used, own.price_in, own.price_out)
