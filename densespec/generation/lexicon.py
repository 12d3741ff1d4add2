"""What a corpus says about its words: how common they are, and which of them are used as verbs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from densespec.generation.english import ARTICLES, BE, MODALS, STOP_WORDS, VERBS
from densespec.generation.words import tokens


class Lexicon:
    """Counts over a corpus.

    Args:
        texts: passages' content.
        english: use the English word lists beside the counts.
    """

    #: A word in more than this share of the passages carries no content of its own.
    COMMON_SHARE = 0.2
    #: In a smaller corpus no word is called common.
    SMALLEST_CORPUS = 20

    def __init__(self, texts: Iterable[str], english: bool) -> None:
        self.english = english
        self.passages = 0
        self._passages_with: Counter[str] = Counter()
        self._uses: Counter[str] = Counter()
        self._after_modal: Counter[str] = Counter()
        self._after_to: Counter[str] = Counter()
        self._after_determiner: Counter[str] = Counter()
        for text in texts:
            words = tokens(text)
            self.passages += 1
            self._passages_with.update(set(words))
            if english:
                self._uses.update(words)
                for before, word in pairwise(words):
                    if before in MODALS:
                        self._after_modal[word] += 1
                    elif before == "to":
                        self._after_to[word] += 1
                    elif before in ARTICLES:
                        self._after_determiner[word] += 1

    def idf(self, word: str) -> float:
        """Inverse document frequency, at least 0."""
        return math.log((1 + self.passages) / (1 + self._passages_with[word]))

    def is_common(self, word: str) -> bool:
        """A function word, or (other languages) a word of a large share of the passages."""
        if self.english:
            return word in STOP_WORDS
        limit = self.COMMON_SHARE * self.passages
        return self.passages >= self.SMALLEST_CORPUS and self._passages_with[word] > limit

    def is_verb(self, word: str) -> bool:
        """Is this base form used as a verb, by the word list or after modals and *to* in the corpus?"""
        if word in STOP_WORDS or len(word) < 3 or word.endswith("ly"):
            return False
        as_verb = self._after_modal[word] + self._after_to[word]
        seen = self._after_modal[word] >= 1 and as_verb >= 3 and as_verb >= 0.08 * self._uses[word]
        return word in VERBS or seen

    def is_noun(self, word: str) -> bool:
        """Does the word follow a determiner often enough to be read as a noun?"""
        return self._after_determiner[word] > 0.1 * self._uses[word] and word not in BE
