"""Which queries and candidates the fine-tuning of a teacher is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.judged import Judged, judged_dev, judged_lists
from densespec.runtime.seeds import seed_for
from densespec.teaching.labels import Labelled, split_by_passage


class DevLists(NamedTuple):
    """Lists that a model is measured on.

    Attributes:
        basis: what they are, in words.
        numbers: the queries' rows in the table of candidates.
        queries: their texts.
        candidates: row numbers of each one's candidates.
        judged: the same lists as passage ids, with judgements.
    """

    basis: str
    numbers: Sequence[int]
    queries: Sequence[str]
    candidates: Sequence[Sequence[int]]
    judged: Judged


def choose_dev(
    pairs: Sequence[Labelled],
    table: Mapping[str, Sequence[Any]],
    passages: Mapping[str, Sequence[Any]],
    qrels: Sequence[Qrel],
    *,
    dev_share: float,
    eval_queries: int,
    eval_depth: int,
    seed: int,
) -> tuple[Sequence[Labelled], DevLists]:
    """The judged dev queries, or labelled queries that are held out where there are none.

    Args:
        pairs: all labelled pairs.
        table: candidates of the stage mine: ``query_id``, ``text``, ``split`` and ``passages``.
        passages: the corpus: ``id`` and ``hash``.
        qrels: judgements of the dev queries.
        dev_share: of the labelled queries to hold out.
        eval_queries: more are sampled down to as many.
        eval_depth: candidates of each.
        seed: of split and sample.

    Returns:
        The pairs that are left to train on, and the lists.

    Raises:
        InputError: nothing to train on, or nothing to measure on.
    """
    ids = table["query_id"]
    numbers, basis = judged_dev(ids, table["split"], qrels), "judged dev queries"
    if not numbers:
        basis = "held-out labelled queries"
        pairs, held = split_by_passage(pairs, passages["hash"], dev_share, seed)
        numbers = sorted({pair.query for pair in held})
        qrels = [Qrel(ids[pair.query], passages["id"][pair.positive], 1) for pair in held]
    if not pairs or not numbers:
        raise InputError(
            "params.yaml: teacher_finetune",
            expected="labelled queries to train on, and judged dev queries or labelled ones to hold out",
            found=f"{len(pairs)} labelled pairs to train on, {len(numbers)} queries to pick the weights by",
            remedy="give more labels, a second set of judged queries (qrels/dev.tsv), or another "
            "teacher_finetune.dev_share",
        )
    drawn = sorted(sorted(numbers, key=lambda number: seed_for(seed, "dev", ids[number]))[:eval_queries])
    cut = [rows[:eval_depth] for rows in table["passages"]]
    return pairs, DevLists(
        basis, drawn, [table["text"][number] for number in drawn], [cut[number] for number in drawn],
        judged_lists(drawn, ids, cut, passages["id"], qrels),
    )  # fmt: skip
