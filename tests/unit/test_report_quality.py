"""The quality panel: what is left after each step, what it cost, and what it says without some of it."""

from __future__ import annotations

import re

from densespec.generation.filters import NO_ANSWER as FILTERS_NO_ANSWER
from densespec.generation.filters import REASONS
from densespec.reporting.quality import NO_ANSWER, Survival, per_kept, quality_section, survival

FUNNEL = {"written": 80, "round_trip": 10, "too_few": 2, "teacher_not_first": 5, "low_score": 3, "kept": 60}
DROPPED = {
    "cut_off": 1, "empty": 1, "refusal": 1, "mentions_passage": 1, "wrong_language": 3, "too_long": 6,
    "equals_title": 1, "copies_passage": 3, "duplicate": 3,
}  # fmt: skip
GENERATE = {
    "queries": 80,
    "words_per_query": 8.25,
    "dropped": DROPPED,
    "tidied": 7,
    "quality": {"distinct_1": 0.3, "distinct_2": 0.625, "distinct_3": 0.9, "passage_overlap": 0.4321},
}
#: 80 queries passed the filters on the text; the writer that counted wrote 60, of which 45 should be left.
USAGE = {
    "writers": {"openai": {"kept": 60}, "recorded": {"kept": 20}},
    "usage": {
        "openai": {
            "requests": 75, "prompt_tokens": 8000, "completion_tokens": 1000, "seconds": 22.5, "cost": 1.125,
        }
    },
}  # fmt: skip


def shown(*arguments) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", quality_section(*arguments)).split())


def test_the_panel_knows_the_reasons_of_the_stage_generate():
    assert NO_ANSWER == FILTERS_NO_ANSWER
    assert set(DROPPED) == set(REASONS)


def test_survival_is_what_one_by_one_counting_finds():
    fates = [reason for reason, lost in DROPPED.items() for _ in range(lost)]
    fates += [fate for fate, lost in FUNNEL.items() if fate != "written" for _ in range(lost)]
    no_answer, teacher = set(FILTERS_NO_ANSWER), {"too_few", "teacher_not_first", "low_score"}
    gone = [set(), no_answer, set(DROPPED) - no_answer, {"round_trip"}, teacher]
    left = []
    for step in gone:
        fates = [fate for fate in fates if fate not in step]
        left.append(len(fates))
    assert survival(DROPPED, FUNNEL) == Survival(*left) == (100, 93, 80, 70, 60)


def test_usage_per_kept_query():
    steps = survival(DROPPED, FUNNEL)
    assert per_kept(USAGE, steps) == {"tokens": 200, "seconds": 0.5, "cost": 0.025}
    two = {"a": {"prompt_tokens": 60, "seconds": 6.0}, "b": {"completion_tokens": 120, "seconds": 3.0}}
    both = {"writers": {"a": {"kept": 30}, "b": {"kept": 50}}, "usage": two}
    assert per_kept(both, steps) == {"tokens": 3, "seconds": 0.15, "cost": 0}
    assert per_kept(USAGE, steps._replace(kept=0)) == {}
    assert per_kept({"writers": {"recorded": {"kept": 80}}}, steps) == {}


def test_numbers_are_on_the_panel():
    text = shown({"claim": GENERATE | USAGE}, {"funnel": {"claim": FUNNEL}}, ["claim"])
    assert "claim 80 8.2 0.30 0.62 0.90 43.2%" in text
    assert "tokens seconds cost of 1,000 claim 100 93.0% 80.0% 70.0% 60.0% 200 0.50 25.00" in text
    reasons = "too long wrong language copies passage duplicate cut off empty refusal mentions passage"
    assert f"Dropped on their text: Kind {reasons} equals title claim 6 3 3 3 1 1 1 1 1 7 answers" in text
    assert "7 answers had something around the query, which was taken off." in text
    below = shown({"claim": GENERATE | {"preambles": 4}}, {}, ["claim"])
    assert "which was taken off, 4 of them a preamble." in below


def test_what_was_dropped_is_told_by_kind_and_reason():
    claim = GENERATE | {"dropped": {"empty": 2, "refusal": 0}}
    text = shown({"claim": claim, "title": {"dropped": {"duplicate": 3}}}, {}, ["claim", "title"])
    assert "their text: Kind duplicate empty claim 0 2 title 3 0 7" in text


def test_costs_are_shown_only_where_they_were_counted():
    usage = {"openai": USAGE["usage"]["openai"] | {"cost": 0.0}}
    free = {"claim": GENERATE | USAGE | {"usage": usage}, "title": GENERATE}
    funnel = {"funnel": {"claim": FUNNEL, "title": FUNNEL}}
    text = shown(free, funnel, ["title", "claim", "gone"])
    assert "title 100 93.0% 80.0% 70.0% 60.0% – – claim 100 93.0% 80.0% 70.0% 60.0% 200 0.50 Dropped" in text
    assert "cost of 1,000" not in text
    assert "tokens" not in shown({"claim": GENERATE}, funnel, ["claim"]).lower()


def test_metrics_of_an_earlier_version_and_none_at_all():
    text = shown({"claim": {"queries": 5}}, {}, ["claim"])
    assert "claim 5 – – – – – " in text
    assert "claim 0 – – – –" in text
    assert "Dropped on their text: none." in text
    assert "No queries were written" in shown({}, {}, ["claim"])
