"""The leak guard: no training query may be, or nearly be, a dev or test query."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

from densespec.corpus.cleaning import normalise
from densespec.corpus.readers import Recording
from densespec.records import Qrel, Query

_ROUNDING = 1e-9


class LeakGuard:
    """Finds evaluation queries that a training query repeats.

    A training query leaks when, after normalisation, it equals an evaluation query (``equal``), has
    the same content words after stemming, in any order (``same words``), or a token set of at least
    the given Jaccard similarity (``similar``). Similar ones are found by prefix filtering
    (Chaudhuri, Ganti and Kaushik, ICDE 2006), which compares only queries that can reach it.

    Args:
        queries: texts of the dev and test queries.
        jaccard: least similarity, over 0 and up to 1.
        language: Snowball stemmer; ``""`` for none.
    """

    def __init__(self, queries: Sequence[str], jaccard: float = 0.8, language: str = "english") -> None:
        import Stemmer
        from bm25s.stopwords import STOPWORDS_EN_PLUS

        self._jaccard = jaccard
        self._stemmer = Stemmer.Stemmer(language) if language else None
        stopwords = STOPWORDS_EN_PLUS if language == "english" else ()
        self._stopwords = {word for stopword in stopwords for word in normalise(stopword).split()}
        normalised = [normalise(query) for query in queries]
        self._equal = set(normalised)
        self._content = {content for text in normalised if (content := self._content_words(text))}
        self._sets = [frozenset(text.split()) for text in normalised]
        self._frequency = Counter(token for tokens in self._sets for token in tokens)
        self._postings: dict[str, list[int]] = {}
        for number, tokens in enumerate(self._sets):
            for token in self._prefix(tokens):
                self._postings.setdefault(token, []).append(number)

    def leak(self, text: str) -> str:
        """How a training query repeats an evaluation query; ``""`` if it doesn't."""
        normalised = normalise(text)
        if normalised in self._equal:
            return "equal"
        content = self._content_words(normalised)
        if content and content in self._content:
            return "same words"
        return "similar" if self._has_similar(frozenset(normalised.split())) else ""

    def _content_words(self, normalised: str) -> tuple[str, ...]:
        words = [word for word in normalised.split() if word not in self._stopwords]
        return tuple(sorted(self._stemmer.stemWords(words) if self._stemmer else words))

    def _has_similar(self, tokens: frozenset[str]) -> bool:
        candidates = {number for token in self._prefix(tokens) for number in self._postings.get(token, ())}
        return any(
            len(tokens & self._sets[number]) >= self._jaccard * len(tokens | self._sets[number]) - _ROUNDING
            for number in candidates
        )

    def _prefix(self, tokens: frozenset[str]) -> list[str]:
        """The rarest tokens: two sets of the least similarity have one of them in common."""
        rarest_first = sorted(tokens, key=lambda token: (self._frequency[token], token))
        return rarest_first[: len(tokens) - math.ceil(self._jaccard * len(tokens) - _ROUNDING) + 1]


def admit_log(
    queries: Sequence[Query], guard: LeakGuard, min_chars: int, max_chars: int
) -> tuple[list[Query], dict[str, int]]:
    """Keep the log queries that may be trained on.

    Returns:
        Kept queries sorted by id, and the counts ``read``, ``kept``, ``short``, ``long``, ``duplicates``
        (the same text but for case, width and white space) and ``leaks``.
    """
    counts = Counter(read=len(queries), kept=0, short=0, long=0, duplicates=0, leaks=0)
    seen: set[str] = set()
    kept = []
    for query in sorted(queries):
        reason = _refusal(query.text, query.text, seen, guard, min_chars, max_chars)
        counts[reason or "kept"] += 1
        if not reason:
            kept.append(query)
    return kept, dict(counts)


def admit_recordings(
    recordings: Sequence[Recording],
    hashes: Collection[str],
    guard: LeakGuard,
    min_chars: int,
    max_chars: int,
) -> tuple[list[Recording], dict[str, dict[str, int]]]:
    """Keep the recorded queries whose passage is in the corpus and that may be trained on.

    Args:
        recordings: of all kinds.
        hashes: passage hashes of the corpus.
        guard: against dev and test queries.
        min_chars: shorter ones are dropped.
        max_chars: longer ones are dropped.

    Returns:
        Kept recordings, sorted, and per kind the counts of :func:`admit_log` and ``no_passage``. A
        duplicate is the same text for the same passage and kind.
    """
    counts: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    kept = []
    for recording in sorted(recordings):
        count = counts.setdefault(
            recording.kind, Counter(read=0, kept=0, no_passage=0, short=0, long=0, duplicates=0, leaks=0)
        )
        key = f"{recording.passage} {recording.kind} {recording.query}"
        reason = (
            "no_passage"
            if recording.passage not in hashes
            else _refusal(recording.query, key, seen, guard, min_chars, max_chars)
        )
        count["read"] += 1
        count[reason or "kept"] += 1
        if not reason:
            kept.append(recording)
    return kept, {kind: dict(counts[kind]) for kind in sorted(counts)}


def _refusal(text: str, key: str, seen: set[str], guard: LeakGuard, min_chars: int, max_chars: int) -> str:
    """Why a training query is dropped; ``""`` keeps it and notes its key as seen."""
    if len(text) < min_chars:
        return "short"
    if len(text) > max_chars:
        return "long"
    folded = _folded(key)
    if folded in seen:
        return "duplicates"
    if guard.leak(text):
        return "leaks"
    seen.add(folded)
    return ""


def _folded(text: str) -> str:
    """One form of texts that differ in case, width and white space only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def labels_of_kept(labels: Sequence[Qrel], log: Sequence[Query], kept: Sequence[Query]) -> list[Qrel]:
    """Judgements of the log queries that were kept; those of dropped duplicates go to the one kept.

    Args:
        labels: judgements of queries in ``log``.
        log: as read.
        kept: see :func:`admit_log`.

    Returns:
        Sorted, one per query and passage, with the highest grade.
    """
    kept_as = {_folded(query.text): query.id for query in kept}
    now = {query.id: kept_as.get(_folded(query.text)) for query in log}
    grades: dict[tuple[str, str], int] = {}
    for query_id, passage_id, grade in labels:
        if target := now[query_id]:
            place = (target, passage_id)
            grades[place] = max(grade, grades.get(place, grade))
    return sorted(Qrel(query_id, passage_id, grade) for (query_id, passage_id), grade in grades.items())


def similar_across(dev: Sequence[str], test: Sequence[str], jaccard: float, language: str) -> int:
    """How many dev queries repeat a test query: what is tuned on them favours the test set."""
    guard = LeakGuard(test, jaccard, language)
    return sum(bool(guard.leak(query)) for query in dev)
