"""What the writers with a language model share: answers that are kept, and what they took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from densespec.errors import InputError
from densespec.generation.chat import Request, chat_requests
from densespec.generation.embedding import student_name
from densespec.generation.tidying import unwrapped
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.retrieval.student import model_location, require_pinned
from densespec.runtime.answers import Answer, Answers


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
    decides: list[Any] = [name, "cut", identity]
    decides += [llm.temperature, llm.max_tokens, llm.structured, llm.template_options]
    decides += [llm.stop] if llm.stop else []  # without it, the shards of earlier versions count
    answers = Answers(
        setting.scratch, decides, answer, shard_size=llm.shard_size, label=f"{name} {kind}"
    )
    given = answers(requests)
    setting.usage[name] = answers.usage() | {"seconds": answers.seconds()}
    model = student_name(llm.model, llm.revision)
    for passage, one in zip(passages, given, strict=True):
        text, cut = one.text, one.cut
        if llm.structured:
            query = unwrapped(text)
            text, cut = query or "", cut and query is None
        yield Written(passage, text, setting.prompt.version, model, cut)


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
