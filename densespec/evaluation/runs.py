"""The rows of the comparison as runs: dense, BM25, their fusion, and candidates in a teacher's order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.evaluation.measures import ranked
from densespec.io.jsonl import read_json
from densespec.io.tables import read_table
from densespec.records import Qrel, Run
from densespec.retrieval.dense import search
from densespec.retrieval.encoding import encode, unit
from densespec.retrieval.fusion import reciprocal_rank_fusion
from densespec.retrieval.rows import short_row
from densespec.retrieval.student import NOTE, load_student, student_fingerprint

Array = np.ndarray[Any, Any]

#: Query id → row numbers of passages and their scores, best first.
Lists = dict[str, tuple[Sequence[int], Sequence[float]]]


def judged_queries(qrels: Iterable[Qrel], mined: Iterable[str], source: Path) -> list[str]:
    """Queries with something to find: a grade of 1 or more.

    Args:
        qrels: judgements of one split.
        mined: ids of all queries that have candidates and an embedding.
        source: file of the judgements, for messages.

    Returns:
        Ids, sorted.

    Raises:
        InputError: a judged query that was not mined.
    """
    judged = sorted({qrel.query_id for qrel in qrels if qrel.grade > 0})
    missing = sorted(set(judged) - set(mined))
    if missing:
        raise InputError(
            source,
            expected="judged queries that the stage 'mine' has seen",
            found=f"{len(missing)} others, such as {missing[0]}",
            remedy="run the stages 'corpus' and 'mine' of this domain again",
        )
    return judged


class ModelNote(NamedTuple):
    """What the stage ``distill`` noted of its model.

    Attributes:
        side: ``query`` where passages are encoded by the untouched model, else ``both``.
        dims: leading dimensions that it was trained to serve alone (``distill.matryoshka_dims``).
        losses: terms of the loss that it was trained with: ``kl``, ``infonce`` or both.
    """

    side: str
    dims: tuple[int, ...]
    losses: tuple[str, ...]


def model_note(folder: Path) -> ModelNote:
    """The note of a model; without one, somebody else's, it is one whose sides were both trained.

    Raises:
        InputError: no model there.
    """
    if not folder.is_dir():
        raise InputError(
            folder,
            expected="a model written by the stage 'distill'",
            found="no such folder",
            remedy="`dvc pull` or `dvc repro` brings it",
        )
    file = folder / NOTE
    note = read_json(file) if file.exists() else {}
    return ModelNote(
        side=note.get("side", "both"),
        dims=tuple(note.get("dims", ())),
        losses=tuple(note.get("losses", ("kl", "infonce"))),
    )


def model_vectors(
    folder: Path,
    texts: Sequence[str],
    contents: Sequence[str],
    untuned_passages: Array,
    *,
    shards: Path,
    loading: Mapping[str, Any],
    label: str,
) -> tuple[Array, Array]:
    """Embeddings of a trained model; passages are encoded again only where it changed their encoder.

    Args:
        folder: the model's.
        texts: queries to answer.
        contents: every passage's title and text, by row number.
        untuned_passages: float32 (passages, dimension) of the untuned model, length 1.
        shards: the encoder's scratch folder.
        loading: :meth:`~densespec.retrieval.config.StudentConfig.of_trained` of its student.
        label: what the progress line says.

    Returns:
        Of the queries and of the passages, float32 (rows, dimension), length 1.
    """
    side = model_note(folder).side
    model = load_student(str(folder), **loading)
    fingerprint = student_fingerprint(str(folder))
    passages = untuned_passages
    if side == "both":
        passages = encode(
            model,
            fingerprint,
            contents,
            shards,
            task="document",
            label=f"{label}: passages",
        )
    queries = encode(model, fingerprint, texts, shards, task="query", label=f"{label}: queries")
    return queries, passages


def dense_lists(query_ids: Sequence[str], queries: Array, passages: Array, depth: int) -> Lists:
    """Top passages by cosine.

    Args:
        query_ids: one per row of ``queries``.
        queries: float32 (queries, dimension), length 1.
        passages: float32 (passages, dimension), length 1.
        depth: list length (passages).
    """
    rows, scores = search(passages, queries, depth)
    return {
        query_id: (rows[number].tolist(), scores[number].tolist())
        for number, query_id in enumerate(query_ids)
    }


def lists_by_length(
    row: str, query_ids: Sequence[str], queries: Array, passages: Array, dims: Sequence[int], depth: int
) -> dict[str, Lists]:
    """Top passages of a model, and of its first ``dims`` values alone, set to length 1 again.

    Args:
        row: name of the whole; for those of short ones see :func:`~densespec.retrieval.rows.short_row`.
        query_ids: one per row of ``queries``.
        queries: float32 (queries, dimension), length 1.
        passages: float32 (passages, dimension), length 1.
        dims: how many leading values.
        depth: list length (passages).
    """
    found = {row: dense_lists(query_ids, queries, passages, depth)}
    for dim in dims:
        short = unit(queries[:, :dim]), unit(passages[:, :dim])
        found[short_row(row, dim)] = dense_lists(query_ids, *short, depth)
    return found


def written_lists(path: Path) -> Lists:
    """Lists that an earlier stage wrote (columns query_id, passages, scores)."""
    table = read_table(path)
    return {
        query_id: (rows, scores)
        for query_id, rows, scores in zip(table["query_id"], table["passages"], table["scores"], strict=True)
    }


def fused_lists(first: Lists, second: Lists, depth: int, k: int) -> Lists:
    """Reciprocal rank fusion, query by query; a list that is missing counts as empty."""
    return {
        query_id: reciprocal_rank_fusion(
            [lists.get(query_id, ((), ()))[0] for lists in (first, second)], depth, k
        )
        for query_id in first
    }


def teacher_lists(
    candidates: Mapping[str, Sequence[int]], scores: Mapping[str, Sequence[float | None]], source: str
) -> Lists:
    """Candidates in the order of a teacher: what the student would reach if it copied it perfectly.

    Candidates that the teacher did not score (a shorter list, None or NaN) keep their fused order below
    the scored ones.

    Args:
        candidates: query id → row numbers in fused order.
        scores: query id → scores aligned with them.
        source: file of the scores, for messages.

    Raises:
        InputError: a query without scores, or more scores than candidates.
    """
    lists: Lists = {}
    for query_id, rows in candidates.items():
        given = scores.get(query_id)
        if given is None or len(given) > len(rows):
            raise InputError(
                source,
                expected=f"at most {len(rows)} scores for the candidates of query {query_id}",
                found="none" if given is None else f"{len(given)} scores",
                remedy="the table is of other candidates: run the stage 'score' again",
            )
        padded = np.full(len(rows), np.nan)
        padded[: len(given)] = [np.nan if score is None else score for score in given]
        unscored = np.flatnonzero(np.isnan(padded))
        lowest = np.nanmin(padded) if len(unscored) < len(rows) else 0.0
        padded[unscored] = lowest - 1.0 - np.arange(len(unscored))
        lists[query_id] = (list(rows), padded.tolist())
    return lists


def as_run(lists: Lists, passage_ids: Sequence[str], depth: int) -> Run:
    """Lists of row numbers as a run, each in the order described at ``measures.ranked``.

    Args:
        lists: row numbers and scores, any order.
        passage_ids: id of each row.
        depth: where lists are cut (passages).
    """
    return {
        query_id: ranked([passage_ids[row] for row in rows], scores)[:depth]
        for query_id, (rows, scores) in lists.items()
    }
