"""Query kinds: which of them a domain gets queries of, and names of kinds that there are not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from densespec.errors import InputError
from densespec.generation.config import GenerateConfig
from densespec.generation.english import is_english
from densespec.generation.prompt import SHARED, Prompt, domain_prompt
from densespec.generation.registry import LANGUAGE_MODELS
from densespec.io.params import read_yaml
from densespec.runtime.progress import say


def require_a_domain(kind: str, confs: Iterable[Path]) -> None:
    """Refuse a kind that has no shared prompt and that no domain brings: most likely a slip of the pen.

    Args:
        kind: one of params ``kinds``.
        confs: ``conf/domains/<domain>.yaml`` of all domains.

    Raises:
        InputError: no domain has a prompt for it.
    """
    for conf in confs:
        section = read_yaml(conf).get("generate") or {}
        prompts: Any = section.get("prompts") if isinstance(section, dict) else None
        if kind in (prompts or {}):
            return
    raise InputError(
        "params.yaml: kinds",
        expected="query kinds with a prompt",
        found=f"'{kind}', for which there is none" + _meant(kind, known_kinds(())),
        remedy=f"correct the name, or write prompts/{kind}.txt, or generate.prompts.{kind} in conf/domains "
        "(docs/generate.md, 'Kinds')",
    )


def prompt_of_kind(
    kind: str, shared: Prompt | None, config: GenerateConfig, domain: str, *, recorded: bool
) -> Prompt | None:
    """A kind's prompt in a domain. A kind without a shared prompt is for the domains that bring one.

    Args:
        kind: one of params ``kinds``.
        shared: its prompt for all domains; None for none.
        config: the domain's.
        domain: for the message.
        recorded: whether the domain has recorded queries of this kind.

    Returns:
        None where the domain gets no queries of this kind: it leaves it out, or does not bring it.

    Raises:
        InputError: a malformed prompt, or none for a kind that the domain names or has recordings of.
    """
    if config.kinds is not None and kind not in config.kinds:
        return None
    prompt = domain_prompt(shared, kind, config.prompts.get(kind), config.examples.get(kind))
    if prompt is None and (config.kinds is not None or kind in config.examples or recorded):
        raise InputError(
            f"conf/domains/{domain}.yaml",
            expected=f"a prompt for query kind '{kind}'",
            found=f"prompts for {', '.join(sorted(known_kinds(config.prompts)))}",
            remedy=f"write generate.prompts.{kind}, or list the kinds that this domain gets in "
            "generate.kinds (docs/generate.md, 'Kinds')",
        )
    return prompt


def warn_of_english_examples(kind: str, prompt: Prompt | None, config: GenerateConfig) -> None:
    """Say that a language model will be shown the shared pool, which is English, for another language.

    Args:
        kind: of the queries.
        prompt: its prompt in the domain, with the pool; None where none are written.
        config: the domain's.
    """
    asked = next((name for name in config.writers if name in LANGUAGE_MODELS), None)
    shared = prompt and prompt.examples and config.llm.examples and kind not in config.examples
    if asked and shared and not is_english(config.language):
        say(
            f"warning: {asked} is asked for queries in '{config.language}' and shown English ones: bring "
            f"generate.examples.{kind} in that language, or set generate.llm.examples to 0"
        )


def known_kinds(listed: Iterable[str]) -> set[str]:
    """Query kinds that are listed somewhere, and those with a shared prompt."""
    return {*listed, *(file.stem for file in SHARED.glob("*.txt"))}


def require_known_kinds(config: GenerateConfig, listed: Collection[str], domain: str) -> None:
    """Refuse parameters of query kinds that there are not.

    A prompt or pool of a kind that params ``kinds`` does not list is no mistake by itself: an experiment may
    have fewer kinds than the domain. It is one where its name is nearly that of another kind.

    Args:
        config: the domain's.
        listed: params ``kinds``.
        domain: for the message.

    Raises:
        InputError: some are unknown; all are told.
    """
    known = known_kinds(listed)
    named: Mapping[str, Collection[str]] = {
        "kinds": set(config.kinds or ()) - {*config.prompts},
        "prompts": config.prompts, "examples": set(config.examples) - {*config.prompts},
    }  # fmt: skip
    found = []
    for parameter, kinds in named.items():
        for kind in sorted(set(kinds) - known):
            if (meant := _meant(kind, known)) or parameter != "prompts":
                found.append(f"generate.{parameter}: {kind}{meant}")
    if found:
        raise InputError(
            f"conf/domains/{domain}.yaml or params.yaml",
            expected=f"query kinds that there are: {', '.join(sorted(known))}",
            found=", ".join(found),
            remedy="correct the name, or add the kind (docs/generate.md, 'Kinds')",
        )


def _meant(kind: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(kind, known, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""
