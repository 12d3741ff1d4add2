"""Scores of (query, passage) pairs by any model that reads both together.

What every such teacher shares: each distinct pair is scored once, batches hold pairs of like length up to
a budget of tokens, finished shards are found again, a batch that does not fit into memory is halved, and
every GPU takes shards of its own, while those that follow are tokenised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.runtime.devices import within_memory
from densespec.runtime.fingerprint import digest
from densespec.runtime.progress import say
from densespec.runtime.scratch import Shard, map_shards

Array = np.ndarray[Any, Any]
#: One pair as a model reads it, ``input_ids`` among the names; not padded.
Tokens = Mapping[str, Sequence[int]]
SHARD_QUERIES = 16


class PairModel(NamedTuple):
    """A model that scores pairs.

    Attributes:
        replicas: the model, once per device.
        tokenise: queries and passages, pair by pair → their tokens, cut as the model needs it.
        score: one replica and some pairs' tokens → float32 (pairs,), the higher the more relevant.
        setting: what decides the scores beside the texts: weights, templates, cuts, precision.
        by_query: let a batch hold pairs of one query only, so that ``score`` can share what they begin with.
    """

    replicas: Sequence[Any]
    tokenise: Callable[[Sequence[str], Sequence[str]], Sequence[Tokens]]
    score: Callable[[Any, Sequence[Tokens]], Array]
    setting: Sequence[Any]
    by_query: bool = False


def pair_scores(
    model: PairModel,
    passages: Sequence[str],
    queries: Sequence[str],
    candidates: Sequence[Sequence[int]],
    folder: Path,
    *,
    batch_tokens: int,
    label: str,
    query_ids: Sequence[str] = (),
    passage_ids: Sequence[str] = (),
) -> list[Array]:
    """Score every query with its candidates.

    A pair of texts is scored once, however many queries and passages have these texts.

    Args:
        model: the teacher.
        passages: passages' content.
        queries: query texts.
        candidates: row numbers per query.
        folder: where finished shards live.
        batch_tokens: tokens of a forward pass, padding included. A longer pair is a batch of its own.
        label: what the progress line says.
        query_ids: what messages call the queries; without them their texts.
        passage_ids: the same of passages.

    Returns:
        One float32 array (candidates,) per query.

    Raises:
        InputError: a single pair does not fit into the device's memory, or its score is not a finite number.
    """
    rows_of_text = {text: row for row, text in reversed(list(enumerate(passages)))}
    first_row = [rows_of_text[text] for text in passages]
    places: dict[str, dict[int, int]] = {}  # query text → row of each distinct passage → its place
    for query, rows in zip(queries, candidates, strict=True):
        known = places.setdefault(query, {})
        for row in rows:
            known.setdefault(first_row[row], len(known))
    texts = [query for query, known in places.items() if known]
    budget = Budget(batch_tokens)
    query_names = dict(zip(queries, query_ids or queries, strict=True))
    passage_names = passage_ids or passages

    def by_query(chunk: Sequence[str], scores: Array) -> Iterator[tuple[str, Array]]:
        ends = np.cumsum([len(places[query]) for query in chunk])
        return zip(chunk, np.split(scores, ends[:-1]), strict=True)

    stopped = threading.Event()
    idle: SimpleQueue[Any] = SimpleQueue()
    for replica in model.replicas:
        idle.put(replica)

    def tokenised(chunk: Sequence[str]) -> Sequence[Tokens]:
        pairs = [(query, passages[row]) for query in chunk for row in places[query]]
        return model.tokenise([query for query, _ in pairs], [passage for _, passage in pairs])

    def scored(chunk: Sequence[str], tokens: Future[Sequence[Tokens]]) -> Array:
        groups = [n if model.by_query else 0 for n, query in enumerate(chunk) for _ in places[query]]
        replica = idle.get()
        try:
            scores = _scores(model, replica, tokens.result(), groups, budget, stopped)
        finally:
            idle.put(replica)
        for query, values in by_query(chunk, scores):  # before hours are spent, or a shard of them is kept
            require_finite(label, query_names[query], list(places[query]), passage_names, values)
        return scores

    def key(chunk: Sequence[str]) -> str:
        pairs = [[query, [passages[row] for row in places[query]]] for query in chunk]
        return digest(label, list(model.setting), batch_tokens, pairs)

    parts = (texts[start : start + SHARD_QUERIES] for start in range(0, len(texts), SHARD_QUERIES))
    waiting = (part for part in parts if not (folder / f"{key(part)}.npz").exists())
    running: dict[str, Future[Array]] = {}  # by a shard's first query
    devices = len(model.replicas)

    def begin(part: Sequence[str]) -> None:
        running[part[0]] = scorers.submit(scored, part, tokenisers.submit(tokenised, part))

    def compute(chunk: Sequence[str]) -> Shard:
        """This shard; of those that follow, one per device is begun, so that none waits for its tokens."""
        for part in islice(waiting, devices + 1 - len(running)):
            begin(part)
        if chunk[0] not in running:  # there was a file, but a damaged one
            begin(chunk)
        return {"scores": running.pop(chunk[0]).result()}

    found: dict[str, Array] = {}
    # one thread tokenises: a tokenizer keeps the cut of a call as state of its own
    with ThreadPoolExecutor(1) as tokenisers, ThreadPoolExecutor(devices) as scorers:
        try:
            for part, shard in map_shards(folder, texts, SHARD_QUERIES, key, compute, label):
                found.update(by_query(texts[part], shard["scores"]))
        finally:
            stopped.set()
    return [
        found[query][[places[query][first_row[row]] for row in rows]]
        if len(rows)
        else np.zeros(0, dtype=np.float32)
        for query, rows in zip(queries, candidates, strict=True)
    ]


def require_finite(
    teacher: str, query: str, rows: Sequence[int], passages: Sequence[str], scores: Array
) -> None:
    """Refuse scores that are no numbers: a single one would make every calibrated list of the domain NaN.

    Args:
        teacher: its name.
        query: id of the query.
        rows: of its candidates.
        passages: id of each row.
        scores: of the candidates (candidates,).

    Raises:
        InputError: with the first that is infinite or NaN.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise InputError(
            f"teacher '{teacher}'",
            expected="finite scores",
            found=f"{scores[wrong[0]]} for query '{query}' and passage '{passages[rows[wrong[0]]]}'",
            remedy="set its dtype to float32 (some models overflow in less), or take another model",
        )


def _scores(
    model: PairModel,
    replica: Any,
    tokens: Sequence[Tokens],
    groups: Sequence[int],
    budget: Budget,
    stopped: threading.Event,
) -> Array:
    """Scores of one shard's pairs, batch by batch until none is left or another shard's failure stops all."""
    heap = Batches([len(pair["input_ids"]) for pair in tokens], groups, budget)
    scores = np.zeros(len(tokens), dtype=np.float32)
    while rows := heap.take():
        if stopped.is_set():
            raise CancelledError
        values = within_memory(partial(model.score, replica, [tokens[row] for row in rows]))
        if values is None:
            heap.give_back(rows)
        else:
            scores[rows] = values
    return scores


class Budget:
    """Tokens per batch of the whole run: what was too much once is not tried again."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.lock = threading.Lock()


class Batches:
    """Batches of pairs that wait, group by group, the longest first.

    Args:
        lengths: tokens per pair.
        groups: pairs of different groups share no batch.
        budget: tokens per batch, padding included.
    """

    def __init__(self, lengths: Sequence[int], groups: Sequence[int], budget: Budget) -> None:
        self._lengths, self._groups, self._budget = lengths, groups, budget
        self._rows: list[int] = []  # taken from the end
        self._add(range(len(lengths)))

    def _add(self, rows: Iterable[int]) -> None:
        order = [*self._rows, *rows]
        self._rows = sorted(order, key=lambda row: (-self._groups[row], self._lengths[row]))

    def take(self) -> list[int]:
        """The next batch: rows of one group within the budget, at least one; none when all are taken."""
        batch = [self._rows.pop()] if self._rows else []
        while (
            self._rows
            and self._groups[self._rows[-1]] == self._groups[batch[0]]
            and (len(batch) + 1) * self._lengths[batch[0]] <= self._budget.tokens
        ):
            batch.append(self._rows.pop())
        return batch

    def give_back(self, rows: Sequence[int]) -> None:
        """A batch that memory did not hold: half of its tokens become the budget.

        Raises:
            InputError: it is a single pair.
        """
        longest = max(self._lengths[row] for row in rows)
        if len(rows) == 1:
            raise InputError(
                "params.yaml: score",
                expected="memory for a single pair of query and passage",
                found=f"out of memory with one pair of {longest} tokens",
                remedy="lower max_tokens of this teacher, set its dtype to bfloat16, or take a larger device",
            )
        with self._budget.lock:
            self._budget.tokens = min(self._budget.tokens, len(rows) * longest // 2)
            say(f"out of memory: batches of at most {self._budget.tokens} tokens from here on")
        self._add(rows)
