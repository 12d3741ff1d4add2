"""Queries of one kind for a corpus: writers in turn, then tidying and filters, each loss counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from densespec.generation.filters import REASONS, rejection
from densespec.generation.tidying import Found, find_query
from densespec.generation.words import length, normalised
from densespec.generation.writer import QueryWriter, Setting
from densespec.records import LABELLED_PROMPT, Passage, passage_hash
from densespec.runtime.seeds import seed_for


class Kept(NamedTuple):
    """One query that passed the filters; the fields are those of ``queries.jsonl``."""

    id: str
    text: str
    kind: str
    source_id: str
    writer: str
    prompt: str
    model: str


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        queries: in the order of the passages.
        writers: per writer, passages asked for, passages it had nothing for (``missing``), queries
            written and queries kept.
        dropped: queries per reason of :data:`~densespec.generation.filters.REASONS`.
        tidied: queries that a writer had put something around, kept or not.
        preambles: those of them that stood behind a preamble, or below one.
    """

    queries: list[Kept]
    writers: dict[str, dict[str, int]]
    dropped: dict[str, int]
    tidied: int
    preambles: int


def write_queries(
    passages: Sequence[Passage],
    kind: str,
    writers: Mapping[str, QueryWriter],
    setting: Setting,
    limits: Mapping[str, int],
    covered: Collection[str] = (),
    check_language: bool = True,
) -> Outcome:
    """Write queries of one kind; a passage gets those of the first writer with a query that is kept.

    Args:
        passages: what to write for.
        kind: of the queries.
        writers: name → writer, in order of preference.
        setting: what the writers may use.
        limits: writer → most passages it is asked for; a writer not named is asked for all.
        covered: hashes of passages that have queries of other kinds; a limited writer takes the others
            first.
        check_language: drop queries in another language than their passage.
    """
    language = setting.language if check_language else None
    tidied = preambles = 0
    queries: list[tuple[int, int, Kept]] = []
    tallies: dict[str, dict[str, int]] = {}
    dropped = dict.fromkeys(REASONS, 0)
    numbers: Counter[str] = Counter()  # queries written so far, per passage hash
    seen: set[str] = set()  # normalised, of queries kept so far
    seen_of: dict[str, set[str]] = {}  # the same by passage hash
    place = {passage.id: number for number, passage in enumerate(passages)}
    done: set[str] = set()
    for name, write in writers.items():
        asked = [passage for passage in passages if passage.id not in done]
        if name in limits:
            asked = sample(asked, limits[name], setting.seed, covered)
        answered: set[str] = set()
        tally = tallies[name] = {"asked": len(asked), "missing": 0, "written": 0, "kept": 0}
        for written in write(asked, kind, setting) if asked else ():
            passage = written.passage
            by_people = written.prompt == LABELLED_PROMPT
            plain = " ".join(written.text.split())
            text, announced, last = Found(plain, 0, True) if by_people else find_query(written.text)
            tidied += text != plain
            preambles += bool(text and announced)
            content_key = passage_hash(passage)
            number = numbers[content_key] = numbers[content_key] + 1
            answered.add(passage.id)
            tally["written"] += 1
            # a query that people judged for several passages is right for each of them
            of_passage = seen_of.setdefault(content_key, set())
            if written.cut and last:
                reason = "cut_off"
            else:
                earlier = of_passage if by_people else seen
                reason = rejection(
                    text, passage, earlier, setting.max_words, setting.copy_ngram, language,
                    by_people=by_people,
                )  # fmt: skip
            if reason:
                dropped[reason] += 1
                continue
            key = normalised(text)
            seen.add(key)
            of_passage.add(key)
            tally["kept"] += 1
            done.add(passage.id)
            query_id = f"{kind}-{content_key}-{number}"
            kept = Kept(query_id, text, kind, passage.id, name, written.prompt, written.model)
            queries.append((place[passage.id], number, kept))
        tally["missing"] = len(asked) - len(answered)
    return Outcome([kept for _, _, kept in sorted(queries)], tallies, dropped, tidied, preambles)


def counts(outcome: Outcome, prompt_version: str) -> dict[str, Any]:
    """The outcome in numbers, for the metrics.

    Args:
        outcome: of :func:`write_queries`.
        prompt_version: of the kind's prompt as it stands; recordings made with another are counted.
    """
    queries = outcome.queries
    replayed = [query.prompt for query in queries if query.writer == "recorded"]
    return {
        "passages": len({query.source_id for query in queries}),
        "queries": len(queries),
        "words_per_query": sum(length(query.text) for query in queries) / max(1, len(queries)),
        "writers": outcome.writers,
        "dropped": outcome.dropped,
        "tidied": outcome.tidied,
        "preambles": outcome.preambles,
        "other_prompt_version": sum(version != prompt_version for version in replayed),
    }


def sample(passages: Sequence[Passage], count: int, seed: int, last: Collection[str] = ()) -> list[Passage]:
    """At most ``count`` passages in their order, the same ones for every kind.

    Each passage draws its own number from the seed and its content, so a corpus that grows keeps most
    of its sample.

    Args:
        passages: to choose from.
        count: how many.
        seed: of the draw.
        last: hashes of passages that are taken only when no others are left.
    """
    keys = [passage_hash(passage) for passage in passages]
    drawn = sorted(
        range(len(passages)),
        key=lambda number: (keys[number] in last, seed_for(seed, "generate", keys[number]), number),
    )
    return [passages[number] for number in sorted(drawn[:count])]
