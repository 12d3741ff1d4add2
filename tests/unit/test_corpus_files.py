"""Tables and folders of documents, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from densespec.corpus.documents import folder_passages, html_text, markdown_text, plain_text
from densespec.corpus.table_files import Columns, table_passages, table_queries
from densespec.errors import InputError

GUESS = Columns()


def rows(path: Path, columns: Columns = GUESS) -> list[dict]:
    return [dict(row) for _, row in table_passages(path, columns)]


def refused(path: Path, columns: Columns = GUESS) -> InputError:
    with pytest.raises(InputError) as caught:
        rows(path, columns)
    return caught.value


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'DocID,Headline,Body\n7,Wings,"Lift, drag\nand ""thrust"""\n'),
        ("semicolons.csv", '\ufeffDocID;Headline;Body\r\n7;Wings;"Lift, drag\nand ""thrust"""\r\n'),
        ("a.tsv", 'docid\theadline\tbody\n7\tWings\t"Lift, drag\nand ""thrust"""\n'),
        ("a.jsonl", json.dumps({"docid": "7", "headline": "Wings", "body": 'Lift, drag\nand "thrust"'})),
    ],
)
def test_columns_are_recognised_by_name(tmp_path: Path, name: str, text: str) -> None:
    assert rows(written(tmp_path / name, text)) == [
        {"_id": "7", "title": "Wings", "text": 'Lift, drag\nand "thrust"'}
    ]


def test_quotes_in_a_tsv_may_be_plain_characters(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'id\ttext\n1\t"Hello" he said\n2\t5" nails\n')
    assert [row["text"] for row in rows(path)] == ['"Hello" he said', '5" nails']
    path = written(tmp_path / "b.tsv", 'id\ttext\n1\t"Hello opened\n2\tmiddle one\n3\tends here"\n')
    assert [row["text"] for row in rows(path)] == ['"Hello opened', "middle one", 'ends here"']
    path = written(tmp_path / "d.tsv", 'text\n"First line\nsecond line"\nAnother\n')
    assert [row["text"] for row in rows(path)] == ["First line\nsecond line", "Another"]
    path = written(tmp_path / "c.tsv", 'id\ttext\n1\t"Two\nlines"\n2\tone\n')
    assert [row["text"] for row in rows(path)] == ["Two\nlines", "one"]


def test_without_an_id_column_the_row_number_is_the_id(tmp_path: Path) -> None:
    assert [row["_id"] for row in rows(written(tmp_path / "a.csv", "text\none\n\ntwo\n"))] == [1, 2]


def test_numbers_name_the_columns_of_a_file_without_header(tmp_path: Path) -> None:
    path = written(tmp_path / "collection.tsv", "0\tone\n1\ttwo\n")
    assert rows(path, Columns(id="1", text="2"))[0] == {"_id": "0", "title": "", "text": "one"}


def test_named_columns_win(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "id,sku,text,blurb\n1,x,a,b\n")
    assert rows(path, Columns("sku", "id", "blurb")) == [{"_id": "x", "title": "1", "text": "b"}]


def test_a_field_may_be_a_megabyte(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f"id,text\n1,{'word ' * 200_000}\n")
    assert len(rows(path)[0]["text"]) == 1_000_000


def test_a_later_json_row_may_have_the_only_title(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"id": "1", "text": "a"}\n{"id": "2", "text": "b", "title": "B"}\n')
    assert [row["title"] for row in rows(path)] == ["", "B"]


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": [1, 2], "abstract": ["a", None]}), tmp_path / "a.parquet")
    found = list(table_passages(tmp_path / "a.parquet", GUESS))
    assert found[0][1] == {"_id": 1, "title": "", "text": "a"}
    assert found[1][0].endswith("a.parquet: row 2")
    assert "Parquet" in refused(written(tmp_path / "b.parquet", "not parquet at all")).expected


@pytest.mark.parametrize(
    ("name", "text", "where", "found"),
    [
        ("a.csv", "id,summary\n1,a\n", "a.csv:2", "id, summary"),
        ("a.csv", "id,text\n1,a,b\n", "a.csv:2", "3: 1,a,b"),
        ("a.csv", 'id,text\n1,"a\nb"\n2,"c\n', "a.csv:4", "end of data"),
        ("a.csv", b"id,text\n1,a\n2,\xe9\n", "a.csv:3", "0xe9"),
        ("a.jsonl", '{"id": "1", "text": "a"}\n{"id": "2"}\n', "a.jsonl:2", "columns id"),
        ("a.docx", "PK", "a.docx", "'.docx'"),
    ],
)
def test_a_wrong_table_names_file_and_line(
    tmp_path: Path, name: str, text: str | bytes, where: str, found: str
) -> None:
    error = refused(written(tmp_path / name, text))
    assert error.where.endswith(where) and found in error.found and error.remedy


@pytest.mark.parametrize(
    ("name", "content", "found", "remedy"),
    [
        ("q.csv", "nr,frage\n1,wie?\n", "nr, frage", "rename the column"),
        ("q.docx", "PK", "'.docx'", ".jsonl"),
        ("q.csv", "\ufeffid,text\n1,a\n".encode("utf-16"), "0xff at offset 0", "iconv -f UTF-16"),
        ("q.csv", "id,text\n1,é\n".encode("latin1"), "0xe9", "iconv -f LATIN1"),
        ("nowhere", None, "nothing", "path"),
        ("", None, "a folder", "path"),
    ],
)
def test_a_wrong_table_of_queries_has_a_remedy_of_its_own(
    tmp_path: Path, name: str, content: str | bytes | None, found: str, remedy: str
) -> None:
    if content is not None:
        written(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        list(table_queries(tmp_path / name))
    assert found in caught.value.found and remedy in caught.value.remedy
    assert "BEIR folder" not in caught.value.expected and "--text-column" not in caught.value.remedy


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused(written(tmp_path / "a.csv", "id,text\n1,a\n"), Columns(title="heading"))
    assert "'heading'" in error.expected and "id, text" in error.found


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("q.txt", "one\n\ntwo words\n", [{"text": "one"}, {"text": "two words"}]),
        ("q.jsonl", '{"query": "one"}\n', [{"text": "one", "kind": ""}]),
        ("q.tsv", "qid\tquery\n5\tone\n", [{"_id": "5", "text": "one", "kind": ""}]),
        ("q.csv", "id,text,kind\n5,one,claim\n", [{"_id": "5", "text": "one", "kind": "claim"}]),
    ],
)
def test_queries(tmp_path: Path, name: str, text: str, expected: list[dict]) -> None:
    assert [row for _, row in table_queries(written(tmp_path / name, text))] == expected


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("# Wings\n\nLift.\n", "Wings", "Lift."),
        ("Intro.\n\n## Wings ##\n\nLift.", "Wings", "Intro.\n\nLift."),
        ("Wings\n=====\nLift.", "Wings", "Lift."),
        ("---\ntitle: 'Wings'\ntags: [a]\n---\n# wings\nLift.", "wings", "Lift."),
        ("---\ntitle: Wings\n---\n# Lift\nText.", "Wings", "# Lift\nText."),
        ('+++\ntitle = "Wings"\n+++\nLift.', "Wings", "Lift."),
        ("```sh\n# no heading\n```\n# Wings\nLift.", "Wings", "```sh\n# no heading\n```\nLift."),
        ("<!-- # hidden -->\nLift.", "", "Lift."),
        ("One.\n\n---\n\nTwo.", "", "One.\n\n---\n\nTwo."),
        ("| a | b |\n|---|---|\n", "", "| a | b |\n|---|---|"),
        ("---\n---\n# Wings\n\nOne.\n\n---\n\nTwo.", "Wings", "One.\n\n---\n\nTwo."),
        ("---\n# a comment\n\ntitle: Wings\n---\nLift.", "Wings", "Lift."),
        ("---\n$schema: x\n'@type': y\ntitle: Wings\n---\nLift.", "Wings", "Lift."),
        ("---\n<!-- x -->\ntitle (en): Lift\ntitle: Wings\n---\nLift.", "Wings", "Lift."),
        ("---\n\nOpens with a rule.\n\n---\n\nTwo.", "", "---\n\nOpens with a rule.\n\n---\n\nTwo."),
    ],
)
def test_markdown(text: str, title: str, body: str) -> None:
    assert markdown_text(text) == (title, body)


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("Wings\n\nLift.\n", "Wings", "Lift."),
        ("Only one line", "", "Only one line"),
        ("word " * 50 + "\nmore", "", "word " * 50 + "\nmore"),
    ],
)
def test_plain_text(text: str, title: str, body: str) -> None:
    assert plain_text(text) == (title, body)


@pytest.mark.parametrize(
    ("page", "title", "body"),
    [
        (
            "<html><head><title>Wings &amp; lift</title><style>p{}</style></head><body><nav><a>Home</a></nav>"
            "<script>if (a < b) {}</script><p>One <b>bold</b>\n word.</p><ul><li>Two<li>Three</ul></body>",
            "Wings & lift",
            "One bold word.\n\nTwo\nThree",
        ),
        ("<h1>Site</h1>menu<main><h1>Wings</h1><p>Lift.</main>footer", "Wings", "Lift."),
        ("<h2>Wings</h2><p>Lift.</p>", "Wings", "Lift."),
        ("<title>T</title><pre>a\n  b</pre>", "T", "a\n  b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "", "a b\nc"),
        ("<nav>never closed<p>Lift.</p>", "", "never closed\n\nLift."),
        ("<title>T</title><main></main><p>Lift.</p>", "T", "Lift."),
        ("no tags at all", "", "no tags at all"),
        ("<script>only()</script>", "", ""),
        ("<!DOCTYPE html><p>SGML begins with <![ and so on</p>", "", "SGML begins with <![ and so on"),
        ("<!doctype html><title>T</title><p>One <![foo[ two</p><!-- no -->", "T", "One <![foo[ two"),
    ],
)
def test_html(page: str, title: str, body: str) -> None:
    assert html_text(page) == (title, body)


def test_a_folder_is_read_in_order_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    written(tmp_path / "b" / "my page.html", "<p>Page.</p>")
    written(tmp_path / "a.MD", "# Title\nText.")
    written(tmp_path / "empty.txt", "\n")
    written(tmp_path / "logo.png", b"\x89PNG")
    written(tmp_path / ".git" / "x.md", "hidden")
    found, others = folder_passages(tmp_path)
    assert [row for _, row in found] == [
        {"_id": "a.MD", "title": "Title", "text": "Text."},
        {"_id": "b/my%20page.html", "title": "my page", "text": "Page."},
        {"_id": "empty.txt", "title": "", "text": ""},
    ]
    assert others == {".png": 1}


def test_a_folder_without_documents_says_what_is_there(tmp_path: Path) -> None:
    written(tmp_path / "a.pdf", "%PDF")
    with pytest.raises(InputError) as caught:
        folder_passages(tmp_path)
    assert ".pdf" in caught.value.found and "corpus.jsonl" in caught.value.expected


def test_a_document_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    written(tmp_path / "a.md", b"one\ntwo\n\xff\n")
    with pytest.raises(InputError, match=r"a\.md:3"):
        list(folder_passages(tmp_path)[0])
