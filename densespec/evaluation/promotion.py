"""Promotion: on the verdict ship the specialised model becomes ``shipped``, with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from densespec.evaluation.verdict import SHIP, Verdict
from densespec.io.atomic import replacing_folder, write_text
from densespec.retrieval.measures import MEASURE_TITLES
from densespec.retrieval.rows import row_title

ROW_TITLES = {
    "untuned": "untuned model",
    "specialised": "**specialised model**",
    "control": "InfoNCE-only control",
    "bm25": "BM25",
    "hybrid": "BM25 + untuned, fused",
    "teacher": "teacher as reranker",
}


class Origin(NamedTuple):
    """What a model card says about where the model comes from.

    Attributes:
        student: id of the model that was specialised.
        side: ``query`` (passages are encoded by the untouched model) or ``both``.
        losses: terms of the loss that trained it, ``kl`` and ``infonce``.
        passages: size of the corpus.
        queries: kind → queries that trained it.
        writers: writer → queries that trained it; ``user log`` for those nobody wrote for it.
        teachers: names of the teachers.
        licence: of the source text.
    """

    student: str
    side: str
    losses: tuple[str, ...]
    passages: int
    queries: Mapping[str, int]
    writers: Mapping[str, int]
    teachers: tuple[str, ...]
    licence: str


def promote(
    shipped: Path,
    specialised: Path,
    domain: str,
    verdict: Verdict,
    results: Mapping[str, Any],
    origin: Origin,
) -> None:
    """Write ``shipped``: a copy of the specialised model with its card on *ship*, else a README alone.

    Args:
        shipped: folder to replace, atomically.
        specialised: the model's folder.
        domain: name of the domain.
        verdict: of the evaluation.
        results: ``rows`` and ``queries`` as ``evaluate.json`` holds them.
        origin: where the model comes from.
    """
    with replacing_folder(shipped) as folder:
        if verdict.verdict == SHIP:
            generated = shutil.ignore_patterns("README.md")
            shutil.copytree(specialised, folder, dirs_exist_ok=True, ignore=generated)
            card = model_card(domain, verdict, results, origin)
        else:
            card = refusal_card(domain, verdict, results["rows"])
        write_text(folder / "README.md", card)


def model_card(domain: str, verdict: Verdict, results: Mapping[str, Any], origin: Origin) -> str:
    """README.md of a promoted model: front matter, verdict, numbers, how to load it, limits.

    Args:
        domain: name of the domain.
        verdict: of the evaluation.
        results: ``rows`` and ``queries`` as ``evaluate.json`` holds them.
        origin: where the model comes from.
    """
    means = results["rows"]["specialised"]
    front = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "base_model": origin.student,
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "densespec"],
        "model-index": [
            {
                "name": f"{origin.student} specialised for {domain}",
                "results": [
                    {
                        "task": {"type": "information-retrieval", "name": "Information Retrieval"},
                        "dataset": {"type": domain, "name": f"{domain} (test)"},
                        "metrics": [
                            {"type": name, "name": title, "value": round(means[name]["mean"], 4)}
                            for name, title in MEASURE_TITLES.items()
                        ],
                    }
                ],
            }
        ],
    }
    side = (
        "Only the query encoder was trained. Passages are encoded by the untouched base model, so an index "
        "built with it stays valid."
        if origin.side == "query"
        else "Query and passage encoder were trained: passages must be encoded again with this model."
    )
    teachers = _teachers(origin.teachers)
    method = f"InfoNCE on lists that {teachers} selected, without distillation"
    limit = "- Which queries and negatives it learnt from, the teacher decided: its errors are in them."
    if "kl" in origin.losses:
        beside = ", and\n  InfoNCE beside it" if "infonce" in origin.losses else ""
        method = f"listwise distillation of {teachers} (KL divergence of the two rankings{beside})"
        method += ", after arXiv 2502.19712"
        limit = "- The teacher's errors were learnt too. Where it is wrong, expect this model to be wrong."
    kinds = _listing(origin.queries)
    writers = _listing(origin.writers)
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()}
---

# {origin.student} specialised for {domain}

**Verdict: {verdict.verdict}.** {verdict.reason}

{side}

## Use

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("models/{domain}/shipped")
queries = model.encode_query(["your question"])
passages = model.encode_document(["title of the passage\\nits text"])
scores = model.similarity(queries, passages)
```

Queries go through `encode_query`, passages through `encode_document`: these bring the right prompt and the
right encoder; plain `encode` does not encode queries. A passage is its title and its text with one line break
between.

## Evaluation

{results["queries"]:,} judged test queries that took no part in training; mean and 95 % bootstrap interval.
Difference, Holm-corrected p of a paired randomisation test, and wins/ties/losses: nDCG@10, against the
untuned model.

{results_table(results["rows"])}

## Training

- Corpus: {origin.passages:,} passages of the domain {domain}. Licence of the source text: {origin.licence}.
- Queries: {sum(origin.queries.values()):,} after filtering: {kinds or "none"}.
- Written by: {writers or "none"}.
- Method: {method}.

## Limits

- Better on the corpus of {domain}, as far as its test queries go; these numbers say nothing about other text.
{limit}
- Licence and biases of the base model and of the source text carry over.
"""


def refusal_card(domain: str, verdict: Verdict, rows: Mapping[str, Any]) -> str:
    """README.md of a folder that holds no model: why nothing was promoted, and what to do about it.

    Args:
        domain: name of the domain.
        verdict: of the evaluation, any but ship.
        rows: as ``evaluate.json`` holds them; empty where nothing was tested.
    """
    table = f"\n{results_table(rows)}\n" if rows else ""
    return f"""# No model is shipped for {domain}

**Verdict: {verdict.verdict}.** {verdict.reason}
{table}
The trained model is in `models/{domain}/specialised`; it takes this place once its evaluation says *ship*.
`reports/{domain}/report.html` shows where it wins and loses, whether the teacher was better than the student
at all, and which filter dropped how many queries.
"""


def results_table(rows: Mapping[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| | nDCG@10 | Recall@100 | MRR@10 | difference | p (Holm) | W/T/L |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, values in rows.items():
        means = " | ".join(
            f"{values[name]['mean']:.3f} [{values[name]['low']:.3f}, {values[name]['high']:.3f}]"
            for name in MEASURE_TITLES
        )
        against = values.get("vs_untuned", {}).get("ndcg_at_10")
        compared = (
            f"{against['difference']:+.3f} | {against['p_holm']:.4f} | "
            f"{against['wins']}/{against['ties']}/{against['losses']}"
            if against
            else "| |"
        )
        lines.append(f"| {row_title(row, ROW_TITLES)} | {means} | {compared} |")
    return "\n".join(lines)


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(counts.items()))


def _teachers(names: tuple[str, ...]) -> str:
    return "the teacher " + names[0] if len(names) == 1 else "the teachers " + ", ".join(names)
