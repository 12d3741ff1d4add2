"""``densespec show``: the verdict of a domain in the terminal."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from densespec.errors import InputError
from densespec.io.jsonl import read_json
from densespec.io.params import load_value
from densespec.repository import repository_root
from densespec.retrieval.rows import in_order
from densespec.terminal import coloured, table

DESCRIPTION = "Print the results table and the verdict of a domain, from metrics/DOMAIN/evaluate.json."
EXAMPLES = """\
examples:
  densespec show            the domain that params.yaml names under 'domain'
  densespec show scifact
"""
HEAD = ("", "nDCG@10 [95 %]", "Recall@100", "MRR@10", "difference [95 %]", "p", "p (Holm)", "W/T/L")
#: JSON sorts its keys; these come first, each before its short embeddings, the teachers last.
ORDER = ("untuned", "specialised", "control", "bm25", "hybrid")
COLOUR_OF = {"ship": "green", "regression": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec show``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="default: 'domain' in params.yaml")


def main(args: argparse.Namespace) -> None:
    """Print the table."""
    root = repository_root()
    domain = args.domain or str(load_value("domain", root))
    path = root / "metrics" / domain / "evaluate.json"
    if not path.is_file():
        evaluated = sorted(found.parent.name for found in root.glob("metrics/*/evaluate.json"))
        domains = load_value("domains", root)
        makes = f"`dvc repro evaluate@{domain}` makes it, `git pull` brings a colleague's"
        raise InputError(
            path.relative_to(root),
            expected="results of the stage 'evaluate'",
            found=f"no such file; evaluated domains: {', '.join(evaluated) or 'none'}",
            remedy=makes if domain in domains else f"params 'domains' names {', '.join(domains)}",
        )
    report = Path("reports", domain, "report.html")
    made = (root / report).exists()
    how = "" if made else f" (not made yet: dvc repro report, with 'domain: {domain}' in params.yaml)"
    print("\n".join(results(read_json(path), f"{report}{how}")))


def results(document: Mapping[str, Any], report: str) -> list[str]:
    """Lines: the table, then the verdict and where the report is.

    Args:
        document: content of ``evaluate.json``.
        report: where the page is, relative to the repository.
    """
    rows = document.get("rows") or {}
    lines = [f"{document.get('domain', '')}: {document.get('queries', 0):,} test queries", ""]
    if rows:
        lines += [
            *table([HEAD, *(_cells(row, rows[row]) for row in in_order(rows, ORDER))], range(1, len(HEAD))),
            "",
        ]
        lines += [
            "difference: nDCG@10 minus the untuned model's; W/T/L: queries won, tied, lost against it",
            "p: the verdict rests on that of 'specialised'; of other rows, read the Holm-corrected one",
            "",
        ]
    verdict = str(document.get("verdict", "not tested"))
    lines.append(coloured(f"verdict: {verdict}", COLOUR_OF.get(verdict, "yellow")))
    lines += textwrap.wrap(str(document.get("reason", "")), 110)
    lines.append(f"report:  {report}")
    return lines


def _cells(row: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    against = (values.get("vs_untuned") or {}).get("ndcg_at_10")
    compared: tuple[str, ...] = ("", "", "", "")
    if against:
        compared = (
            f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]",
            *("< 0.001" if against[p] < 0.001 else f"{against[p]:.3f}" for p in ("p", "p_holm")),
            f"{against['wins']}/{against['ties']}/{against['losses']}",
        )
    ndcg = values["ndcg_at_10"]
    return (
        row,
        f"{ndcg['mean']:.3f} [{ndcg['low']:.3f}, {ndcg['high']:.3f}]",
        f"{values['recall_at_100']['mean']:.3f}",
        f"{values['mrr_at_10']['mean']:.3f}",
        *compared,
    )
