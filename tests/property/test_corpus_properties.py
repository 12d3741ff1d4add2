"""Laws of normalisation, containment, chunking, the leak guard and the source format."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densespec.corpus.chunking import WORD, chunk_text
from densespec.corpus.cleaning import normalise, seed_reasons
from densespec.corpus.config import SourceCard
from densespec.corpus.containment import contained
from densespec.corpus.leakage import LeakGuard
from densespec.corpus.new_domain import write_source
from densespec.corpus.readers import EvaluationQuery, Recording, Source, plain_id, read_source
from densespec.records import Passage, Qrel, Query

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)
PROSE = st.lists(
    st.sampled_from(
        ["alpha", "Beta.", "gamma!", "\n\n", "\n", " ", "  ", "日本", "語。", "naïve", "x2", "\t", "ไทยไทย"]
    ),
    max_size=60,
).map(" ".join)
WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(" ".join)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(TEXT)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@QUICK
@given(TEXT)
def test_normalising_ignores_case_form_and_white_space(text: str) -> None:
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)
    assert normalise(f"\n {text}\u00a0") == normalise(text)
    if text.isascii():
        assert normalise(text.upper()) == normalise(text)


@QUICK
@given(PROSE | TEXT, st.integers(1, 20))
def test_chunks_lose_no_word_and_keep_to_the_limit(text: str, words: int) -> None:
    parts = list(chunk_text(text, words))
    assert [word for part in parts for word in WORD.findall(part)] == WORD.findall(text)
    assert all(1 <= len(WORD.findall(part)) <= words for part in parts)
    assert all(part == part.strip() and part in text for part in parts)


@QUICK
@given(st.lists(WORDS, max_size=30, unique=True))
def test_containment_equals_comparing_all_pairs(texts: list[str]) -> None:
    by_pairs = [
        place
        for place, text in enumerate(texts)
        if any(f" {text} " in f" {other} " for other in texts if other != text)
    ]
    assert contained(texts, range(len(texts))) == by_pairs


@QUICK
@given(st.lists(WORDS, min_size=1, max_size=25), st.sets(st.integers(0, 24)), st.integers(1, 10))
def test_no_text_of_a_judged_passage_seeds_and_every_other_text_is_kept_once(
    texts: list[str], judged_rows: set[int], max_seeds: int
) -> None:
    passages = [Passage(f"{row:02}", "", text) for row, text in enumerate(texts)]
    judged = {f"{row:02}" for row in judged_rows}
    reasons = seed_reasons(passages, judged, min_chars=0, max_seeds=max_seeds, seed=1)
    seeds = [passage.text for passage, reason in zip(passages, reasons, strict=True) if not reason]
    judged_texts = {passage.text for passage in passages if passage.id in judged}
    assert len(seeds) == len(set(seeds)) <= max_seeds
    assert not judged_texts & set(seeds)
    assert all((reason == "judged") == (p.id in judged) for p, reason in zip(passages, reasons, strict=True))


@QUICK
@given(st.lists(TEXT.filter(str.strip), min_size=1, max_size=8))
def test_every_evaluation_query_leaks_itself(queries: list[str]) -> None:
    guard = LeakGuard(queries)
    assert all(guard.leak(query) == "equal" for query in queries)


SOLID = TEXT.map(str.strip).filter(bool)
IDS = st.lists(SOLID.map(plain_id), min_size=2, max_size=6, unique=True)


@st.composite
def sources(draw: st.DrawFn) -> Source:
    passages = [Passage(i, draw(TEXT).strip(), draw(SOLID)) for i in draw(IDS)]
    queries = sorted(
        EvaluationQuery(
            i, draw(SOLID), draw(st.sampled_from(["", "claim"])), draw(st.sampled_from(["dev", "test"]))
        )
        for i in draw(IDS)
    )
    qrels: dict[str, list[Qrel]] = {"dev": [], "test": []}
    for query in queries:
        qrels[query.split].append(Qrel(query.id, draw(st.sampled_from(passages)).id, draw(st.integers(1, 3))))
    log = [Query(f"log-{i}", draw(SOLID), "log") for i in draw(IDS)]
    recordings = [Recording("0123456789abcdef", "title", draw(SOLID), "title/1", "m")]
    ids = sorted(query.id for query in log)
    train = [Qrel(i, draw(st.sampled_from(passages)).id, draw(st.integers(0, 2))) for i in ids]
    card = SourceCard(title="T", licence="CC0-1.0")
    return Source(card, passages, queries, qrels, log, recordings, {}, train)


@settings(QUICK, max_examples=40)
@given(sources())
def test_what_is_written_is_read_back(source: Source) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "source")
        write_source(target, source)
        read = read_source(target)
        written = {str(path): path.read_bytes() for path in target.rglob("*") if path.is_file()}
        write_source(target, read)
        assert written == {str(path): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert read.passages == source.passages and read.queries == source.queries
    assert {split: sorted(qrels) for split, qrels in read.qrels.items()} == {
        split: sorted(qrels) for split, qrels in source.qrels.items()
    }
    assert read.log == source.log and read.recordings == source.recordings


@QUICK
@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | TEXT | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_read_or_refused_with_a_place(raw: bytes) -> None:
    from densespec.errors import InputError

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        (source / "source.yaml").write_text("reader: files\n")
        (source / "corpus.jsonl").write_bytes(raw)
        try:
            assert read_source(source).passages
        except InputError as error:
            assert "corpus.jsonl" in error.where
