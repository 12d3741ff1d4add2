"""Reading a source strictly: every complaint names file and line, and nothing wrong goes further.

``assemble`` is used by the corpus stage on ``data/source/<domain>`` and by ``densespec new-domain`` on
the user's own files, so both make the same checks in the same words.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from densespec.corpus.config import SourceCard
from densespec.corpus.pydocs import stdlib_passages
from densespec.errors import InputError
from densespec.io.jsonl import numbered_lines, read_jsonl, shorten
from densespec.io.params import read_yaml
from densespec.io.trec import read_qrels
from densespec.records import LABELLED_PROMPT, Passage, Qrel, Query, passage_hash

#: One record of a file: where it stands ("corpus.jsonl:12") and its fields.
Row = tuple[str, Mapping[str, Any]]
#: Evaluation splits, in the order of reading.
SPLITS = ("dev", "test")
PASSAGE_HASH = re.compile(r"[0-9a-f]{16}")
#: Kind and model of recordings that people's labels became.
LABELLED_KIND, LABELLED_MODEL = "question", "human"


class EvaluationQuery(NamedTuple):
    """A judged query: ``kind`` may be ``""``; ``split`` is ``dev`` or ``test``."""

    id: str
    text: str
    kind: str
    split: str


class Recording(NamedTuple):
    """A query that was written for a passage earlier; ``passage`` is the passage's hash."""

    passage: str
    kind: str
    query: str
    prompt: str
    model: str


class Source(NamedTuple):
    """A checked source.

    Attributes:
        card: its card.
        passages: as given, without those that have no text; not yet cut into chunks.
        queries: judged queries with at least one relevant passage.
        qrels: their judgements by split.
        log: unlabelled queries; their ids start with ``log-``.
        recordings: all recorded queries, whether or not their passage exists here.
        counts: what was left out, for the metric (see :func:`assemble`).
        train: judgements of log queries, for fine-tuning a teacher; their passages may seed queries.
    """

    card: SourceCard
    passages: list[Passage]
    queries: list[EvaluationQuery]
    qrels: dict[str, list[Qrel]]
    log: list[Query]
    recordings: list[Recording]
    counts: dict[str, int]
    train: list[Qrel]


def read_source(folder: Path) -> Source:
    """Read and check ``data/source/<domain>``.

    Raises:
        InputError: anything malformed, missing or contradictory in it.
    """
    card = read_card(folder / "source.yaml")
    if card.reader == "pydocs":
        passages, empty = _stdlib(), dict[str, str]()
    else:
        passages, empty = read_passages(folder / "corpus.jsonl", jsonl_rows(folder / "corpus.jsonl"))
    queries, log = folder / "queries.jsonl", folder / "queries.log.jsonl"
    return assemble(
        card,
        passages,
        empty,
        queries=read_queries(jsonl_rows(queries)) if queries.exists() else None,
        qrels={s: p for s in SPLITS if (p := folder / "qrels" / f"{s}.tsv").exists()},
        log=read_log(jsonl_rows(log)) if log.exists() else [],
        recordings=read_recordings(folder / "recorded"),
        train=train if (train := folder / "qrels" / "train.tsv").exists() else None,
    )


def read_card(path: Path) -> SourceCard:
    """Read ``source.yaml``.

    Raises:
        InputError: missing, malformed, or with unknown or ill-typed keys (all at once).
    """
    try:
        return SourceCard.model_validate(read_yaml(path))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc']))} = {p['input']!r}: {p['msg']}" for p in error.errors()]
        raise InputError(
            path,
            expected="keys reader (files or pydocs), title, licence, chunk_words (0 or more)",
            found="; ".join(problems),
            remedy="correct these values (docs/corpus.md describes them)",
        ) from None


def _stdlib() -> list[Passage]:
    try:
        return stdlib_passages()
    except RuntimeError as error:
        raise InputError(
            sys.executable,
            expected="a Python that keeps docstrings",
            found=str(error),
            remedy="unset PYTHONOPTIMIZE and run without -OO",
        ) from None


def jsonl_rows(path: Path) -> Iterable[Row]:
    """Rows of a JSON Lines file."""
    return ((f"{path}:{number}", row) for number, row in read_jsonl(path))


def read_passages(path: Path, rows: Iterable[Row]) -> tuple[list[Passage], dict[str, str]]:
    """Check passages: ``_id`` and ``text``, ``title`` optional; other fields are ignored.

    Args:
        path: file or folder they come from, for the message that it is empty.
        rows: records with the place each stands at.

    Returns:
        Passages with text (a passage with a title alone has it as its text), and id → place of those
        without any.

    Raises:
        InputError: a field is missing or of the wrong type, an id occurs twice, or no passage is left.
    """
    passages: list[Passage] = []
    empty: dict[str, str] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        passage_id = _id(where, row)
        _once(places, passage_id, where)
        title, text = _string(where, row, "title", default="").strip(), _string(where, row, "text")
        if text.strip():
            passages.append(Passage(passage_id, title, text.strip()))
        elif title:
            passages.append(Passage(passage_id, "", title))
        else:
            empty[passage_id] = where
    if not passages:
        raise InputError(
            path,
            expected="at least one passage with text",
            found=f"{len(empty):,} passages, all without text" if empty else "no passage at all",
            remedy='write one line per passage: {"_id": "…", "title": "…", "text": "…"}',
        )
    return passages, empty


def read_queries(rows: Iterable[Row]) -> dict[str, Query]:
    """Check queries: ``_id`` and ``text``, ``kind`` optional.

    Raises:
        InputError: a field is missing or of the wrong type, an id occurs twice, or a text is empty.
    """
    queries: dict[str, Query] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        query_id = _id(where, row)
        _once(places, query_id, where)
        kind = _string(where, row, "kind", default="").strip()
        queries[query_id] = Query(query_id, _filled(where, row, "text"), kind)
    return queries


def read_log(rows: Iterable[Row]) -> list[Query]:
    """Check a query log: ``text``, ``_id`` optional; without one the id is a hash of the text.

    Returns:
        Queries of kind ``log`` with ids ``log-…``; a text that occurs again without an id of its own
        is the same query.

    Raises:
        InputError: a field is missing or of the wrong type, an id occurs twice, or a text is empty.
    """
    queries: dict[str, Query] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        text = _filled(where, row, "text")
        if row.get("_id") is None:
            query_id = "log-" + hashlib.sha256(text.encode()).hexdigest()[:16]
        else:
            query_id = f"log-{_id(where, row)}"
            _once(places, query_id, where)
        queries[query_id] = Query(query_id, text, "log")
    return list(queries.values())


def read_recordings(folder: Path) -> list[Recording]:
    """Check the recorded queries of a folder: one file per kind, named after it.

    Raises:
        InputError: a field is missing, of the wrong type or empty, or a passage hash is malformed.
    """
    recordings = []
    for path in sorted(folder.glob("*.jsonl")):
        for where, row in jsonl_rows(path):
            passage = _filled(where, row, "passage")
            if not PASSAGE_HASH.fullmatch(passage):
                raise InputError(
                    where,
                    expected="'passage': a passage hash of 16 hex digits (densespec.records.passage_hash)",
                    found=shorten(repr(passage)),
                    remedy="record the query again from the passage, or delete the line",
                )
            query, prompt, model = (_filled(where, row, key) for key in ("query", "prompt", "model"))
            recordings.append(Recording(passage, path.stem, query, prompt, model))
    return recordings


def assemble(
    card: SourceCard,
    passages: list[Passage],
    empty: Mapping[str, str],
    *,
    queries: Mapping[str, Query] | None,
    qrels: Mapping[str, Path],
    log: list[Query],
    recordings: list[Recording],
    train: Path | None = None,
    labelled: Path | None = None,
    only: Mapping[str, set[str]] | None = None,
) -> Source:
    """Check the parts of a source against one another and assign queries to splits.

    A query belongs to the split whose qrels judge it. Queries without a relevant passage are left
    out, since no measure is defined for them. Judgements of passages without text are skipped
    (Cranfield has two such abstracts), and with reader ``pydocs`` those of passages that this Python
    version lacks: the qrels were made with another version.

    Args:
        card: of the source.
        passages: with text.
        empty: id → place of passages without any text.
        queries: by id; None if there is no file of them.
        qrels: split → file.
        log: unlabelled queries.
        recordings: recorded queries.
        train: file of judgements of log queries, whose ids stand there without ``log-``.
        labelled: file of judgements whose relevant pairs become recorded queries.
        only: split (``train`` and ``labelled`` too) → ids of the queries to take from its file; all where it
            isn't named.

    Returns:
        The source; its ``counts`` are ``empty_passages``, ``judgements_skipped``,
        ``<split>_queries_without_relevant`` for each split and ``queries_in_no_split``.

    Raises:
        InputError: qrels name unknown queries or passages, a query is in both splits, or judged
            documents are to be cut into chunks.
    """
    judged_files = [*qrels.values(), *(path for path in (train, labelled) if path)]
    if judged_files and card.chunk_words:
        raise InputError(
            f"chunk_words = {card.chunk_words}",
            expected="0 (whole passages) where there are qrels",
            found=f"judgements in {', '.join(map(str, judged_files))}",
            remedy="judgements name whole passages, not their parts: set chunk_words to 0, "
            "or cut the texts first and judge the parts",
        )
    known = {passage.id for passage in passages}
    counts = {"empty_passages": len(empty), "judgements_skipped": 0}
    evaluation: list[EvaluationQuery] = []
    kept: dict[str, list[Qrel]] = {split: [] for split in SPLITS}
    split_of: dict[str, str] = {}
    for split, path in qrels.items():
        judgements = _judgements(path, only.get(split) if only else None)
        _check_queries(path, judgements, queries)
        _check_passages(path, judgements, known, empty, may_lack=card.reader == "pydocs")
        here = [qrel for qrel in judgements if qrel.passage_id in known]
        judged = dict.fromkeys(qrel.query_id for qrel in judgements)
        for query_id in judged:
            if split_of.setdefault(query_id, split) != split:
                raise InputError(
                    _line(path, query_id),
                    expected="every query in one split",
                    found=f"query '{query_id}', also judged at {_line(qrels[split_of[query_id]], query_id)}",
                    remedy="what is tuned on dev must not be tested on: remove the query from one of the two",
                )
        relevant = {qrel.query_id for qrel in here if qrel.grade >= 1}
        kept[split] = [qrel for qrel in here if qrel.query_id in relevant]
        answered = [queries[query_id] for query_id in judged if query_id in relevant] if queries else []
        evaluation += [EvaluationQuery(query.id, query.text, query.kind, split) for query in answered]
        counts["judgements_skipped"] += len(judgements) - len(here)
        counts[f"{split}_queries_without_relevant"] = len(judged) - len(relevant)
    labels: list[Qrel] = []
    if train:
        judgements = _judgements(train, only.get("train") if only else None)
        logged = {query.id.removeprefix("log-"): query for query in log}
        _check_queries(train, judgements, logged)
        _check_passages(train, judgements, known, empty, may_lack=card.reader == "pydocs")
        labels = [q._replace(query_id=f"log-{q.query_id}") for q in judgements if q.passage_id in known]
        counts["judgements_skipped"] += len(judgements) - len(labels)
    if labelled:
        judgements = _judgements(labelled, only.get("labelled") if only else None)
        _check_queries(labelled, judgements, queries)
        _check_passages(labelled, judgements, known, empty, may_lack=card.reader == "pydocs")
        hashes = {passage.id: passage_hash(passage) for passage in passages}
        texts = {query_id: query.text for query_id, query in (queries or {}).items()}
        here = [qrel for qrel in judgements if qrel.passage_id in known]
        recordings = recordings + [
            Recording(hashes[q.passage_id], LABELLED_KIND, texts[q.query_id], LABELLED_PROMPT, LABELLED_MODEL)
            for q in here
            if q.grade >= 1
        ]
        counts["judgements_skipped"] += len(judgements) - len(here)
    counts["queries_in_no_split"] = len(queries.keys() - split_of.keys()) if queries else 0
    return Source(card, passages, sorted(evaluation), kept, log, recordings, counts, labels)


def _judgements(path: Path, only: set[str] | None) -> list[Qrel]:
    judgements = [Qrel(plain_id(q), plain_id(p), grade) for q, p, grade in read_qrels(path)]
    return judgements if only is None else [qrel for qrel in judgements if qrel.query_id in only]


def plain_id(text: str) -> str:
    """An id that fits TREC's files, whose columns white space separates: it becomes ``%20`` in ids."""
    return re.sub(r"\s", "%20", text.strip())


def _check_queries(path: Path, judgements: Iterable[Qrel], queries: Mapping[str, Query] | None) -> None:
    if queries is None:
        raise InputError(
            path,
            expected="a file of queries beside the judgements",
            found="no queries",
            remedy="add queries.jsonl (densespec new-domain: --queries FILE), or remove the qrels",
        )
    for query_id, passage_id, _ in judgements:
        if query_id not in queries:
            raise InputError(
                _line(path, query_id, passage_id),
                expected="ids of queries that exist",
                found=f"query '{query_id}', which is not among the {len(queries):,} queries",
                remedy="add the query to the file of queries, or delete its judgements",
            )


def _check_passages(
    path: Path, judgements: Iterable[Qrel], known: set[str], empty: Mapping[str, str], *, may_lack: bool
) -> None:
    for query_id, passage_id, _ in judgements:
        if passage_id not in known and passage_id not in empty and not may_lack:
            raise InputError(
                _line(path, query_id, passage_id),
                expected="ids of passages that exist",
                found=f"passage '{passage_id}', which is not among the {len(known):,} passages "
                f"({shorten(min(known), 40)}, …)",
                remedy="add the passage to the corpus, delete this judgement, or name the column that holds "
                "such ids (densespec new-domain: --id-column)",
            )


def _line(path: Path, query_id: str, passage_id: str | None = None) -> str:
    """``file:line`` of the first judgement of a query, or of a query and a passage."""
    for number, line in numbered_lines(path):
        fields = [plain_id(field) for field in (line.split("\t") if "\t" in line else line.split())]
        if fields[0] == query_id and (passage_id is None or passage_id == fields[-2]):
            return f"{path}:{number}"
    return str(path)


def _id(where: str, row: Mapping[str, Any]) -> str:
    value = _present(where, row, "_id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(where, "_id", "a string that is not empty", value)
    return plain_id(_encodable(where, "_id", value))


def _string(where: str, row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = row.get(key) if default is not None else _present(where, row, key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise _wrong(where, key, "a string", value)
    return _encodable(where, key, value)


def _filled(where: str, row: Mapping[str, Any], key: str) -> str:
    text = _string(where, row, key).strip()
    if not text:
        raise _wrong(where, key, "a text that is not empty", row[key])
    return text


def _present(where: str, row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise InputError(
            where,
            expected=f"a field '{key}'",
            found=f"fields {', '.join(map(str, row)) or '(none)'}",
            remedy="add the field, or delete the line",
        )
    return row[key]


def _encodable(where: str, key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(where, key, "text that UTF-8 can hold (no lone surrogates)", text) from None
    return text


def _wrong(where: str, key: str, expected: str, value: Any) -> InputError:
    shown = "null" if value is None else f"{type(value).__name__} {shorten(ascii(value))}"
    return InputError(
        where, expected=f"'{key}': {expected}", found=shown, remedy="correct the field, or delete the line"
    )


def _once(places: dict[str, str], identifier: str, where: str) -> None:
    first = places.setdefault(identifier, where)
    if first is not where:
        raise InputError(
            where,
            expected="every id once",
            found=f"id '{shorten(identifier)}', which {first} has already",
            remedy="delete one of the two lines, or give it an id of its own",
        )
