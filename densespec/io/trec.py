"""TREC runs and qrels, and BEIR's qrels with a header."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from densespec.errors import InputError
from densespec.io.atomic import replacing
from densespec.io.jsonl import numbered_lines, shorten
from densespec.records import Qrel, Run, Scored


def read_qrels(path: Path) -> list[Qrel]:
    """Read BEIR (``query-id corpus-id score``, with header) or TREC (``qid 0 docid grade``) qrels.

    Raises:
        InputError: a malformed line, a grade that is no integer, or a pair judged twice differently.
    """
    grades: dict[tuple[str, str], int] = {}
    for number, line in numbered_lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        named = fields[0].lower().replace("_", "-") in ("query-id", "qid", "query")
        if number == 1 and named and not fields[-1].strip().lstrip("+-").isdecimal():
            continue
        if len(fields) == 4:
            fields = [fields[0], fields[2], fields[3]]
        try:
            query_id, passage_id, grade = fields[0], fields[1], int(fields[2])
            if len(fields) != 3:
                raise ValueError
        except (ValueError, IndexError):
            raise InputError(
                f"{path}:{number}",
                expected="query id, passage id, integer grade (BEIR), "
                "or query id, 0, passage id, grade (TREC)",
                found=shorten(line),
                remedy="correct or delete that line",
            ) from None
        if grades.setdefault((query_id, passage_id), grade) != grade:
            raise InputError(
                f"{path}:{number}",
                expected="one grade per query and passage",
                found=f"{query_id} {passage_id} "
                f"judged {grades[query_id, passage_id]} before and {grade} here",
                remedy="keep one of the two lines",
            )
    return [Qrel(query, passage, grade) for (query, passage), grade in grades.items()]


def write_qrels(path: Path, qrels: Iterable[Qrel]) -> None:
    """Write qrels in BEIR's layout, sorted."""
    with replacing(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            file.writelines(f"{q}\t{p}\t{grade}\n" for q, p, grade in sorted(qrels))


def write_run(path: Path, run: Run, name: str) -> None:
    """Write a run in TREC's six columns, queries sorted, each list in its order."""
    with replacing(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for query_id in sorted(run):
                for rank, (passage_id, score) in enumerate(run[query_id], start=1):
                    file.write(f"{query_id} Q0 {passage_id} {rank} {score:.6f} {name}\n")


def read_run(path: Path) -> Run:
    """Read a TREC run.

    Raises:
        InputError: a line without six columns, or a score that is no number.
    """
    run: Run = {}
    for number, line in numbered_lines(path):
        try:
            query_id, _, passage_id, _, score, _ = line.split()
            entry = Scored(passage_id, float(score))
        except ValueError:
            raise InputError(
                f"{path}:{number}",
                expected="query id, Q0, passage id, rank, score, name",
                found=shorten(line),
                remedy="write the run again",
            ) from None
        run.setdefault(query_id, []).append(entry)
    return run
