"""The embedded teacher: BM25, dense, token-level late interaction and best sentence, mixed.

All signals come from the *untuned* student and from BM25, so nothing has to be downloaded. Late
interaction is ColBERT's MaxSim (Khattab and Zaharia, SIGIR 2020) over the student's own token
vectors; the best sentence is the highest cosine between the query's vector and the mean vector of
one sentence's tokens, read in the context of their passage.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.records import Qrel, Scored
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.encoding import SHARD_TEXTS, token_shards
from densespec.retrieval.measures import mean, per_query
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]
COMPONENTS = ("bm25", "dense", "maxsim", "sentence")


def late_interaction(
    model: SentenceTransformer,
    fingerprint: str,
    passages: Sequence[str],
    queries: Sequence[str],
    query_vectors: Array,
    candidates: Sequence[Sequence[int]],
    folder: Path,
    encode_folder: Path,
    batch_size: int,
) -> tuple[list[Array], list[Array]]:
    """MaxSim and best-sentence similarity of every query with its candidates.

    Works through the corpus in shards, so memory holds the token vectors of one shard of passages
    and of the queries; finished shards in ``folder`` are reused.

    Args:
        model: the untuned student; its token vectors are taken from ``encode_folder`` if there.
        fingerprint: identity of its weights.
        passages: passages' content.
        queries: query texts.
        query_vectors: float32 (queries, dimension).
        candidates: row numbers per query.
        folder: shards of this function.
        encode_folder: shards of the encoder.
        batch_size: texts per forward pass.

    Returns:
        Two lists with one float32 array (candidates,) per query: the mean over the query's tokens of
        the best cosine with a token of the passage, and the best cosine with one of its sentences.
    """
    query_tokens = _tokens_of(
        token_shards(
            model, fingerprint, queries, encode_folder, task="query", label="query tokens",
            batch_size=batch_size,
        )
    )  # fmt: skip
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, rows in enumerate(candidates):
        for place, row in enumerate(rows):
            wanted[row].append((number, place))
    maxsim = [np.zeros(len(rows), dtype=np.float32) for rows in candidates]
    sentence = [np.zeros(len(rows), dtype=np.float32) for rows in candidates]

    def compute(rows: Sequence[int]) -> Shard:
        shard = next(
            token_shards(
                model, fingerprint, [passages[row] for row in rows], encode_folder, task="document",
                label="", batch_size=batch_size,
            )
        )[1]  # fmt: skip
        token_ends, sentence_ends = shard["token_ends"], shard["sentence_ends"]
        best_tokens, best_sentences = [], []
        begin = sentence_begin = 0
        for place, row in enumerate(rows):
            tokens = shard["tokens"][begin : token_ends[place]].astype(np.float32)
            sentences = shard["sentences"][sentence_begin : sentence_ends[place]].astype(np.float32)
            begin, sentence_begin = token_ends[place], sentence_ends[place]
            numbers = [number for number, _ in wanted[row]]
            if numbers:
                best_tokens.append(mean_max_similarity([query_tokens[n] for n in numbers], tokens))
                best_sentences.append((query_vectors[numbers] @ sentences.T).max(axis=1))
        empty = [np.zeros(0, dtype=np.float32)]
        return {
            "maxsim": np.concatenate(best_tokens or empty),
            "sentence": np.concatenate(best_sentences or empty),
        }

    def key(rows: Sequence[int]) -> str:
        pairs = [[queries[number] for number, _ in wanted[row]] for row in rows]
        return digest(
            "late interaction", fingerprint, model.max_seq_length, [passages[r] for r in rows], pairs
        )

    everything = range(len(passages))
    for part, shard in map_shards(folder, everything, SHARD_TEXTS, key, compute, "late interaction"):
        places = [place for row in everything[part] for place in wanted[row]]
        for (number, place), tokens, best in zip(places, shard["maxsim"], shard["sentence"], strict=True):
            maxsim[number][place] = tokens
            sentence[number][place] = best
    return maxsim, sentence


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
    query_ids: Sequence[str],
    candidates: Sequence[Sequence[str]],
    qrels: Sequence[Qrel],
    step: float = 0.1,
) -> tuple[dict[str, float], float]:
    """Weights on a grid over the simplex with the best mean nDCG@10 on judged dev queries.

    Args:
        components: per component one array (candidates,) for each of ``query_ids``.
        scales: see :func:`list_scales`.
        query_ids: the judged dev queries.
        candidates: passage ids per query.
        qrels: judgements of these queries.
        step: distance of grid points; the grid's ties go to the most even weights.

    Returns:
        Weights (sum 1) and their nDCG@10.
    """
    points = round(1 / step)
    best: tuple[float, float, dict[str, float]] | None = None
    for counts in itertools.product(range(points + 1), repeat=len(COMPONENTS)):
        if sum(counts) != points:
            continue
        weights = {name: count / points for name, count in zip(COMPONENTS, counts, strict=True)}
        quality = mean(ndcg_of_lists(query_ids, candidates, mix(components, scales, weights), qrels))
        evenness = -sum(weight**2 for weight in weights.values())
        if best is None or (round(quality, 6), evenness) > best[:2]:
            best = (round(quality, 6), evenness, weights)
    assert best is not None
    return best[2], best[0]


def ndcg_of_lists(
    query_ids: Sequence[str],
    candidates: Sequence[Sequence[str]],
    scores: Sequence[Array],
    qrels: Sequence[Qrel],
) -> dict[str, float]:
    """nDCG@10 per query when its candidates are ordered by ``scores``."""
    run = {}
    for query_id, passages, values in zip(query_ids, candidates, scores, strict=True):
        order = np.argsort(-values, kind="stable")
        run[query_id] = [Scored(passages[place], float(values[place])) for place in order[:100]]
    return per_query(run, qrels, ["ndcg_at_10"])["ndcg_at_10"]


def _tokens_of(shards: Any) -> list[Array]:
    tokens = []
    for _, shard in shards:
        ends = shard["token_ends"]
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        tokens += [
            shard["tokens"][a:b].astype(np.float32) for a, b in zip(starts, ends, strict=True)
        ]
    return tokens
