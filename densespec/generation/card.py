"""The card of a generated dataset: what it holds and how it came about, for machines and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from densespec.generation.english import word_list
from densespec.generation.prompt import Prompt
from densespec.generation.writing import Kept
from densespec.io.atomic import write_text
from densespec.io.jsonl import write_json, write_jsonl
from densespec.io.params import read_yaml

#: Licence identifiers that the Hugging Face hub knows; any other is written as ``other``.
HUB_LICENCES = word_list(
    """
    apache-2.0 mit bsd bsd-2-clause bsd-3-clause cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 odc-by odbl pddl gpl-2.0 gpl-3.0 lgpl-3.0 mpl-2.0 gfdl
    """
)
EXAMPLES = 8


def read_licence(path: Path) -> tuple[str, str]:
    """Title and licence of the source text, from a domain's ``source.yaml``; ``"unknown"`` if not given.

    Raises:
        InputError: the file is missing or malformed.
    """
    source = read_yaml(path)
    return str(source.get("title") or "unknown"), str(source.get("licence") or "unknown")


def dataset_card(
    queries: Sequence[Kept],
    *,
    domain: str,
    kind: str,
    title: str,
    licence: str,
    language: str,
    seed: int,
    settings: Mapping[str, int],
    dropped: Mapping[str, int],
) -> dict[str, Any]:
    """The card as plain data, for ``card.json``.

    Args:
        queries: of the dataset.
        domain: its domain.
        kind: of the queries.
        title: of the source text.
        licence: of the source text, which its queries are derived from.
        language: as BCP 47.
        seed: of sampling and phrasing.
        settings: limits of the filters.
        dropped: queries lost, per filter.
    """
    return {
        "domain": domain,
        "kind": kind,
        "queries": len(queries),
        "passages": len({query.source_id for query in queries}),
        "writers": Counter(query.writer for query in queries),
        "prompts": Counter(query.prompt for query in queries),
        "models": Counter(query.model for query in queries),
        "seed": seed,
        "filters": {"settings": dict(settings), "dropped": dict(dropped)},
        "source": title,
        "licence": licence,
        "language": language,
    }


def write_dataset(folder: Path, queries: Sequence[Kept], card: Mapping[str, Any], prompt: Prompt) -> None:
    """Write ``queries.jsonl``, ``card.json`` and ``README.md`` into a folder.

    Args:
        folder: existing.
        queries: one line each.
        card: from :func:`dataset_card`.
        prompt: of the kind, shown in the README.
    """
    write_jsonl(folder / "queries.jsonl", (query._asdict() for query in queries))
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", render_card(card, queries, prompt))


def render_card(card: Mapping[str, Any], queries: Sequence[Kept], prompt: Prompt) -> str:
    """The card as a README in the layout of Hugging Face's dataset cards.

    Args:
        card: from :func:`dataset_card`.
        queries: of the dataset; the examples are taken evenly from them.
        prompt: of the kind; without template for a kind that the domain leaves out.
    """
    domain, kind, count = card["domain"], card["kind"], card["queries"]
    path = f"data/queries/{domain}/{kind}"
    step = max(1, -(-count // EXAMPLES))
    examples = [
        f"| {_cell(query.text)} | `{_cell(query.source_id)}` | {query.writer} |" for query in queries[::step]
    ]
    facts = [
        ("queries", str(count)),
        ("passages they were written for", str(card["passages"])),
        *((label, _counts(card[key])) for label, key in FACTS),
        ("longest query", f"{card['filters']['settings']['max_words']} words"),
        ("most words shared in a row", f"{card['filters']['settings']['copy_ngram']} with the passage"),
        ("dropped by filters", _counts(card["filters"]["dropped"])),
        ("seed", str(card["seed"])),
        ("language", card["language"]),
        ("source text", f"{_cell(card['source'])} (licence: {_cell(card['licence'])})"),
    ]
    return "\n".join(
        [
            "---",
            _front_matter(card),
            "---",
            "",
            f"# Synthetic queries: {domain}, {kind}",
            "",
            f"Queries of kind `{kind}` for training a dense retriever on the domain `{domain}`, each "
            "written for one passage. They are synthetic: no user asked them. They derive from the source "
            "text, whose licence applies.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {label} | {value} |" for label, value in facts),
            "",
            "`queries.jsonl` holds one query per line: `id`, `text`, `kind`, `source_id` (the passage), "
            "`writer`, `prompt` (version of the prompt or method) and `model`. `card.json` holds the facts "
            "above.",
            "",
            "## Examples",
            "",
            "| query | passage | writer |",
            "|---|---|---|",
            *examples,
            "",
            *(
                [f"## The prompt, {prompt.version}", "", "```text", prompt.template.rstrip("\n"), "```", ""]
                if prompt.template
                else []
            ),
            "## Use it elsewhere",
            "",
            "In any DVC repository (a tag pins the version, `dvc update` follows it):",
            "",
            "```sh",
            f"dvc import <this repository> {path} --rev synth-{domain}-v1",
            f"dvc update {kind}.dvc --rev synth-{domain}-v2",
            "```",
            "",
        ]
    )


FACTS = (("writers", "writers"), ("prompts", "prompts"), ("models", "models"))


def _front_matter(card: Mapping[str, Any]) -> str:
    import yaml

    licence = card["licence"].lower()
    known = licence in HUB_LICENCES
    front = {
        "pretty_name": f"Synthetic queries: {card['domain']}, {card['kind']}",
        "language": [card["language"]],
        "license": licence if known else "other",
        **({} if known else {"license_name": card["licence"]}),
        "task_categories": ["text-retrieval"],
        "size_categories": [_size(card["queries"])],
        "tags": ["synthetic", "dense-retrieval", "densespec"],
        "configs": [{"config_name": "default", "data_files": "queries.jsonl"}],
    }
    return str(yaml.safe_dump(front, sort_keys=False, allow_unicode=True)).rstrip("\n")


def _size(count: int) -> str:
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if count < limit:
            return name
    return "n>1M"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_cell(name)}: {counts[name]}" for name in sorted(counts)) or "none"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
