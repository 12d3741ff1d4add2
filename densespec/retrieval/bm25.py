"""BM25 by bm25s with a Snowball stemmer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from densespec.errors import InputError

Array = np.ndarray[Any, Any]


class Bm25:
    """An in-memory BM25 index (Lucene's variant).

    Args:
        texts: passages' content, in the order of their row numbers.
        k1: term-frequency saturation.
        b: length normalisation.
        language: stemmer and stop words (``"english"``, or ``""`` for neither).

    Raises:
        InputError: there is no stemmer of the language.
    """

    def __init__(
        self, texts: Sequence[str], k1: float = 0.9, b: float = 0.4, language: str = "english"
    ) -> None:
        import bm25s

        self._stemmer = _stemmer(language) if language else None
        self._stopwords = "en" if language == "english" else None
        self._passages = len(texts)
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        tokens = self._tokens(texts)
        self._empty = not any(tokens)
        if not self._empty:
            self._index.index(tokens, show_progress=False)

    def scores(self, query: str) -> Array:
        """Scores of all passages for one query: float32 (passages,); 0 for a query of stop words alone."""
        tokens = self._tokens([query])[0]
        if self._empty or not tokens:
            return np.zeros(self._passages, dtype=np.float32)
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)

    def search(self, query: str, depth: int) -> tuple[Array, Array]:
        """Row numbers and scores of the best passages that share a term, best first, ties by row."""
        scores = self.scores(query)
        rows = np.argsort(-scores, kind="stable")[:depth]
        rows = rows[scores[rows] > 0]
        return rows, scores[rows]

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        return tokenize(texts, self._stopwords, self._stemmer)


def tokenize(texts: Sequence[str], stopwords: str | None = None, stemmer: Any = None) -> list[list[str]]:
    """Lower-case words of two or more letters, digits and underscores, as bm25s finds them.

    Args:
        texts: passages' content or queries.
        stopwords: language (bm25s' code) of the stop words to leave out; None for none.
        stemmer: of PyStemmer; None for none.
    """
    import bm25s

    return list(
        bm25s.tokenize(
            list(texts), stopwords=stopwords, stemmer=stemmer, return_ids=False, show_progress=False
        )
    )


def _stemmer(language: str) -> Any:
    import Stemmer

    if language not in Stemmer.algorithms():
        raise InputError(
            "params.yaml: bm25.language",
            expected=f"with backend bm25s one of: {', '.join(Stemmer.algorithms())}; or ''",
            found=language,
            remedy="name one of them, or '' for neither stemmer nor stop words; bm25.backend: pyserini knows "
            "others, for the lists in mining but not for the hybrid teacher",
        )
    return Stemmer.Stemmer(language)
