"""``densespec search``: what the specialised model finds, beside what the untuned one finds."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from densespec.errors import InputError
from densespec.repository import repository_root
from densespec.terminal import cut, width

if TYPE_CHECKING:
    from densespec.records import Passage

DESCRIPTION = """\
Rank the passages of a domain for a query, by the specialised model and by the untuned one, side by side.
A mark tells where the other model has a passage: ↑4 is four places higher than there, new is not in the
other's list at all.
"""
EXAMPLES = """\
examples:
  densespec search pydocs "run a function later in another thread"
  densespec search scifact "vitamin D and bone density" -k 10 --json
"""


class Hit(NamedTuple):
    """One passage in a ranking.

    Attributes:
        rank: from 1.
        id: of the passage.
        title: of the passage.
        text: of the passage.
        cosine: of query and passage.
        other_rank: rank of the same passage by the other model, from 1.
    """

    rank: int
    id: str
    title: str
    text: str
    cosine: float
    other_rank: int


class Comparison(NamedTuple):
    """The two rankings of one query, best first."""

    specialised: list[Hit]
    untuned: list[Hit]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec search``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("domain", metavar="DOMAIN")
    parser.add_argument("query", metavar="QUERY", help="in quotes")
    parser.add_argument("-k", type=int, default=5, metavar="N", help="passages per model (5)")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def main(args: argparse.Namespace) -> None:
    """Search and print."""
    if args.k < 1:
        raise InputError("-k", expected="1 or more", found=str(args.k), remedy="leave it out for 5")
    if not args.query.strip():
        raise InputError("QUERY", expected="some words", found="nothing", remedy="put the query in quotes")
    found = search(args.domain, args.query, args.k, repository_root())
    if args.json:
        document = {
            "domain": args.domain,
            "query": args.query,
            "specialised": [hit._asdict() for hit in found.specialised],
            "untuned": [hit._asdict() for hit in found.untuned],
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        print("\n".join(side_by_side(found, shutil.get_terminal_size((120, 40)).columns)))


def search(domain: str, query: str, k: int, root: Path) -> Comparison:
    """Rank a domain's passages by both models.

    Passages are encoded only where training changed their encoder (``distill.side: both``), once; the
    vectors stay in the scratch folder.

    Args:
        domain: a domain that has been distilled.
        query: text of the query.
        k: length of the lists (passages).
        root: repository.

    Raises:
        InputError: a file or model is not there, or the embeddings are of other passages.
    """
    corpus = _existing(root, f"data/corpus/{domain}/passages.parquet", domain)
    embeddings = _existing(root, f"data/candidates/{domain}/passage_embeddings.npy", domain)
    folder = _existing(root, f"models/{domain}/specialised", domain)

    from densespec.evaluation.runs import model_note
    from densespec.io.arrays import read_array
    from densespec.io.params import load_section
    from densespec.io.tables import passages_of, read_table
    from densespec.retrieval import dense
    from densespec.retrieval.config import StudentConfig
    from densespec.retrieval.encoding import encode
    from densespec.retrieval.student import load_student, quiet_libraries, student_fingerprint
    from densespec.runtime.scratch import scratch_root

    config = load_section("student", StudentConfig, domain, root)
    passages = passages_of(read_table(corpus))
    vectors = read_array(embeddings)
    quiet_libraries()
    with chdir(root):  # where a student named by its folder is looked up, as by the stages
        untuned = load_student(**config.model_dump())
    dimension = untuned.get_embedding_dimension()
    if vectors.shape != (len(passages), dimension):
        raise InputError(
            embeddings.relative_to(root),
            expected=f"{len(passages)} embeddings of {dimension} dimensions: these passages, this student",
            found=" × ".join(str(size) for size in vectors.shape),
            remedy=f"corpus or student changed since: dvc repro mine@{domain}",
        )
    specialised = load_student(str(folder), **config.of_trained())
    own = vectors
    if model_note(folder).side == "both":
        own = encode(
            specialised,
            student_fingerprint(str(folder)),
            [passage.content for passage in passages],
            scratch_root() / "encode",
            task="document",
            label="encode passages",
        )
    orders, cosines = [], []
    for model, documents in ((specialised, own), (untuned, vectors)):
        vector = model.encode_query([query], normalize_embeddings=True, show_progress_bar=False)
        rows, scores = dense.search(documents, vector, len(passages))
        orders.append([int(row) for row in rows[0]])
        cosines.append([float(score) for score in scores[0]])
    return Comparison(
        _hits(passages, orders[0], cosines[0], orders[1], k),
        _hits(passages, orders[1], cosines[1], orders[0], k),
    )


def _hits(
    passages: Sequence[Passage], order: list[int], cosines: list[float], other: list[int], k: int
) -> list[Hit]:
    rank_there = {row: rank for rank, row in enumerate(other, start=1)}
    return [
        Hit(rank, *passages[row], cosine, rank_there[row])
        for rank, (row, cosine) in enumerate(zip(order[:k], cosines, strict=False), start=1)
    ]


def _existing(root: Path, relative: str, domain: str) -> Path:
    path = root / relative
    if path.exists():
        return path
    known = sorted(found.name for found in root.glob("models/*") if (found / "specialised").is_dir())
    raise InputError(
        relative,
        expected=f"an output of the pipeline for the domain '{domain}'",
        found=f"nothing there; distilled domains: {', '.join(known) or 'none'}",
        remedy=f"`dvc repro distill@{domain}` makes it, `dvc pull distill@{domain} mine@{domain} "
        f"corpus@{domain}` brings it from the remote",
    )


def side_by_side(found: Comparison, columns: int) -> list[str]:
    """Lines for a terminal: two columns, or one block below the other where it is narrow."""
    k = len(found.specialised)
    if columns < 100:
        return [
            *_block("specialised", found.specialised, k, columns),
            "",
            *_block("untuned", found.untuned, k, columns),
        ]
    half = (columns - 3) // 2
    left = _block("specialised", found.specialised, k, half)
    right = _block("untuned", found.untuned, k, half)
    return [f"{a}{' ' * (half - width(a))} │ {b}".rstrip() for a, b in zip(left, right, strict=True)]


def _block(name: str, hits: Sequence[Hit], k: int, columns: int) -> list[str]:
    lines = [name, "─" * columns]
    for hit in hits:
        head = f"{hit.rank:>2} {hit.cosine:.3f} {_mark(hit, k):<5} "
        lines.append(head + cut(hit.title or hit.id, columns - width(head)))
        lines.append("   " + cut(hit.text, columns - 3))
    return lines


def _mark(hit: Hit, k: int) -> str:
    if hit.other_rank > k:
        return "new"
    moved = hit.other_rank - hit.rank
    return "=" if not moved else f"{'↑' if moved > 0 else '↓'}{abs(moved)}"
