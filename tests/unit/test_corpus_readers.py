"""Strict reading: every mistake is refused with file, line and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from densespec.corpus.readers import Source, read_source
from densespec.errors import InputError

CARD = "reader: files\ntitle: Tiny\nlicence: CC0-1.0\nchunk_words: 0\n"
PASSAGES = [
    {"_id": "p1", "title": "Wings", "text": "How a wing makes lift in a slipstream."},
    {"_id": "p2", "title": "", "text": "Heat conduction in slabs made of two materials."},
    {"_id": "p3", "text": "A passage without a title."},
]
QUERIES = [
    {"_id": "q1", "text": "what makes lift"},
    {"_id": "q2", "text": "heat in slabs", "kind": "keywords"},
]
HEADER = "query-id\tcorpus-id\tscore\n"


def jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def source(folder: Path, **files: str | bytes) -> Path:
    """A valid source with some files replaced; names are spelt with _ for . and / (``qrels_test_tsv``)."""
    contents: dict[str, str | bytes] = {
        "source.yaml": CARD,
        "corpus.jsonl": jsonl(PASSAGES),
        "queries.jsonl": jsonl(QUERIES),
        "qrels/test.tsv": HEADER + "q1\tp1\t1\nq1\tp2\t0\n",
        "qrels/dev.tsv": HEADER + "q2\tp2\t2\n",
    }
    contents |= {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_source(folder)
    assert caught.value.remedy and caught.value.expected and caught.value.found
    return caught.value


def test_a_valid_source_is_read_whole(tmp_path: Path) -> None:
    read = read_source(source(tmp_path))
    assert [passage.id for passage in read.passages] == ["p1", "p2", "p3"]
    assert [(query.id, query.split, query.kind) for query in read.queries] == [
        ("q1", "test", ""),
        ("q2", "dev", "keywords"),
    ]
    assert [tuple(qrel) for qrel in read.qrels["test"]] == [("q1", "p1", 1), ("q1", "p2", 0)]
    assert read.log == [] and read.recordings == []


def test_queries_and_judgements_are_optional(tmp_path: Path) -> None:
    folder = source(tmp_path)
    for name in ("queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv"):
        (folder / name).unlink()
    read = read_source(folder)
    assert read.queries == [] and read.qrels == {"dev": [], "test": []}


@pytest.mark.parametrize(
    ("files", "where", "found"),
    [
        ({"corpus_jsonl": jsonl(PASSAGES) + "{broken\n"}, "corpus.jsonl:4", "column 2"),
        ({"corpus_jsonl": jsonl(PASSAGES) + '["a list"]\n'}, "corpus.jsonl:4", "list"),
        ({"corpus_jsonl": jsonl(PASSAGES).encode() + b'{"_id": "\xe9"}\n'}, "corpus.jsonl:4", "0xe9"),
        ({"corpus_jsonl": '{"text": "no id"}\n'}, "corpus.jsonl:1", "text"),
        ({"corpus_jsonl": '{"_id": "p1", "title": "no text"}\n'}, "corpus.jsonl:1", "_id, title"),
        ({"corpus_jsonl": '{"_id": 1.5, "text": "a"}\n'}, "corpus.jsonl:1", "float 1.5"),
        ({"corpus_jsonl": '{"_id": true, "text": "a"}\n'}, "corpus.jsonl:1", "bool True"),
        ({"corpus_jsonl": '{"_id": " ", "text": "a"}\n'}, "corpus.jsonl:1", "str"),
        ({"corpus_jsonl": '{"_id": "p1", "text": null}\n'}, "corpus.jsonl:1", "null"),
        ({"corpus_jsonl": '{"_id": "p1", "text": "a", "title": ["b"]}\n'}, "corpus.jsonl:1", "list"),
        ({"corpus_jsonl": '{"_id": "p1", "text": "\\ud800"}\n'}, "corpus.jsonl:1", "ud800"),
        ({"corpus_jsonl": ""}, "corpus.jsonl", "no passage at all"),
        ({"corpus_jsonl": '{"_id": "p1", "text": " "}\n'}, "corpus.jsonl", "all without text"),
        ({"queries_jsonl": '{"_id": "q1", "text": "  "}\n'}, "queries.jsonl:1", "str"),
        ({"queries_jsonl": '{"_id": "q1"}\n'}, "queries.jsonl:1", "_id"),
        ({"queries_jsonl": '{"_id": "q1", "text": ["a"]}\n'}, "queries.jsonl:1", "list"),
        (
            {"queries_jsonl": jsonl(QUERIES) + '{"_id": "q1", "text": "b"}\n'},
            "queries.jsonl:3",
            "queries.jsonl:1",
        ),
        ({"qrels__test_tsv": HEADER + "q1\tp1\t1\nq9\tp1\t1\n"}, "test.tsv:3", "query 'q9'"),
        ({"qrels__test_tsv": HEADER + "q1\tp1\t1\nq1\tp9\t0\n"}, "test.tsv:3", "passage 'p9'"),
        ({"qrels__test_tsv": "q1 0 p1 1\nq1 0 p9 1\n"}, "test.tsv:2", "passage 'p9'"),
        ({"qrels__test_tsv": HEADER + "q1\tp1\tgood\n"}, "test.tsv:2", "good"),
        ({"qrels__test_tsv": HEADER + "q1\tp1\t1\nq1\tp1\t2\n"}, "test.tsv:3", "judged 1 before and 2 here"),
        ({"qrels__test_tsv": HEADER + "q1\tp1\t1\nq2\tp1\t1\n"}, "test.tsv:3", "dev.tsv:2"),
        ({"queries_log_jsonl": '{"text": "a"}\n{"query": "b"}\n'}, "queries.log.jsonl:2", "query"),
        ({"queries_log_jsonl": '{"text": ""}\n'}, "queries.log.jsonl:1", "str"),
        (
            {"queries_log_jsonl": '{"_id": "1", "text": "a"}\n' * 2},
            "queries.log.jsonl:2",
            "queries.log.jsonl:1",
        ),
        ({"recorded__title_jsonl": '{"passage": "xyz", "query": "a"}\n'}, "title.jsonl:1", "xyz"),
        ({"recorded__title_jsonl": '{"passage": "0123456789abcdef"}\n'}, "title.jsonl:1", "passage"),
        ({"source_yaml": "reader: nothing\n"}, "source.yaml", "reader = 'nothing'"),
        ({"source_yaml": "chunk_word: 5\ntitle: 3\n"}, "source.yaml", "chunk_word"),
        ({"source_yaml": "- a\n"}, "source.yaml", "list"),
        ({"source_yaml": "chunk_words: 50\n"}, "chunk_words = 50", "test.tsv"),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path: Path, files: dict[str, str], where: str, found: str) -> None:
    error = refusal(source(tmp_path, **files))
    assert error.where.endswith(where)
    assert found in error.found


def test_duplicate_passages_name_both_lines(tmp_path: Path) -> None:
    error = refusal(source(tmp_path, corpus_jsonl=jsonl([*PASSAGES, PASSAGES[1]])))
    assert error.where.endswith("corpus.jsonl:4") and "corpus.jsonl:2" in error.found


def test_a_missing_corpus_says_how_to_get_it(tmp_path: Path) -> None:
    folder = source(tmp_path)
    (folder / "corpus.jsonl").unlink()
    assert "dvc pull" in refusal(folder).remedy


def test_judgements_without_queries_are_refused(tmp_path: Path) -> None:
    folder = source(tmp_path)
    (folder / "queries.jsonl").unlink()
    assert refusal(folder).found == "no queries"


def test_whole_numbers_are_ids_and_white_space_in_ids_is_escaped(tmp_path: Path) -> None:
    read = read_source(
        source(
            tmp_path,
            corpus_jsonl='{"_id": 7, "text": "a"}\n{"_id": "my file", "text": "b"}\n',
            qrels__test_tsv=HEADER + "q1\t7\t1\nq1\tmy file\t1\n",
            qrels__dev_tsv=HEADER,
        )
    )
    assert [passage.id for passage in read.passages] == ["7", "my%20file"]
    assert [qrel.passage_id for qrel in read.qrels["test"]] == ["7", "my%20file"]


def test_a_passage_with_a_title_alone_keeps_it_as_text(tmp_path: Path) -> None:
    read = read_source(
        source(tmp_path, corpus_jsonl=jsonl([*PASSAGES, {"_id": "p4", "title": "T", "text": ""}]))
    )
    assert read.passages[-1].content == read.passages[-1].text == "T"


def test_passages_without_text_and_their_judgements_are_left_out_and_counted(tmp_path: Path) -> None:
    read = read_source(
        source(
            tmp_path,
            corpus_jsonl=jsonl([*PASSAGES, {"_id": "p4", "title": "", "text": " "}]),
            qrels__test_tsv=HEADER + "q1\tp1\t1\nq1\tp4\t1\n",
        )
    )
    assert len(read.passages) == 3
    assert read.counts["empty_passages"] == read.counts["judgements_skipped"] == 1


def test_queries_without_a_relevant_passage_are_left_out_and_counted(tmp_path: Path) -> None:
    read = read_source(
        source(
            tmp_path,
            queries_jsonl=jsonl([*QUERIES, {"_id": "q3", "text": "c"}, {"_id": "q4", "text": "d"}]),
            qrels__test_tsv=HEADER + "q1\tp1\t1\nq3\tp1\t0\n",
        )
    )
    assert [query.id for query in read.queries] == ["q1", "q2"]
    assert {qrel.query_id for qrel in read.qrels["test"]} == {"q1"}
    assert read.counts["test_queries_without_relevant"] == 1
    assert read.counts["queries_in_no_split"] == 1


def test_log_ids_follow_the_text_where_none_is_given(tmp_path: Path) -> None:
    log = '{"text": "one"}\n{"_id": "x", "text": "two"}\n{"text": "one"}\n'
    ids = [query.id for query in read_source(source(tmp_path, queries_log_jsonl=log)).log]
    assert len(ids) == 2 and ids[1] == "log-x"
    later = '{"text": "zero"}\n' + log
    assert ids[0] in [query.id for query in read_source(source(tmp_path, queries_log_jsonl=later)).log]


def test_a_passage_of_one_megabyte_is_read(tmp_path: Path) -> None:
    text = "word " * 200_000
    read = read_source(source(tmp_path, corpus_jsonl=jsonl([*PASSAGES, {"_id": "p4", "text": text}])))
    assert read.passages[-1].text == text.strip()


def pydocs_source(folder: Path, monkeypatch: pytest.MonkeyPatch, qrels: str) -> Source:
    from densespec.records import Passage

    monkeypatch.setattr(
        "densespec.corpus.readers.stdlib_passages",
        lambda: [Passage("json.dumps", "json.dumps(obj)", "Serialize obj to a JSON formatted str.")],
    )
    source(folder, source_yaml="reader: pydocs\n", qrels__test_tsv=qrels)
    (folder / "qrels" / "dev.tsv").unlink()
    return read_source(folder)


def test_pydocs_skips_judgements_of_passages_that_this_python_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qrels = HEADER + "q1\tjson.dumps\t2\nq1\tgone.function\t1\nq2\tgone.function\t2\n"
    read = pydocs_source(tmp_path, monkeypatch, qrels)
    assert [query.id for query in read.queries] == ["q1"]
    assert read.counts["judgements_skipped"] == 2
    assert read.counts["test_queries_without_relevant"] == 1


def test_pydocs_refuses_judgements_of_unknown_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"test\.tsv:2"):
        pydocs_source(tmp_path, monkeypatch, HEADER + "q9\tjson.dumps\t2\n")


def test_pydocs_without_docstrings_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stripped() -> None:
        raise RuntimeError("runs with -OO")

    monkeypatch.setattr("densespec.corpus.readers.stdlib_passages", stripped)
    assert "PYTHONOPTIMIZE" in refusal(source(tmp_path, source_yaml="reader: pydocs\n")).remedy
