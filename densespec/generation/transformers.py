"""The writer that runs a language model in this process: small models on a CPU or one GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from densespec.errors import InputError
from densespec.generation.chat import Request
from densespec.generation.language_model import llm_location, write_in_shards
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.retrieval.student import quiet_libraries, student_fingerprint
from densespec.runtime.answers import Answer
from densespec.runtime.devices import within_memory
from densespec.runtime.progress import say


class Engine(NamedTuple):
    """A loaded model.

    Attributes:
        model: causal language model.
        tokenizer: with a chat template; pads on the left.
        stops: ids of tokens that end an answer.
        longest: most tokens that prompt and answer may have together.
    """

    model: Any
    tokenizer: Any
    stops: list[int]
    longest: int


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield one query per passage.

    Each answer is drawn with its own random numbers, so other requests in its batch or shard change it
    no further than the rounding of a padded forward pass.

    Raises:
        InputError: the model cannot be had, has no chat template, or a prompt is too long for it; a
            structured answer is asked for.
    """
    llm, own = setting.parameters.llm, setting.parameters.transformers
    if llm.structured:
        raise InputError(
            "params.yaml: generate.llm.structured",
            expected="false: the writer transformers cannot hold a model to a schema",
            found="true",
            remedy="set it to false, or take the writer vllm, or openai with an endpoint",
        )
    location = llm_location(llm.model, llm.revision, llm.trust_remote_code)
    device = own.device or _device()
    dtype = "float32" if own.dtype == "auto" and device == "cpu" else own.dtype

    @cache
    def engine() -> Engine:
        return load_engine(location, llm.revision, device, dtype, llm.trust_remote_code)

    def answer(requests: Sequence[Request]) -> list[Answer]:
        return answers(
            engine(), requests, temperature=llm.temperature, max_tokens=llm.max_tokens, stop=llm.stop,
            batch_size=own.batch_size, template_options=llm.template_options,
        )  # fmt: skip

    identity = [student_fingerprint(llm.model, llm.revision), device.split(":")[0], dtype]
    yield from write_in_shards("transformers", identity, answer, passages, kind, setting)


def load_engine(
    location: str, revision: str | None, device: str, dtype: str, trust_remote_code: bool
) -> Engine:
    """Load a causal language model and its tokenizer; weights from safetensors only.

    Args:
        location: folder or hub id.
        revision: commit of a hub model.
        device: torch device.
        dtype: name of a torch type, or ``"auto"`` for the checkpoint's.
        trust_remote_code: run code that comes with the model.

    Raises:
        InputError: it cannot be had, has no chat template, or there is no such device.
    """
    quiet_libraries()  # before the import, which reads what it sets
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    loading = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, padding_side="left", **loading)
        model = AutoModelForCausalLM.from_pretrained(location, dtype=dtype, use_safetensors=True, **loading)
    except (OSError, ValueError) as error:
        raise InputError(
            f"params.yaml: generate.llm.model = {location}",
            expected="a causal language model with safetensors weights",
            found=str(error).splitlines()[0],
            remedy="check id and revision; without network give a folder",
        ) from None
    if not tokenizer.chat_template:
        raise InputError(
            f"params.yaml: generate.llm.model = {location}",
            expected="an instruct model: its tokenizer has a chat template",
            found="no chat template",
            remedy="take the instruct version of the model",
        )
    try:
        model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "params.yaml: generate.transformers.device",
            expected="a device that PyTorch has here, such as cpu, cuda or cuda:1",
            found=f"{device}: {str(error).splitlines()[0]}",
            remedy="correct it, or set it to null",
        ) from None
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    stops = sorted({n for n in (*ends, tokenizer.eos_token_id) if n is not None})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(stops, default=0))
    # the checkpoint's own defaults (top-p, repetition penalty, …) would come on top of ours
    model.generation_config = GenerationConfig(
        eos_token_id=stops or None, pad_token_id=tokenizer.pad_token_id
    )
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    return Engine(model, tokenizer, stops, longest)


def answers(
    engine: Engine,
    requests: Sequence[Request],
    *,
    temperature: float,
    max_tokens: int,
    stop: Sequence[str],
    batch_size: int,
    template_options: dict[str, Any],
) -> list[Answer]:
    """The model's answers, in the order of the requests; batches are of similar length.

    Args:
        engine: the model.
        requests: any number.
        temperature: of sampling; 0 takes the likeliest token.
        max_tokens: longest answer.
        stop: texts that end an answer before they come.
        batch_size: requests per forward pass; fewer from where memory did not hold them.
        template_options: for the chat template.

    Raises:
        InputError: a prompt that leaves no room for its answer, or memory does not hold a single one.
    """
    tokenizer = engine.tokenizer
    prompts = [
        tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, tokenize=True, return_dict=True, **template_options
        )["input_ids"]
        for request in requests
    ]
    if max(map(len, prompts)) + max_tokens > engine.longest:
        raise InputError(
            "params.yaml: generate.llm",
            expected=f"prompt and answer within the model's {engine.longest} tokens",
            found=f"a prompt of {max(map(len, prompts))} and max_tokens {max_tokens}",
            remedy="lower passage_chars or examples, or take a model with a longer context",
        )
    given: list[Answer] = [Answer("", 0, 0)] * len(requests)
    order = sorted(range(len(requests)), key=lambda number: -len(prompts[number]))
    while order:
        batch = order[:batch_size]
        draws = np.stack([np.random.default_rng(requests[n].seed).random(max_tokens) for n in batch])
        drawn = _drawn(engine, [prompts[n] for n in batch], draws, temperature, stop)
        if drawn is None:
            batch_size = _halved(len(batch), prompts[batch[0]])
            continue
        order = order[batch_size:]
        for number, tokens in zip(batch, drawn, strict=True):
            end = next((place + 1 for place, token in enumerate(tokens) if token in engine.stops), None)
            text, used, stopped = _until(stop, tokenizer, tokens[:end])
            given[number] = Answer(text, len(prompts[number]), used, cut=end is None and not stopped)
    return given


def _drawn(
    engine: Engine,
    prompts: Sequence[list[int]],
    draws: np.ndarray[Any, Any],
    temperature: float,
    stop: Sequence[str],
) -> list[list[int]] | None:
    """Tokens of a batch's answers, filled up to the longest; None where memory does not hold the batch.

    Args:
        engine: the model.
        prompts: token ids.
        draws: uniform numbers (prompts, most tokens of an answer).
        temperature: see :func:`answers`.
        stop: see :func:`answers`.
    """
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    inputs = engine.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(engine.model.device)
    width = inputs["input_ids"].shape[1]
    endings = [_Ended(engine.tokenizer, stop, width)] if stop else []

    def generate() -> list[list[int]]:
        with torch.inference_mode():
            outputs = engine.model.generate(
                **inputs, max_new_tokens=draws.shape[1], do_sample=False,
                stopping_criteria=StoppingCriteriaList(endings),
                logits_processor=LogitsProcessorList([_Sampler(draws, temperature, width)]),
            )  # fmt: skip
        answers: list[list[int]] = outputs[:, width:].tolist()
        return answers

    return within_memory(generate)


def _until(stop: Sequence[str], tokenizer: Any, tokens: Sequence[int]) -> tuple[str, int, bool]:
    """Text of an answer up to the first of ``stop``, its tokens with that, and whether it was there."""
    for used in range(1, len(tokens) + 1) if stop else ():
        text = tokenizer.decode(tokens[:used], skip_special_tokens=True)
        if places := [text.index(ending) for ending in stop if ending in text]:
            return text[: min(places)], used, True
    return tokenizer.decode(tokens, skip_special_tokens=True), len(tokens), False


def _halved(batch_size: int, longest: Sequence[int]) -> int:
    """Half of a batch that memory did not hold.

    Raises:
        InputError: it is a single request.
    """
    if batch_size == 1:
        raise InputError(
            "params.yaml: generate.transformers",
            expected="memory for a single answer",
            found=f"out of memory with one prompt of {len(longest)} tokens",
            remedy="lower generate.llm.passage_chars or examples, or take a smaller model or a larger device",
        )
    say(f"out of memory: batches of at most {batch_size // 2} requests from here on")
    return batch_size // 2


class _Sampler:
    """Draws each token by inverting the cumulative distribution at a given uniform number.

    As the only logits processor it leaves one token possible, which greedy decoding then takes. torch's
    own sampling would draw for a whole batch from one generator.
    """

    def __init__(self, draws: np.ndarray[Any, Any], temperature: float, width: int) -> None:
        self.draws, self.temperature, self.width = draws, temperature, width  # draws: (batch, max_tokens)

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Of logits (batch, vocabulary): 0 for the drawn token, -inf for all others."""
        import torch

        if not self.temperature:
            return logits
        wide = (logits.cpu() if logits.device.type == "mps" else logits).double()  # mps has no float64
        cumulated = (wide / self.temperature).softmax(-1).cumsum(-1)
        draws = torch.from_numpy(self.draws[:, tokens.shape[1] - self.width]).to(wide.device)
        chosen = torch.searchsorted(cumulated, draws[:, None] * cumulated[:, -1:], right=True)
        chosen = chosen.clamp(max=logits.shape[-1] - 1).to(logits.device)
        return torch.full_like(logits, -torch.inf).scatter_(-1, chosen, 0.0)


class _Ended:
    """Which answers hold a text that ends them; transformers' own criterion mistakes parts of characters."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], width: int) -> None:
        self.tokenizer, self.stop, self.width = tokenizer, stop, width

    def __call__(self, tokens: Any, scores: Any, **kwargs: Any) -> Any:
        """Of token ids (batch, so far): bool (batch,)."""
        import torch

        texts = self.tokenizer.batch_decode(tokens[:, self.width :], skip_special_tokens=True)
        ended = [any(text in answer for text in self.stop) for answer in texts]
        return torch.tensor(ended, device=tokens.device)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
