"""TREC runs and qrels, BEIR's qrels."""

from __future__ import annotations

import pytest

from densespec.errors import InputError
from densespec.io.trec import read_qrels, read_run, write_qrels, write_run
from densespec.records import Qrel, Scored


@pytest.fixture
def path(tmp_path):
    return tmp_path / "qrels.tsv"


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\tp1\t2\nq1\tp2\t0\n",
        "query_id\tcorpus_id\tscore\nq1\tp1\t2\nq1\tp2\t0\n",
        "q1 0 p1 2\nq1 0 p2 0\n",
        "q1\t0\tp1\t2\r\nq1\tQ0\tp2\t0",
        "q1 p1 2\n\nq1 p2 0\nq1 p2 0\n",
    ],
    ids=["beir", "beir with underscores", "trec", "trec with tabs", "three columns"],
)
def test_both_layouts_are_read(path, text):
    path.write_bytes(text.encode())
    assert read_qrels(path) == [Qrel("q1", "p1", 2), Qrel("q1", "p2", 0)]


def test_ids_with_spaces_live_in_tabbed_files(path):
    path.write_text("query-id\tcorpus-id\tscore\nq 1\tsome passage\t1\n")
    assert read_qrels(path) == [Qrel("q 1", "some passage", 1)]


def test_a_first_line_with_a_grade_is_no_header_whatever_its_query_is_called(path):
    path.write_text("query 0 p1 1\nq2 0 p2 1\n")
    assert read_qrels(path) == [Qrel("query", "p1", 1), Qrel("q2", "p2", 1)]


def test_a_file_with_a_header_alone_has_no_judgements(path):
    path.write_text("query-id\tcorpus-id\tscore\n")
    assert read_qrels(path) == []


@pytest.mark.parametrize(
    "line",
    ["q1", "q1\tp2", "q1\tp2\t1.5", "q1\tp2\tyes", "q1\tp2\t", "q1 0 p2 1 x", "q1\tp2\t" + "9" * 5000],
)
def test_a_malformed_judgement_is_named(path, line):
    path.write_text(f"query-id\tcorpus-id\tscore\nq1\tp1\t1\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_qrels(path)
    assert caught.value.where == f"{path}:3"
    assert caught.value.found.startswith(line[:20])


def test_two_grades_for_a_pair_are_refused(path):
    path.write_text("q1\tp1\t1\nq1\tp1\t2\n")
    with pytest.raises(InputError) as caught:
        read_qrels(path)
    assert caught.value.where == f"{path}:2"
    assert caught.value.found == "q1 p1 judged 1 before and 2 here"


def test_qrels_are_written_sorted_with_a_header(path):
    qrels = [Qrel("q2", "p1", 1), Qrel("q1", "p9", 0), Qrel("q1", "p1", 3)]
    write_qrels(path, qrels)
    assert path.read_text() == "query-id\tcorpus-id\tscore\nq1\tp1\t3\nq1\tp9\t0\nq2\tp1\t1\n"
    assert read_qrels(path) == sorted(qrels)


def test_a_run_keeps_the_order_of_its_lists(path):
    run = {"q2": [Scored("p1", 0.5)], "q1": [Scored("p3", 0.9), Scored("p1", 0.9), Scored("p2", -1.0)]}
    write_run(path, run, "bm25")
    assert path.read_text().splitlines() == [
        "q1 Q0 p3 1 0.900000 bm25",
        "q1 Q0 p1 2 0.900000 bm25",
        "q1 Q0 p2 3 -1.000000 bm25",
        "q2 Q0 p1 1 0.500000 bm25",
    ]
    assert read_run(path) == run


@pytest.mark.parametrize("line", ["q1 Q0 p1 1 0.5", "q1 Q0 p1 1 0.5 bm25 x", "q1 Q0 p1 1 high bm25"])
def test_a_malformed_line_of_a_run_is_named(path, line):
    path.write_text(f"q1 Q0 p0 1 0.9 bm25\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert caught.value.where == f"{path}:2"
