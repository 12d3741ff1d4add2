"""A cross-encoder as teacher: any sentence-transformers CrossEncoder, of one output or several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.errors import InputError
from densespec.retrieval.student import require_positions, student_fingerprint
from densespec.teaching.loading import (
    HEADLESS,
    architecture,
    loading,
    model_options,
    precision,
    replicas,
)
from densespec.teaching.pairs import PairModel, Tokens

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
#: ``label`` of params: the sum of labels' numbers, each times its probability.
EXPECTED = "expected"


def load_cross_encoder(
    model: str,
    *,
    revision: str | None = None,
    max_tokens: int = 512,
    label: int | str | None = None,
    dtype: str = "float32",
    attention: str = "auto",
    compile: bool = False,
    trust_remote_code: bool = False,
) -> PairModel:
    """Load a cross-encoder; weights from safetensors only.

    Args:
        model: folder or hub id.
        revision: commit of a hub model; required where remote code is trusted.
        max_tokens: query and passage together are cut at this many tokens, the longer one first.
        label: of a model with several: its number (the score is its log-odds against all others), or
            ``"expected"`` for grades (the score is the expected number). A model with one output has none.
        dtype: ``auto``, ``float32`` or ``bfloat16``; the last layer is computed in float32 in any case.
        attention: an implementation that transformers knows; ``auto`` is the best for the model.
        compile: compile the model (needs a C++ compiler).
        trust_remote_code: run code that comes with the model.

    Raises:
        InputError: no model named, it cannot be had, remote code without a pinned revision, more
            tokens than it has positions, a label that does not fit it, or nothing to compile with.
    """
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig

    section = "score.cross_encoder"
    with loading(section, model, revision, remote_code=trust_remote_code) as location:
        try:
            config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
            kind = architecture(config)
        except (OSError, ValueError):  # none, as beside an adapter, or of remote code: left to the library
            kind = ""
        if kind.endswith(HEADLESS):
            raise InputError(
                f"params.yaml: {section}.model = {model}",
                expected="a cross-encoder, with the weights of its classifier",
                found=f"{kind}, an encoder without one",
                remedy="take a reranker of this kind, or train one from it (teacher_finetune.model)",
            )
        encoder = CrossEncoder(
            location,
            revision=revision,
            device="cpu",
            max_length=max_tokens,
            trust_remote_code=trust_remote_code,
            model_kwargs=model_options(dtype, attention),
        )
    require_positions(encoder[0].model, max_tokens, section)
    labels = encoder.num_labels
    known = label is None if labels == 1 else label == EXPECTED or label in range(labels)
    if not known:
        raise InputError(
            f"params.yaml: {section}.label",
            expected="null for a model with one output per pair"
            if labels == 1
            else f"a label from 0 to {labels - 1}, or '{EXPECTED}' where labels are grades",
            found=f"{label} for {model} with {labels} labels",
            remedy="set it, or take a reranker with one output, "
            "for example cross-encoder/ms-marco-MiniLM-L6-v2",
        )
    keep_last_layer_exact(encoder)
    # how the library's modules are to be called, such as a modality: the same for all pairs
    example = encoder.preprocess([("query", "passage")])
    manner = {name: value for name, value in example.items() if not hasattr(value, "shape")}

    def tokenise(queries: Sequence[str], passages: Sequence[str]) -> list[Tokens]:
        # the library's own: prompts, chat templates and cuts are the model's
        features = encoder.preprocess(list(zip(queries, passages, strict=True)))
        real = features["attention_mask"].bool()
        names = [name for name in ("input_ids", "token_type_ids") if name in features]
        return [{name: features[name][row][mask].tolist() for name in names} for row, mask in enumerate(real)]

    def score(replica: Any, tokens: Sequence[Tokens]) -> Array:
        import torch

        padded = encoder.tokenizer.pad([dict(pair) for pair in tokens], return_tensors="pt")
        with torch.inference_mode():
            outputs = replica({**manner, **padded.to(replica.device)})["scores"].float()
        found: Array = relevance(outputs.reshape(len(tokens), -1), label).cpu().numpy()
        return found

    return PairModel(
        replicas(encoder, section, compile=compile),
        tokenise,
        score,
        [student_fingerprint(model, revision), max_tokens, label, str(precision(dtype)), attention],
    )


def relevance(outputs: torch.Tensor, label: int | str | None) -> torch.Tensor:
    """One number per pair from a classifier's outputs.

    Args:
        outputs: raw outputs (pairs, labels).
        label: see :func:`load_cross_encoder`.

    Returns:
        (pairs,): the only output, the label's log-odds, or the expected label.
    """
    import torch

    if label is None:
        return outputs[:, 0]
    if label == EXPECTED:
        grades = torch.arange(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        return outputs.softmax(dim=1) @ grades
    others = [number for number in range(outputs.shape[1]) if number != label]
    return outputs[:, int(label)] - outputs[:, others].logsumexp(dim=1)


def keep_last_layer_exact(encoder: Any) -> None:
    """Compute a CrossEncoder's last layer in float32.

    bfloat16 has 8 bits: as an output it would tie most of a list's scores.
    """
    from torch import nn

    encoder.set_keep_in_fp32_modules([])  # a layer that a saved model names is of another type
    last = [name for name, module in encoder.named_modules() if type(module) is nn.Linear][-1:]
    encoder.set_keep_in_fp32_modules(last)
