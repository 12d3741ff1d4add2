"""The panel of several teachers: weights, agreement, and the queries they disagree on most."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from densespec.reporting.disagreement import SHOWN, Disagreement, disagreements, ensemble_section
from densespec.retrieval.agreement import kendall_tau

PASSAGES = {
    "id": [f"p{row}" for row in range(9)], "title": [f"Title {row}" for row in range(8)] + [""],
    "text": ["…"] * 8 + ["a text without title"],
}  # fmt: skip
SELECT = {
    "teacher_weights": {"weights": {"a": 0.7, "b": 0.3}, "rule": "best nDCG@10 on 40 judged dev queries"},
    "judged_dev": {"queries": 40, "ndcg_at_10": {"a": 0.51, "b": 0.4, "together": 0.625}},
    "agreement": {"a, b": 0.375},
}


def shown(*arguments) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", ensemble_section(*arguments)).split())


def test_the_worst_queries_are_those_a_plain_loop_finds():
    random = np.random.default_rng(2)
    count = 40
    candidates = {
        "query_id": [f"q{n}" for n in range(count)], "text": [f"query {n}" for n in range(count)],
        "kind": ["log"] * count, "split": ["train"] * (count - 4) + ["test"] * 4,
        "source_id": [f"p{n % 9}" for n in range(count)],
        "passages": [random.permutation(9)[: random.integers(0, 10)].tolist() for _ in range(count)],
    }  # fmt: skip
    scores = {
        teacher: {
            query: random.integers(0, 5, len(rows)).tolist()
            for query, rows in zip(candidates["query_id"], candidates["passages"], strict=True)
        }
        for teacher in "abc"
    }
    expected = []
    for row, query in enumerate(candidates["query_id"]):
        if candidates["split"][row] == "train" and len(candidates["passages"][row]) >= 3:
            taus = [
                stats.kendalltau(scores[one][query], scores[other][query]).statistic
                for one, other in ("ab", "ac", "bc")
            ]
            expected += [(np.nanmin(taus), row)] if not np.isnan(taus).all() else []
    found = disagreements(candidates, scores, PASSAGES, 3)
    assert len(found) == SHOWN < len(expected)
    assert [query.tau for query in found] == pytest.approx([tau for tau, _ in sorted(expected)[:SHOWN]])
    for query, (_, row) in zip(found, sorted(expected), strict=False):
        assert query.text == candidates["text"][row]
        for teacher, (title, is_source) in query.firsts.items():
            own = scores[teacher][f"q{row}"]
            first = candidates["passages"][row][own.index(max(own))]
            assert title == (f"Title {first}" if first < 8 else "a text without title")
            assert is_source == (first == row % 9)


def test_tau_without_an_order():
    assert np.isnan(kendall_tau(np.ones(4), np.arange(4.0)))
    assert np.isnan(kendall_tau(np.zeros(1), np.zeros(1)))
    assert kendall_tau(np.arange(4.0), -np.arange(4.0)) == -1.0


def test_numbers_and_hostile_text_are_on_the_panel():
    hostile = "<script>alert(1)</script>"
    worst = [Disagreement(hostile, "web_search", -0.8125, {"a": (hostile, False), "b": ("Files", True)})]
    text = shown(SELECT, worst)
    for part in (
        "Weights: best nDCG@10 on 40 judged dev queries. Teacher weight nDCG@10 on 40 judged",
        "a 0.70 0.510 b 0.30 0.400 together 0.625",
        "a, b 0.38", "web search −0.81", "Files (source)",
    ):  # fmt: skip
        assert part in text, part
    assert "<script" not in ensemble_section(SELECT, worst)


def test_what_is_missing_is_left_out():
    text = shown({"agreement": {"a, b": 0.5}}, [])
    assert "Agreement" in text and "Weights" not in text and "disagree" not in text
    even = {"teacher_weights": {"weights": {"a": 0.5, "b": 0.5}, "rule": "even"}}
    assert shown(even, []) == "Weights: even. Teacher weight a 0.50 b 0.50"
    assert shown({}, []) == "Nothing was compared."
