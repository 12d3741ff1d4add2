"""Is the teacher worth learning from?"""

from __future__ import annotations

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Passage, Qrel
from densespec.retrieval.config import Bm25Config
from densespec.teaching.audit import audit_teacher, refuse_weaker
from densespec.teaching.teachers import Material

QUERIES, LENGTH = 30, 12


def material(dev=True, generated=True, judged=True):
    """Dev queries with one relevant passage each, then generated queries; the student ranks it sixth."""
    ids = [f"dev{n}" for n in range(QUERIES)] * dev + [f"gen{n}" for n in range(QUERIES)] * generated
    relevant = {query: f"p{n % LENGTH}" for n, query in enumerate(ids)}
    dense = []
    for query in ids:
        row = int(relevant[query][1:])
        scores = np.linspace(0.9, 0.1, LENGTH, dtype=np.float32)
        dense.append(np.roll(scores, row - 5))
    return Material(
        passages=[Passage(f"p{row}", "", "text") for row in range(LENGTH)],
        query_ids=ids,
        queries=ids,
        splits=["dev" if query.startswith("dev") else "train" for query in ids],
        sources=["" if query.startswith("dev") else relevant[query] for query in ids],
        candidates=[list(range(LENGTH))] * len(ids),
        dense=dense,
        lexical=Bm25Config(k1=1, b=0, language=""),
        query_vectors=np.zeros((len(ids), 2)),
        dev=[Qrel(query, passage, 1) for query, passage in relevant.items() if query.startswith("dev")]
        * judged,
    )


def ranking(given, *places):
    """Scores that put the queries' relevant passages at these places, in turn."""
    return [
        np.roll(np.linspace(1, 0, LENGTH), number % LENGTH - places[number % len(places)])
        for number in range(len(given.query_ids))
    ]


def ndcg(place):
    return 1 / np.log2(place + 2)


def test_a_planted_better_teacher_is_found_better():
    given = material()
    audit = audit_teacher(given, ranking(given, 0), seed=1)
    assert audit["basis"] == "judged dev queries" and audit["queries"] == QUERIES
    assert audit["teacher"] == pytest.approx(1.0)
    assert audit["student"] == pytest.approx(ndcg(5))
    assert [audit[name] for name in ("difference", "low", "high")] == pytest.approx([1 - ndcg(5)] * 3)


def test_a_planted_worse_teacher_is_found_worse():
    given = material()
    audit = audit_teacher(given, ranking(given, 8), seed=1)
    assert audit["difference"] == pytest.approx(ndcg(8) - ndcg(5))
    assert audit["high"] < 0


def test_the_interval_holds_the_difference_and_follows_the_seed_alone():
    given = material()
    scores = ranking(given, 2, 5, 8)
    audit = audit_teacher(given, scores, seed=1)
    assert audit["low"] < audit["difference"] < audit["high"]
    deviation = np.std([ndcg(2), ndcg(5), ndcg(8)]) / np.sqrt(QUERIES)
    assert audit["high"] - audit["low"] == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert audit_teacher(given, scores, seed=1) == audit
    assert audit_teacher(given, scores, seed=2) != audit


def test_without_judged_queries_the_sources_are_the_sign():
    for given in (material(judged=False), material(dev=False, judged=False)):
        audit = audit_teacher(given, ranking(given, 0), seed=1)
        assert (audit["basis"], audit["queries"]) == ("source passages of generated queries", QUERIES)
        assert (audit["teacher"], audit["student"]) == (pytest.approx(1.0), pytest.approx(ndcg(5)))


def test_queries_without_candidates_are_left_out_of_the_sources():
    given = material(dev=False, judged=False)
    given = given._replace(candidates=[[], *given.candidates[1:]], dense=[np.zeros(0), *given.dense[1:]])
    scores = [np.zeros(0), *ranking(given, 0)[1:]]
    assert audit_teacher(given, scores, seed=1)["queries"] == QUERIES - 1


def test_nothing_to_audit_on():
    given = material(generated=False, judged=False)
    audit = audit_teacher(given, ranking(given, 0), seed=1)
    assert audit["queries"] == 0 and audit["basis"].startswith("none")


def verdict(capsys, *places, allow=False, **changes):
    given = material(**changes)
    refuse_weaker(audit_teacher(given, ranking(given, *places), seed=1), "hybrid", allow=allow)
    return capsys.readouterr().err


def test_a_better_teacher_passes(capsys):
    said = verdict(capsys, 0)
    assert "nDCG@10 1.000 against the student's 0.356" in said and "warning" not in said


def test_a_teacher_that_is_not_clearly_better_passes_with_a_warning(capsys):
    assert "warning: teacher 'hybrid' is not clearly better" in verdict(capsys, 0, 11, 0, 11, 11)


@pytest.mark.parametrize("place", [5, 8])
def test_a_teacher_that_is_no_better_is_refused(capsys, place):
    with pytest.raises(InputError, match=r"set score\.allow_weaker: true"):
        verdict(capsys, place)


def test_a_weaker_teacher_is_allowed_on_demand_with_a_warning(capsys):
    assert "expect the student to get worse" in verdict(capsys, 8, allow=True)


def test_source_passages_are_too_weak_a_sign_to_refuse(capsys):
    assert "expect the student to get worse" in verdict(capsys, 8, judged=False)


def test_an_audit_that_could_not_be_made_warns(capsys):
    assert "could not be audited" in verdict(capsys, 0, generated=False, judged=False)
