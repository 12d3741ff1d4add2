"""Write queries of one kind for the corpus's seed passages.

Writers are tried in the order of params 'generate.writers': 'recorded' replays queries that a large
language model wrote for the same passage, 'transformers', 'openai' and 'vllm' ask a language model now,
'extractive' rephrases salient spans of the passage. Every query is then tidied and passes the same filters;
the metrics count what each of them dropped. The output is a dataset with its own card.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from densespec.errors import run
from densespec.generation.card import dataset_card, read_licence, write_dataset
from densespec.generation.config import GenerateConfig
from densespec.generation.embedding import student_embedder, student_name
from densespec.generation.kinds import prompt_of_kind, require_known_kinds, warn_of_english_examples
from densespec.generation.prompt import Prompt, read_prompt
from densespec.generation.quality import quality
from densespec.generation.recorded import read_recordings
from densespec.generation.registry import WRITERS
from densespec.generation.writer import Setting
from densespec.generation.writing import counts, sample, write_queries
from densespec.io.atomic import replacing_folder
from densespec.io.jsonl import write_json
from densespec.io.params import load_section, load_value
from densespec.io.tables import passages_of, read_table
from densespec.retrieval.config import StudentConfig
from densespec.runtime.scratch import locked_scratch, scratch_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--kind", required=True, help="query kind, one of params 'kinds'")
    parser.add_argument("--passages", type=Path, required=True, help="passages.parquet of stage corpus")
    parser.add_argument("--recordings", type=Path, required=True, help="recordings.jsonl of stage corpus")
    parser.add_argument("--prompt", type=Path, required=True, help="the kind's, of stage prompt")
    parser.add_argument("--licence-from", type=Path, required=True, help="card.yaml of stage corpus")
    parser.add_argument("--out", type=Path, required=True, help="folder for the dataset and its card")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file for counts")
    args = parser.parse_args()
    config = load_section("generate", GenerateConfig, args.domain)
    student = load_section("student", StudentConfig, args.domain)
    started = time.monotonic()

    require_known_kinds(config, load_value("kinds"), args.domain)
    recordings = read_recordings(args.recordings)
    prompt = prompt_of_kind(
        args.kind, read_prompt(args.prompt), config, args.domain, recorded=args.kind in recordings
    )
    if prompt is None:
        print(f"{args.domain} leaves {args.kind} queries out, or has no prompt for them: none are written")
    warn_of_english_examples(args.kind, prompt, config)
    title, licence = read_licence(args.licence_from)
    table = read_table(args.passages)
    corpus = passages_of(table)
    seeds = [passage for passage, seed in zip(corpus, table["seed"], strict=True) if seed and prompt]
    asked = sample(seeds, config.max_passages, config.seed) if config.max_passages else seeds
    prompt = prompt or Prompt("", "")

    usage: dict[str, dict[str, float]] = {}
    with locked_scratch("generate", f"{args.domain}-{args.kind}") as scratch:
        setting = Setting(
            corpus, recordings.get(args.kind, {}), prompt, config.language, config.max_words,
            config.copy_ngram, config.seed,
            student_embedder(student.model_dump(), scratch_root() / "encode"),
            student_name(student.model, student.revision), config, scratch, usage,
        )  # fmt: skip
        outcome = write_queries(
            asked, args.kind, {name: WRITERS[name] for name in config.writers}, setting,
            limits={"extractive": config.extractive_passages},
            covered={key for of_kind in recordings.values() for key in of_kind},
            check_language=config.check_language,
        )  # fmt: skip

    queries = outcome.queries
    card = dataset_card(
        queries, domain=args.domain, kind=args.kind, title=title, licence=licence,
        language=config.language, seed=config.seed, dropped=outcome.dropped,
        settings={"max_words": config.max_words, "copy_ngram": config.copy_ngram},
    )  # fmt: skip
    with replacing_folder(args.out) as folder:
        write_dataset(folder, queries, card, prompt)
    write_json(args.metrics, {
        "seeds": len(seeds), "asked": len(asked), **counts(outcome, prompt.version),
        "quality": quality(queries, {passage.id: passage.content for passage in asked}),
        **({"usage": usage} if usage else {}),
    })  # fmt: skip
    print(f"{len(queries)} {args.kind} queries for {card['passages']} passages "
          f"in {time.monotonic() - started:.0f} s")  # fmt: skip


if __name__ == "__main__":
    run(main)
