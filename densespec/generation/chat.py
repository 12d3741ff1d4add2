"""What a language model is asked: prompt, few-shot examples and passage as chat messages, with a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from densespec.generation.english import word_list
from densespec.generation.prompt import Example, Prompt
from densespec.records import Passage, passage_hash
from densespec.runtime.seeds import generator_for, seed_for

#: English names of languages, which small models follow more surely than codes; other codes stay codes.
LANGUAGES = dict(
    pair.split("=")
    for pair in word_list(
        """
        ar=Arabic bg=Bulgarian bn=Bengali ca=Catalan cs=Czech da=Danish de=German el=Greek en=English
        es=Spanish et=Estonian fa=Persian fi=Finnish fr=French he=Hebrew hi=Hindi hr=Croatian
        hu=Hungarian id=Indonesian it=Italian ja=Japanese ko=Korean lt=Lithuanian lv=Latvian ms=Malay
        nb=Norwegian nl=Dutch no=Norwegian pl=Polish pt=Portuguese ro=Romanian ru=Russian sk=Slovak
        sl=Slovenian sr=Serbian sv=Swedish sw=Swahili ta=Tamil te=Telugu th=Thai tr=Turkish uk=Ukrainian
        ur=Urdu vi=Vietnamese zh=Chinese
        """
    )
)
Message = dict[str, str]
#: JSON schema of a structured answer.
QUERY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"query": {"type": "string"}},
    "required": ["query"],
    "additionalProperties": False,
}


class Request(NamedTuple):
    """One query to be written.

    Attributes:
        messages: of the chat, each with ``role`` and ``content``; the last one is the user's.
        seed: 32 bits, from the run's seed, the passage's content and the kind; nothing else.
    """

    messages: list[Message]
    seed: int


def chat_requests(
    passages: Sequence[Passage],
    kind: str,
    prompt: Prompt,
    *,
    language: str,
    examples: int,
    passage_chars: int,
    seed: int,
    structured: bool = False,
) -> list[Request]:
    """One request per passage.

    Examples are earlier turns of the chat, drawn without replacement for each passage by its own seed
    (arXiv 2502.19712 draws 3). The instruction comes first, so that an engine with a prefix cache
    computes it once.

    Args:
        passages: to write for.
        kind: of the queries.
        prompt: of the kind, with its pool.
        language: of the queries, as BCP 47; the prompt names it unless it is English.
        examples: how many to draw; the whole pool if it has fewer.
        passage_chars: where passages are cut (code points).
        seed: of the run.
        structured: ask for JSON after :data:`QUERY_SCHEMA`, and show the examples so.
    """
    instruction, turn = split_template(prompt.template, language)
    if structured:
        instruction += 'Reply with JSON: {"query": "…"}\n\n'
    shown = {e: turn.replace("{passage}", e.passage[:passage_chars]) for e in prompt.examples}
    requests = []
    for passage in passages:
        purpose = (passage_hash(passage), kind)
        drawn = _draw(prompt.examples, examples, seed, purpose)
        own = turn.replace("{passage}", passage.content[:passage_chars])
        turns = [*(shown[example] for example in drawn), own]
        messages = [{"role": "user", "content": instruction + turns[0]}]
        for example, following in zip(drawn, turns[1:], strict=True):
            query = json.dumps({"query": example.query}, ensure_ascii=False) if structured else example.query
            messages.append({"role": "assistant", "content": query})
            messages.append({"role": "user", "content": following})
        requests.append(Request(messages, seed_for(seed, "write", *purpose)))
    return requests


def split_template(template: str, language: str) -> tuple[str, str]:
    """The instruction, and what is said again for each passage: from its paragraph on.

    Joined, they are the template; ``{language}`` in it becomes the language's name, and where there is
    none, an instruction for another language than English ends with a sentence that names it.

    Args:
        template: with ``{passage}``.
        language: as BCP 47.
    """
    name = LANGUAGES.get(language.split("-")[0].lower(), f"the language with the code {language}")
    named = template.replace("{language}", name)
    before, found, after = named.partition("{passage}")
    border = before.rfind("\n\n") + 2 if "\n\n" in before else 0
    instruction, turn = before[:border], (before[border:] + found + after).strip()
    if named == template and name != "English":
        instruction += f"Write in {name}, the language of the passage.\n\n"
    return instruction, turn


def _draw(pool: Sequence[Example], count: int, seed: int, purpose: tuple[str, ...]) -> list[Example]:
    chosen = generator_for(seed, "examples", *purpose).permutation(len(pool))[:count]
    return [pool[number] for number in chosen]
