"""The report: whole and with parts missing, hostile text, the same bytes, and its numbers."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from densespec.io.jsonl import write_json
from densespec.io.tables import write_table
from densespec.io.trec import write_qrels, write_run
from densespec.records import Qrel, Scored
from densespec.reporting.charts import interval_mark, line_chart, nice_ticks, sorted_differences
from densespec.reporting.explorer import Compared, explorer_data, explorer_section
from densespec.reporting.markup import Html, join, json_block, number, p_value, shorten, signed, tag
from densespec.reporting.queries import gather_examples
from stages import report

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'\u2028"
MEASURES = ("ndcg_at_10", "recall_at_100", "mrr_at_10")
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Elements that do not nest, scripts, attributes that would run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.scripts: list[tuple[dict, str]] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        self.problems += [f"never closed: {name}" for name in self.open]

    def handle_starttag(self, name, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.problems += [
            f"{name} {key}" for key in given if key.startswith("on") or key in ("src", "srcset")
        ]
        if given.get("href", "#").startswith("#") is False:
            self.problems.append(f"link to {given['href']}")
        if name not in VOID:
            self.open.append(name)
        if name == "script":
            self.scripts.append((given, ""))

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.problems.append(f"</{name}> out of place")

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data + " "


def compared(difference: float) -> dict:
    return {
        "difference": difference,
        "low": difference - 0.02,
        "high": difference + 0.02,
        "p": 0.001,
        "p_holm": 0.004,
        "wins": 3,
        "losses": 1,
        "ties": 0,
        "detectable": 0.03,
    }


def row(mean: float, difference: float | None) -> dict:
    values: dict = {name: {"mean": mean, "low": mean - 0.05, "high": mean + 0.05} for name in MEASURES}
    if difference is not None:
        values["vs_untuned"] = {name: compared(difference) for name in MEASURES}
    return values


RESULTS = {
    "domain": "words",
    "split": "test",
    "queries": 4,
    "verdict": "ship",
    "reason": "nDCG@10 rises by 0.100 on 4 test queries (95 % interval -0.010 to +0.120).",
    "rows": {
        "untuned": row(0.5, None),
        "specialised": row(0.6, 0.1),
        "control": row(0.55, 0.05),
        "bm25": row(0.4, -0.1),
        "hybrid": row(0.52, 0.02),
        "teacher": row(0.7, 0.2),
    },
    "kinds": {
        "task": {"queries": 3, "untuned": 0.5, "specialised": 0.7, "bm25": 0.4},
        HOSTILE: {"queries": 1, "untuned": 0.5, "specialised": 0.4, "bm25": 0.4},
    },
    "specialised_vs_control": {name: compared(0.05) for name in MEASURES},
    "dev": {"queries": 2, "rows": {"untuned": row(0.5, None), "specialised": row(0.6, 0.1)}, "kinds": {}},
    "leaks": {
        "training_queries": 5,
        "from_judged_passages": 0,
        "same_as_judged_query": 0,
        "near_judged_query": 0,
    },
}
DISTILL = {
    "temperatures": {
        "student": 0.05,
        "teacher": 0.1,
        "teacher_matched": 0.1,
        "student_entropy": 3.0,
        "teacher_entropy": 3.0,
    },
    "side": "query",
    "train_lists": 4,
    "dev_lists": 1,
    "distinct_share": 0.254,
    "curves": {
        name: [
            {"step": 0.0, "dev_loss": 0.4, "dev_ndcg_at_10": 0.5},
            {"step": 10.0, "train_loss": 0.3, "dev_loss": 0.3, "dev_ndcg_at_10": 0.6},
        ]
        for name in ("specialised", "control")
    },
    "steps": {"specialised": 10, "control": 10},
    "best_step": {"specialised": 10, "control": 10},
}


@pytest.fixture
def domain(tmp_path, monkeypatch) -> Path:
    """All inputs of the stage, with hostile text wherever text comes from a user."""
    monkeypatch.chdir(tmp_path)
    titles = ["Alpha", HOSTILE, "Gamma", "", "Epsilon"]
    write_table(
        tmp_path / "passages.parquet",
        {
            "id": [f"p{n}" for n in range(5)],
            "title": titles,
            "text": [f"text {n} {HOSTILE}" for n in range(5)],
        },
    )
    queries = [f"q{n}" for n in range(4)]
    values = {"untuned": [0.5, 0.5, 0.0, 1.0], "specialised": [1.0, 0.6, 0.5, 0.3], "bm25": [0.1] * 4}
    write_table(
        tmp_path / "evaluation/per_query.parquet",
        {
            "query_id": queries * 3,
            "text": [f"query {n} {HOSTILE}" for n in range(4)] * 3,
            "kind": ["task", "task", HOSTILE, ""] * 3,
            "row": [name for name in values for _ in queries],
            "ndcg_at_10": [value for numbers in values.values() for value in numbers],
        },
    )
    for name, order in {"untuned": [0, 1, 2, 3], "specialised": [3, 2, 1, 0]}.items():
        run = {
            query: [Scored(f"p{n}", 1.0 - place / 10) for place, n in enumerate(order)] for query in queries
        }
        write_run(tmp_path / f"evaluation/runs/{name}.trec", run, name)
    write_qrels(tmp_path / "test.tsv", [Qrel(query, "p1", 2) for query in queries] + [Qrel("q0", "p4", 1)])
    write_table(
        tmp_path / "candidates.parquet",
        {
            "query_id": ["a", "b", "c", "d", "e", "q0"],
            "text": ["kept one", f"lost {HOSTILE}", "few", "other", "low", "test query"],
            "kind": ["question"] * 5 + ["task"],
            "source_id": ["p0", "p1", "p2", "p3", "p4", ""],
            "writer": ["recorded"] * 6,
            "split": ["train"] * 5 + ["test"],
            "passages": [[0, 1, 2], [], [2], [0, 3, 1], [4, 1, 2], [1, 2, 3]],
            "dense": [[0.5] * 3, [], [0.5], [0.5] * 3, [0.5] * 3, [0.5] * 3],
            "source_rank": [1, 31, 1, 2, 1, 0],
        },
    )
    write_table(tmp_path / "lists.parquet", {"query_id": ["a"]})
    scores = [[3.0, 2, 1], [], [1.0], [9.0, 1, 0], [0.2, 0.1, 0], [0.0] * 3]
    write_table(
        tmp_path / "scores/hybrid/scores.parquet",
        {"query_id": ["a", "b", "c", "d", "e", "q0"], "scores": scores},
    )
    write_json(
        tmp_path / "corpus.json",
        {
            "source": {"title": HOSTILE, "licence": "CC0-1.0"},
            "passages": {"total": 5, "not_seeds": {"short": 1}},
            "recordings": {"question": {"read": 9, "kept": 5}},
            "leaks": {"log_queries_dropped": 2},
        },
    )
    write_json(tmp_path / "generate/question.json", {"queries": 5, "dropped": {"too_long": 2, "empty": 0}})
    audit = {"basis": "judged dev queries", "queries": 9, "teacher": 0.7, "student": 0.5, "difference": 0.2}
    write_json(
        tmp_path / "score/hybrid.json",
        {"weights": {"bm25": 0.5, "dense": 0.5}, "rule": "even", "audit": {**audit, "low": 0.1, "high": 0.3}},
    )
    funnel = {"written": 5, "round_trip": 1, "too_few": 1, "teacher_not_first": 1, "low_score": 1, "kept": 1}
    write_json(tmp_path / "select.json", {"funnel": {"question": funnel}, "train": 1, "dev": 0})
    write_json(tmp_path / "distill.json", DISTILL)
    write_json(tmp_path / "evaluate.json", RESULTS)
    (tmp_path / "params.yaml").write_text(
        "domains: [words, other]\ndomain: words\nkinds: [question]\nteachers: [hybrid]\nforgetting: []\n"
        "select: {min_candidates: 2, source_rank: 1}\nevaluate: {alpha: 0.05}\nreport: {}\n"
    )
    (tmp_path / "conf/domains").mkdir(parents=True)
    (tmp_path / "conf/domains/words.yaml").write_text("select: {source_rank: 1}\nevaluate: {}\nreport: {}\n")
    return tmp_path


def render(folder: Path, monkeypatch) -> Page:
    flags = {
        "domain": "words",
        "metrics": ".",
        "evaluation": "evaluation",
        "passages": "passages.parquet",
        "test": "test.tsv",
        "candidates": "candidates.parquet",
        "lists": "lists.parquet",
        "scores": "scores",
        "out": "reports/report.html",
    }
    monkeypatch.setattr(
        sys, "argv", ["report.py", *(part for k, v in flags.items() for part in (f"--{k}", v))]
    )
    report.main()
    return Page((folder / "reports/report.html").read_text(encoding="utf-8"))


def test_everything_is_on_the_page_in_order_and_well_formed(domain, monkeypatch):
    page = render(domain, monkeypatch)
    assert page.problems == []
    assert len(page.ids) == len(set(page.ids))
    assert page.headings == [
        "Results",
        "By kind of query",
        "On other domains",
        "Training",
        "Temperatures",
        "Filter funnel",
        "Quality of the written queries",
        "Teacher audit",
        "Query by query",
        "Training queries: kept and rejected",
        "Corpus and leak audit",
        "Settings used",
        "Reproduce and use",
    ]
    said = page.text.split()
    text = " ".join(said)
    for part in (
        "Ship it",
        "nDCG@10 rises by 0.100",
        "95 % interval −0.010",
        "Control (InfoNCE only)",
        "0.700",
        "CC0-1.0",
        "+0.100 [+0.080, +0.120] 0.001 0.004 3 / 0 / 1",
        "The student closes 50% of the gap",
        "Distillation beats the control",
        "They agree",
        "25% of a batch's passages are distinct",
        "bm25 0.50, dense 0.50 (even)",
        "9 judged dev queries",
        "dvc repro evaluate@words",
        "No leak found",
        "select",
        "min_candidates",
        "9 read",
    ):
        assert part in text, part
    assert text.index("Ship it") < text.index("Results 4 test queries")


def test_two_teachers_have_a_panel_of_their_own(domain, monkeypatch):
    params = (domain / "params.yaml").read_text()
    (domain / "params.yaml").write_text(params.replace("teachers: [hybrid]", "teachers: [hybrid, causal]"))
    scores = [[1.0, 2, 3], [], [1.0], [9.0, 1, 0], [0.2, 0.1, 0], [0.0] * 3]
    ids = ["a", "b", "c", "d", "e", "q0"]
    write_table(domain / "scores/causal/scores.parquet", {"query_id": ids, "scores": scores})
    select = json.loads((domain / "select.json").read_text())
    write_json(domain / "select.json", {**select, "agreement": {"hybrid, causal": 0.25}})
    page = render(domain, monkeypatch)
    assert page.problems == []
    assert page.headings[7:9] == ["Teacher audit", "Teachers together"]
    text = " ".join(page.text.split())
    assert "hybrid, causal 0.25" in text
    assert "kept one question −1.00 Alpha (source) Gamma" in text
    assert "dropped by the teachers' filters" in text


def test_the_forgetting_panel(domain, monkeypatch):
    assert "No other domain was named" in render(domain, monkeypatch).text

    params = (domain / "params.yaml").read_text()
    named = params.replace("forgetting: []", "forgetting: [words, lost, kept, unjudged]")
    (domain / "params.yaml").write_text(named)
    for other, difference in {"words": -0.3, "lost": -0.06, "kept": 0.0}.items():
        rows = {"untuned": row(0.52, None), "specialised": row(0.52 + difference, difference)}
        write_json(domain / f"forgetting/{other}.json", {"queries": 1234, "rows": rows})
    write_json(domain / "forgetting/unjudged.json", {"queries": 0, "rows": {}})
    text = " ".join(render(domain, monkeypatch).text.split())
    assert "lost 1,234 0.520 0.460 −0.060 [−0.080, −0.040] 0.001 3 / 0 / 1 0.030" in text
    assert "kept 1,234 0.520 0.520 0.000 [−0.020, +0.020] 0.001 3 / 0 / 1" in text
    assert "Without judged test queries: unjudged." in text
    assert text.count("the model forgot something there") == 1
    assert "nDCG@10 on lost falls by 0.060 (p = 0.001)" in text
    assert "words 1,234" not in text, "the domain's own numbers stand above"


def test_hostile_text_stays_text(domain, monkeypatch):
    page = render(domain, monkeypatch)
    raw = (domain / "reports/report.html").read_text(encoding="utf-8")
    assert page.problems == []
    assert "<img" not in raw
    assert "alert(1)</script>" not in raw
    assert [given.get("type") for given, _ in page.scripts] == ["application/json", None]
    data = json.loads(page.scripts[0][1])
    assert data["queries"][0][1].startswith("query 0 </script><script>alert(1)")
    assert any("</script>" in title for _, title, _ in data["passages"])
    assert "\u2028" not in page.scripts[0][1]


def test_nothing_is_loaded_and_only_the_own_script_may_run(domain, monkeypatch):
    page = render(domain, monkeypatch)
    raw = (domain / "reports/report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|//cdn", raw)
    script = page.scripts[-1][1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in raw


def test_the_same_bytes_and_nothing_of_the_machine(domain, monkeypatch):
    render(domain, monkeypatch)
    first = (domain / "reports/report.html").read_bytes()
    render(domain, monkeypatch)
    assert (domain / "reports/report.html").read_bytes() == first
    assert str(domain).encode() not in first
    assert b"20" + b"26-" not in first


def test_without_test_queries(domain, monkeypatch):
    nothing = {
        **RESULTS,
        "queries": 0,
        "verdict": "not tested",
        "reason": "There are no judged test queries.",
    }
    nothing |= {"rows": {}, "kinds": {}, "dev": {"queries": 0, "rows": {}, "kinds": {}}}
    nothing.pop("specialised_vs_control")
    write_json(domain / "evaluate.json", nothing)
    columns = ("query_id", "text", "kind", "row", "ndcg_at_10")
    write_table(domain / "evaluation/per_query.parquet", {name: [] for name in columns})
    write_qrels(domain / "test.tsv", [])
    for run in (domain / "evaluation/runs").iterdir():
        run.unlink()
    page = render(domain, monkeypatch)
    assert page.problems == []
    assert "Not tested" in page.text
    assert "no judged test queries" in page.text
    assert len(page.scripts) == 1


def test_without_control_dev_teacher_audit_curves_and_queries(domain, monkeypatch):
    results = copy.deepcopy(RESULTS)
    for name in ("control", "teacher"):
        del results["rows"][name]
    del results["specialised_vs_control"], results["dev"], results["leaks"]
    write_json(domain / "evaluate.json", results)
    write_json(domain / "distill.json", {})
    write_json(domain / "select.json", {"funnel": {}})
    write_json(domain / "score/hybrid.json", {"audit": {"basis": "none", "queries": 0}})
    (domain / "generate/question.json").unlink()
    write_table(domain / "lists.parquet", {"query_id": []})
    page = render(domain, monkeypatch)
    assert page.problems == []
    for part in (
        "No training curves",
        "No temperatures",
        "No teacher was audited",
        "No queries were written",
    ):
        assert part in page.text
    assert "Control" not in page.text


def test_what_a_careful_reader_must_know_is_said(domain, monkeypatch):
    results = copy.deepcopy(RESULTS)
    results["leaks"] |= {"from_judged_passages": 2, "near_judged_query": 1}
    results["rows"]["bm25"] = row(0.8, 0.3)
    results["rows"]["teacher"] = row(0.45, -0.05)  # of two, what the student learnt
    results["rows"]["teacher-causal"] = row(0.9, 0.4)
    results["rows"]["specialised"]["vs_untuned"]["recall_at_100"] = compared(-0.1)
    results["specialised_vs_control"] = {name: compared(0.0) for name in MEASURES}
    results["kinds"]["task"] |= {"queries": 12, "specialised": 0.4}
    write_json(domain / "evaluate.json", results)
    write_json(domain / "distill.json", {**DISTILL, "best_step": {"specialised": 0}})
    audit = {"basis": "judged dev queries", "queries": 9, "teacher": 0.4, "student": 0.5, "difference": -0.1}
    write_json(domain / "score/hybrid.json", {"audit": {**audit, "low": -0.2, "high": -0.01}})
    text = render(domain, monkeypatch).text
    for part in (
        "2 written for passages that are judged relevant, 1 nearly the same",
        "The teacher hybrid is worse than the student",
        "No training step beat the untuned weights",
        "Recall@100 falls by 0.100 (Holm-corrected p = 0.004)",
        "Teacher as reranker reaches 0.450",
        "there was little to distil",
        "Teacher causal alone as reranker 0.900",
        "model's 0.600: BM25 (0.800)",
        "fare worse than before: task (−0.100, 12 queries)",
        "cannot be told apart",
        "3 leaks found",
    ):
        assert part in text, part
    results["kinds"] = {"task": results["kinds"]["task"]}
    write_json(domain / "evaluate.json", results)
    assert "fare worse than before" not in render(domain, monkeypatch).text  # one kind is all queries


TUNED = {
    "model": HOSTILE, "fingerprint": "0", "random_head": True,
    "labels": {"human": 1200, "synthetic": 0, "dropped": 0}, "train_pairs": 1100, "train_queries": 900,
    "dev": {"basis": "judged dev queries", "queries": 30, "depth": 50},
    "ndcg_at_10": {
        "before": 0.31, "after": 0.64, "student": 0.66,
        "gain": {"difference": 0.33, "low": 0.21, "high": 0.44},
        "over_student": {"difference": -0.02, "low": -0.09, "high": 0.05},
    },
    "curves": {
        "teacher": [
            {"step": 0.0, "dev_ndcg_at_10": 0.31}, {"step": 100.0, "dev_ndcg_at_10": 0.64, "train_loss": 1.5},
            {"step": 200.0, "dev_ndcg_at_10": 0.6, "train_loss": 1.25},
        ]
    },
    "steps": 200, "best_step": 100,
}  # fmt: skip


def test_how_a_teacher_was_fine_tuned(domain, monkeypatch):
    write_json(domain / "teacher_finetune.json", {"model": ""})
    assert "Fine-tuned teacher" not in render(domain, monkeypatch).text
    write_json(domain / "teacher_finetune.json", TUNED)
    page = render(domain, monkeypatch)
    assert page.problems == [] and "Fine-tuned teacher" in page.headings
    for part in (
        "an encoder whose head started random. 1,100 labelled pairs of 900 queries (from 1,200 human "
        "judgements). 200 steps, weights of step 100 kept.",
        "Before fine-tuning 0.310 0.640", "+0.330 [+0.210, +0.440]",
        "Untuned student 0.660 0.640", "−0.020 [−0.090, +0.050]",
        "On 30 judged dev queries and the first 50 candidates of each",
        "step 100: 0.640", "step 200: 1.250",
    ):  # fmt: skip
        assert part in " ".join(page.text.split()), part
    write_json(domain / "teacher_finetune.json", {**TUNED, "random_head": False, "best_step": 0})
    text = render(domain, monkeypatch).text
    assert "none of which beat the weights before training" in text and "started random" not in text


def test_temperatures_that_do_not_match(domain, monkeypatch):
    temperatures = {**DISTILL["temperatures"], "teacher_entropy": 2.0}
    write_json(domain / "distill.json", {**DISTILL, "temperatures": temperatures})
    assert "The teacher is sharper than the student by 1.000 nats" in " ".join(
        render(domain, monkeypatch).text.split()
    )


def test_domain_overrides_are_set_off(domain, monkeypatch):
    render(domain, monkeypatch)
    raw = (domain / "reports/report.html").read_text(encoding="utf-8")
    assert '<span class="changed" title="set by the domain">1</span>' in raw
    assert (
        "domains" not in raw.split('id="settings"')[1].split("</section>")[0]
    )  # says what is built, not how


def test_every_rejection_has_its_reason():
    candidates = {
        "query_id": ["kept", "lost", "never", "few", "other", "low", "test"],
        "text": list("abcdefg"),
        "kind": ["question"] * 7,
        "source_id": ["p0", "p1", "p1", "p2", "p2", "p0", ""],
        "split": ["train"] * 6 + ["test"],
        "passages": [[0, 1], [], [], [2], [1, 2], [0, 1], [1]],
        "source_rank": [1, 31, 0, 1, 2, 1, 0],
    }
    passages = {"id": ["p0", "p1", "p2"], "title": ["Zero", "", "Two"]}
    scores = {"few": [1.0], "other": [2.0, 1.0], "low": [0.1, 0.0]}
    examples = gather_examples(candidates, ["kept"], scores, passages, min_candidates=2, source_rank=1)
    assert [(example.source, example.reason) for example in examples] == [
        ("Zero", ""),
        ("p1", "round trip: the untuned model ranks its passage 31"),
        ("p1", "round trip: the untuned model does not find its passage"),
        ("Two", "only 1 candidates"),
        ("Two", "the teacher prefers: p1"),
        ("Zero", "the teacher's best score is among the lowest"),
    ]
    (*_, low) = gather_examples(
        candidates, ["kept"], scores, passages, min_candidates=2, source_rank=1, drops=True
    )
    assert low.reason.startswith("too few candidates but likely false negatives, or")
    several = gather_examples(candidates, ["kept"], {}, passages, min_candidates=2, source_rank=1)
    assert several[4].reason == "dropped by the teachers' filters"


def explorer_inputs(queries: int, length: int) -> tuple[list[Compared], dict, list[Qrel], dict]:
    compared_ = [
        Compared(f"q{n:04}", f"question {n}", "task", 0.5, 0.5 + n / queries / 2) for n in range(queries)
    ]
    runs = {
        side: {
            q.id: [Scored(f"p{(n * 7 + k * (1 + side_)) % 5000}", 1 - k / 100) for k in range(20)]
            for n, q in enumerate(compared_)
        }
        for side_, side in enumerate(("untuned", "specialised"))
    }
    passages = {f"p{n}": (f"Title {n}", f"{n} lorem ipsum " * (length // 14)) for n in range(5000)}
    return compared_, runs, [Qrel(q.id, f"p{n}", 1) for n, q in enumerate(compared_)], passages


def test_a_large_test_set_stays_small_enough():
    queries, runs, qrels, passages = explorer_inputs(1100, 3000)
    page = explorer_section(
        queries,
        runs,
        qrels,
        passages,
        top=5,
        snippet_chars=180,
        most=1200,
        max_bytes=2_500_000,
        worst_first=False,
    )
    assert len(page.encode()) < 3_000_000
    small = explorer_section(
        queries,
        runs,
        qrels,
        passages,
        top=5,
        snippet_chars=180,
        most=1200,
        max_bytes=300_000,
        worst_first=True,
    )
    assert len(small.encode()) < 400_000
    few = explorer_section(
        queries, runs, qrels, passages, top=5, snippet_chars=40, most=100, max_bytes=300_000, worst_first=True
    )
    assert "The 100 queries of 1,100 with the largest differences." in few


def test_explorer_marks_relevant_passages_and_their_ranks():
    queries = [Compared("q", "text", "", 0.2, 1.0)]
    runs = {
        "untuned": {"q": [Scored("x", 2.0), Scored("a", 1.0)]},
        "specialised": {"q": [Scored("a", 2.0), Scored("x", 1.0)]},
    }
    qrels = [Qrel("q", "a", 1), Qrel("q", "b", 2), Qrel("q", "n", 0), Qrel("other", "a", 1)]
    data = explorer_data(
        queries, runs, qrels, {"a": ("A", "about a"), "x": ("", "x")}, top=1, snippet_chars=50
    )
    names = [entry[0] for entry in data["passages"]]
    _, _, _, before, after, left, right, relevant = data["queries"][0]
    assert (before, after) == (0.2, 1.0)
    assert [[names[n] for n in side] for side in (left, right)] == [["x"], ["a"]]
    assert [(names[n], *rest) for n, *rest in relevant] == [("b", 2, 0, 0), ("a", 1, 2, 1)]


def test_markup_escapes_whatever_is_not_markup():
    assert tag("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert (
        tag("p", tag("b", "x"), None, cls="c", hidden=True, open=False) == '<p class="c" hidden><b>x</b></p>'
    )
    assert join(["<", Html("<i>")]) == "&lt;<i>"
    assert "</" not in json_block("x", {"a": "</script>"})[:-9].removeprefix("<script")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (number(None), "–"),
        (number(float("nan")), "–"),
        (number(-0.1234), "−0.123"),
        (signed(0.00001), "0.000"),
        (signed(-0.5), "−0.500"),
        (signed(0.5), "+0.500"),
        (p_value(0.00001), "< 0.001"),
        (p_value(None), "–"),
        (shorten("a  b\nc", 10), "a b c"),
        (shorten("word " * 10, 12), "word word…"),
        (shorten("x" * 20, 5), "xxxx…"),
    ],
)
def test_numbers_and_words(made, wanted):
    assert made == wanted


def test_charts_survive_flat_single_and_empty_series():
    from densespec.reporting.charts import Series

    assert line_chart("t", [Series("a", [], "c-1")], x_label="step") == ""
    for points in (
        [(0.0, 0.5)],
        [(0.0, 0.5), (10.0, 0.5)],
        [(0.0, 0.0), (1.0, 0.0)],
        [(5.0, 1e6), (6.0, -1e6)],
    ):
        chart = line_chart("t", [Series("a", points, "c-1")], x_label="step", marked=("m", 0.0))
        assert "nan" not in chart
        assert chart.count("<circle") == len(points)
    assert nice_ticks(0, 1) == [0, 0.5, 1.0] or len(nice_ticks(0, 1)) <= 6
    assert sorted_differences([]) == ""
    assert 'class="area' not in sorted_differences([0.0, 0.0])
    assert "point down" in interval_mark(-0.2, -0.3, -0.1, 0.3)
