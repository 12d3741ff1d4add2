"""Phrasing a span as a query of a kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from densespec.generation.english import (
    BE,
    DETERMINERS,
    EVERYDAY_VERBS,
    MODALS,
    STOP_WORDS,
    base_form,
    gerund,
    is_plural,
    third_person,
    word_list,
)
from densespec.generation.spans import Span

#: Kinds in the order in which they choose their spans; each avoids what those before it chose.
KINDS = ("question", "claim", "title", "msmarco", "web_search")
#: Forms that a kind can be made of, and what each is worth to it beside the student's score.
FORMS = {
    "question": {"action": 0.1, "statement": 0.1, "topic": 0.0, "definition": 0.0},
    "claim": {"statement": 0.2, "action": 0.1, "definition": 0.1},
    "title": {"topic": 0.05, "action": 0.1, "definition": 0.0},
    "msmarco": {"action": 0.1, "statement": 0.05, "topic": 0.05, "definition": 0.05},
    "web_search": {"action": 0.1, "statement": 0.0, "topic": 0.0, "definition": 0.0},
}
SMALL_WORDS = word_list("a an and as at but by for from in into of on or per the to via with without")
ASKING = ("How do I", "How can I", "What is the way to", "How would you")


def shape_english(kind: str, span: Span, place: str, name: str, variant: int) -> str:
    """A query of a kind; ``""`` where the span does not lend itself to it.

    Args:
        kind: one of :data:`KINDS`; any other kind gets the span's words.
        span: what to ask for.
        place: where the passage's subject is found, such as a package; may be empty.
        name: the name of the passage's subject; may be empty.
        variant: picks among equivalent phrasings.
    """
    if span.verb == "raise" and kind != "claim":  # nobody sets out to get an error
        return ""
    if span.verb in BE and len(span.object) == 1 and span.object[0].endswith("ed"):
        return ""  # "experimental data are presented" says too little
    if kind == "question":
        asked = _asked(span, variant, ASKING[variant % len(ASKING)])
        return f"{asked}{_where(span, place)}?" if asked else ""
    if kind == "msmarco":
        asked = _asked(span, variant, "how to")
        return f"{asked}{_where(span, place)}".lower() if asked else ""
    if kind == "claim":
        return _claim(span, name)
    if kind == "title":
        return title_case(" ".join(_title(span, variant)))
    if kind == "web_search":
        return _web_search(span, place)
    return span.text


def shape_plain(kind: str, span: Span) -> str:
    """A query without any grammar, for languages that have no phrasing of their own."""
    text = span.text
    if kind == "question":
        return f"{text}?"
    if kind in ("web_search", "msmarco", "keywords"):
        return text.lower()
    return text[:1].upper() + text[1:]


def title_case(text: str) -> str:
    """English title case; words with capitals, digits or symbols of their own stay as they are."""
    return " ".join(
        word[:1].upper() + word[1:]
        if re.fullmatch(r"[a-z'’-]+", word) and (place == 0 or word not in SMALL_WORDS)
        else word
        for place, word in enumerate(text.split(" "))
    )


def _asked(span: Span, variant: int, how: str) -> str:
    if span.form == "action":
        return f"{how} {_everyday(span.verb)} {_lower_first(span.object)}"
    if span.form != "statement":
        if re.fullmatch(r"\w{2,}ing", span.subject[0]) and span.subject[0].casefold() != "string":
            return ""  # "returning cookies" is a title, no thing to ask for
        return f"What {_be(span.subject)} {_lower_first(span.subject)}"
    subject, told = _lower_first(span.subject), " ".join(span.object)
    if span.verb in ("is", "are") and span.object[0] in ("a", "an", "the"):
        return f"What {span.verb} {subject}"
    if span.verb in BE | MODALS:
        return f"{span.verb.capitalize()} {subject} {told}"
    if variant // 7 % 2 and span.verb not in ("has", "have"):
        return f"Does {subject} {base_form(span.verb)} {told}"
    return f"What {span.verb} {told}"


def _claim(span: Span, name: str) -> str:
    told = " ".join(span.object)
    if span.form == "statement":
        return _sentence(f"{' '.join(span.subject)} {span.verb} {told}")
    if span.form == "action":
        verb = _everyday(span.verb)
        if name:
            return f"{name} {third_person(verb)} {told}."
        return _sentence(f"it is possible to {verb} {told}")
    if not name:
        return ""
    article = "" if span.subject[0].casefold() in DETERMINERS else _article(span.text)
    return f"{name} is {article}{_lower_first(span.subject)}."


def _title(span: Span, variant: int) -> list[str]:
    subject, told = _bare(span.subject), _bare(span.object)
    if span.form == "action":
        verb = _everyday(span.verb)
        return [gerund(verb), *told] if variant % 2 or told[0] == "whether" else ["how to", verb, *told]
    return [*subject, span.verb, *told] if span.form == "statement" else subject


def _web_search(span: Span, place: str) -> str:
    verb = [_everyday(span.verb)] if span.form == "action" else []
    words = [word.lower() for word in (*span.subject, *verb, *span.object)]
    kept = [word for word in words if word not in STOP_WORDS or word == "not"]
    return " ".join(dict.fromkeys([*([place] if place else []), *kept]))


def _where(span: Span, place: str) -> str:
    """``" in asyncio"``, unless the span says so itself or is long enough."""
    words = [word.casefold() for word in (*span.subject, *span.object)]
    named = any(place in word or word in place for word in words if word not in STOP_WORDS)
    return "" if not place or named or len(words) > 6 or "in" in words else f" in {place}"


def _article(text: str) -> str:
    if " of " in text:
        return "the "
    return "an " if text[0] in "aeiouAEIOU" else "a "


def _be(topic: Sequence[str]) -> str:
    """*is* or *are*, by the last word before the first preposition."""
    linked = [place for place, word in enumerate(topic) if word in SMALL_WORDS and place]
    head = topic[linked[0] - 1] if linked else topic[-1]
    return "are" if is_plural(head.casefold()) else "is"


def _everyday(verb: str) -> str:
    return EVERYDAY_VERBS.get(verb, verb)


def _bare(words: Sequence[str]) -> list[str]:
    return [word for word in _lower_first(words).split(" ") if word.casefold() not in DETERMINERS]


def _lower_first(words: Sequence[str]) -> str:
    """The words as text; the ordinary capital of a sentence's first word is taken off."""
    if not words:
        return ""
    first, *rest = words
    return " ".join([first.lower() if first[1:].islower() or first == "A" else first, *rest])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
