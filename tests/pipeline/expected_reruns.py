"""What reruns when: the one table that the tests prove and that README.md must agree with.

``python -m tests.pipeline.expected_reruns`` prints it as README's table.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Stages in the order of the pipeline.
STAGES = (
    "code", "prompt", "corpus", "generate", "mine", "teacher_finetune", "score", "select", "distill",
    "evaluate", "forgetting", "report",
)  # fmt: skip
#: What a domain's source reruns.
EVERYTHING = STAGES[2:]


class Rerun(NamedTuple):
    """One row.

    Attributes:
        direct: stages that a change makes dirty by itself, as ``dvc status`` shows.
        reruns: these and everything downstream, which reruns as far as outputs differ.
    """

    direct: tuple[str, ...]
    reruns: tuple[str, ...]


#: Section (or list) of params.yaml → stages. For a section the same holds in conf/domains/<domain>.yaml.
SECTIONS = {
    "corpus": Rerun(("corpus", "report"), EVERYTHING),
    "generate": Rerun(("generate", "report"), EVERYTHING[1:]),
    "mine": Rerun(("mine", "report"), EVERYTHING[2:]),
    "bm25": Rerun(("mine", "score", "report"), EVERYTHING[2:]),
    "teacher_finetune": Rerun(("teacher_finetune", "report"), EVERYTHING[3:]),
    "score": Rerun(("score", "report"), EVERYTHING[4:]),
    "select": Rerun(("select", "report"), EVERYTHING[5:]),
    "distill": Rerun(("distill", "report"), EVERYTHING[6:]),
    "evaluate": Rerun(("evaluate", "forgetting", "report"), EVERYTHING[7:]),
    "report": Rerun(("report",), ("report",)),
    "student": Rerun(
        ("generate", "mine", "score", "distill", "evaluate", "forgetting", "report"), EVERYTHING[1:]
    ),
    # of the lists, 'prompt', 'generate', 'score' and 'forgetting' run for what was added only
    "kinds": Rerun(("prompt", "generate", "mine", "report"), ("prompt", *EVERYTHING[1:])),
    "teachers": Rerun(("score", "select", "evaluate", "report"), EVERYTHING[4:]),
    "forgetting": Rerun(("forgetting", "report"), EVERYTHING[8:]),
}

#: Changed file → stages, besides ``code`` itself, which reads all code and takes a second.
FILES = {
    "densespec/mining/candidates.py": Rerun(("mine",), EVERYTHING[2:]),
    "densespec/selection/lists.py": Rerun(("select",), EVERYTHING[5:]),
    "densespec/retrieval/fusion.py": Rerun(("mine", "evaluate", "forgetting"), EVERYTHING[2:]),
    "densespec/tracking/live.py": Rerun((), ()),
    "densespec/cli.py": Rerun((), ()),
    "stages/report.py": Rerun(("report",), ("report",)),
}

#: File of judgements whose grades change, of passages that were relevant before → stages; ``direct`` holds
#: once the stage ``corpus`` has run.
GRADES = {
    "qrels/test.tsv": Rerun(
        ("evaluate", "forgetting", "report"), ("corpus", "evaluate", "forgetting", "report")
    ),
    "qrels/dev.tsv": Rerun(
        ("teacher_finetune", "score", "select", "distill", "evaluate"),
        ("corpus", "teacher_finetune", "score", "select", "distill", "evaluate", "forgetting", "report"),
    ),
}

#: Everything that README's table may name.
TABLE = SECTIONS | FILES | GRADES


def rows_of(markdown: str, heading: str = "What reruns when") -> dict[str, tuple[str, ...]] | None:
    """The table below a heading: each name in backticks of a first cell → stages of the second cell.

    Args:
        markdown: a document.
        heading: of the section, at any level.

    Returns:
        None if the document has no such heading.
    """
    match = re.search(rf"^#+\s+{heading}\s*$(.*?)(?=^#|\Z)", markdown, re.MULTILINE | re.DOTALL)
    if not match:
        return None
    rows = {}
    for line in match[1].splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        if line.lstrip().startswith("|") and len(cells) >= 2:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                rows[name] = tuple(re.findall(r"`([^`]+)`", cells[1]))
    return rows


def table() -> str:
    """The table as Markdown."""
    lines = ["| change | stages that rerun |", "|---|---|"]
    for name, row in TABLE.items():
        lines.append(f"| `{name}` | {', '.join(f'`{stage}`' for stage in row.reruns) or 'none'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
