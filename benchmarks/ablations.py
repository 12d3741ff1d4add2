"""Run the ablations of one domain as DVC experiments, and compare them on its judged dev queries.

A clone of this repository's HEAD in --work runs the domain's own recipe up to `distill`, commits it, and
then makes one experiment (`dvc exp run -S … -n NAME distill@DOMAIN`) per ablation. Each model answers the
judged dev queries; no stage that reads test queries runs. A second call with the same --work goes on
where the first one stopped.

domains:
  pydocs           the shipped domain: recorded queries and a log
  scifact          extractive queries only; a third of the training claims are dev, the others unused
  scifact-log      the same dev; the other training claims are an unlabelled query log
  nl2bash          extractive queries only
  nl2bash-log      training queries as an unlabelled query log
  nl2bash-labels   the same queries as if written for the passages that they are judged for
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from real_collections import (
    COLLECTIONS,
    ROOT,
    environment_for,
    git,
    heading,
    refuse,
    source_of,
    table,
    timed,
)

from densespec.evaluation.significance import holm
from densespec.evaluation.summary import compare
from densespec.io.atomic import write_text
from densespec.io.jsonl import read_json, read_jsonl, write_json
from densespec.io.params import merged, read_yaml
from densespec.io.tables import passages_of, read_table
from densespec.io.trec import read_qrels

Array = np.ndarray[Any, Any]
EXAMPLES = """\
examples:
  python benchmarks/ablations.py --list
  python benchmarks/ablations.py --domain pydocs --work ../ablations --out pydocs.md
  python benchmarks/ablations.py --domain scifact-log --data beir --work ../ablations --only kl-only,lr-1e-4
  python benchmarks/ablations.py --domain pydocs --work ../ablations --only both,query-then-both --minutes 20
"""
HEAD = (
    *("experiment", "change", "lists", "steps (best)", "dev nDCG@10", "against default [95 %]", "p (Holm)"),
    *("against untuned [95 %]", "dev KL", "minutes"),
)
#: Of the training queries where a collection has no dev split: one in so many is a judged dev query.
DEV_SHARE = 3
#: Bootstrap resamples, sign patterns and seed of params 'evaluate'.
TESTS = {"resamples": 10_000, "permutations": 100_000, "seed": 13}
#: Dev evaluations of a side in a row with a time budget, beside the one before training: with both sides
#: each encodes the passages of all dev lists.
EVALUATIONS = {"query": 5, "both": 2}
#: Steps of the two trials that tell the speed of a side; both evaluate as often as the row.
TRIALS = {"query": (20, 120), "both": (2, 6)}


class Ablation(NamedTuple):
    """A row of the table.

    Attributes:
        changes: parameters, as ``dvc exp run -S`` takes them.
        needs: what a domain must have for the row: ``log``, ``queries`` (written ones), ``kinds``
            (several of them), the name of a kind.
    """

    changes: tuple[str, ...]
    needs: frozenset[str] = frozenset()


def _length(passages: int) -> tuple[str, str]:
    return f"select.list_length={passages}", f"distill.list_length={passages}"


KINDS = ("question", "claim", "title", "keywords", "web_search", "msmarco")
QUERIES, MIXED = frozenset({"queries"}), frozenset({"queries", "log"})
PAPER = (
    *("distill.infonce_weight=0.1", "distill.infonce_temperature=0.01", "distill.mask_ratio=0.6"),
    *("distill.teacher_temperature=0.3", "distill.learning_rate=2.0e-4", *_length(20)),
    *("select.source_rank=1", "select.min_top_quantile=0.25"),
)
ABLATIONS = {
    "seed-2": Ablation(("distill.seed=2",)),
    "seed-3": Ablation(("distill.seed=3",)),
    "infonce-only": Ablation(("distill.kl_weight=0", "distill.infonce_weight=1")),
    "kl-only": Ablation(("distill.infonce_weight=0",)),
    "lambda-0.1": Ablation(("distill.infonce_weight=0.1",)),
    "lambda-1": Ablation(("distill.infonce_weight=1",)),
    "mask-off": Ablation(("distill.infonce_weight=1", "distill.mask_ratio=1000")),
    "mask-0.6": Ablation(("distill.infonce_weight=1", "distill.mask_ratio=0.6")),
    "teacher-temperature-0.3": Ablation(("distill.teacher_temperature=0.3",)),
    "teacher-temperature-0.05": Ablation(("distill.teacher_temperature=0.05",)),
    "list-8": Ablation(_length(8)),
    "list-16": Ablation(_length(16)),
    "list-32": Ablation(_length(32)),
    "list-100": Ablation(_length(100)),
    # 16 of the teacher's 64; its best 16 are list-16's
    "list-16-spread": Ablation(("distill.list_length=16", "distill.list_sampling=spread")),
    "list-16-random": Ablation(("distill.list_length=16", "distill.list_sampling=random")),
    "overlap": Ablation(("distill.batching=overlap",)),
    "lr-1e-5": Ablation(("distill.learning_rate=1.0e-5",)),
    "lr-3e-5": Ablation(("distill.learning_rate=3.0e-5",)),
    "lr-1e-4": Ablation(("distill.learning_rate=1.0e-4",)),
    "lr-2e-4": Ablation(("distill.learning_rate=2.0e-4",)),
    # whatever the share, lists that are dev by default stay dev
    "half-the-lists": Ablation(("select.dev_share=0.55",)),
    "quarter-of-the-lists": Ablation(("select.dev_share=0.775",)),
    "tenth-of-the-lists": Ablation(("select.dev_share=0.91",)),
    "no-filter": Ablation(("select.source_rank=0", "mine.round_trip=0"), QUERIES),
    "paper-filter": Ablation(("select.source_rank=1", "select.min_top_quantile=0.25"), QUERIES),
    "no-log": Ablation(("mine.use_log=false",), MIXED),
    "log-only": Ablation(("generate.writers=[extractive]", "generate.extractive_passages=0"), MIXED),
    "more-extractive": Ablation(("generate.extractive_passages=200",), frozenset({"log"})),
    **{
        f"{kind}-alone": Ablation((f"kinds=[{kind}]", "mine.use_log=false"), frozenset({"kinds", kind}))
        for kind in KINDS
    },
    "paper": Ablation(PAPER),
}
#: Rows with a time budget have short lists and small batches: a CPU makes few steps with both sides.
#: They use their time up: no early stop, the best weights by dev loss are kept.
BUDGET = (
    *("distill.max_epochs=1000", "distill.patience=1000", "distill.stop_on=loss"),
    *("distill.list_length=16", "distill.batch_size=16"),
)
#: The sides that they train, one after the other, each in an equal part of the time.
BUDGETED = {"query": ("query",), "both": ("both",), "query-then-both": ("query", "both")}


def main() -> None:
    """Run what the options ask for; exit code 1 when an experiment failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("pydocs", "scifact", "scifact-log", "nl2bash", "nl2bash-log", "nl2bash-labels")
    parser.add_argument("--domain", choices=names)
    parser.add_argument("--data", type=Path, help="folder of BEIR folders; not for pydocs")
    parser.add_argument("--work", type=Path, help="folder for clones, models and figures; kept")
    parser.add_argument("--only", default="", metavar="NAME,…", help="some of the ablations (default: all)")
    parser.add_argument("--minutes", type=float, help=f"run {', '.join(BUDGETED)} too, each this long")
    parser.add_argument(
        "--dev-share", type=float, metavar="SHARE",
        help=f"select.dev_share of {', '.join(BUDGETED)}: with fewer dev lists evaluations cost less",
    )
    about = "row that the table compares with (default: %(default)s)"
    parser.add_argument("--against", default="default", metavar="NAME", help=about)
    parser.add_argument("--out", type=Path, help="write the table here too, after every experiment")
    parser.add_argument("--list", action="store_true", help="print the ablations and end")
    args = parser.parse_args()
    if args.list:
        for name, ablation in ABLATIONS.items():
            print(f"{name:25} {' '.join(ablation.changes)}")
        return
    if not (args.domain and args.work):
        parser.error("--domain and --work are required")
    chosen = chosen_rows(args.only, args.minutes)
    home = args.work.resolve() / args.domain
    scratch = Path(os.environ.get("DENSESPEC_SCRATCH") or args.work.resolve() / "scratch")
    domain = Domain(args.domain, home / "repository", home / "figures", environment_for(scratch))
    prepare(domain, args.data)
    if not (domain.figures / "default.json").is_file():
        run_default(domain)
    domain.git("reset", "--quiet", "--hard")
    rows = {name: changes for name in chosen if (changes := applicable(name, domain)) is not None}
    for name in set(chosen) - set(rows):
        print(f"{name}: not for {domain.name}, or its recipe already", file=sys.stderr)
    machine = heading()[1]
    failed: list[str] = []
    trials: dict[str, list[float]] = {}
    for name, changes in rows.items():
        if (domain.figures / f"{name}.json").is_file():
            continue
        print(f"\n=== {domain.name}: {name} ===", file=sys.stderr, flush=True)
        if name in BUDGETED:
            share = (f"select.dev_share={args.dev_share}",) if args.dev_share else ()
            done = budgeted(domain, name, args.minutes, trials, share)
        elif done := experiment(domain, name, changes):
            keep(domain, name, changes, done)
        if not done:
            failed.append(name)
        if args.out:
            write_text(args.out, document(domain, machine))
    page = document(domain, machine, args.against)
    print(f"\n{page}")
    if args.out:
        write_text(args.out, page)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def chosen_rows(only: str, minutes: float | None) -> list[str]:
    """Names of the rows to run; ends the program on a wrong one."""
    known = [*ABLATIONS, *BUDGETED]
    chosen = only.split(",") if only else [*ABLATIONS, *(BUDGETED if minutes else ())]
    for name in chosen:
        if name not in known:
            refuse("--only", f"some of {', '.join(known)}", repr(name), "correct the name")
        if name in BUDGETED and not minutes:
            refuse("--minutes", f"the minutes of training that {name} gets", "nothing", "add --minutes M")
    return chosen


class Domain(NamedTuple):
    """Where a domain is worked on.

    Attributes:
        name: of the domain.
        clone: a clone of this repository.
        figures: one JSON file per finished row, and the default recipe's dev lists.
        environment: of the clone's commands.
    """

    name: str
    clone: Path
    figures: Path
    environment: dict[str, str]

    def parameters(self) -> dict[str, Any]:
        """All parameters as they are in force for the domain in the clone."""
        shared = read_yaml(self.clone / "params.yaml")
        return merged(shared, read_yaml(self.clone / "conf" / "domains" / f"{self.name}.yaml"))

    def read(self, stage: str) -> dict[str, Any]:
        """Metrics of a stage."""
        return read_json(self.clone / "metrics" / self.name / f"{stage}.json")

    def call(self, *command: str) -> tuple[int, float]:
        """Run `python -m …` in the clone; exit code and seconds."""
        spent = timed([sys.executable, "-m", *command], self.clone, self.environment)
        return spent.code, spent.seconds

    def git(self, *arguments: str) -> None:
        """Run git in the clone."""
        identity = ["-c", "user.name=ablations", "-c", "user.email=ablations@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=self.clone, check=True)


def prepare(domain: Domain, data: Path | None) -> None:
    """Make the clone with its domain, once; ends the program where it is of another commit."""
    commit, made = git("rev-parse", "HEAD"), domain.figures / "commit"
    if made.is_file():
        if made.read_text(encoding="utf-8") != commit:
            remedy = "take another --work, or check that commit out"
            refuse(
                str(domain.clone), f"ablations of {commit[:10]}", f"those of {made.read_text()[:10]}", remedy
            )
        return
    if data is None and domain.name in COLLECTIONS:
        refuse("--data", "a folder of BEIR folders", "nothing", "name it")
    shutil.rmtree(domain.clone, ignore_errors=True)
    domain.figures.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(domain.clone)], check=True)
    overrides = domain.clone / "conf" / "domains" / f"{domain.name}.yaml"
    if data is not None and domain.name in COLLECTIONS:
        folder = with_dev(source_of(domain.name, [domain.name], data), domain.figures.parent / "beir")
        shutil.copyfile(domain.clone / "conf" / "collections" / f"{domain.name}.yaml", overrides)
        about = COLLECTIONS[domain.name]
        card = ["--title", about.title, "--licence", about.licence, *about.options]
        code, _ = domain.call(
            "densespec.cli", "new-domain", domain.name, "--force", "--from", str(folder), *card
        )
        if code:
            sys.exit(code)
    values = yaml.safe_load(overrides.read_text(encoding="utf-8"))
    values["distill"]["control"] = False
    # as published: scifact's dev queries must not choose the teacher's weights
    if domain.name.startswith("scifact"):
        values["score"] = {"hybrid": {"min_dev_queries": 1_000_000}}
    overrides.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    made.write_text(commit, encoding="utf-8")


def with_dev(source: Path, target: Path) -> Path:
    """A copy of a BEIR folder that has judged dev queries.

    Where ``source`` has no dev split, a third of its training queries (by a hash of their id) becomes it.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder in (target, *filter(Path.is_dir, target.iterdir())):
        folder.chmod(0o755)  # the source may be read-only
    train, dev = target / "qrels" / "train.tsv", target / "qrels" / "dev.tsv"
    head, *rows = train.read_text(encoding="utf-8").splitlines()
    if not dev.is_file():
        held = [zlib.crc32(row.split("\t")[0].encode()) % DEV_SHARE == 0 for row in rows]
        for path, wanted in ((dev, True), (train, False)):
            kept = [row for row, is_dev in zip(rows, held, strict=True) if is_dev == wanted]
            path.write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    return target


def applicable(name: str, domain: Domain) -> tuple[str, ...] | None:
    """The changes of a row; None where the domain lacks what it needs, or has these values anyway."""
    if name in BUDGETED:
        return ()
    funnel = domain.read("select")["funnel"]
    has = {kind for kind, counts in funnel.items() if counts["written"]}
    written = has - {"log"}
    has |= {"queries"} if written else set()
    has |= {"kinds"} if len(written) > 1 else set()
    changes, needs = ABLATIONS[name]
    if not needs <= has or all(same(change, domain.parameters()) for change in changes):
        return None
    return changes


def same(change: str, values: Mapping[str, Any]) -> bool:
    """Whether the parameters have the value of a change already."""
    key, value = change.split("=", 1)
    present: Any = values
    for part in key.split("."):
        present = present.get(part) if isinstance(present, Mapping) else None
    return bool(present == yaml.safe_load(value))


def settings(domain: str, changes: Sequence[str]) -> list[str]:
    """``-S`` options. Values of sections go to the domain's file, which would hide those of params.yaml."""
    place = f"conf/domains/{domain}.yaml:++"
    return [
        option for change in changes
        for option in ("-S", f"{place}{change}" if "." in change.split("=")[0] else change)
    ]  # fmt: skip


def run_default(domain: Domain) -> None:
    """Run the domain's own recipe up to the model, commit it, measure it and the untuned student."""
    print(f"\n=== {domain.name}: default ===", file=sys.stderr, flush=True)
    code, seconds = domain.call("dvc", "repro", f"distill@{domain.name}")
    if code:
        sys.exit(code)
    domain.git("add", "-A")
    domain.git("commit", "-q", "--allow-empty", "-m", f"{domain.name}: its own recipe")
    made = domain.clone / "data" / "lists" / domain.name / "lists.parquet"
    shutil.copyfile(made, domain.figures / "lists.parquet")
    used = domain.read("distill")["temperatures"]
    write_json(
        domain.figures / "lists.json",
        {"length": domain.parameters()["distill"]["list_length"]}
        | {f"{role}_temperature": used[role] for role in ("student", "teacher")},
    )
    write_json(domain.figures / "untuned.json", {"changes": [], **measure(domain, None)})
    keep(domain, "default", (), seconds)


def experiment(domain: Domain, name: str, changes: Sequence[str], only: Sequence[str] = ()) -> float:
    """Run one experiment; its results are in the clone's workspace afterwards.

    Args:
        domain: its default recipe is committed.
        name: of the experiment; an earlier one of that name is replaced.
        changes: see :class:`Ablation`.
        only: stages to run, whatever else the changes touch; none for ``distill`` and all that it needs.

    Returns:
        Seconds that it took; 0 when it failed.
    """
    domain.git("reset", "--quiet", "--hard")
    known = ["git", "for-each-ref", "--format=%(refname:lstrip=-1)", "refs/exps"]
    listed = subprocess.run(known, cwd=domain.clone, capture_output=True, text=True, check=True).stdout
    if name in listed.split():
        domain.call("dvc", "exp", "remove", "-q", name)
    values = settings(domain.name, changes)
    targets = [f"{stage}@{domain.name}" for stage in only or ["distill"]]
    single = ["--single-item"] if only else []
    code, seconds = domain.call("dvc", "exp", "run", "-n", name, *single, *values, *targets)
    return 0.0 if code else seconds


def budgeted(
    domain: Domain, name: str, minutes: float, trials: dict[str, list[float]], changes: tuple[str, ...] = ()
) -> float:
    """Run a row with a time budget: trials tell how many steps fit; seconds of the last run, 0 on failure.

    A second side starts from the query encoder of the first, on the same lists: only `distill` sees
    another student.

    Args:
        domain: its default recipe is committed.
        name: one of BUDGETED.
        minutes: of the row.
        trials: side → seconds of its trials in this run of the program; completed here.
        changes: beside those of BUDGET.
    """
    only, start, spent = (), (), 0.0
    for side in (sides := BUDGETED[name]):
        common = (*BUDGET, *changes, f"distill.side={side}", *start)
        if side not in trials:
            fresh = f"distill.seed={int(time.time())}"  # no finished trial in cache or scratch may answer
            trials[side] = [
                experiment(domain, f"{name}-{side}-trial-{n}", (*common, fresh, *steps(side, n)), only)
                for n in TRIALS[side]
            ]
        fits = all(trials[side]) and steps_within(60 * minutes / len(sides), TRIALS[side], trials[side])
        if not fits:
            print(f"{name}: side {side} failed, or makes no step in its minutes", file=sys.stderr)
            return 0.0
        row = (*common, *steps(side, fits))
        last = side == sides[-1]
        seconds = experiment(domain, name if last else f"{name}-{side}", row, only)
        if not seconds:
            return 0.0
        spent += seconds
        if last:
            keep(domain, name, row, spent)
        else:
            folder = domain.figures.parent / f"{name}-{side}"
            save_query_encoder(domain.clone / "models" / domain.name / "specialised", folder)
            # select again, too: an experiment begins with the default recipe's lists
            only, start = ("select", "distill"), (f"student.model=../{folder.name}",)
    return spent


def steps(side: str, count: int) -> tuple[str, str]:
    """Changes for a training of so many steps, with the same number of dev evaluations of a side always."""
    return f"distill.max_steps={count}", f"distill.eval_steps={math.ceil(count / EVALUATIONS[side])}"


def steps_within(budget: float, counts: tuple[int, int], seconds: Sequence[float]) -> int:
    """Steps that fit into ``budget`` seconds when trials of ``counts`` steps took ``seconds``; 0 for none."""
    (few, many), (short, long) = counts, seconds
    per_step = (long - short) / (many - few)
    return max(0, int(few + (budget - short) / per_step)) if per_step > 0 else 0


def save_query_encoder(folder: Path, target: Path) -> None:
    """The query encoder of a model with two encoders, as a student of its own."""
    from sentence_transformers import SentenceTransformer

    from densespec.retrieval.student import load_student

    model = load_student(str(folder))
    encoder = SentenceTransformer(
        modules=list(model[0].sub_modules["query"].children()),
        prompts=model.prompts, default_prompt_name=model.default_prompt_name,
    )  # fmt: skip
    encoder.save_pretrained(str(target), create_model_card=False)


def keep(domain: Domain, name: str, changes: Sequence[str], seconds: float) -> None:
    """Write the figures of the experiment in the workspace; drop its checkpoints."""
    distill = domain.read("distill")
    figures = measure(domain, domain.clone / "models" / domain.name / "specialised")
    against = {
        other: compared(figures, read_json(domain.figures / f"{other}.json"))
        for other in ("untuned", "default") if other != name
    }  # fmt: skip
    write_json(
        domain.figures / f"{name}.json",
        {
            "changes": list(changes), "minutes": seconds / 60, "lists": distill["train_lists"],
            "steps": distill["steps"]["specialised"], "best_step": distill["best_step"]["specialised"],
            "against": against, **figures,
        },
    )  # fmt: skip
    checkpoints = Path(domain.environment["DENSESPEC_SCRATCH"]) / "distill" / domain.name
    shutil.rmtree(checkpoints / distill["fingerprint"], ignore_errors=True)


def compared(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Paired comparison of the nDCG@10 of two rows."""
    theirs, ours = (
        {name: np.asarray(values) for name, values in figures["scores"].items()} for figures in (other, row)
    )
    return compare(ours, theirs, **TESTS)["ndcg_at_10"]


def measure(domain: Domain, folder: Path | None) -> dict[str, Any]:
    """What a model does on the judged dev queries and on the default recipe's dev lists.

    Args:
        domain: with a finished `distill`.
        folder: the model's; None for the untuned student.

    Returns:
        ``scores``: measure → values per query; ``kl``: mean KL from teacher to student over the lists,
        with the list length and temperatures of the default recipe.
    """
    from densespec.evaluation.measures import measure_run
    from densespec.evaluation.runs import as_run, dense_lists, model_note
    from densespec.io.arrays import read_array
    from densespec.retrieval.config import StudentConfig
    from densespec.retrieval.encoding import encode
    from densespec.retrieval.student import load_student, quiet_libraries, student_fingerprint

    quiet_libraries()
    corpus = domain.clone / "data" / "corpus" / domain.name
    table = read_table(corpus / "passages.parquet")
    contents = [passage.content for passage in passages_of(table)]
    questions = {row["id"]: row["text"] for _, row in read_jsonl(corpus / "queries.jsonl")}
    qrels = read_qrels(corpus / "dev.tsv")
    ids = sorted({qrel.query_id for qrel in qrels if qrel.grade > 0})
    lists = dev_lists(domain.figures)
    student = domain.parameters()["student"]
    if folder is None:
        model = load_student(**student)
        fingerprint = student_fingerprint(student["model"], student["revision"])
    else:
        # not the folder's digest: it is remembered, and the next experiment has the same folder
        model = load_student(str(folder), **StudentConfig(**student).of_trained())
        fingerprint = domain.read("distill")["fingerprint"]
    shards = Path(domain.environment["DENSESPEC_SCRATCH"]) / "encode"
    passages = read_array(domain.clone / "data" / "candidates" / domain.name / "passage_embeddings.npy")
    if folder is not None and model_note(folder).side == "both":
        passages = encode(model, fingerprint, contents, shards, task="document", label="passages")
    texts = [questions[query_id] for query_id in ids] + lists.pop("text")
    vectors = encode(model, fingerprint, texts, shards, task="query", label="dev queries")
    run = as_run(dense_lists(ids, vectors[: len(ids)], passages, 100), table["id"], 100)
    scores = {name: values.tolist() for name, values in measure_run(run, qrels, ids).items()}
    return {"scores": scores, "kl": mean_kl(vectors[len(ids) :], passages, **lists)}


def dev_lists(figures: Path) -> dict[str, Any]:
    """The default recipe's dev lists: ``text``, and the other arguments of :func:`mean_kl`."""
    table = read_table(figures / "lists.parquet")
    setting = read_json(figures / "lists.json")
    length = setting.pop("length")
    dev = [number for number, split in enumerate(table["split"]) if split == "dev"]
    return {
        "text": [table["text"][number] for number in dev],
        "slots": [table["passages"][number][:length] for number in dev],
        "teacher": [table["scores"][number][:length] for number in dev],
        **setting,
    }


def mean_kl(
    queries: Array,
    passages: Array,
    slots: Sequence[Sequence[int]],
    teacher: Sequence[Sequence[float]],
    student_temperature: float,
    teacher_temperature: float,
) -> float:
    """Mean KL(teacher ‖ student) over lists, in nats.

    Args:
        queries: float32 (lists, dimension), length 1.
        passages: float32 (passages, dimension), length 1.
        slots: rows of the passages in each list.
        teacher: scores of them.
        student_temperature: of the student's cosines.
        teacher_temperature: of the teacher's scores.
    """
    import torch

    from densespec.distillation.loss import ListBatch, distillation_loss

    pad = torch.nn.utils.rnn.pad_sequence
    batch = ListBatch(
        pad([torch.tensor(rows) for rows in slots], batch_first=True, padding_value=-1),
        pad([torch.tensor(scores) for scores in teacher], batch_first=True),
        torch.zeros(len(slots), dtype=torch.long),
        torch.empty((len(slots), 0), dtype=torch.long),
    )
    kl = distillation_loss(
        torch.tensor(queries), torch.tensor(passages), batch,
        student_temperature=student_temperature, teacher_temperature=teacher_temperature,
        kl_weight=1.0, infonce_weight=0.0, infonce_temperature=1.0, mask_ratio=1.0,
    ).kl  # fmt: skip
    return float(kl)


def document(domain: Domain, machine: str, against: str = "default") -> str:
    """The table of all rows that are finished, compared with one of them."""
    rows = {
        name: read_json(path)
        for name in ("untuned", "default", *ABLATIONS, *BUDGETED)
        if (path := domain.figures / f"{name}.json").is_file()
    }
    if against not in rows:
        refuse("--against", f"one of {', '.join(rows)}", repr(against), "name a finished row")
    for name, row in rows.items():
        if "against" in row and against not in (name, *row["against"]):
            row["against"][against] = compared(row, rows[against])
    head = [cell.replace("default", against) for cell in HEAD]
    dev = len(dev_lists(domain.figures)["slots"])
    queries = len(rows["default"]["scores"]["ndcg_at_10"])
    commit = (domain.figures / "commit").read_text(encoding="utf-8")[:10]
    about = f"{queries} judged dev queries, {dev} dev lists, commit {commit}. {machine}"
    return "\n".join([f"### {domain.name}", "", about, "", *table(head, cells_of(rows, against)), ""])


def cells_of(rows: Mapping[str, dict[str, Any]], against: str = "default") -> list[list[str]]:
    """Cells of the table.

    Args:
        rows: name → what :func:`keep` wrote.
        against: the row that others are compared with; Holm's correction is over all of them.
    """
    tested = {name: row["against"][against]["p"] for name, row in rows.items()
              if against in row.get("against", {})}  # fmt: skip
    corrected = holm(tested)
    cells = []
    for name, row in rows.items():
        found = row.get("against", {})
        cells.append([
            name,
            ", ".join(f"`{change}`" for change in row["changes"]),
            f"{row['lists']:,}" if "lists" in row else "",
            f"{row['steps']} ({row['best_step']})" if "steps" in row else "",
            f"{np.mean(row['scores']['ndcg_at_10']):.4f}",
            interval(found.get(against)),
            f"{tested[name]:.4f} ({corrected[name]:.3f})" if name in tested else "",
            interval(found.get("untuned")),
            f"{row['kl']:.4f}",
            f"{row['minutes']:.1f}" if "minutes" in row else "",
        ])  # fmt: skip
    return cells


def interval(compared: Mapping[str, float] | None) -> str:
    """A difference with its 95 % interval; empty for none."""
    if compared is None:
        return ""
    return f"{compared['difference']:+.4f} [{compared['low']:+.4f}, {compared['high']:+.4f}]"


if __name__ == "__main__":
    main()
