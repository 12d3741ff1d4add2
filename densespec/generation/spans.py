"""Cutting the spans out of a passage that could become queries, before any model judges them."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from densespec.generation.english import (
    BE,
    CLAUSE_STARTERS,
    DETERMINERS,
    HEADINGS,
    LINKS,
    LOOSE_ENDS,
    MODALS,
    POSSESSIVES,
    STATING,
    STOP_WORDS,
    VAGUE_WORDS,
    VERBS,
    base_form,
    reads_as_english,
    word_list,
)
from densespec.generation.lexicon import Lexicon
from densespec.generation.words import length, sentences, tokens

#: Characters of a passage that are read (the limit of arXiv 2502.19712).
MAX_CHARS = 2048
MAX_SPANS = 24
#: Words of a span, determiners not counted.
MAX_OBJECT, MAX_SUBJECT, MAX_TOPIC = 8, 8, 7
CODE_LINE = re.compile(
    r"^\s*(>>>|\.\.\.|\$ |[|+#%{}]|@\w|def |class \w+.*:$|import |from \w\S* import )|[={}]\s*$"
)
SIGNATURE = re.compile(
    r"^[\w.]+\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)[ \t]*(?:->[^\n:.]*)?[ \t]*[:.\-–—]*[ \t]*"
)
MARKUP = re.compile(r":\w+:(?=`)|[`*]+|(?<!\w)_+|_+(?!\w)|\[|\]\([^)]*\)|\]|</?\w[^>]*>|https?://\S+")
CLAUSE_BORDER = re.compile(
    r"\s*(?:[;:,()\"“”«»、，；：（）「」!?]|\.{2,}|--+|\s[-–—=|]\s|->)\s*(?=\s|\w|$)|[.。]$"
)
#: A text with a larger share of ASCII punctuation among its visible characters is code.
MAX_SYMBOLS = 0.12
EDGES = ".,;:!?'\"“”‘’()[]{}<>«»…-–—=|/\\&~^%"
ASKS_WHETHER = re.compile(
    r"^returns? whether\b|^(?:returns? (?:true|1|non-?zero)|(?:check|test|determine|see)s?) "
    r"(?:if and only if|if|iff|when)\b",
    re.IGNORECASE,
)
#: After these, a form in *-ed* is the verb ("we analysed …").
AUXILIARIES = BE | word_list("we they it i who also and have has had not")
#: Words whose presence says that the words before a verb name nothing by themselves.
NO_SUBJECTS = word_list("it they you we there he she and or")
#: Verbs that make no task by themselves.
IDLE_VERBS = word_list("do go use try be let take")
#: Where the words after a verb end: at another finite verb, a pronoun, an alternative.
FINITE_WORDS = (BE - {"be", "been", "being"}) | MODALS | {"it", "they", "you", "we"}
ENDING_WORDS = word_list("whether false else otherwise how why")
#: Prepositions that an object may begin with ("connect to a host").
OPENING_LINKS = word_list("to from for with on into")


class Span(NamedTuple):
    """One candidate.

    Attributes:
        form: ``"action"`` (verb, object), ``"statement"`` (subject, verb, object), ``"topic"`` (a noun
            phrase), or ``"definition"`` (a noun phrase that says what the passage's subject is).
        subject: words before the verb; of a topic or definition, all words.
        verb: base form of an action's verb; a statement's verb as it stands; otherwise empty.
        object: what follows the verb.
    """

    form: str
    subject: tuple[str, ...]
    verb: str
    object: tuple[str, ...]

    @property
    def text(self) -> str:
        """The span as plain words, which is what the student embeds."""
        return " ".join([*self.subject, *([self.verb] if self.verb else []), *self.object])


def readable(text: str) -> str:
    """The prose of a passage's beginning: code lines, call signatures and markup taken out."""
    kept = [line for line in text[:MAX_CHARS].splitlines() if not CODE_LINE.search(line)]
    prose = "\n".join(SIGNATURE.sub("", line.lstrip(" \t•")) if line.strip() else "" for line in kept)
    return re.sub(rf"\b(?:{HEADINGS})\b", "", MARKUP.sub(" ", prose))


def is_prose(text: str) -> bool:
    """Is the beginning of a text made of words rather than of code?"""
    visible = [character for character in text[:MAX_CHARS] if not character.isspace()]
    symbols = sum(character in string.punctuation for character in visible)
    return symbols <= MAX_SYMBOLS * len(visible)


def cut_spans(title: str, text: str, lexicon: Lexicon) -> list[Span]:
    """Candidate spans in the order of the text, without repeats, at most :data:`MAX_SPANS`.

    Args:
        title: the passage's title; it counts as a topic where it reads as text.
        text: the passage's text.
        lexicon: word statistics of the corpus.
    """
    prose = readable(text)
    if not is_prose(prose):
        return []
    english = has_grammar(text, lexicon)
    found: dict[str, Span] = {}
    for number, sentence in enumerate(sentences(prose)):
        cut = _english_spans(sentence, number == 0, lexicon) if english else _plain_spans(sentence, lexicon)
        for span in cut:
            found.setdefault(span.text.casefold(), span)
    if len(title.split()) > 2 and not re.search(r"[(=_]", title):
        for span in _english_spans(title, False, lexicon) if english else _plain_spans(title, lexicon):
            found.setdefault(span.text.casefold(), span)
    return list(found.values())[:MAX_SPANS]


def has_grammar(text: str, lexicon: Lexicon) -> bool:
    """Is a passage in a language (English) whose sentences this module knows how to take apart?"""
    return lexicon.english and reads_as_english(readable(text).split())


def content_words(title: str, text: str, lexicon: Lexicon) -> list[str]:
    """Distinct content words of a passage (title and prose) in their order, as they are first written.

    Of a dotted name as title only the first part counts: a query should not merely name the thing.
    """
    head, *own = re.split(r"[.(]", title, maxsplit=1)
    dotted = bool(own) and " " not in head
    names = {token for token in tokens(title)} - set(tokens(head)) if dotted else set()
    found: dict[str, str] = {}
    for word in _words(f"{head if dotted else title} {readable(text)}"):
        key = word.casefold()
        letters = sum(character.isalpha() for character in word)
        if (
            letters >= 2
            and letters * 2 > len(word)
            and not lexicon.is_common(key)
            and not (lexicon.english and (key in VAGUE_WORDS or key.endswith("ly")))
            and names.isdisjoint(tokens(word))
            and not re.search(r"[_()=\[\]]", word)
        ):
            found.setdefault(key, word)
    return list(found.values())


def _words(piece: str) -> list[str]:
    stripped = (chunk.strip(EDGES) for chunk in piece.split())
    return [word for word in stripped if word and tokens(word)]


def _english_spans(sentence: str, first: bool, lexicon: Lexicon) -> Iterator[Span]:
    sentence = ASKS_WHETHER.sub("Check whether", sentence)
    for number, (words, opener) in enumerate(_clauses(sentence)):
        lower = [word.casefold() for word in words]
        commands = first and number == 0 and lower[0] in VERBS and _commands(lower)
        if commands or (opener in STATING - {"that"} | {""} and _acts(lower, 0, lexicon)):
            yield from _action(base_form(lower[0]), words[1:], lexicon)
        elif opener in STATING | {""}:
            yield from _statement(words, lower, lexicon)
        for place in range(1, len(words) - 1):
            if lower[place - 1] in ("to", "can", "cannot") and lexicon.is_verb(lower[place]):
                yield from _action(lower[place], words[place + 1 :], lexicon)
        for start, phrase in _noun_phrases(words, lower, lexicon):
            opening = number == 0 and start == 0 and phrase[0] == words[0]
            defines = first and opening and lower[0] not in ("this", "these", "the")
            yield Span("definition" if defines else "topic", phrase, "", ())


def _clauses(sentence: str) -> Iterator[tuple[list[str], str]]:
    """Clauses of a sentence, each with the word that opens it (``""`` after punctuation)."""
    for piece in CLAUSE_BORDER.split(sentence):
        words = _words(piece)
        start, opener = 0, ""
        for place, word in enumerate(words):
            if word.casefold() in CLAUSE_STARTERS:
                if place > start:
                    yield words[start:place], opener
                start, opener = place + 1, word.casefold()
        if words[start:]:
            yield words[start:], opener


def _commands(lower: Sequence[str]) -> bool:
    """Does a passage that begins with a verb's base form tell what it does? ("Open a file …")"""
    return len(lower) > 1 and lower[1] not in LINKS - OPENING_LINKS and not FINITE_WORDS & set(lower)


def _acts(lower: Sequence[str], place: int, lexicon: Lexicon) -> bool:
    """Is the word at this place a verb with an object after it?"""
    if len(lower) < place + 2 or not lexicon.is_verb(base_form(lower[place])):
        return False
    follows = lower[place + 1]
    if follows in DETERMINERS or follows in ("whether", "one", "and") or follows.isdigit():
        return True
    return follows not in BE | MODALS | (LINKS - OPENING_LINKS) and not lexicon.is_noun(lower[place])


def _action(verb: str, rest: Sequence[str], lexicon: Lexicon) -> Iterator[Span]:
    lower = [word.casefold() for word in rest]
    if len(rest) > 2 and lower[0] in ("and", "or") and lexicon.is_verb(base_form(lower[1])):
        rest, lower = rest[2:], lower[2:]  # "remove and return an item"
    for place in range(1, len(rest)):  # "reads the file and feeds it to the parser"
        if lower[place] in ("and", "or") and _acts(lower, place + 1, lexicon):
            rest, lower = rest[:place], lower[:place]
            break
    told = _bounded(rest, MAX_OBJECT, whole=lower[:1] == ["whether"])
    opening = told[0].casefold() if told else ""
    if opening in STOP_WORDS - OPENING_LINKS - DETERMINERS - {"whether", "one", "two", "many", "only"}:
        return
    if opening in LINKS and told[1:] and told[1].casefold() in LINKS:
        return
    if any(_telling(word, lexicon) for word in told) and verb not in IDLE_VERBS:
        yield Span("action", (), verb, told)


def _statement(words: Sequence[str], lower: Sequence[str], lexicon: Lexicon) -> Iterator[Span]:
    for place in range(1, min(len(words) - 1, 10)):
        word = lower[place]
        third = word.endswith("s") and lexicon.is_verb(base_form(word)) and not lexicon.is_noun(word)
        if not (third or word in MODALS or word in ("is", "are", "was", "were", "has", "have")):
            continue
        names = {w for w in lower[:place] if w not in DETERMINERS}
        told = _bounded(words[place + 1 :], MAX_OBJECT)
        if third and lower[0] != "it" and names <= VAGUE_WORDS:  # "This function returns …"
            yield from _action(base_form(word), words[place + 1 :], lexicon)
        elif _is_subject(words[:place], lower, lexicon) and any(_telling(w, lexicon) for w in told):
            if word in MODALS | {"was", "were", "have", "has"} and len(told) < 3:
                return  # "can be used", "was found"
            subject = ["the" if w in ("this", "that") else w for w in (lower[0], *words[1:place])]
            if lower[0] not in DETERMINERS:
                subject[0] = words[0]
            yield Span("statement", tuple(subject), word, told)
        return


def _is_subject(words: Sequence[str], lower: Sequence[str], lexicon: Lexicon) -> bool:
    """Do the words before a verb name what the clause (``lower``) is about?"""
    names = {word.casefold() for word in words} - DETERMINERS
    return (
        len(names) <= MAX_SUBJECT
        and any(_telling(word, lexicon) for word in words)
        and words[-1].casefold() not in LINKS | DETERMINERS
        and lower[0] not in LINKS | BE | MODALS
        and not lower[0].endswith(("ing", "ed"))
        and not _acts(lower, 0, lexicon)
        and names.isdisjoint(NO_SUBJECTS)
    )


def _bounded(rest: Sequence[str], limit: int, whole: bool = False) -> tuple[str, ...]:
    """The words after a verb up to the next finite verb, cut back to a phrase's end if there are too many.

    Args:
        rest: words after the verb.
        limit: most words, determiners not counted.
        whole: keep a finite verb, as after *whether*.
    """
    told: list[str] = []
    for place, word in enumerate(rest):
        key = word.casefold()
        if place and (key in ENDING_WORDS or (not whole and key in FINITE_WORDS)):
            break
        told.append(word)
    while sum(word.casefold() not in DETERMINERS for word in told) > limit:
        told = list(shortened(told))
    return _without_loose_end(told)


def shortened(words: Sequence[str]) -> tuple[str, ...]:
    """The words up to their last preposition, conjunction or participle; none if there is no such place."""
    for place in range(len(words) - 1, 0, -1):
        key = words[place].casefold()
        opens = key in LINKS or key in ("and", "or", "using") or (key.endswith("ed") and len(key) > 4)
        if opens and (cut := _without_loose_end(words[:place])):
            return cut
    return ()


def _without_loose_end(words: Sequence[str]) -> tuple[str, ...]:
    loose = STOP_WORDS - {"not", "off", "out", "down", "up", "any"} | LOOSE_ENDS
    kept = list(words)
    while kept and kept[-1].casefold() in loose:
        kept.pop()
    if len(kept) > 2 and kept[-2].casefold() == "as" and kept[-1].casefold().endswith("ed"):
        return _without_loose_end(kept[:-2])  # "as described"
    return tuple(kept)


def _noun_phrases(
    words: Sequence[str], lower: Sequence[str], lexicon: Lexicon
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Place and words of phrases: content words, held together by prepositions, after their determiner."""
    start, run = 0, list[str]()
    for place, key in enumerate([*lower, "."]):
        last = run[-1].casefold() if run else ""
        after = lower[place + 1] if place + 1 < len(lower) else ""
        before = lower[place - 1] if place else ""
        present = (key.endswith("s") or place == 0) and lexicon.is_verb(base_form(key))
        in_phrase = last and last not in LINKS | DETERMINERS
        past = key.endswith("ed") and (before in AUXILIARIES or (in_phrase and after not in LINKS))
        verb = past or (present and not lexicon.is_noun(key))
        links = key in LINKS and key != "to" and in_phrase
        opens = key in DETERMINERS and (not run or last in LINKS)
        if key != "." and (links or opens or not (lexicon.is_common(key) or verb)):
            if not run:
                start = place
            run.append(words[place])
            continue
        phrase = _phrase(run, lexicon)
        if phrase:
            yield start, phrase
        start, run = place, [words[place]] if key in DETERMINERS else []


def _phrase(run: Sequence[str], lexicon: Lexicon) -> tuple[str, ...]:
    phrase = list(run)
    while phrase and (phrase[0].casefold() in POSSESSIVES | LINKS or not any(map(str.isalpha, phrase[0]))):
        phrase = phrase[1:]
    if len(phrase) > 2 and phrase[0].casefold().endswith("ed") and phrase[1].casefold() in LINKS:
        phrase = phrase[2:]  # "called from the command line"
    while sum(word.casefold() not in DETERMINERS for word in phrase) > MAX_TOPIC:
        phrase = list(shortened(phrase))
    while phrase and (phrase[-1].casefold() in LINKS | DETERMINERS or phrase[-1].casefold().endswith("ly")):
        phrase.pop()
    content = [word for word in phrase if word.casefold() not in LINKS | DETERMINERS]
    return tuple(phrase) if len(content) >= 2 and sum(_telling(w, lexicon) for w in content) >= 2 else ()


def _telling(word: str, lexicon: Lexicon) -> bool:
    key = word.casefold()
    return not lexicon.is_common(key) and key not in VAGUE_WORDS and sum(c.isalpha() for c in word) >= 2


def _plain_spans(text: str, lexicon: Lexicon) -> Iterator[Span]:
    """Without grammar: two to seven words between punctuation, without common words at their ends."""
    for piece in CLAUSE_BORDER.split(text):
        run: list[str] = []
        for word in [*_words(piece), ""]:
            if word and length(" ".join([*run, word])) <= MAX_TOPIC:
                run.append(word)
                continue
            while run and lexicon.is_common(run[-1].casefold()):
                run.pop()
            while run and lexicon.is_common(run[0].casefold()):
                run.pop(0)
            if length(" ".join(run)) >= 2 and sum(c.isalpha() for w in run for c in w) >= 4:
                yield Span("topic", tuple(run), "", ())
            # a long run of a script without spaces is cut to its head
            run = [word if length(word) <= MAX_TOPIC else word[: MAX_TOPIC * 2 - 4]] if word else []
