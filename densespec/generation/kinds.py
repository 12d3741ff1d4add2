"""Query kinds: which of them a domain gets queries of, and names of kinds that there are not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

from densespec.errors import InputError
from densespec.generation.config import GenerateConfig
from densespec.generation.prompt import SHARED, Prompt, domain_prompt
from densespec.io.params import load_section, load_value


def prompt_of_kind(kind: str, shared: Prompt | None, config: GenerateConfig, domain: str) -> Prompt | None:
    """A kind's prompt in a domain. A kind without a shared prompt is for the domains that bring one.

    Args:
        kind: one of params ``kinds``.
        shared: its prompt for all domains; None for none.
        config: the domain's.
        domain: for the message.

    Returns:
        None where the domain gets no queries of this kind: it leaves it out, or others bring it.

    Raises:
        InputError: a malformed prompt, or none in any domain.
    """
    if config.kinds is not None and kind not in config.kinds:
        return None
    prompt = domain_prompt(shared, kind, config.prompts.get(kind), config.examples.get(kind))
    asked = config.kinds is not None or kind in config.examples
    if prompt:
        return prompt
    others = () if asked else load_value("domains")
    if any(kind in load_section("generate", GenerateConfig, other).prompts for other in others):
        return None
    raise InputError(
        f"conf/domains/{domain}.yaml or params.yaml",
        expected=f"a prompt for query kind '{kind}'",
        found=f"prompts for {', '.join(sorted(known_kinds(config.prompts)))}",
        remedy=f"write generate.prompts.{kind} in conf/domains/{domain}.yaml, or {kind}.txt for all domains "
        "(docs/generate.md, 'Kinds'), or correct params 'kinds'",
    )


def known_kinds(listed: Iterable[str]) -> set[str]:
    """Query kinds that a domain may name: those that params ``kinds`` lists, and those with a shared prompt.

    The latter, so that an experiment with fewer ``kinds`` does not fail on a domain's prompt of another.
    """
    return {*listed, *(file.stem for file in SHARED.glob("*.txt"))}


def require_known_kinds(named: Mapping[str, Collection[str]], known: Collection[str], domain: str) -> None:
    """Refuse parameters of query kinds that there are not.

    Args:
        named: parameter of section ``generate`` → kinds that it names.
        known: kinds that there are.
        domain: for the message.

    Raises:
        InputError: some are unknown; all are told.
    """
    found = []
    for parameter, kinds in named.items():
        for kind in sorted(set(kinds) - set(known)):
            close = difflib.get_close_matches(kind, known, n=1)
            found.append(f"generate.{parameter}: {kind}" + (f" (did you mean {close[0]}?)" if close else ""))
    if found:
        raise InputError(
            f"conf/domains/{domain}.yaml or params.yaml",
            expected=f"query kinds that there are: {', '.join(sorted(known))}",
            found=", ".join(found),
            remedy="correct the name, or add the kind (docs/generate.md, 'Kinds')",
        )
