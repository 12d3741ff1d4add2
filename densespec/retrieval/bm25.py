"""BM25 by bm25s with a Snowball stemmer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Bm25:
    """An in-memory BM25 index (Lucene's variant).

    Args:
        texts: passages' content, in the order of their row numbers.
        k1: term-frequency saturation.
        b: length normalisation.
        language: stemmer and stop words (``"english"``, or ``""`` for neither).
    """

    def __init__(
        self, texts: Sequence[str], k1: float = 0.9, b: float = 0.4, language: str = "english"
    ) -> None:
        import bm25s
        import Stemmer

        self._stemmer = Stemmer.Stemmer(language) if language else None
        self._stopwords = "en" if language == "english" else None
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._index.index(self._tokens(texts), show_progress=False)

    def scores(self, query: str) -> Array:
        """Scores of all passages for one query: float32 (passages,)."""
        tokens = self._tokens([query])
        return np.asarray(self._index.get_scores(tokens[0]), dtype=np.float32)

    def search(self, query: str, depth: int) -> tuple[Array, Array]:
        """Row numbers and scores of the best passages that share a term, best first, ties by row."""
        scores = self.scores(query)
        rows = np.argsort(-scores, kind="stable")[:depth]
        rows = rows[scores[rows] > 0]
        return rows, scores[rows]

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        import bm25s

        return list(
            bm25s.tokenize(
                list(texts),
                stopwords=self._stopwords,
                stemmer=self._stemmer,
                return_ids=False,
                show_progress=False,
            )
        )
