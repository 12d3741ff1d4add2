"""Read and check the prompt and the few-shot pool of one query kind that all domains share.

A kind without such a prompt is for domains that bring their own (params generate.prompts); the output says
that there is none. Stage generate depends on the output, so that a change in one kind's files reruns that
kind alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from densespec.errors import run
from densespec.generation.kinds import require_a_domain
from densespec.generation.prompt import shared_prompt, write_prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kind", required=True, help="query kind, one of params 'kinds'")
    parser.add_argument(
        "--prompts", type=Path, required=True, help="folder of <kind>.txt and <kind>.examples.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the prompt with its pool")
    args = parser.parse_args()
    prompt = shared_prompt(args.prompts, args.kind)
    if prompt is None:
        # no dependency: the answer is an error or the same output
        require_a_domain(args.kind, sorted(Path("conf", "domains").glob("*.yaml")))
    write_prompt(args.out, prompt)
    if prompt:
        print(f"{args.kind}: prompt {prompt.version}, {len(prompt.examples)} examples")
    else:
        print(f"{args.kind}: no prompt in {args.prompts}, for domains that bring their own")


if __name__ == "__main__":
    run(main)
