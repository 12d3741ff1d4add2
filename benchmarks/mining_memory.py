"""What mining costs over a large corpus: peak memory, time and recall@100 of each way to search.

contenders:
  memory  all embeddings in memory, one faiss.IndexFlatIP: what a stage does that knows no blocks
  flat    mine.index: flat, exact, block by block from disk
  hnsw    mine.index: hnsw
  ivf     mine.index: ivf
  bm25s   bm25.backend: bm25s
  lucene  bm25.backend: pyserini (extra pyserini)

No model runs. Embeddings are random, but as unequally crowded as those of texts: topics, within each a few
directions of variation, and noise; a query is a passage with noise. They are written in shards as stage mine
writes them. Passages for BM25 are random words, as unequally common as words are. Each contender has a
process of its own; memory that is a mapped file, which the system takes back when it needs it, is told apart.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_own_process, machine, publish, report, unit
from real_collections import table

Array = np.ndarray[Any, Any]

EXAMPLES = """\
examples:
  python benchmarks/mining_memory.py --out benchmarks/RESULTS.md        (1 GB in a temporary folder)
  python benchmarks/mining_memory.py --passages 2000000 --only flat,hnsw
"""
CONTENDERS = ("memory", "flat", "hnsw", "ivf", "bm25s", "lucene")
HEAD = (
    *("contender", "peak GB", "of it not mapped files", "index and search s", "recall@100"),
    "source in top 20",
)
SHARD = 16_384
TOPICS, DIRECTIONS = 2_000, 48
WORDS, LENGTH = 50_000, 25


def main() -> None:
    """Run every contender and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--depth", type=int, default=100, help="list length")
    parser.add_argument("--only", default=",".join(CONTENDERS[:-1]), help="contenders, by comma")
    parser.add_argument("--folder", type=Path, help="for the embeddings (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="Markdown file to append to")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        report(measure(args, args.contender))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        from densespec.io.arrays import write_rows

        write_rows(folder / "passages.npy", passages(args.passages, args.dimension), args.passages)
        rows = []
        for contender in args.only.split(","):
            found = in_own_process(__file__, "--contender", contender, "--folder", str(folder))
            rows.append(
                [contender, f"{found['peak'] / 1e9:.2f}", f"{found['private'] / 1e9:.2f}",
                 f"{found['seconds']:.0f}", found["recall"], f"{found['sources']:.3f}"]
            )  # fmt: skip
            print(" | ".join(rows[-1]), flush=True)
    size = args.passages * args.dimension * 4 / 1e9
    publish(
        [
            "",
            f"## Mining {args.queries} queries over {args.passages:,} passages",
            "",
            f"The embeddings ({args.dimension} dimensions) take {size:.2f} GB. {machine()}",
            "",
            *table(HEAD, rows),
        ],
        args.out,
    )


def passages(count: int, dimension: int) -> Iterator[Array]:
    """Shards of embeddings, float32 (up to :data:`SHARD`, dimension), length 1; the same in every run."""
    random = np.random.default_rng(0)
    topics = unit(random.standard_normal((TOPICS, dimension), dtype=np.float32))
    directions = random.standard_normal((DIRECTIONS, dimension), dtype=np.float32) / dimension**0.5
    crowd = 1 / np.arange(1, TOPICS + 1) ** 0.5
    for start in range(0, count, SHARD):
        size = min(SHARD, count - start)
        around = random.standard_normal((size, DIRECTIONS), dtype=np.float32) @ directions / DIRECTIONS**0.5
        noise = random.standard_normal((size, dimension), dtype=np.float32) / dimension**0.5
        yield unit(topics[random.choice(TOPICS, size, p=crowd / crowd.sum())] + 0.7 * around + 0.25 * noise)


def questions(vectors: Array, count: int) -> tuple[Array, Array]:
    """Rows of source passages, and queries float32 (count, dimension) near them."""
    random = np.random.default_rng(1)
    sources = np.sort(random.choice(len(vectors), count, replace=False))
    noise = random.standard_normal((count, vectors.shape[1]), dtype=np.float32) / vectors.shape[1] ** 0.5
    return sources, unit(vectors[sources] + 0.8 * noise)


def texts(count: int) -> list[str]:
    """Passages of :data:`LENGTH` words; the n-th word is found about 1 / n as often as the first."""
    random = np.random.default_rng(2)
    share = 1 / np.arange(1, WORDS + 1)
    words = np.array([f"w{n}" for n in range(WORDS)])
    drawn = random.choice(WORDS, (count, LENGTH), p=share / share.sum())
    return [" ".join(words[row]) for row in drawn]


def measure(args: argparse.Namespace, contender: str) -> dict[str, Any]:
    """One contender in this process."""
    from densespec.io.arrays import read_array
    from densespec.mining import indexes
    from densespec.mining.candidates import mine_query

    lexical = contender in ("bm25s", "lucene")
    vectors = read_array(args.folder / "passages.npy")
    sources, queries = questions(vectors, args.queries)
    contents = texts(args.passages) if lexical else []
    with private_memory() as peak_private:
        started = time.perf_counter()
        if lexical:
            rows = word_rows(contender, contents, sources, args)
        elif contender == "memory":
            import faiss

            index = faiss.IndexFlatIP(args.dimension)
            index.add(np.array(vectors))
            rows = list(index.search(queries, args.depth)[1])
        else:
            found, _ = indexes.search(vectors, queries, args.depth, contender)
            mined = [
                mine_query(query, vectors, own[own >= 0].tolist, own, source=int(source),
                           depth=args.depth, round_trip=0)
                for query, own, source in zip(queries, found, sources, strict=True)
            ]  # fmt: skip
            assert all(source in m.passages for source, m in zip(sources, mined, strict=True))
            rows = list(found)
        seconds = time.perf_counter() - started
    unit_of_peak = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_of_peak
    recall = "" if lexical else f"{indexes.recall(vectors, queries, np.stack(rows)):.3f}"
    return {
        "peak": peak,
        "private": peak_private[0],
        "seconds": seconds,
        "recall": recall,
        "sources": float(np.mean([source in own[:20] for source, own in zip(sources, rows, strict=True)])),
    }


def word_rows(contender: str, contents: list[str], sources: Array, args: argparse.Namespace) -> list[Array]:
    """BM25's lists for five words of each source passage."""
    from densespec.retrieval.bm25 import Bm25
    from densespec.retrieval.lucene import LuceneBm25

    on_disk = contender == "lucene"
    index = LuceneBm25(contents, args.folder, language="") if on_disk else Bm25(contents, language="")
    asked = [" ".join(contents[source].split()[:5]) for source in sources]
    return [index.search(query, args.depth)[0] for query in asked]


@contextmanager
def private_memory() -> Iterator[list[int]]:
    """Watch this process: the most bytes that were not mapped files (Linux; elsewhere 0)."""
    status = Path("/proc/self/status")
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            peak[0] = max(peak[0], int(line.split()[1]) * 1024)

    thread = threading.Thread(target=watch, daemon=True)
    if status.exists():
        thread.start()
    yield peak
    stop.set()


if __name__ == "__main__":
    main()
