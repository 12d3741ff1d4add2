"""``densespec new-domain``: what it writes, what it refuses, and that a refusal writes nothing."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from densespec.corpus.new_domain import LOG_IS_ENOUGH, add_arguments, main
from densespec.corpus.readers import read_source
from densespec.corpus.registration import with_domain
from densespec.errors import InputError
from densespec.records import passage_hash

PARAMS = """\
# Parameters.

domains: [pydocs]   # chains
kinds: [question]
corpus: {}   # seeds
mine:
  depth: 100
"""
HEADER = "query-id\tcorpus-id\tscore\n"


def new_domain(*options: str | Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    main(parser.parse_args([str(option) for option in options]))


def refused(*options: str | Path) -> InputError:
    before = tree()
    with pytest.raises(InputError) as caught:
        new_domain(*options)
    assert tree() == before, "a refusal must write nothing"
    assert caught.value.remedy
    return caught.value


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    Path("params.yaml").write_text(PARAMS)
    return root


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    passages = [
        {"_id": f"p{n}", "title": f"T{n}", "text": f"Passage number {n}.", "metadata": {}} for n in range(5)
    ]
    queries = [{"_id": f"q{n}", "text": f"query number {n}"} for n in range(8)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (folder / "qrels" / "test.tsv").write_text(HEADER + "q0\tp0\t1\nq1\tp1\t1\n")
    (folder / "qrels" / "train.tsv").write_text(HEADER + "".join(f"q{n}\tp2\t1\n" for n in range(2, 7)))
    return folder


def test_a_beir_folder(beir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_domain("tiny", "--from", beir, "--licence", "CC0-1.0", "--title", "Tiny collection")
    source = read_source(Path("data/source/tiny"))
    assert len(source.passages) == 5
    assert [query.id for query in source.queries] == ["q0", "q1"]
    assert source.log == [] and source.qrels["dev"] == []
    assert source.card.model_dump() == {
        "reader": "files",
        "title": "Tiny collection",
        "licence": "CC0-1.0",
        "chunk_words": 0,
    }
    assert Path("params.yaml").read_text() == PARAMS.replace("[pydocs]", "[pydocs, tiny]")
    assert yaml.safe_load(Path("conf/domains/tiny.yaml").read_text()) == {"corpus": {}, "mine": {}}
    printed = capsys.readouterr().out
    for expected in (
        "p0: T0 Passage number 0.",
        "2 with 2 judgements",
        "6 queries that neither split judges",
        "--log-split train",
        "NOT TRACKED",
        "dvc repro evaluate@tiny",
    ):
        assert expected in printed


def test_train_queries_become_the_log_without_their_labels(beir: Path) -> None:
    new_domain("tiny", "--from", beir, "--log-split", "train")
    source = read_source(Path("data/source/tiny"))
    assert [query.id for query in source.log] == [f"log-q{n}" for n in range(2, 7)]
    assert not {query.id for query in source.queries} & {"q2", "q3"}
    assert not Path("data/source/tiny/qrels/train.tsv").exists()


def test_train_labels_stay_with_the_log_where_asked(
    beir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--log-split", "train", "--train-labels")
    new_domain("tiny", "--from", beir, "--dev-split", "train", "--dev-queries", "3", *options)
    source = read_source(Path("data/source/tiny"))
    assert [qrel.query_id for qrel in source.train] == [query.id for query in source.log]
    assert len(source.train) == 2 and {qrel.passage_id for qrel in source.train} == {"p2"}
    assert "2 with 2 judgements; first" in capsys.readouterr().out
    assert "--log-split" in refused("other", "--from", beir, "--train-labels").expected
    with Path("data/source/tiny/qrels/train.tsv").open("a") as file:
        file.write("q0\tp2\t1\n")
    with pytest.raises(InputError, match="query 'q0', which is not among the 2 queries"):
        read_source(Path("data/source/tiny"))


def test_train_queries_become_recordings_of_the_passages_that_answer_them(
    beir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (beir / "qrels" / "train.tsv").open("a") as file:
        file.write("q2\tp3\t2\nq3\tp4\t0\n")
    (beir / "recorded").mkdir()
    other = {"passage": "0" * 16, "query": "q", "prompt": "title/1", "model": "m"}
    (beir / "recorded" / "title.jsonl").write_text(json.dumps(other) + "\n")
    new_domain("tiny", "--from", beir, "--recorded-split", "train")
    source = read_source(Path("data/source/tiny"))
    hashes = {passage.id: passage_hash(passage) for passage in source.passages}
    pairs = [(f"query number {n}", hashes["p2"]) for n in range(2, 7)] + [("query number 2", hashes["p3"])]
    recorded = [recording for recording in source.recordings if recording.kind == "question"]
    assert [(recording.query, recording.passage) for recording in recorded] == pairs
    assert {(recording.prompt, recording.model) for recording in recorded} == {("human/1", "human")}
    assert [recording.kind for recording in source.recordings].count("title") == 1
    assert source.log == source.train == []
    assert "recordings   7" in capsys.readouterr().out

    dev_options = ("--dev-split", "train", "--dev-queries", "3")
    new_domain("held", "--from", beir, *dev_options, "--recorded-split", "train")
    source = read_source(Path("data/source/held"))
    dev = {query.text for query in source.queries if query.split == "dev"}
    taken = {recording.query for recording in source.recordings if recording.kind == "question"}
    assert len(dev) == 3 and len(taken) == 2 and not dev & taken


def test_what_recordings_of_train_queries_need(beir: Path) -> None:
    option = ("--recorded-split", "train")
    assert "twice" in refused("tiny", "--from", beir, *option, "--log-split", "train").found
    assert "whole passages" in refused("tiny", "--from", beir, *option, "--chunk-words", "5").expected
    with (beir / "qrels" / "train.tsv").open("a") as file:
        file.write("q2\tnone\t1\n")
    assert refused("tiny", "--from", beir, *option).where.endswith("train.tsv:7")
    Path("params.yaml").write_text(PARAMS.replace("[question]", "[title]"))
    assert "'question'" in refused("tiny", "--from", beir, *option).expected
    (beir / "qrels" / "train.tsv").unlink()
    Path("params.yaml").write_text(PARAMS)
    assert "--recorded-split" in refused("tiny", "--from", beir, *option).expected


def test_train_labels_become_dev_only_where_asked(beir: Path) -> None:
    new_domain("tiny", "--from", beir, "--dev-split", "train", "--dev-queries", "3", "--log-split", "train")
    source = read_source(Path("data/source/tiny"))
    dev = {query.id for query in source.queries if query.split == "dev"}
    assert len(dev) == 3 and len(source.log) == 2
    assert not dev & {query.id.removeprefix("log-") for query in source.log}


def test_a_dev_split_that_is_there_is_used(beir: Path) -> None:
    (beir / "qrels" / "train.tsv").rename(beir / "qrels" / "dev.tsv")
    new_domain("tiny", "--from", beir)
    assert len(read_source(Path("data/source/tiny")).qrels["dev"]) == 5
    assert "--log-split" in refused("other", "--from", beir, "--log-split", "train").expected


def test_a_log_and_recordings_that_lie_in_the_folder_are_taken(
    beir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beir / "queries.log.jsonl").write_text('{"text": "a query of a user"}\n')
    (beir / "recorded").mkdir()
    recording = {"passage": "0" * 16, "query": "q", "prompt": "title/1", "model": "m"}
    (beir / "recorded" / "title.jsonl").write_text(json.dumps(recording) + "\n")
    new_domain("tiny", "--from", beir)
    source = read_source(Path("data/source/tiny"))
    assert [query.text for query in source.log] == ["a query of a user"]
    assert source.recordings[0].kind == "title"
    assert "no stage replays title" in capsys.readouterr().out  # params list question alone


def test_a_table_with_queries_beside_it(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("sku,body\na,First answer.\nb,Second answer.\n")
    (tmp_path / "queries.tsv").write_text("qid\tquery\n1\tfirst?\n2\tsecond?\n")
    (tmp_path / "test.qrels").write_text("1 0 a 1\n")
    (tmp_path / "dev.qrels").write_text("2 0 b 1\n")
    (tmp_path / "log.txt").write_text("how\nwhy\n")
    new_domain(
        *("faq", "--from", tmp_path / "faq.csv", "--id-column", "sku", "--queries", tmp_path / "queries.tsv"),
        *("--qrels-test", tmp_path / "test.qrels", "--qrels-dev", tmp_path / "dev.qrels"),
        *("--log", tmp_path / "log.txt"),
    )
    source = read_source(Path("data/source/faq"))
    assert [passage.id for passage in source.passages] == ["a", "b"]
    assert [(query.id, query.split) for query in source.queries] == [("1", "test"), ("2", "dev")]
    assert [query.text for query in source.log] == ["how", "why"]


def test_other_files_of_the_working_folder_are_not_read(tmp_path: Path) -> None:
    Path("tickets.jsonl").write_text('{"_id": "a", "text": "First."}\n{"_id": "b", "text": "Second."}\n')
    Path("notes.jsonl").write_text('{"anything": 1}\n')
    new_domain("support", "--from", "tickets.jsonl")
    source = read_source(Path("data/source/support"))
    assert [passage.id for passage in source.passages] == ["a", "b"] and not source.recordings


def test_an_id_with_two_queries_in_the_log_is_refused(beir: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"_id": "q2", "text": "about billing"}\n')
    log = ("--log", tmp_path / "log.jsonl", "--log-split", "train")
    error = refused("tiny", "--from", beir, *log)
    assert "id 'q2' with 'about billing' and with 'query number 2'" in error.found
    (tmp_path / "log.jsonl").write_text('{"_id": "q2", "text": "query number 2"}\n')
    new_domain("tiny", "--from", beir, *log)
    assert len(read_source(Path("data/source/tiny")).log) == 5


def test_labels_of_dev_queries_stay_out_of_the_log_of_users(beir: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"_id": "q2", "text": "query number 2"}\n')
    new_domain(
        *("tiny", "--from", beir, "--log", tmp_path / "log.jsonl", "--log-split", "train", "--train-labels"),
        *("--dev-split", "train", "--dev-queries", "4"),
    )
    source = read_source(Path("data/source/tiny"))
    dev = {query.id for query in source.queries if query.split == "dev"}
    assert len(dev) == 4 and not dev & {qrel.query_id.removeprefix("log-") for qrel in source.train}


def test_a_domain_whose_data_are_not_here_is_not_replaced(beir: Path) -> None:
    new_domain("tiny", "--from", beir)
    shutil.rmtree("data/source/tiny")
    Path("data/source/tiny.dvc").write_text("outs: []\n")
    error = refused("tiny", "--from", beir)
    assert "dvc pull data/source/tiny.dvc" in error.remedy
    new_domain("tiny", "--from", beir, "--force")


@pytest.mark.parametrize(("count", "told"), [(LOG_IS_ENOUGH, True), (LOG_IS_ENOUGH - 1, False)])
def test_a_large_log_comes_with_advice_on_extractive_queries(
    beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, told: bool
) -> None:
    (tmp_path / "log.txt").write_text("".join(f"what is number {n}\n" for n in range(count)))
    new_domain("tiny", "--from", beir, "--log", tmp_path / "log.txt")
    advice = "'generate: {extractive_passages: 0}' into conf/domains/tiny.yaml"
    assert (advice in capsys.readouterr().out) == told


def test_a_folder_of_documents_is_cut_unless_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n" + "word " * 450)
    (docs / "logo.svg").write_text("<svg/>")
    new_domain("docs", "--from", docs)
    assert read_source(Path("data/source/docs")).card.chunk_words == 200
    assert "cut into 3 of at most 200 words" in (printed := capsys.readouterr().out) and "1 .svg" in printed
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "word?"}\n')
    (tmp_path / "test.tsv").write_text(HEADER + "1\ta.md\t1\n")
    judged = ("--queries", tmp_path / "q.jsonl", "--qrels-test", tmp_path / "test.tsv")
    new_domain("judged", "--from", docs, *judged)
    assert read_source(Path("data/source/judged")).card.chunk_words == 0
    assert "set chunk_words to 0" in refused("cut", "--from", docs, "--chunk-words", "50", *judged).remedy


def test_mistakes_name_the_lines_of_the_users_own_files(beir: Path) -> None:
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("q0\tp99\t1\n")
    error = refused("tiny", "--from", beir)
    assert error.where == f"{beir}/qrels/test.tsv:4" and "p99" in error.found and "(p0, …)" in error.found
    assert "--id-column" in error.remedy
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "p1", "text": "again"}\n')
    error = refused("tiny", "--from", beir)
    assert error.where == f"{beir}/corpus.jsonl:6" and "corpus.jsonl:2" in error.found


@pytest.mark.parametrize("name", ["Tiny", "1st", "a_b", "a b", "", "../x", "ä"])
def test_a_wrong_name_is_refused(beir: Path, name: str) -> None:
    assert "NAME" in refused(name, "--from", beir).where


def test_a_beir_corpus_without_ids_is_refused(beir: Path) -> None:
    (beir / "corpus.jsonl").write_text('{"text": "no id"}\n')
    assert refused("tiny", "--from", beir).where.endswith("corpus.jsonl:1")


def test_options_that_do_not_fit_are_refused(beir: Path, tmp_path: Path) -> None:
    assert refused("tiny", "--from", tmp_path / "nowhere").found == "nothing"
    assert "--dev-queries" in refused("tiny", "--from", beir, "--dev-queries", "0").where
    assert "--chunk-words" in refused("tiny", "--from", beir, "--chunk-words", "-1").where
    (beir / "qrels" / "dev.tsv").write_text(HEADER + "q7\tp0\t1\n")
    assert refused("tiny", "--from", beir, "--dev-split", "train").where == "--dev-split"
    (beir / "queries.jsonl").unlink()
    assert "--queries" in refused("tiny", "--from", beir).remedy


def test_a_domain_is_replaced_only_with_force(beir: Path) -> None:
    new_domain("tiny", "--from", beir)
    assert "--force" in refused("tiny", "--from", beir).remedy
    Path("conf/domains/tiny.yaml").write_text("corpus: {min_chars: 5}\n")
    (beir / "qrels" / "test.tsv").unlink()
    new_domain("tiny", "--from", beir, "--force")
    assert read_source(Path("data/source/tiny")).queries == []
    assert Path("conf/domains/tiny.yaml").read_text() == "corpus: {min_chars: 5}\n"
    assert Path("params.yaml").read_text().count("tiny") == 1


def test_the_shipped_domain_is_not_replaced(beir: Path) -> None:
    Path("data/source/pydocs").mkdir(parents=True)
    Path("data/source/pydocs/source.yaml").write_text("reader: pydocs\n")
    assert "ships" in refused("pydocs", "--from", beir, "--force").found


def test_the_same_input_gives_the_same_bytes(beir: Path) -> None:
    options = (
        "--from",
        beir,
        "--log-split",
        "train",
        "--dev-split",
        "train",
        "--dev-queries",
        "2",
        "--title",
        "T",
    )
    new_domain("one", *options)
    new_domain("two", *options)
    one, two = Path("data/source/one"), Path("data/source/two")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("domains: [pydocs]  # x\na: 1\n", "domains: [pydocs, no-go]  # x\na: 1\n"),
        ("domains: []\n", "domains: [no-go]\n"),
        ("a: 1\ndomains: [a, b,]", "a: 1\ndomains: [a, b, no-go,]"),
        (
            "domains: [\n  pydocs,  # one\n  b   # two\n]\n",
            "domains: [\n  pydocs,  # one\n  b, no-go   # two\n]\n",
        ),
        ("domains:\n- pydocs # x\na: 1\n", "domains:\n- pydocs # x\n- no-go\na: 1\n"),
        (
            "domains:\n    - pydocs\n    - b\n\n# y\na: 1\n",
            "domains:\n    - pydocs\n    - b\n    - no-go\n\n# y\na: 1\n",
        ),
        ("domains:\n- pydocs", "domains:\n- pydocs\n- no-go"),
    ],
)
def test_only_the_list_of_domains_is_touched(before: str, after: str) -> None:
    Path("params.yaml").write_text(before)
    assert with_domain(Path("params.yaml"), "no-go") == after
    Path("params.yaml").write_text(after)
    assert with_domain(Path("params.yaml"), "no-go") is None


def test_names_that_yaml_would_misread_are_quoted() -> None:
    assert 'domains: [pydocs, "no"]' in (with_domain(Path("params.yaml"), "no") or "")


@pytest.mark.parametrize("params", ["corpus: {}\n", "domains: pydocs\n", None])
def test_outside_a_repository_nothing_is_written(beir: Path, params: str | None) -> None:
    Path("params.yaml").unlink() if params is None else Path("params.yaml").write_text(params)
    error = refused("tiny", "--from", beir)
    assert "params.yaml" in error.where and "root" in error.remedy


def test_the_data_goes_to_dvc(beir: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    Path(".gitignore").write_text("/data/*\n!/data/source/\n/data/source/*\n!/data/source/*.dvc\n")
    new_domain("tiny", "--from", beir)
    pointer = yaml.safe_load(Path("data/source/tiny.dvc").read_text())
    assert pointer["outs"][0]["path"] == "tiny"
    printed = capsys.readouterr().out
    assert "git add data/source/tiny.dvc conf/domains/tiny.yaml params.yaml" in printed
    subprocess.run(["git", "add", "data/source/tiny.dvc"], check=True)
