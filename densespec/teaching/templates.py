"""What a generative reranker reads of a query and a passage."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from densespec.errors import InputError

QUERY, PASSAGE, INSTRUCTION = "{query}", "{passage}", "{instruction}"


class Template(NamedTuple):
    """Text around query and passage, and the tokens whose logits are the score.

    Attributes:
        pieces: tokenised one by one, as the family does; together they name ``{query}`` and
            ``{passage}`` once.
        positive: token that says "relevant"; its logit is the score …
        negative: … less that of this token, unless empty.
        instruction: stands for ``{instruction}``.
        special: let the tokenizer add its special tokens to a piece (needs a single piece).
        begin: begin with the tokenizer's token for it.
        as_text: the tokens are what the tokenizer makes of their text, which for Llama's is ``▁Yes``, and not
            the entries of its vocabulary by that name.
    """

    pieces: tuple[str, ...]
    positive: str
    negative: str = ""
    instruction: str = ""
    special: bool = False
    begin: bool = False
    as_text: bool = False


def choose_template(
    section: str,
    model: str,
    styles: dict[str, Template],
    *,
    style: str,
    template: str,
    instruction: str,
    positive: str,
    negative: str,
) -> Template:
    """The template that params ask for.

    Args:
        section: of params, for messages.
        model: its id tells the style where that is ``auto``.
        styles: part of a model's name → template of that family.
        style: one of these names, or ``auto``.
        template: text of one's own with ``{query}`` and ``{passage}``; empty = the style's.
        instruction: of one's own; empty = the style's.
        positive: token of one's own, with ``negative``; empty = the style's two.
        negative: may be empty.

    Raises:
        InputError: the style cannot be told from the name, the template lacks a part, or a parameter that
            would do nothing.
    """
    if style == "auto":
        style = _style_of(model, styles)
    if style not in styles and not (template and positive):
        raise InputError(
            f"params.yaml: {section}.style",
            expected=f"one of {', '.join(styles)}, or both a template and a positive token",
            found=f"style '{style or 'auto'}' for model {model}",
            remedy="name the family that the model belongs to",
        )
    if negative and not positive:
        raise InputError(
            f"params.yaml: {section}.negative",
            expected="a positive token beside it",
            found=f"'{negative}' alone",
            remedy="set positive too, or leave both empty for the style's tokens",
        )
    chosen = styles.get(style, Template((), ""))
    if template:
        chosen = chosen._replace(pieces=(template,), special=True, begin=False)
    if positive:
        chosen = chosen._replace(positive=positive, negative=negative, as_text=False)
    text = "".join(chosen.pieces)
    if text.count(QUERY) != 1 or text.count(PASSAGE) != 1:
        raise InputError(
            f"params.yaml: {section}.template",
            expected=f"{QUERY} and {PASSAGE} once each",
            found=repr(text),
            remedy="correct the template",
        )
    if instruction and INSTRUCTION not in text:
        raise InputError(
            f"params.yaml: {section}.instruction",
            expected=f"a template with {INSTRUCTION}",
            found=repr(text),
            remedy=f"put {INSTRUCTION} into the template, or leave instruction empty",
        )
    told = instruction or chosen.instruction
    return chosen._replace(pieces=tuple(piece.replace(INSTRUCTION, told) for piece in chosen.pieces))


def _style_of(model: str, styles: Collection[str]) -> str:
    """The family that the last part of a path which speaks of one speaks of; empty where it speaks of two."""
    for part in reversed(Path(model).parts):
        named = [name for name in styles if name in part.lower()]
        if named:
            return named[0] if len(named) == 1 else ""
    return ""


def score_tokens(tokenizer: Any, template: Template, section: str) -> list[int]:
    """Numbers of a template's positive and, if it has one, negative token.

    Raises:
        InputError: the tokenizer has no such token.
    """
    tokens = [token for token in (template.positive, template.negative) if token]
    return [_token_id(tokenizer, token, section, as_text=template.as_text) for token in tokens]


def _token_id(tokenizer: Any, token: str, section: str, *, as_text: bool) -> int:
    """Number of a token: of that name (unless it is given as text), or the only one its text consists of."""
    vocabulary = tokenizer.get_vocab()
    if token in vocabulary and not as_text:
        return int(vocabulary[token])
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise InputError(
            f"params.yaml: {section}",
            expected="score tokens that are single tokens of the model",
            found=f"'{token}' is {len(ids)} tokens, or none that it knows",
            remedy="set positive and negative to tokens of its vocabulary, or the right style",
        )
    return int(ids[0])


def tokenise(
    tokenizer: Any,
    template: Template,
    queries: Sequence[str],
    passages: Sequence[str],
    max_tokens: int,
    section: str,
) -> list[dict[str, list[int]]]:
    """Token ids of pairs; too long ones lose the end of their passage, then that of their query.

    So whatever follows the passage (a question, the turn of the assistant) is never cut off.

    Args:
        tokenizer: a fast one.
        template: of the model's family.
        queries: one per pair.
        passages: one per pair.
        max_tokens: of a pair, all included.
        section: of params, for messages.

    Raises:
        InputError: the template alone is longer.
    """
    start = [tokenizer.bos_token_id] if template.begin and tokenizer.bos_token_id is not None else []
    pieces = [_encode(tokenizer, piece, queries, passages, template.special) for piece in template.pieces]
    pairs = []
    for number in range(len(queries)):
        ids = start + [token for piece in pieces for token in piece[number].ids]
        if len(ids) > max_tokens:
            owners = [""] * len(start) + [name for piece in pieces for name in piece[number].owners()]
            ids = _cut(ids, owners, max_tokens, section)
        pairs.append({"input_ids": ids})
    return pairs


class _Encoded(NamedTuple):
    """One piece of one pair.

    Attributes:
        ids: its tokens.
        offsets: characters (first, last) of each.
        spans: ``{query}`` or ``{passage}``, and its characters in the piece.
    """

    ids: list[int]
    offsets: Sequence[tuple[int, int]]
    spans: Sequence[tuple[str, int, int]]

    def owners(self) -> list[str]:
        """Per token ``{query}``, ``{passage}``, or nothing for the template's own."""
        return [
            next((name for name, first, last in self.spans if first < end <= last), "")
            for _, end in self.offsets
        ]


def _encode(
    tokenizer: Any, piece: str, queries: Sequence[str], passages: Sequence[str], special: bool
) -> list[_Encoded]:
    parts = [part for part in re.split(r"(\{query\}|\{passage\})", piece) if part]
    texts, spans = [], []
    for query, passage in zip(queries, passages, strict=True):
        text, span = "", []
        for part in parts:
            filled = {QUERY: query, PASSAGE: passage}.get(part, part)
            if part in (QUERY, PASSAGE):
                span.append((part, len(text), len(text) + len(filled)))
            text += filled
        texts.append(text)
        spans.append(span)
    distinct = list(dict.fromkeys(texts))  # the same for all pairs, or for all of a query or passage
    encoded = tokenizer(distinct, add_special_tokens=special, return_offsets_mapping=True)
    found = dict(
        zip(distinct, zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), strict=True)
    )
    return [_Encoded(*found[text], span) for text, span in zip(texts, spans, strict=True)]


def _cut(ids: list[int], owners: list[str], max_tokens: int, section: str) -> list[int]:
    for owner in (PASSAGE, QUERY):
        over = len(ids) - max_tokens
        if over > 0:
            dropped = set([place for place, name in enumerate(owners) if name == owner][-over:])
            ids = [token for place, token in enumerate(ids) if place not in dropped]
            owners = [name for place, name in enumerate(owners) if place not in dropped]
    if len(ids) > max_tokens:
        raise InputError(
            f"params.yaml: {section}.max_tokens",
            expected="room for the template",
            found=f"{max_tokens}, and the template alone is {len(ids)} tokens",
            remedy="set a larger value",
        )
    return ids
