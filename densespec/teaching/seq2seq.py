"""Encoder-decoder rerankers as teachers: RankT5 and monoT5, by one decoder step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from densespec.retrieval.student import student_fingerprint
from densespec.teaching.generative import margin, narrow_head
from densespec.teaching.loading import loading, model_options, precision, replicas, require_weights
from densespec.teaching.pairs import PairModel, Tokens
from densespec.teaching.templates import Template, choose_template, score_tokens, tokenise

Array = np.ndarray[Any, Any]
#: Zhuang et al., "RankT5", SIGIR 2023; Nogueira et al., "Document Ranking with a Pretrained
#: Sequence-to-Sequence Model", Findings of EMNLP 2020.
STYLES = {
    "rankt5": Template(("Query: {query} Document: {passage}",), "<extra_id_10>", special=True),
    "monot5": Template(("Query: {query} Document: {passage} Relevant:",), "▁true", "▁false", special=True),
}


def load_seq2seq(
    model: str,
    *,
    revision: str | None = None,
    max_tokens: int = 512,
    style: str = "auto",
    template: str = "",
    positive: str = "",
    negative: str = "",
    dtype: str = "float32",
    attention: str = "auto",
    compile: bool = False,
    trust_remote_code: bool = False,
) -> PairModel:
    """Load an encoder-decoder reranker; weights from safetensors only.

    The score is a logit of the first decoder step (RankT5), or the difference of two (monoT5).

    Args:
        model: folder or hub id.
        revision: commit of a hub model; required where remote code is trusted.
        max_tokens: of the encoder; longer passages lose their end, the text behind them stays.
        style: ``rankt5``, ``monot5``, or ``auto`` to tell it from the model's name.
        template: text of one's own with ``{query}`` and ``{passage}``; empty = the style's.
        positive: token of one's own whose logit is the score; empty = the style's tokens.
        negative: token whose logit is subtracted; empty = none. Counts beside ``positive`` only.
        dtype: ``auto``, ``float32`` or ``bfloat16``; logits are computed in float32 in any case.
        attention: an implementation that transformers knows; ``auto`` is the best for the model.
        compile: compile the model (needs a C++ compiler).
        trust_remote_code: run code that comes with the model.

    Raises:
        InputError: no model named, it cannot be had, remote code without a pinned revision, an unknown
            style, tokens that the model does not have, or nothing to compile with.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    section = "score.seq2seq"
    with loading(section, model, revision, remote_code=trust_remote_code) as location:
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        tokenizer = AutoTokenizer.from_pretrained(location, **source)
        t5, weights = AutoModelForSeq2SeqLM.from_pretrained(
            location, **source, **model_options(dtype, attention), output_loading_info=True
        )
    require_weights(section, model, t5, weights["missing_keys"])
    chosen = choose_template(
        section, model, STYLES, style=style, template=template, instruction="",
        positive=positive, negative=negative,
    )  # fmt: skip
    narrow_head(t5, score_tokens(tokenizer, chosen, section))
    start = t5.config.decoder_start_token_id

    def score(replica: Any, tokens: Sequence[Tokens]) -> Array:
        import torch

        padded = tokenizer.pad([dict(pair) for pair in tokens], return_tensors="pt").to(replica.device)
        first = torch.full((len(tokens), 1), start, device=replica.device)
        with torch.inference_mode():
            logits = replica(
                input_ids=padded["input_ids"],
                attention_mask=padded["attention_mask"],
                decoder_input_ids=first,
                use_cache=False,
            ).logits[:, 0]
        found: Array = margin(logits).float().cpu().numpy()
        return found

    return PairModel(
        replicas(t5, section, compile=compile),
        lambda queries, passages: tokenise(tokenizer, chosen, queries, passages, max_tokens, section),
        score,
        [student_fingerprint(model, revision), max_tokens, *chosen, str(precision(dtype)), attention],
    )
