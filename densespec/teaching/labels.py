"""Labelled pairs that a teacher is fine-tuned on, and the negatives each may be trained against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.judged import known_answers
from densespec.runtime.seeds import generator_for, seed_for

Array = np.ndarray[Any, Any]


class Labelled(NamedTuple):
    """A query with one relevant passage.

    Attributes:
        query: its row in the table of candidates.
        positive: row number of the passage.
        negatives: row numbers of candidates that are not relevant, in fused order; at least one.
    """

    query: int
    positive: int
    negatives: Sequence[int]


def labelled_pairs(
    table: Mapping[str, Sequence[Any]],
    passages: Mapping[str, Sequence[Any]],
    qrels: Sequence[Qrel],
    *,
    labels: str,
    max_margin: float | None,
) -> tuple[list[Labelled], dict[str, int]]:
    """The pairs of :func:`human_labels`, of :func:`synthetic_labels`, or of both.

    Args:
        table: candidates of the stage mine.
        passages: the corpus: ``id`` and ``hash``.
        qrels: of training queries.
        labels: ``"human"``, ``"synthetic"``, ``"both"``, or ``"auto"``: synthetic where people gave none.
        max_margin: see :func:`synthetic_labels`.

    Returns:
        The pairs, and how many are ``human`` and ``synthetic``, and candidates ``dropped``.

    Raises:
        InputError: no pair.
    """
    row_of = {passage_id: row for row, passage_id in enumerate(passages["id"])}
    human: list[Labelled] = []
    synthetic: list[Labelled] = []
    dropped = 0
    if labels != "synthetic":
        human = human_labels(
            qrels, table["query_id"], table["split"], table["passages"], row_of, passages["hash"]
        )
    if labels in ("synthetic", "both") or (labels == "auto" and not human):
        dense = [np.asarray(values, dtype=np.float32) for values in table["dense"]]
        synthetic, dropped = synthetic_labels(
            table["text"], table["source_id"], table["passages"], dense, row_of, passages["hash"], max_margin
        )
    if not human and not synthetic:
        raise InputError(
            f"params.yaml: teacher_finetune.labels = {labels}",
            expected="labelled queries with candidates",
            found=f"{len(qrels)} judgements of log queries, no generated query that fits",
            remedy="bring labels (densespec new-domain --log-split train --train-labels), or generated "
            "queries (labels: synthetic)",
        )
    return [*human, *synthetic], {"human": len(human), "synthetic": len(synthetic), "dropped": dropped}


def human_labels(
    qrels: Sequence[Qrel],
    query_ids: Sequence[str],
    splits: Sequence[str],
    candidates: Sequence[Sequence[int]],
    row_of: Mapping[str, int],
    hashes: Sequence[str],
) -> list[Labelled]:
    """Judgements of grade 1 and more, each with the query's other candidates as negatives.

    Args:
        qrels: of training queries.
        query_ids: of all mined queries.
        splits: of each; labels of other queries than ``train`` ones are not used.
        candidates: row numbers per query; a query without any, or without a list, gives no pair.
        row_of: passage id → row number.
        hashes: content key per passage; a negative with the content of a positive is none.
    """
    numbered = enumerate(zip(query_ids, splits, strict=True))
    number_of = {query_id: number for number, (query_id, split) in numbered if split == "train"}
    positives: dict[int, list[int]] = {}
    for query_id, passage_id, grade in qrels:
        if grade >= 1 and query_id in number_of:
            positives.setdefault(number_of[query_id], []).append(row_of[passage_id])
    pairs = []
    for number, rows in positives.items():
        relevant = {hashes[row] for row in rows}
        negatives = [row for row in candidates[number] if hashes[row] not in relevant]
        pairs += [Labelled(number, row, negatives) for row in rows if negatives]
    return pairs


def synthetic_labels(
    texts: Sequence[str],
    source_ids: Sequence[str],
    candidates: Sequence[Sequence[int]],
    dense: Sequence[Array],
    row_of: Mapping[str, int],
    hashes: Sequence[str],
    max_margin: float | None,
) -> tuple[list[Labelled], int]:
    """Generated queries that passed the round trip, with their source passages.

    Nobody has read the candidates, so one that the untuned student puts well above the source passage is
    likely to be relevant too, and is no negative (the margin of NV-Retriever, arXiv 2407.15831, added to
    the positive's score). Nor is one that a query of the same text was written or judged for.

    Args:
        texts: of the mined queries.
        source_ids: per mined query; ``""`` for those that were not written for a passage.
        candidates: row numbers per query, the source among them; empty where the round trip failed.
        dense: the student's cosine of each.
        row_of: passage id → row number.
        hashes: content key per passage.
        max_margin: left out are candidates above the source's cosine plus this; None leaves out none.

    Returns:
        The pairs, and how many candidates the margin left out.
    """
    answers = known_answers(texts, [hashes[row_of[source]] if source else None for source in source_ids])
    pairs, dropped = [], 0
    for number, (source_id, rows, cosines) in enumerate(zip(source_ids, candidates, dense, strict=True)):
        if not source_id or not len(rows):
            continue
        source = row_of[source_id]
        others = [place for place, row in enumerate(rows) if hashes[row] not in answers[number]]
        limit = np.inf if max_margin is None else cosines[list(rows).index(source)] + max_margin
        negatives = [rows[place] for place in others if cosines[place] <= limit]
        dropped += len(others) - len(negatives)
        if negatives:
            pairs.append(Labelled(number, source, negatives))
    return pairs, dropped


def split_by_passage(
    pairs: Sequence[Labelled], hashes: Sequence[str], share: float, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """Training and held-out pairs: a query is on one side, and so are queries with the same first passage."""
    first: dict[int, int] = {}
    for pair in pairs:
        first.setdefault(pair.query, pair.positive)
    held = {
        query for query, row in first.items() if seed_for(seed, "split", hashes[row]) / 2**32 < share
    }
    return [pair for pair in pairs if pair.query not in held], [pair for pair in pairs if pair.query in held]


def draw_negatives(pair: Labelled, count: int, seed: int, drawing: int) -> list[int]:
    """Some of a pair's negatives, others in each pass over the pairs.

    Args:
        pair: a labelled pair.
        count: how many; fewer where there are fewer.
        seed: of all draws.
        drawing: number of the pass.
    """
    generator = generator_for(seed, "negatives", str(pair.query), str(pair.positive), str(drawing))
    drawn = generator.choice(len(pair.negatives), size=min(count, len(pair.negatives)), replace=False)
    return [pair.negatives[place] for place in drawn]
