"""What the stage writes beside the numbers: TREC runs and the table of per-query measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from densespec.evaluation.summary import Scores
from densespec.io.atomic import replacing_folder
from densespec.io.tables import write_table
from densespec.io.trec import write_run
from densespec.records import Query, Run
from densespec.retrieval.measures import MEASURES


def write_evaluation(path: Path, runs: Mapping[str, Run], queries: Sequence[Query], scores: Scores) -> None:
    """Write ``runs/<row>.trec`` and ``per_query.parquet``; the folder is replaced as a whole.

    Args:
        path: the folder.
        runs: row → run; only the lists of ``queries`` are written.
        queries: the test queries.
        scores: row → measure → float64 (queries,).
    """
    columns: dict[str, Sequence[Any]] = {
        "query_id": [query.id for _ in scores for query in queries],
        "text": [query.text for _ in scores for query in queries],
        "kind": [query.kind for _ in scores for query in queries],
        "row": [row for row in scores for _ in queries],
    }
    for name in MEASURES:
        columns[name] = [float(value) for values in scores.values() for value in values[name]]
    with replacing_folder(path) as folder:
        for row, run in runs.items():
            test = {query.id: run.get(query.id, []) for query in queries}
            write_run(folder / "runs" / f"{row}.trec", test, row)
        write_table(folder / "per_query.parquet", columns)
