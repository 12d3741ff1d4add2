"""The retrievers of a domain: which are named, and the lists that each has for the queries."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.io.arrays import read_array, write_rows
from densespec.mining import indexes
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.encoding import embedded
from densespec.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from densespec.retrieval.lucene import LuceneBm25
from densespec.retrieval.student import load_student, precision_of, student_fingerprint
from densespec.runtime.progress import progress, say

Array = np.ndarray[Any, Any]

LOW_RECALL = 0.95


class Ranking(NamedTuple):
    """One list: row numbers of passages, best first, and the retriever's scores of them."""

    rows: Array
    scores: Array

    def first(self, depth: int) -> Ranking:
        """The best ``depth`` of them."""
        return Ranking(self.rows[:depth], self.scores[:depth])


class Dense(NamedTuple):
    """What a bi-encoder found.

    Attributes:
        lists: one per query.
        details: its model, the kind of index and its recall@100, for the metrics.
        passages: float32 (passages, dimension), length 1, mapped from disk.
        queries: float32 (queries, dimension), length 1, mapped from disk.
    """

    lists: list[Ranking]
    details: dict[str, Any]
    passages: Array
    queries: Array


def check_retrievers(retrievers: Sequence[str], dense: Collection[str], weights: Mapping[str, float]) -> None:
    """Refuse retrievers that nothing defines, and weights that make no sum.

    Args:
        retrievers: names of the lists to fuse.
        dense: names of further bi-encoders.
        weights: of retrievers; those not named weigh 1.

    Raises:
        InputError: with every name that may be used.
    """
    known = ["student", "bm25", *dense]
    if not retrievers or not set(retrievers) <= set(known) or len(set(known)) < len(known):
        raise InputError(
            "params.yaml: mine.retrievers",
            expected=f"a list of: {', '.join(dict.fromkeys(known))}",
            found=f"{list(retrievers)}; mine.dense names {list(dense)}",
            remedy="name at least one of them; a further model needs its entry, under a name of its own, "
            "in mine.dense",
        )
    used = [weights.get(name, 1.0) for name in retrievers]
    if not set(weights) <= set(retrievers) or min(used) < 0 or not 0 < sum(used) < math.inf:
        raise InputError(
            "params.yaml: mine.weights",
            expected=f"weights from 0 up, at least one above 0, of the retrievers: {', '.join(retrievers)}",
            found=", ".join(f"{name}: {weight:g}" for name, weight in weights.items()),
            remedy="correct names and weights; one that is not named weighs 1",
        )


def dense_lists(
    setting: Mapping[str, Any],
    passages: Sequence[str],
    queries: Sequence[str],
    *,
    files: tuple[Path, Path],
    shards: Path,
    depth: int,
    index: str,
    tokens: bool = False,
    label: str = "",
) -> Dense:
    """Lists of a bi-encoder; its embeddings are written to disk and searched there.

    Args:
        setting: arguments of :func:`densespec.retrieval.student.load_student`.
        passages: content of every passage, by row number.
        queries: text of every query.
        files: where the embeddings of passages and of queries go (``.npy``).
        shards: the encoder's scratch folder.
        depth: list length.
        index: ``auto``, ``flat``, ``ivf`` or ``hnsw``.
        tokens: keep token vectors in the shards too.
        label: added to the progress lines.
    """
    model = load_student(**setting)
    identity = student_fingerprint(setting["model"], setting.get("revision"))
    for file, texts, task, what in (
        (files[0], passages, "document", "passages"),
        (files[1], queries, "query", "queries"),
    ):
        blocks = embedded(
            model, identity, texts, shards, task=task, label=f"encode {what}{label}", tokens=tokens,
        )  # fmt: skip
        write_rows(file, blocks, len(texts))
    passage_vectors, query_vectors = read_array(files[0]), read_array(files[1])
    kind = indexes.choose(index, len(passages))
    # recall@100 is of lists of 100
    rows, scores = indexes.search(
        passage_vectors, query_vectors, depth if kind == "flat" else max(depth, 100), kind
    )
    found = indexes.recall(passage_vectors, query_vectors, rows) if kind != "flat" else 1.0
    if found < LOW_RECALL:
        say(f"warning: the {kind} index found {found:.1%} of the exact top 100; mine.index: flat finds all")
    lists = [Ranking(r[r >= 0][:depth], s[r >= 0][:depth]) for r, s in zip(rows, scores, strict=True)]
    limit = model.max_seq_length
    details = {
        "model": setting["model"], "fingerprint": identity, "precision": precision_of(model),
        "max_tokens": None if limit == math.inf else limit,
        "index": kind, "recall_at_100": found,
    }  # fmt: skip
    return Dense(lists, details, passage_vectors, query_vectors)


def lexical_lists(
    index: Bm25 | LuceneBm25, queries: Sequence[str], wanted: Sequence[bool], depth: int
) -> list[Ranking]:
    """BM25's lists of the wanted queries; those of others are empty."""
    nothing = Ranking(np.zeros(0, np.int64), np.zeros(0, np.float32))
    lists = []
    with progress("bm25", len(queries)) as advance:
        for query, ask in zip(queries, wanted, strict=True):
            lists.append(Ranking(*index.search(query, depth)) if ask else nothing)
            advance(1)
    return lists


def fuse(
    rankings: Mapping[str, Ranking],
    depth: int,
    *,
    method: str,
    rrf_k: int,
    weights: Mapping[str, float],
    normalise: str,
) -> list[int]:
    """Row numbers of one query's candidates, best first.

    Args:
        rankings: retriever -> its list.
        depth: length of the result.
        method: ``rrf`` or ``weighted``.
        rrf_k: constant of the first.
        weights: of retrievers; those not named weigh 1.
        normalise: of the second, see :func:`densespec.retrieval.fusion.weighted_fusion`.
    """
    used = [weights.get(name, 1.0) for name in rankings]
    rows = [ranking.rows for ranking in rankings.values()]
    if method == "rrf":
        return reciprocal_rank_fusion(rows, depth, rrf_k, used)[0]
    scores = [ranking.scores for ranking in rankings.values()]
    return weighted_fusion(rows, scores, depth, used, normalise)[0]
