"""Scores of (query, passage) pairs by any model that reads both together.

What every such teacher shares: each distinct pair is scored once, batches hold pairs of like length up to
a budget of tokens, finished shards are found again, a batch that does not fit into memory is halved, and
several GPUs take batches from one heap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
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

    def compute(chunk: Sequence[str]) -> Shard:
        pairs = [(number, row) for number, query in enumerate(chunk) for row in places[query]]
        tokens = model.tokenise([chunk[n] for n, _ in pairs], [passages[row] for _, row in pairs])
        groups = [n if model.by_query else 0 for n, _ in pairs]
        scores = _scores(model, tokens, groups, budget)
        for query, values in by_query(chunk, scores):  # before hours are spent, or a shard of them is kept
            require_finite(label, query_names[query], [passage_names[row] for row in places[query]], values)
        return {"scores": scores}

    def key(chunk: Sequence[str]) -> str:
        pairs = [[query, [passages[row] for row in places[query]]] for query in chunk]
        return digest(label, list(model.setting), batch_tokens, pairs)

    found: dict[str, Array] = {}
    for part, shard in map_shards(folder, texts, SHARD_QUERIES, key, compute, label):
        found.update(by_query(texts[part], shard["scores"]))
    return [
        found[query][[places[query][first_row[row]] for row in rows]]
        if len(rows)
        else np.zeros(0, dtype=np.float32)
        for query, rows in zip(queries, candidates, strict=True)
    ]


def require_finite(teacher: str, query: str, passages: Sequence[str], scores: Array) -> None:
    """Refuse scores that are no numbers: a single one would make every calibrated list of the domain NaN.

    Args:
        teacher: its name.
        query: id of the query.
        passages: ids of its candidates.
        scores: theirs (candidates,).

    Raises:
        InputError: with the first that is infinite or NaN.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise InputError(
            f"teacher '{teacher}'",
            expected="finite scores",
            found=f"{scores[wrong[0]]} for query '{query}' and passage '{passages[wrong[0]]}'",
            remedy="set its dtype to float32 (some models overflow in less), or take another model",
        )


def _scores(model: PairModel, tokens: Sequence[Tokens], groups: Sequence[int], budget: Budget) -> Array:
    """Scores of one shard's pairs: every replica takes batches until none is left."""
    heap = Batches([len(pair["input_ids"]) for pair in tokens], groups, budget)
    scores = np.zeros(len(tokens), dtype=np.float32)

    def work(replica: Any) -> None:
        while rows := heap.take():
            values = _attempt(model, replica, [tokens[row] for row in rows])
            if values is None:
                heap.give_back(rows)
            else:
                scores[rows] = values

    if len(model.replicas) == 1:
        work(model.replicas[0])
    else:
        with ThreadPoolExecutor(len(model.replicas)) as pool:
            list(pool.map(work, model.replicas))
    return scores


def _attempt(model: PairModel, replica: Any, tokens: Sequence[Tokens]) -> Array | None:
    """Scores of a batch; None where memory does not hold it."""
    import torch

    try:
        return model.score(replica, tokens)
    except torch.OutOfMemoryError:
        pass  # outside of the handler nothing holds the batch's tensors any more
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


class Budget:
    """Tokens per batch of the whole run: what was too much once is not tried again."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens


class Batches:
    """Batches of pairs that wait, group by group, the longest first; safe to share between threads.

    Args:
        lengths: tokens per pair.
        groups: pairs of different groups share no batch.
        budget: tokens per batch, padding included.
    """

    def __init__(self, lengths: Sequence[int], groups: Sequence[int], budget: Budget) -> None:
        self._lengths, self._groups, self._budget = lengths, groups, budget
        self._lock = threading.Lock()
        self._rows: list[int] = []  # taken from the end
        self._add(range(len(lengths)))

    def _add(self, rows: Iterable[int]) -> None:
        order = [*self._rows, *rows]
        self._rows = sorted(order, key=lambda row: (-self._groups[row], self._lengths[row]))

    def take(self) -> list[int]:
        """The next batch: rows of one group within the budget, at least one; none when all are taken."""
        with self._lock:
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
        with self._lock:
            self._budget.tokens = min(self._budget.tokens, len(rows) * longest // 2)
            say(f"out of memory: batches of at most {self._budget.tokens} tokens from here on")
            self._add(rows)
