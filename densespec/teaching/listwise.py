"""The teacher ``listwise-llm``: a language model behind an endpoint orders a query's candidates.

RankGPT (Sun et al., EMNLP 2023, arXiv 2304.09542): the model is shown a window of the list and answers with
an order. Windows go from the end of the list to its front, each overlapping the one before, so that a good
passage can rise all the way. One message asks, as RankZephyr's (Pradeep et al., 2023, arXiv 2312.02724).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from densespec.errors import InputError
from densespec.runtime.endpoint import Completion
from densespec.runtime.fingerprint import digest
from densespec.runtime.progress import progress
from densespec.runtime.scratch import Shard, load_shard, map_shards

Array = np.ndarray[Any, Any]
#: What can be wrong with an answer: no passage's number in it, some left out, repeated, or made up.
FAULTS = ("unreadable", "incomplete", "repeated", "unknown")
CHARS_PER_WORD = 10  # where passages are cut at the latest: not every script has spaces
ENOUGH = 20  # answers, none of which can be read, are enough to give up


class Answers:
    """Answers to prompts, each kept in a shard under all that decides it, so that none is bought twice.

    Args:
        folder: where shards live.
        identity: what decides the answers beside the prompts: address, model, options.
        complete: the model; one completion per prompt, in order.
    """

    def __init__(
        self, folder: Path, identity: Sequence[Any], complete: Callable[[Sequence[str]], Sequence[Completion]]
    ) -> None:
        self._folder, self._identity, self._complete = folder, identity, complete
        self._kept: dict[str, Completion] = {}
        for path in sorted(folder.glob("*.npz")):
            self._keep(load_shard(path))
        self._used: set[str] = set()

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """The model's answer to each; those that are new become one shard."""
        keys = [digest(self._identity, prompt) for prompt in prompts]
        self._used.update(keys)
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._kept}
        shards = map_shards(
            self._folder, list(new.items()), max(1, len(new)), lambda part: digest([key for key, _ in part]),
            self._ask, "",
        )  # fmt: skip
        for _, shard in shards:
            self._keep(shard)
        return [self._kept[key].text for key in keys]

    def usage(self) -> dict[str, float]:
        """Requests and tokens behind all answers that were given, in however many runs they were bought."""
        used = [self._kept[key] for key in self._used]
        return {
            "requests": len(used),
            "prompt_tokens": sum(answer.prompt_tokens for answer in used),
            "completion_tokens": sum(answer.completion_tokens for answer in used),
        }

    def _ask(self, part: Sequence[tuple[str, str]]) -> Shard:
        completions = self._complete([prompt for _, prompt in part])
        # half of a surrogate pair, which no file can hold, is replaced
        texts = [given.text.encode("utf-8", "replace").decode("utf-8") for given in completions]
        return {
            "key": np.array([key for key, _ in part]),
            "text": np.array(texts),
            "tokens": np.array([given[1:3] for given in completions], dtype=np.int64),
        }

    def _keep(self, shard: Shard | None) -> None:
        if shard:
            rows = zip(*(shard[name].tolist() for name in ("key", "text", "tokens")), strict=True)
            self._kept |= {key: Completion(text, *tokens) for key, text, tokens in rows}


def listwise_scores(
    ask: Callable[[Sequence[str]], Sequence[str]],
    queries: Sequence[str],
    passages: Sequence[str],
    candidates: Sequence[Sequence[int]],
    *,
    top: int,
    window: int,
    stride: int,
    passage_words: int,
    instruction: str,
    at_once: int,
) -> tuple[list[Array], dict[str, int]]:
    """Scores of every query's candidates by their rank, after a model has reordered the first ``top``.

    The score is -log2(1 + rank), the negative of DCG's divisor. Its softmax at a temperature is a power law
    of the rank: ranks far down differ little, as they should, and no two candidates tie. Scores linear in the
    rank would set ranks 1 and 2 as far apart as 99 and 100; 1/rank would all but tie everything below the
    first few.

    Args:
        ask: prompts → answers.
        queries: query texts.
        passages: passages' content.
        candidates: row numbers per query, in mined order.
        top: candidates that are reordered; the others follow in mined order.
        window: candidates per prompt.
        stride: by which windows move to the front; below ``window``.
        passage_words: of each candidate in a prompt.
        instruction: what counts as relevant; ``""`` adds nothing.
        at_once: queries whose prompts are asked together.

    Returns:
        One float32 array (candidates,) per query; the number of ``answers``, and of those with each of
        :data:`FAULTS`.

    Raises:
        InputError: no answer names any passage.
    """
    orders: list[list[int]] = []
    sample = ""
    counts = Counter({"answers": 0} | dict.fromkeys(FAULTS, 0))
    with progress("listwise-llm", len(queries)) as advance:
        for first in range(0, len(queries), at_once):
            part = slice(first, first + at_once)
            block = [list(range(len(rows))) for rows in candidates[part]]
            starts = [window_starts(min(top, len(order)), window, stride) for order in block]
            for turn in range(max(map(len, starts))):
                windows = [
                    (number, slice(own[turn], min(top, own[turn] + window)))
                    for number, own in enumerate(starts)
                    if turn < len(own)
                ]
                prompts = []
                for number, inside in windows:
                    rows = [candidates[first + number][place] for place in block[number][inside]]
                    texts = [shown(passages[row], passage_words) for row in rows]
                    prompts.append(ranking_prompt(queries[first + number], texts, instruction))
                answers = ask(prompts)
                for (number, inside), answer in zip(windows, answers, strict=True):
                    places = block[number][inside]
                    order, faults = read_order(answer, len(places))
                    block[number][inside] = [places[place] for place in order]
                    counts.update(["answers", *faults])
                    sample = answer
            orders += block
            last = len(orders) == len(queries)
            if 0 < counts["answers"] == counts["unreadable"] and (last or counts["answers"] >= ENOUGH):
                raise _unreadable(sample)
            advance(len(block))
    return [rank_scores(order) for order in orders], dict(counts)


def _unreadable(answer: str) -> InputError:
    return InputError(
        "params.yaml: score.listwise_llm",
        expected="a model that answers with an order, such as [2] > [1] > [3]",
        found=f"no passage's number in any answer, such as {answer[:80]!r}",
        remedy="raise max_tokens if it reasons first (or turn that off by template_options), lower window or "
        "passage_words if prompts are longer than it can read, or name another model",
    )


def window_starts(count: int, window: int, stride: int) -> list[int]:
    """Where windows over ``count`` candidates start, in the order in which they are asked."""
    return [*range(max(0, count - window), 0, -stride), 0] if count > 1 else []


def shown(content: str, words: int) -> str:
    """A passage as a prompt shows it: one line, cut, no number in brackets that reads like a passage's."""
    cut = " ".join(content.split()[:words])[: CHARS_PER_WORD * words]
    return re.sub(r"\[(\s*\d+\s*)\]", r"(\1)", cut)


def ranking_prompt(query: str, passages: Sequence[str], instruction: str) -> str:
    """What the model is asked; passages are numbered from 1."""
    query, count = " ".join(query.split()), len(passages)
    told = f"\n{instruction}" if instruction else ""
    listed = "\n".join(f"[{number}] {text}" for number, text in enumerate(passages, start=1))
    return (
        f"I will provide you with {count} passages, each indicated by a number in brackets. Rank them by "
        f"their relevance to the search query: {query}{told}\n\n{listed}\n\nSearch query: {query}\n"
        f"Rank the {count} passages above by their relevance to the search query, the most relevant first. "
        "List all of them by their numbers, in the form [2] > [1] > [3]. Answer with the ranking only."
    )


def read_order(answer: str, count: int) -> tuple[list[int], list[str]]:
    """The order that an answer gives, whatever else it says.

    Numbers in brackets count, or all numbers where none is in brackets; what a model thought aloud does not.
    Repeated and unknown numbers are dropped; passages that are left out keep their order, at the end.

    Args:
        answer: the model's text.
        count: passages that were shown.

    Returns:
        Places from 0, each once; which of :data:`FAULTS` the answer has.
    """
    said = answer.rpartition("</think>")[2].partition("<think>")[0]
    found = re.findall(r"\[\s*(\d{1,9})\s*\]", said) or re.findall(r"\d{1,9}", said)
    numbers = [int(number) - 1 for number in found]
    known = [number for number in numbers if 0 <= number < count]
    order = list(dict.fromkeys(known))
    if not order:
        return list(range(count)), ["unreadable"]
    faults = {
        "incomplete": len(order) < count,
        "repeated": len(order) < len(known),
        "unknown": len(known) < len(numbers),
    }
    left = [place for place in range(count) if place not in order]
    return order + left, [fault for fault, has in faults.items() if has]


def rank_scores(order: Sequence[int]) -> Array:
    """-log2(1 + rank) of each candidate: float32 (candidates,) in mined order.

    Args:
        order: places of the candidates in mined order, best first.
    """
    scores = np.zeros(len(order), dtype=np.float32)
    scores[list(order)] = -np.log2(np.arange(len(order)) + 2)
    return scores
