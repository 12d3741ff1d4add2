"""Teacher audit: does the teacher rank better than the student it is to teach?

The teacher is the bottleneck of distillation: a weaker one makes the student worse (the paper's
ArguAna, Touché and SCIDOCS). So it is measured before anything is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.runtime.progress import say
from densespec.teaching.measuring import mean_difference
from densespec.teaching.teachers import Material

Array = np.ndarray[Any, Any]


def audit_teacher(material: Material, scores: Sequence[Array], seed: int) -> dict[str, Any]:
    """nDCG@10 of teacher and student over the same candidates.

    On the judged dev queries where there are any, else on the generated queries with their source
    passage as the one relevant passage (a weaker sign: that passage is in the list by construction).

    Args:
        material: what the teacher read.
        scores: its scores per query (candidates,).
        seed: of the bootstrap (10,000 resamples of queries).

    Returns:
        ``basis``, ``queries``, ``teacher``, ``student``, ``difference`` and its 95 % interval
        ``low``, ``high``.
    """
    numbers, qrels, basis = material.judged_dev(), list(material.dev), "judged dev queries"
    if not numbers:
        numbers = [
            n for n, source in enumerate(material.sources) if source and len(material.candidates[n])
        ]
        qrels = [Qrel(material.query_ids[n], material.sources[n], 1) for n in numbers]
        basis = "source passages of generated queries"
    if not numbers:
        return {"basis": "none: no judged dev queries and no generated queries", "queries": 0}
    judged = material.judged(numbers, qrels)
    teacher, student = (
        judged.ndcg_per_query([given[n] for n in numbers]) for given in (scores, material.dense)
    )
    differences = np.asarray([teacher[query] - student[query] for query in sorted(teacher)])
    return {
        "basis": basis,
        "queries": len(numbers),
        "teacher": float(np.mean(list(teacher.values()))),
        "student": float(np.mean(list(student.values()))),
        **mean_difference(differences, seed),
    }


def refuse_weaker(audit: dict[str, Any], teacher: str, *, allow: bool) -> None:
    """Stop before distilling from a teacher that is not better; warn where it is not clearly better.

    Raises:
        InputError: the teacher is no better than the student and ``allow`` is false.
    """
    if not audit["queries"]:
        say(f"warning: teacher '{teacher}' could not be audited ({audit['basis']})")
        return
    found = (
        f"nDCG@10 {audit['teacher']:.3f} against the student's {audit['student']:.3f} on "
        f"{audit['queries']} {audit['basis']} (difference {audit['difference']:+.3f}, "
        f"95 % {audit['low']:+.3f} to {audit['high']:+.3f})"
    )
    say(f"teacher '{teacher}': {found}")
    if audit["difference"] > 0:
        if audit["low"] <= 0:
            say(f"warning: teacher '{teacher}' is not clearly better than the student")
        return
    if audit["basis"].startswith("judged") and not allow:
        raise InputError(
            f"teacher '{teacher}'",
            expected="a teacher that ranks better than the untuned student",
            found=found,
            remedy="take a stronger teacher, or set score.allow_weaker: true to go on regardless",
        )
    say(f"warning: teacher '{teacher}' is weaker than the student; expect the student to get worse")
