"""Decoder-only rerankers as teachers: the logit of "yes" at the last position, by each family's template."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.student import student_fingerprint
from densespec.teaching.generative import margin, narrow_head
from densespec.teaching.loading import loading, model_options, precision, replicas, require_weights
from densespec.teaching.pairs import PairModel, Tokens
from densespec.teaching.templates import Template, choose_template, score_tokens, tokenise

Array = np.ndarray[Any, Any]
#: As the model cards of Qwen3-Reranker and of bge-reranker-v2-gemma and -minicpm say.
STYLES = {
    "qwen3-reranker": Template(
        (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
            'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
            "<|im_start|>user\n",
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {passage}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        "yes",
        "no",
        instruction="Given a web search query, retrieve relevant passages that answer the query",
    ),
    "bge-reranker": Template(
        ("A: {query}", "\n", "B: {passage}", "\n", "{instruction}"),
        "Yes",
        instruction="Given a query A and a passage B, determine whether the passage contains an answer to "
        "the query by providing a prediction of either 'Yes' or 'No'.",
        begin=True,
        as_text=True,
    ),
}
#: Models of a like name that no style is for.
OTHERWISE_ASKED = "bge-reranker-v2.5"
#: Fewer tokens in common are not worth a forward pass of their own.
LEAST_PREFIX = 8


def load_causal(
    model: str,
    *,
    revision: str | None = None,
    max_tokens: int = 1024,
    style: str = "auto",
    instruction: str = "",
    template: str = "",
    positive: str = "",
    negative: str = "",
    layer: int | None = None,
    share_prefix: bool = True,
    dtype: str = "float32",
    attention: str = "auto",
    compile: bool = False,
    trust_remote_code: bool = False,
) -> PairModel:
    """Load a decoder-only reranker; weights from safetensors only.

    Args:
        model: folder or hub id.
        revision: commit of a hub model; required where remote code is trusted.
        max_tokens: of a pair, template included; longer passages lose their end.
        style: ``qwen3-reranker``, ``bge-reranker``, or ``auto`` to tell it from the model's name.
        instruction: what counts as relevant, in the place that the template has for it; empty = the style's.
        template: text of one's own with ``{query}`` and ``{passage}``; empty = the style's.
        positive: token of one's own whose logit is the score; empty = the style's tokens.
        negative: token whose logit is subtracted; empty = none. Counts beside ``positive`` only.
        layer: stop at this layer, for models whose code takes ``cutoff_layers``.
        share_prefix: compute what a batch's pairs begin with (instruction and query) once.
        dtype: ``auto``, ``float32`` or ``bfloat16``; logits are computed in float32 in any case, but for
            those of a ``layer``, which the model's own code computes.
        attention: an implementation that transformers knows; ``auto`` is the best for the model.
        compile: compile the model (needs a C++ compiler).
        trust_remote_code: run code that comes with the model.

    Raises:
        InputError: no model named, it cannot be had, remote code without a pinned revision, an unknown
            style, tokens that the model does not have, no layers to choose from, or nothing to compile with.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    section = "score.causal"
    if OTHERWISE_ASKED in Path(model).name.lower():
        raise InputError(
            f"params.yaml: {section}.model = {model}",
            expected="bge-reranker-v2-gemma or another of this family",
            found=f"{OTHERWISE_ASKED}, which is asked in another way and merges tokens between its layers",
            remedy="take another reranker",
        )
    with loading(section, model, revision, remote_code=trust_remote_code) as location:
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        tokenizer = AutoTokenizer.from_pretrained(location, **source)
        decoder, weights = AutoModelForCausalLM.from_pretrained(
            location, **source, **model_options(dtype, attention), output_loading_info=True
        )
    require_weights(section, model, decoder, weights["missing_keys"])
    accepted = set(inspect.signature(decoder.forward).parameters)
    if (layer is not None) != ("cutoff_layers" in accepted):
        raise InputError(
            f"params.yaml: {section}.layer",
            expected="a layer for models whose code takes cutoff_layers (with trust_remote_code and a pinned "
            "revision), null for all others",
            found=f"{layer} for {model}",
            remedy="set it as the model's card says, or set null",
        )
    chosen = choose_template(
        section, model, STYLES, style=style, template=template, instruction=instruction,
        positive=positive, negative=negative,
    )  # fmt: skip
    possible = {"logits_to_keep": 1, "use_cache": False, "cutoff_layers": [layer]}
    options = {name: value for name, value in possible.items() if name in accepted}
    tokens_of = score_tokens(tokenizer, chosen, section)
    if layer is None:  # a layer's head gives one number per position
        narrow_head(decoder, tokens_of)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    shares = share_prefix and not compile and attention in ("auto", "sdpa", "eager") and _sees_all(decoder)

    copies = replicas(decoder, section, compile=compile)
    if layer is not None and not compile:
        _try_layer(copies[0], options, section)

    def score(replica: Any, tokens: Sequence[Tokens]) -> Array:
        import torch

        length = common_prefix(tokens) if shares else 0
        length = length if length >= LEAST_PREFIX and len(tokens) > 1 else 0
        rest = [{"input_ids": pair["input_ids"][length:]} for pair in tokens]
        padded = tokenizer.pad(rest, padding_side="left", return_tensors="pt").to(replica.device)
        mask = padded["attention_mask"]
        given = {"position_ids": length + (mask.cumsum(dim=1) - 1).clamp(min=0), **options}
        with torch.inference_mode():
            if length:
                given["past_key_values"] = _prefix(replica, tokens[0]["input_ids"][:length], len(tokens))
                given["use_cache"] = True
                mask = torch.cat([mask.new_ones(len(tokens), length), mask], dim=1)
            outputs = replica(input_ids=padded["input_ids"], attention_mask=mask, **given)
            values = margin(outputs.logits[:, -1]) if layer is None else outputs[0][-1][:, -1].reshape(-1)
        found: Array = values.float().cpu().numpy()
        return found

    return PairModel(
        copies,
        lambda queries, passages: tokenise(tokenizer, chosen, queries, passages, max_tokens, section),
        score,
        [
            student_fingerprint(model, revision), max_tokens, *chosen, layer, shares, str(precision(dtype)),
            attention,
        ],
        by_query=shares,
    )  # fmt: skip


def _try_layer(decoder: Any, options: dict[str, Any], section: str) -> None:
    """One short forward pass: code of a model's own may know neither the layer nor the installed library.

    Raises:
        InputError: it fails, or what comes out is no number.
    """
    import torch

    ids = torch.tensor([[0, 1, 2]], device=decoder.device)
    try:
        with torch.inference_mode():
            outputs = decoder(input_ids=ids, attention_mask=ids.new_ones(ids.shape), **options)
        found = "" if outputs[0][-1].isfinite().all() else "scores that are no numbers"
    except Exception as error:  # whatever foreign code raises
        found = f"{type(error).__name__}: {error}"
    if found:
        raise InputError(
            f"params.yaml: {section}.layer = {options['cutoff_layers'][0]}",
            expected="a layer that the model can stop at, and code of its own that runs with transformers "
            f"{version('transformers')}",
            found=found.splitlines()[0],
            remedy="set a layer that its card names; code written for an older transformers needs a newer "
            "revision, or another reranker",
        )


def common_prefix(tokens: Sequence[Tokens]) -> int:
    """Number of tokens that all pairs begin with, at most all but one of the shortest pair."""
    ids = [pair["input_ids"] for pair in tokens]
    most = min(len(one) for one in ids) - 1
    return next((place for place in range(most) if any(one[place] != ids[0][place] for one in ids[1:])), most)


def _prefix(model: Any, ids: Sequence[int], pairs: int) -> Any:
    """Keys and values of a prefix, once per pair."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    model(input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(pairs)
    return cache


def _sees_all(model: Any) -> bool:
    """Whether every layer attends to all positions before: padding behind a prefix would narrow a window.

    Models that run their own code are not asked.
    """
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    own = not type(model).__module__.startswith("transformers.")
    return not own and set(kinds) == {"full_attention"} and getattr(config, "sliding_window", None) is None
