"""The writer that runs vLLM's engine in batches: large models on one or many GPUs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

from densespec.errors import InputError
from densespec.generation.chat import QUERY_SCHEMA, Request
from densespec.generation.language_model import llm_location, write_in_shards
from densespec.generation.writer import Setting, Written
from densespec.records import Passage
from densespec.retrieval.student import quiet_libraries, student_fingerprint
from densespec.runtime.answers import Answer
from densespec.runtime.scratch import die_with_parent

#: Requests and what is the same for all of them → answers.
Ask = Callable[[Sequence[Request], Mapping[str, Any]], list[Answer]]


def write(passages: Sequence[Passage], kind: str, setting: Setting) -> Iterator[Written]:
    """Yield one query per passage.

    The engine samples each request by its own seed. It caches the prefix that prompts share.

    Raises:
        InputError: vLLM or an accelerator is missing, or the engine cannot run the model.
    """
    llm, own = setting.parameters.llm, setting.parameters.vllm
    location = llm_location(llm.model, llm.revision, llm.trust_remote_code)
    require_vllm()
    arguments = {
        "model": location, "revision": llm.revision, "tokenizer_revision": llm.revision,
        "trust_remote_code": llm.trust_remote_code, "load_format": "safetensors", "dtype": own.dtype,
        "tensor_parallel_size": own.tensor_parallel, "gpu_memory_utilization": own.gpu_memory_utilization,
        "max_model_len": own.max_model_len, "enforce_eager": own.enforce_eager,
        "enable_prefix_caching": True, "seed": 0,
    }  # fmt: skip
    sampling = {
        "temperature": llm.temperature, "max_tokens": llm.max_tokens, "stop": llm.stop,
        "template_options": llm.template_options, "schema": QUERY_SCHEMA if llm.structured else None,
    }  # fmt: skip

    @cache
    def engines() -> Ask:
        return replicas(arguments, own.data_parallel, own.tensor_parallel)

    def answer(requests: Sequence[Request]) -> list[Answer]:
        try:
            return engines()(requests, sampling)
        except Exception as error:
            own_error = type(error).__module__.split(".")[0] == "vllm"
            if not own_error and not isinstance(error, OSError | ValueError | RuntimeError):
                raise
            raise InputError(
                "params.yaml: generate.llm and generate.vllm",
                expected="a model that vLLM can run here, with a chat template, and prompts that fit it",
                found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                remedy="see the engine's messages above; for less memory gpu_memory_utilization, "
                "max_model_len or tensor_parallel, for shorter prompts passage_chars or examples",
            ) from None

    identity = [student_fingerprint(llm.model, llm.revision), own.dtype]
    yield from write_in_shards("vllm", identity, answer, passages, kind, setting)


def require_vllm() -> None:
    """Refuse to start where vLLM cannot run.

    Raises:
        InputError: it is not installed, or finds no device that it was built for.
    """
    found = "not installed"
    if find_spec("vllm") is not None:
        from vllm.platforms import current_platform

        if not current_platform.is_unspecified():
            return
        found = "installed, but it finds no device that it was built for"
    raise InputError(
        "params.yaml: generate.writers = vllm",
        expected="vLLM and an accelerator",
        found=found,
        remedy="pip install 'densespec[vllm]' on Linux with an NVIDIA GPU (docs/profiles.md); elsewhere "
        "take the writer transformers for small models, or openai with an endpoint",
    )


def replicas(arguments: Mapping[str, Any], count: int, devices: int) -> Ask:
    """A function that asks copies of the engine at the same time, each with its share of the requests.

    Args:
        arguments: of ``vllm.LLM``.
        count: copies; one runs in this process, several in a process each, since vLLM refuses
            ``data_parallel_size`` for offline use from one process.
        devices: GPUs per copy.

    Raises:
        ValueError: too few GPUs for several copies.
    """
    quiet_libraries()
    if count == 1:
        return _in_this_process(arguments)
    import torch

    found = torch.cuda.device_count()  # 0 where vLLM was built for CPUs
    if found and found < count * devices:
        raise ValueError(f"{found} GPUs for {count} copies of the model on {devices} each")
    spawn = multiprocessing.get_context("spawn")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = visible.split(",") if visible else [str(number) for number in range(count * devices)]
    shares = [",".join(numbers[copy * devices : (copy + 1) * devices]) for copy in range(count)]
    pools = [ProcessPoolExecutor(1, spawn, _start, (arguments, share)) for share in shares]

    def ask(requests: Sequence[Request], sampling: Mapping[str, Any]) -> list[Answer]:
        answers: list[Answer] = [Answer("", 0, 0)] * len(requests)
        futures = [pool.submit(_ask, requests[n::count], sampling) for n, pool in enumerate(pools)]
        for n, future in enumerate(futures):
            answers[n::count] = future.result()
        return answers

    return ask


def _in_this_process(arguments: Mapping[str, Any]) -> Ask:
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    engine = LLM(**arguments)

    def ask(requests: Sequence[Request], sampling: Mapping[str, Any]) -> list[Answer]:
        schema = sampling["schema"]
        parameters = [
            SamplingParams(
                temperature=sampling["temperature"],
                max_tokens=sampling["max_tokens"],
                stop=sampling["stop"],
                seed=request.seed,
                # one each: the engine notes in it what it made of it
                structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
            )
            for request in requests
        ]
        outputs = engine.chat(
            [request.messages for request in requests], parameters, use_tqdm=False,
            add_generation_prompt=True, chat_template_kwargs=dict(sampling["template_options"]),
        )  # fmt: skip
        return [_answer(output) for output in outputs]

    return ask


def _answer(output: Any) -> Answer:
    """What the engine's ``RequestOutput`` says."""
    [said] = output.outputs
    return Answer(
        said.text, len(output.prompt_token_ids), len(said.token_ids), said.finish_reason == "length"
    )


_engine: Ask | None = None  # of a process that runs one copy


def _start(arguments: Mapping[str, Any], devices: str) -> None:
    global _engine
    die_with_parent()
    os.environ["CUDA_VISIBLE_DEVICES"] = devices
    _engine = _in_this_process(arguments)


def _ask(requests: Sequence[Request], sampling: Mapping[str, Any]) -> list[Answer]:
    assert _engine is not None
    return _engine(requests, sampling)
