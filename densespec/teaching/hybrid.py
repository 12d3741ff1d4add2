"""The embedded teacher: BM25, dense, token-level late interaction and best sentence, mixed.

All signals come from the *untuned* student and from BM25, so nothing has to be downloaded. Late
interaction is ColBERT's MaxSim (Khattab and Zaharia, SIGIR 2020) over the student's own token
vectors; the best sentence is the passage's sentence whose embedding is closest to the query's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.records import Passage
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.encoding import SHARD_TEXTS, encode, encoder_setting, token_shards
from densespec.retrieval.judged import Judged
from densespec.retrieval.weights import best_weights
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]
COMPONENTS = ("bm25", "dense", "maxsim", "sentence")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
MIN_SENTENCE_CHARS = 16
MAX_SENTENCES = 64  # of a passage, its first: one of a megabyte must not hold up the rest


def late_interaction(
    model: SentenceTransformer,
    fingerprint: str,
    passages: Sequence[str],
    queries: Sequence[str],
    candidates: Sequence[Sequence[int]],
    folder: Path,
    encode_folder: Path,
) -> list[Array]:
    """MaxSim of every query with its candidates.

    Args:
        model: the untuned student; its token vectors are taken from ``encode_folder`` if there.
        fingerprint: identity of its weights.
        passages: passages' content.
        queries: query texts.
        candidates: row numbers per query.
        folder: shards of scores.
        encode_folder: shards of the encoder.

    Returns:
        One float32 array (candidates,) per query: the mean over the query's tokens of the best cosine
        with a token of the passage.
    """

    def shards(texts: Sequence[str], task: str, label: str) -> Iterator[list[Array]]:
        found = token_shards(model, fingerprint, texts, encode_folder, task=task, label=label)
        for _, shard in found:
            yield np.split(shard["tokens"].astype(np.float32), shard["token_ends"][:-1])

    query_tokens = [tokens for shard in shards(queries, "query", "query tokens") for tokens in shard]

    def best(rows: Sequence[int], wanted: Sequence[Sequence[int]]) -> list[Array]:
        (tokens,) = shards([passages[row] for row in rows], "document", "")
        return [
            mean_max_similarity([query_tokens[number] for number in numbers], vectors)
            for vectors, numbers in zip(tokens, wanted, strict=True)
            if numbers
        ]

    setting = ["late interaction", *_encoders(model, fingerprint, tokens=True)]
    return _by_passage(setting, passages, queries, candidates, folder, best, "late interaction")


def best_sentence(
    model: SentenceTransformer,
    fingerprint: str,
    passages: Sequence[Passage],
    contents: Sequence[str],
    queries: Sequence[str],
    query_vectors: Array,
    candidates: Sequence[Sequence[int]],
    folder: Path,
    encode_folder: Path,
) -> list[Array]:
    """Cosine of every query with the closest sentence of each of its candidates.

    Args:
        model: the untuned student.
        fingerprint: identity of its weights.
        passages: the corpus.
        contents: what models read of each passage.
        queries: query texts.
        query_vectors: float32 (queries, dimension).
        candidates: row numbers per query.
        folder: shards of scores.
        encode_folder: shards of the encoder.

    Returns:
        One float32 array (candidates,) per query.
    """

    def best(rows: Sequence[int], wanted: Sequence[Sequence[int]]) -> list[Array]:
        texts = [sentences(passages[row]) for row in rows]
        ends = np.cumsum([len(pieces) for pieces in texts])
        vectors = encode(
            model, fingerprint, [piece for pieces in texts for piece in pieces], encode_folder,
            task="document", label="",
        )  # fmt: skip
        return [
            (query_vectors[list(numbers)] @ own.T).max(axis=1)
            for own, numbers in zip(np.split(vectors, ends[:-1]), wanted, strict=True)
            if numbers
        ]

    setting = ["best sentence", *_encoders(model, fingerprint, tokens=False)]
    return _by_passage(setting, contents, queries, candidates, folder, best, "sentences")


def sentences(passage: Passage) -> list[str]:
    """The sentences of a passage, each behind the passage's title.

    A sentence alone often says nothing ("Returns True if it is."); with the title in front, the closest
    sentence ranked better than without, and better than means of token vectors read in context.

    Returns:
        At least one: the whole content where no sentence has :data:`MIN_SENTENCE_CHARS` characters.
    """
    pieces = [piece.strip() for piece in SENTENCE_END.split(passage.text)]
    long = [piece for piece in pieces if len(piece) >= MIN_SENTENCE_CHARS][:MAX_SENTENCES]
    return [passage._replace(text=piece).content for piece in long] or [passage.content]


def _encoders(model: SentenceTransformer, fingerprint: str, *, tokens: bool) -> list[list[Any]]:
    """What decides the vectors of queries and of passages."""
    return [encoder_setting(model, fingerprint, task, tokens=tokens) for task in ("query", "document")]


def _by_passage(
    setting: list[Any],
    contents: Sequence[str],
    queries: Sequence[str],
    candidates: Sequence[Sequence[int]],
    folder: Path,
    best: Callable[[Sequence[int], Sequence[Sequence[int]]], list[Array]],
    label: str,
) -> list[Array]:
    """Scores of pairs, passage by passage in shards, so that memory holds the vectors of one shard.

    ``best`` gets rows and, for each, the numbers of the queries that list it; it returns one array
    (queries,) for every row that any query lists.
    """
    wanted: list[list[tuple[int, int]]] = [[] for _ in contents]
    for number, rows in enumerate(candidates):
        for place, row in enumerate(rows):
            wanted[row].append((number, place))
    scores = [np.zeros(len(rows), dtype=np.float32) for rows in candidates]

    def compute(rows: Sequence[int]) -> Shard:
        numbers = [[number for number, _ in wanted[row]] for row in rows]
        found = best(rows, numbers) if any(numbers) else []
        return {"scores": np.concatenate([np.zeros(0), *found]).astype(np.float32)}

    def key(rows: Sequence[int]) -> str:
        pairs = [[queries[number] for number, _ in wanted[row]] for row in rows]
        return digest(setting, [contents[row] for row in rows], pairs)

    for part, shard in map_shards(folder, range(len(contents)), SHARD_TEXTS, key, compute, label):
        places = [place for listed in wanted[part] for place in listed]
        for (number, place), score in zip(places, shard["scores"], strict=True):
            scores[number][place] = score
    return scores


def mean_max_similarity(queries: Sequence[Array], passage: Array) -> Array:
    """ColBERT's MaxSim of several queries with one passage, divided by the query's length.

    Args:
        queries: token vectors (tokens, dimension) per query, length 1.
        passage: token vectors (tokens, dimension), length 1.

    Returns:
        float32 (queries,).
    """
    stacked = np.concatenate(queries)
    best = (stacked @ passage.T).max(axis=1)
    lengths = np.asarray([len(tokens) for tokens in queries])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    mean_best: Array = (np.add.reduceat(best, starts) / lengths).astype(np.float32)
    return mean_best


def lexical_scores(
    index: Bm25, queries: Sequence[str], candidates: Sequence[Sequence[int]]
) -> list[Array]:
    """BM25 score of every query with its candidates: one float32 array (candidates,) per query."""
    return [
        index.scores(query)[list(rows)] if len(rows) else np.zeros(0, dtype=np.float32)
        for query, rows in zip(queries, candidates, strict=True)
    ]


def list_scales(components: Mapping[str, Sequence[Array]]) -> dict[str, float]:
    """Mean within-list standard deviation per component: one scale for all queries.

    A scale per query would make every list look equally decided; one scale keeps a query with a
    clear winner apart from one without.
    """
    scales = {}
    for name, lists in components.items():
        deviations = [float(np.std(scores)) for scores in lists if len(scores) > 1]
        scales[name] = max(float(np.mean(deviations)) if deviations else 1.0, 1e-6)
    return scales


def mix(
    components: Mapping[str, Sequence[Array]], scales: Mapping[str, float], weights: Mapping[str, float]
) -> list[Array]:
    """Weighted sum of the components in units of their scale, per query float32 (candidates,)."""
    names = [name for name in COMPONENTS if weights.get(name, 0.0) > 0]
    count = len(next(iter(components.values())))
    return [
        np.sum(
            [weights[name] / scales[name] * components[name][number] for name in names], axis=0
        ).astype(np.float32)
        for number in range(count)
    ]


def choose_weights(
    components: Mapping[str, Sequence[Array]],
    scales: Mapping[str, float],
    judged: Judged,
) -> tuple[dict[str, float], float]:
    """Weights with the best mean nDCG@10 on judged dev queries, see :func:`best_weights`.

    Args:
        components: per component one array (candidates,) for each of the judged queries.
        scales: see :func:`list_scales`.
        judged: the judged dev queries.

    Returns:
        Weights (sum 1) and their nDCG@10.
    """

    def quality(weights: dict[str, float]) -> float:
        return judged.ndcg_at_10(mix(components, scales, weights))

    return best_weights(COMPONENTS, quality)
