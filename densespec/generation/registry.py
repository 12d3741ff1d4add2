"""All query writers by name. A new one is a file with a ``write`` function, and a line here."""

from __future__ import annotations

from densespec.generation import extractive, openai, recorded, transformers, vllm
from densespec.generation.writer import QueryWriter

WRITERS: dict[str, QueryWriter] = {
    "recorded": recorded.write,
    "extractive": extractive.write,
    "transformers": transformers.write,
    "openai": openai.write,
    "vllm": vllm.write,
}
#: Writers that ask a language model, with instruction and examples.
LANGUAGE_MODELS = ("transformers", "openai", "vllm")
