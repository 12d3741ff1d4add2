"""``densespec new-domain``: bring a corpus in, whatever it looks like, as a domain of the pipeline."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

from densespec.corpus.chunking import chunk_passages
from densespec.corpus.config import SourceCard
from densespec.corpus.documents import folder_passages
from densespec.corpus.readers import (
    LABELLED_KIND,
    SPLITS,
    Row,
    Source,
    assemble,
    plain_id,
    read_card,
    read_log,
    read_passages,
    read_queries,
    read_recordings,
    read_source,
)
from densespec.corpus.registration import empty_overrides, track, with_domain
from densespec.corpus.table_files import Columns, table_passages, table_queries
from densespec.errors import InputError
from densespec.io.atomic import replacing_folder, write_text
from densespec.io.jsonl import shorten, write_jsonl
from densespec.io.params import read_yaml
from densespec.io.trec import read_qrels, write_qrels
from densespec.records import Query
from densespec.runtime.seeds import seed_for

NAME = re.compile(r"[a-z][a-z0-9-]*")
FOLDER_CHUNK_WORDS = 200
#: Queries of a log that train alone; the smallest one tried (SciFact's) gave 731 lists.
LOG_IS_ENOUGH = 700
DESCRIPTION = """\
Bring a corpus in: checks it, writes data/source/NAME and conf/domains/NAME.yaml, adds NAME to the
domains of params.yaml and the data to DVC. Nothing is written if anything is wrong.

PATH is one of
  a BEIR folder       corpus.jsonl; optional: queries.jsonl, qrels/test.tsv, qrels/dev.tsv
  a table             .jsonl, .csv, .tsv or .parquet with columns for id, title and text
  a folder            of .md, .txt and .html files, at any depth; cut into passages of about 200 words
"""
EXAMPLES = """\
examples:
  densespec new-domain support --from tickets.csv --text-column body --log queries.txt
  densespec new-domain handbook --from ~/handbook
  densespec new-domain scifact --from beir/scifact --log-split train
  densespec new-domain nl2bash --from beir/nl2bash --recorded-split train
"""


class Found(NamedTuple):
    """What a path holds: passages still to be checked, and the files beside them."""

    kind: str
    passages: Iterable[Row]
    others: dict[str, int]
    queries: Path | None
    qrels: dict[str, Path]
    train: Path | None
    log: Path | None
    recorded: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec new-domain``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and hyphens")
    parser.add_argument("--from", dest="path", type=Path, required=True, metavar="PATH", help="the corpus")
    columns = parser.add_argument_group("columns of a table (guessed from their names otherwise)")
    columns.add_argument(
        "--id-column", default="", metavar="COLUMN", help="default: id, docid, …; without one the row number"
    )
    columns.add_argument("--title-column", default="", metavar="COLUMN", help="default: title, heading, …")
    columns.add_argument(
        "--text-column",
        default="",
        metavar="COLUMN",
        help="default: text, body, content, …; a number counts columns of a file without header from 1",
    )
    queries = parser.add_argument_group("queries (all optional)")
    queries.add_argument(
        "--queries", type=Path, metavar="FILE", help="judged queries: jsonl, csv, tsv or parquet"
    )
    queries.add_argument("--qrels-test", type=Path, metavar="FILE", help="judgements for the final figures")
    queries.add_argument(
        "--qrels-dev", type=Path, metavar="FILE", help="judgements for tuning and the teacher audit"
    )
    queries.add_argument(
        "--log", type=Path, metavar="FILE", help="queries of users, unlabelled: one a line (.txt), or a table"
    )
    queries.add_argument(
        "--log-split", choices=["train"], help="take the queries of qrels/train.tsv as log, without labels"
    )
    queries.add_argument(
        "--train-labels",
        action="store_true",
        help="with --log-split, keep the labels too: stage teacher_finetune reads them, nothing else does",
    )
    queries.add_argument(
        "--recorded-split",
        choices=["train"],
        help="take the queries of qrels/train.tsv as if written for the passages that answer them: a student "
        "learns each with its passage as the positive",
    )
    queries.add_argument(
        "--dev-split", choices=["train"], help="take a sample of qrels/train.tsv, with labels, as dev"
    )
    queries.add_argument(
        "--dev-queries", type=int, default=200, metavar="N", help="size of that sample (200)"
    )
    parser.add_argument(
        "--chunk-words",
        type=int,
        metavar="N",
        help=f"most words of a passage; 0 = leave texts whole (folders, unless judged: {FOLDER_CHUNK_WORDS})",
    )
    parser.add_argument("--title", default="", help="what the corpus is, for reports (default: NAME)")
    parser.add_argument("--licence", default="", help="licence of the text (default: unknown)")
    parser.add_argument("--force", action="store_true", help="replace the data of a domain that exists")


def main(args: argparse.Namespace) -> None:
    """Add the domain that the options describe to the repository in the current folder.

    Raises:
        InputError: anything wrong with name, files or repository; nothing has been written then.
    """
    target = Path("data", "source", args.name)
    params = Path("params.yaml")
    _check_name(args.name, target, args.force)
    edited = with_domain(params, args.name)
    kinds = read_yaml(params).get("kinds", [])
    if args.recorded_split and LABELLED_KIND not in kinds:
        raise InputError(
            params,
            expected=f"'{LABELLED_KIND}' in the list 'kinds', for --recorded-split",
            found="other kinds, so nothing would train on these queries",
            remedy=f"add {LABELLED_KIND} to 'kinds'",
        )
    found = find(args.path, Columns(args.id_column, args.title_column, args.text_column))
    source = check(found, args)
    write_source(target, source)
    conf = Path("conf", "domains", f"{args.name}.yaml")
    if not conf.exists():
        write_text(conf, empty_overrides(params))
    if edited is not None:
        write_text(params, edited)
    tracked = track(target)
    _print_found(args, found, source, kinds)
    print(f"  written      {target}, {conf}" + (f", {params} (domains)" if edited is not None else ""))
    _print_next(args.name, conf, target, tracked)


def find(path: Path, columns: Columns) -> Found:
    """Recognise what a path holds.

    Raises:
        InputError: nothing is there, or nothing that is read.
    """
    if not path.exists():
        raise InputError(
            path,
            expected="a file or folder",
            found="nothing",
            remedy="check the path after --from (it is relative to the current folder)",
        )
    if path.is_dir() and not (path / "corpus.jsonl").exists():
        rows, others = folder_passages(path)
        return Found("folder of documents", rows, dict(others), None, {}, None, None, None)
    if path.is_dir():
        columns = columns._replace(id=columns.id or "_id")
        files = {split: path / "qrels" / f"{split}.tsv" for split in (*SPLITS, "train")}
        there = {split: file for split, file in files.items() if file.exists()}
        train = there.pop("train", None)
        queries, log = path / "queries.jsonl", path / "queries.log.jsonl"
        return Found(
            "BEIR folder",
            table_passages(path / "corpus.jsonl", columns),
            {},
            queries if queries.exists() else None,
            there,
            train,
            log if log.exists() else None,
            path / "recorded",
        )
    rows = table_passages(path, columns)
    return Found(f"{path.suffix.lower()} file", rows, {}, None, {}, None, None, None)


def check(found: Found, args: argparse.Namespace) -> Source:
    """Read everything and check it as the corpus stage does, on the user's own files and lines.

    Raises:
        InputError: anything malformed, missing or contradictory.
    """
    qrels = dict(found.qrels)
    qrels |= {split: path for split in SPLITS if (path := getattr(args, f"qrels_{split}"))}
    if (args.log_split or args.recorded_split or args.dev_split) and found.train is None:
        raise InputError(
            args.path,
            expected="qrels/train.tsv in a BEIR folder, for --log-split, --recorded-split and --dev-split",
            found=f"a {found.kind} without it",
            remedy="give the log as a file with --log, the dev judgements with --qrels-dev",
        )
    if args.log_split and args.recorded_split:
        raise InputError(
            "--log-split, --recorded-split",
            expected="one of them",
            found="both, which would train on every query twice",
            remedy="leave --log-split out to learn from the labels, --recorded-split to leave them unused",
        )
    if args.train_labels and not args.log_split:
        raise InputError(
            "--train-labels",
            expected="--log-split train beside it",
            found="labels without their queries",
            remedy="add --log-split train",
        )
    only: dict[str, set[str]] = {}
    if args.dev_split and found.train:
        if "dev" in qrels:
            raise InputError(
                "--dev-split",
                expected="a corpus without dev judgements",
                found=f"{qrels['dev']}",
                remedy="leave --dev-split out: dev judgements are there",
            )
        qrels["dev"] = found.train
        only["dev"] = _sample(found.train, args.dev_queries)
    file = args.queries or found.queries
    queries = read_queries(table_queries(file)) if file else None
    log_file = args.log or found.log
    log = read_log(table_queries(log_file)) if log_file else []
    if args.log_split and found.train:
        added = _train_queries(found.train, queries or {}, only.get("dev", set()))
        only["train"] = {query.id.removeprefix("log-") for query in added}
        log += added
    if args.recorded_split and found.train:
        train = {plain_id(qrel.query_id) for qrel in read_qrels(found.train)}
        only["labelled"] = train - only.get("dev", set())
    chunk_words = args.chunk_words
    if chunk_words is None:
        chunk_words = FOLDER_CHUNK_WORDS if found.kind == "folder of documents" and not qrels else 0
    if chunk_words < 0 or args.dev_queries < 1:
        raise InputError(
            "--chunk-words, --dev-queries",
            expected="--chunk-words of 0 or more, --dev-queries of 1 or more",
            found=f"{chunk_words} and {args.dev_queries}",
            remedy="correct the number",
        )
    card = SourceCard(
        reader="files",
        title=args.title or args.name,
        licence=args.licence or "unknown",
        chunk_words=chunk_words,
    )
    passages, empty = read_passages(args.path, found.passages)
    recordings = read_recordings(found.recorded) if found.recorded else []
    return assemble(
        card,
        passages,
        empty,
        queries=queries,
        qrels={split: qrels[split] for split in SPLITS if split in qrels},
        log=_distinct(log),
        recordings=recordings,
        train=found.train if args.train_labels else None,
        labelled=found.train if args.recorded_split else None,
        only=only,
    )


def _sample(qrels: Path, size: int) -> set[str]:
    """Ids of the queries drawn from the train judgements; the draw depends on the ids alone."""
    relevant = {plain_id(qrel.query_id) for qrel in read_qrels(qrels) if qrel.grade >= 1}
    return set(sorted(relevant, key=lambda query_id: (seed_for(0, "dev", query_id), query_id))[:size])


def _train_queries(qrels: Path, queries: dict[str, Query], dev: set[str]) -> list[Query]:
    ids = dict.fromkeys(plain_id(qrel.query_id) for qrel in read_qrels(qrels))
    missing = [query_id for query_id in ids if query_id not in queries]
    if missing:
        raise InputError(
            qrels,
            expected="ids of queries that exist",
            found=f"query '{missing[0]}' and {len(missing) - 1:,} more are not among the {len(queries):,}",
            remedy="add the queries to queries.jsonl, or leave --log-split out",
        )
    return [Query(f"log-{i}", queries[i].text, "log") for i in ids if i not in dev]


def _distinct(log: list[Query]) -> list[Query]:
    """One query per id: a log file and the train split may name the same ones.

    Raises:
        InputError: an id with two texts.
    """
    texts: dict[str, str] = {}
    for query in log:
        if texts.setdefault(query.id, query.text) != query.text:
            raise InputError(
                "--log, --log-split",
                expected="a text per id",
                found=f"id '{query.id.removeprefix('log-')}' with {shorten(repr(texts[query.id]), 60)} and "
                f"with {shorten(repr(query.text), 60)}",
                remedy="give the queries of the log other ids, or none (a text file has a query a line)",
            )
    return list({query.id: query for query in log}.values())


def write_source(target: Path, source: Source) -> None:
    """Write ``data/source/NAME`` whole or not at all, and read it back as the corpus stage will."""
    card = source.card
    with replacing_folder(target) as folder:
        write_text(
            folder / "source.yaml",
            "# Read by the corpus stage (docs/corpus.md).\n"
            + yaml.safe_dump(card.model_dump(), sort_keys=False, allow_unicode=True),
        )
        write_jsonl(
            folder / "corpus.jsonl",
            ({"_id": p.id, "title": p.title, "text": p.text} for p in source.passages),
        )
        if source.queries:
            write_jsonl(
                folder / "queries.jsonl",
                (
                    {"_id": q.id, "text": q.text} | ({"kind": q.kind} if q.kind else {})
                    for q in source.queries
                ),
            )
        for split, qrels in source.qrels.items():
            if qrels:
                write_qrels(folder / "qrels" / f"{split}.tsv", qrels)
        if source.train:
            labels = [qrel._replace(query_id=qrel.query_id.removeprefix("log-")) for qrel in source.train]
            write_qrels(folder / "qrels" / "train.tsv", labels)
        if source.log:
            write_jsonl(
                folder / "queries.log.jsonl",
                ({"_id": q.id.removeprefix("log-"), "text": q.text} for q in source.log),
            )
        for kind in sorted({recording.kind for recording in source.recordings}):
            write_jsonl(
                folder / "recorded" / f"{kind}.jsonl",
                (
                    {"passage": r.passage, "query": r.query, "prompt": r.prompt, "model": r.model}
                    for r in source.recordings
                    if r.kind == kind
                ),
            )
        read_source(folder)


def _check_name(name: str, target: Path, force: bool) -> None:
    if not NAME.fullmatch(name):
        raise InputError(
            f"NAME '{name}'",
            expected="lower-case letters, digits and hyphens, a letter first",
            found=repr(name),
            remedy=f"try '{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-0123456789') or 'corpus'}'",
        )
    pointer = Path(f"{target}.dvc")
    if not target.exists() and pointer.exists() and not force:
        raise InputError(
            pointer,
            expected="a new name",
            found="a domain of this name, whose data are not here",
            remedy=f"choose another name, fetch it (dvc pull {pointer}), or replace its data with --force",
        )
    if not target.exists():
        return
    card = target / "source.yaml"
    shipped = card.exists() and read_card(card).reader != "files"
    if shipped or not force:
        raise InputError(
            target,
            expected="a new name",
            found="a domain that ships with densespec" if shipped else "a domain of this name",
            remedy="choose another name" + ("" if shipped else ", or replace its data with --force"),
        )


def _print_found(args: argparse.Namespace, found: Found, source: Source, kinds: list[str]) -> None:
    card, counts, first = source.card, source.counts, source.passages[0]
    print(f"{args.name}: {found.kind} {args.path}")
    note = f"; {counts['empty_passages']:,} without text left out" if counts["empty_passages"] else ""
    print(f"  passages     {len(source.passages):,}{note}")
    if card.chunk_words:
        chunks = len(chunk_passages(source.passages, card.chunk_words))
        print(f"               cut into {chunks:,} of at most {card.chunk_words} words")
    print(f"  first        {first.id}: {shorten(' '.join(first.content.split()), 90)}")
    skipped = counts["judgements_skipped"]
    if skipped:
        print(f"  skipped      {skipped:,} judgements of passages without text")
    if found.others:
        ignored = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.others.items()))
        print(f"  not read     {ignored}")
    for split in reversed(SPLITS):
        queries = [query for query in source.queries if query.split == split]
        without = counts.get(f"{split}_queries_without_relevant", 0)
        print(
            f"  {split + ' queries':12} {len(queries):,} with {len(source.qrels[split]):,} judgements"
            + (f"; {without:,} without a relevant passage left out" if without else "")
            + (f"; first: {shorten(queries[0].text, 60)}" if queries else "")
        )
    split_taken = args.log_split or args.recorded_split
    if counts["queries_in_no_split"] and not split_taken:
        print(
            f"  unused       {counts['queries_in_no_split']:,} queries that neither split judges"
            + ("" if found.train else " (--log FILE takes queries without judgements)")
        )
    sample = f"; first: {shorten(source.log[0].text, 60)}" if source.log else ""
    labelled = f" with {len(source.train):,} judgements" if source.train else ""
    print(f"  query log    {len(source.log):,}{labelled}{sample}")
    if len(source.log) >= LOG_IS_ENOUGH:
        print("               (with a log extractive queries did harm on dev; to leave them out put")
        print(f"               'generate: {{extractive_passages: 0}}' into conf/domains/{args.name}.yaml)")
    if found.train and not split_taken:
        print("               (--log-split train takes the queries of qrels/train.tsv, without their labels;")
        print("               --recorded-split train with them)")
    if source.recordings:
        print(f"  recordings   {len(source.recordings):,}")
        unlisted = {recording.kind for recording in source.recordings} - set(kinds)
        if unlisted:
            print(f"               no stage replays {', '.join(sorted(unlisted))}: params kinds lists others")
    if args.recorded_split:
        print("               (docs/domains.md says which filters to lift for queries of people)")
    print(f"  licence      {card.licence}" + ("" if args.licence else " (--licence says which)"))


def _print_next(name: str, conf: Path, target: Path, tracked: bool) -> None:
    pointer = f"{target.as_posix()}.dvc"
    if tracked:
        print(f"  tracked      {pointer}")
        print(f"commit:        git add {pointer} {conf.as_posix()} params.yaml")
    else:
        print("  NOT TRACKED  no DVC repository here: nothing versions the data, and `dvc repro` won't run")
        print(f"               git init && dvc init (or clone densespec), then: dvc add {target.as_posix()}")
    print(f"next:          dvc repro evaluate@{name}")
