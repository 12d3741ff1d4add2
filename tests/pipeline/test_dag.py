"""The contract of dvc.yaml: what depends on what, and that nothing else does."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

import pytest
import yaml

from tests.pipeline.expected_reruns import FILES, GRADES, SECTIONS, STAGES, TABLE, rows_of
from tests.pipeline.repository import (
    DOMAIN,
    KINDS,
    PROJECT,
    Stage,
    dvc,
    edit_yaml,
    git,
    isolate,
    lock_of,
    replace_once,
    run,
    stages_of,
    stages_run,
    status,
)

pytestmark = pytest.mark.slow

PARAMS = "params.yaml"
OVERRIDES = f"conf/domains/{DOMAIN}.yaml"
NAMES = ("--domain", "--kind", "--teacher", "--other")
LISTS = ("kinds", "teachers", "forgetting")


@pytest.fixture(scope="module")
def stages(module_copy: Path) -> dict[str, Stage]:
    return stages_of(module_copy)


@contextmanager
def edited(path: Path) -> Iterator[Path]:
    """Restore a file afterwards."""
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def named(names: object) -> set[str]:
    """Stage names without the part after the ``@``."""
    return {str(name).partition("@")[0] for name in names}  # type: ignore[attr-defined]


def downstream(stages: dict[str, Stage], dirty: set[str]) -> set[str]:
    """The stages and all that read, directly or not, what they write."""
    reached = {name for name in stages if name.partition("@")[0] in dirty}
    frontier = reached
    while frontier:
        written = [out for name in frontier for out in stages[name].outs]
        frontier = {
            name
            for name, stage in stages.items()
            if name not in reached and any(related(dep, out) for dep in stage.deps for out in written)
        }
        reached = reached | frontier
    return named(reached)


def related(dep: str, out: str) -> bool:
    return dep == out or out.startswith(f"{dep}/")


# The finished pipeline


def test_everything_is_there(tiny_repo: Path, stages: dict[str, Stage]) -> None:
    ran = stages_run((tiny_repo.parent / "repro.log").read_text())
    assert sorted(ran) == sorted(stages)
    assert named(stages) == set(STAGES)
    for name, stage in stages.items():
        assert [out for out in stage.outs if not (tiny_repo / out).exists()] == [], name
    assert git(tiny_repo, "status", "--porcelain") == ""


def test_a_second_repro_does_nothing(tiny_copy: Path) -> None:
    output = dvc(tiny_copy, "repro")
    assert stages_run(output) == []
    assert output.splitlines()[-1] == "Data and pipelines are up to date."
    gate = dvc(tiny_copy, "repro", "--allow-missing", "--dry")
    assert gate.splitlines()[-1] == "Data and pipelines are up to date."
    assert dvc(tiny_copy, "status", "--json").strip() == "{}"
    assert git(tiny_copy, "status", "--porcelain") == ""


# What reruns when


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in LISTS])
@pytest.mark.parametrize("file", [PARAMS, OVERRIDES])
def test_a_section_reruns_exactly(
    section: str, file: str, module_copy: Path, stages: dict[str, Stage]
) -> None:
    with edited(module_copy / file) as path:
        edit_yaml(path, section, "changed", value="by a test")
        dirty = status(module_copy)
    assert named(dirty) == set(SECTIONS[section].direct)
    assert downstream(stages, named(dirty)) == set(SECTIONS[section].reruns)


@pytest.mark.parametrize(
    ("key", "added", "new"),
    [
        ("kinds", "title", f"generate@{DOMAIN}-title"),
        ("teachers", "cross-encoder", f"score@{DOMAIN}-cross-encoder"),
        ("forgetting", "other", f"forgetting@{DOMAIN}-other"),
    ],
)
def test_a_list_reruns_exactly(
    key: str, added: str, new: str, module_copy: Path, stages: dict[str, Stage]
) -> None:
    with edited(module_copy / PARAMS) as path:
        edit_yaml(path, key, value=[*yaml.safe_load(path.read_text())[key], added])
        dirty = status(module_copy)
    assert named(dirty) == set(SECTIONS[key].direct)
    assert downstream(stages, named(dirty)) == set(SECTIONS[key].reruns)
    # the other kinds, teachers and domains stay as they are
    assert [name for name in dirty if name.startswith(("generate", "score", "forgetting"))] == [new]
    assert [name for name in dirty if name.startswith("prompt")] == ["prompt@title"] * (key == "kinds")


def test_a_kind_less(module_copy: Path) -> None:
    with edited(module_copy / PARAMS) as path:
        edit_yaml(path, "kinds", value=KINDS[:-1])
        assert named(status(module_copy)) == {"mine", "report"}


def test_every_section_is_in_the_table(tiny_repo: Path) -> None:
    document = yaml.safe_load((tiny_repo / PARAMS).read_text())
    assert set(SECTIONS) == set(document) - {"domains", "domain"}


def test_another_domain_leaves_this_one_alone(module_copy: Path) -> None:
    with edited(module_copy / PARAMS) as path:
        edit_yaml(path, "domains", value=[DOMAIN, "other"])
        dirty = status(module_copy)
    assert dirty
    assert [name for name in dirty if "@other" not in name] == []


def test_the_forgetting_panel_builds_the_corpus_of_the_named_domain_alone(tiny_copy: Path) -> None:
    """Another domain that is named costs its corpus and one evaluation, and only where that is asked for."""
    source = tiny_copy / "data/source"
    shutil.copytree(source / DOMAIN, source / "other")
    shutil.copy(tiny_copy / OVERRIDES, tiny_copy / "conf/domains/other.yaml")
    edit_yaml(tiny_copy / PARAMS, "domains", value=[DOMAIN, "other"])
    edit_yaml(tiny_copy / PARAMS, "forgetting", value=["other"])
    assert stages_run(dvc(tiny_copy, "repro", f"evaluate@{DOMAIN}")) == []
    ran = stages_run(dvc(tiny_copy, "repro", "report"))
    assert ran == ["corpus@other", f"forgetting@{DOMAIN}-other", "report"]
    assert stages_run(dvc(tiny_copy, "repro", "report")) == []
    page = tiny_copy / "reports" / DOMAIN / "report.html"
    assert 'scope="row">other</th>' in page.read_text(encoding="utf-8")

    edit_yaml(tiny_copy / PARAMS, "forgetting", value=[])
    assert stages_run(dvc(tiny_copy, "repro", "report")) == ["report"]
    assert "No other domain was named" in page.read_text(encoding="utf-8")
    assert stages_run(dvc(tiny_copy, "repro", "report")) == []


@pytest.mark.parametrize("file", FILES)
def test_a_change_of_code_reruns_exactly(file: str, tiny_copy: Path, stages: dict[str, Stage]) -> None:
    with (tiny_copy / file).open("a") as source:
        source.write("\n\nADDED = 1\n")
    assert named(status(tiny_copy)) == {"code"}
    dvc(tiny_copy, "repro", "code")
    assert named(status(tiny_copy)) == set(FILES[file].direct)
    assert downstream(stages, set(FILES[file].direct)) == set(FILES[file].reruns)


def test_comments_and_docstrings_rerun_nothing(tiny_copy: Path) -> None:
    source = tiny_copy / "densespec/mining/candidates.py"
    replace_once(source, '"""Candidate lists: ', '"""Other words for: ')
    replace_once(source, '    """The candidate list of one query', '    # a remark\n    """The melted list')
    source.write_text(source.read_text().replace("\n\n\n", "\n\n\n\n# more air\n\n\n"))
    assert named(status(tiny_copy)) == {"code"}
    assert stages_run(dvc(tiny_copy, "repro", "code")) == ["code"]
    assert status(tiny_copy) == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [("question.txt", "Be brief."), ("question.examples.jsonl", '{"passage": "A dam.", "query": "a dam?"}')],
)
def test_a_prompt_or_pool_reruns_its_kind_only(name: str, line: str, tiny_copy: Path) -> None:
    with (tiny_copy / "densespec/generation/prompts" / name).open("a") as file:
        file.write(f"{line}\n")
    assert named(status(tiny_copy)) == {"code", "prompt"}
    ran = stages_run(dvc(tiny_copy, "repro", f"generate@{DOMAIN}-question", f"generate@{DOMAIN}-keywords"))
    assert sorted(ran) == ["code", f"generate@{DOMAIN}-question", "prompt@keywords", "prompt@question"]


def test_a_kind_that_one_domain_brings_needs_nothing_but_its_file(tiny_copy: Path) -> None:
    """And is no matter of the other domains."""
    shutil.copytree(tiny_copy / "data/source" / DOMAIN, tiny_copy / "data/source/other")
    shutil.copy(tiny_copy / OVERRIDES, tiny_copy / "conf/domains/other.yaml")
    edit_yaml(tiny_copy / PARAMS, "domains", value=[DOMAIN, "other"])
    edit_yaml(tiny_copy / PARAMS, "kinds", value=[*KINDS, "symptom"])
    prompt = "version: symptom/1\nName a symptom.\n\n{passage}\n"
    edit_yaml(tiny_copy / "conf/domains/other.yaml", "generate", "prompts", value={"symptom": prompt})
    names = [f"generate@{DOMAIN}-symptom", "generate@other-symptom"]
    ran = stages_run(dvc(tiny_copy, "repro", *names))
    assert sorted(ran) == ["corpus@other", *sorted(names), "prompt@symptom"]
    written = [tiny_copy / "data/queries" / domain / "symptom/queries.jsonl" for domain in (DOMAIN, "other")]
    assert [bool(path.read_text(encoding="utf-8")) for path in written] == [False, True]
    edit_yaml(tiny_copy / PARAMS, "kinds", value=[*KINDS, "symptoms"])
    done = run(tiny_copy, "python", "-m", "dvc", "repro", f"generate@{DOMAIN}-symptoms", ok=False)
    assert done.returncode != 0 and "'symptoms', for which there is none" in done.stdout


@pytest.mark.parametrize("file", GRADES)
def test_a_grade_reruns_exactly(file: str, tiny_copy: Path, stages: dict[str, Stage]) -> None:
    source = tiny_copy / "data/source" / DOMAIN / file
    source.write_text(source.read_text().replace("\t2\n", "\t1\n", 1))
    assert named(status(tiny_copy)) == {f"data/source/{DOMAIN}.dvc", "corpus"}
    assert stages_run(dvc(tiny_copy, "repro", f"corpus@{DOMAIN}")) == [f"corpus@{DOMAIN}"]
    assert named(status(tiny_copy)) == set(GRADES[file].direct)
    assert {"corpus"} | downstream(stages, set(GRADES[file].direct)) == set(GRADES[file].reruns)


def test_a_newly_relevant_passage_reruns_everything(tiny_copy: Path) -> None:
    """It must not seed queries any more."""
    with (tiny_copy / "data/source" / DOMAIN / "qrels/test.tsv").open("a") as qrels:
        qrels.write("t05\tfile-delete\t1\n")
    dvc(tiny_copy, "repro", f"corpus@{DOMAIN}")
    assert named(status(tiny_copy)) == set(STAGES) - {"code", "prompt", "corpus"}


def test_the_readme_has_the_same_table(stages: dict[str, Stage]) -> None:
    path = PROJECT / "README.md"
    rows = rows_of(path.read_text(encoding="utf-8")) if path.exists() else None
    if rows is None:
        pytest.skip("README.md has no section 'What reruns when' yet")
    expected = {name: set(row.reruns) for name, row in TABLE.items()}
    assert set(SECTIONS) <= set(rows), "README.md: sections without a row"
    for name in set(rows) & set(expected):
        assert set(rows[name]) == expected[name], f"README.md: row `{name}`"


# The shape of dvc.yaml


def test_no_output_is_persistent(stages: dict[str, Stage]) -> None:
    assert {name: stage.persist for name, stage in stages.items() if stage.persist} == {}


def test_only_metrics_are_uncached(stages: dict[str, Stage]) -> None:
    """Any other uncached output switches the stage's run cache off."""
    assert {n: set(s.uncached) - set(s.metrics) for n, s in stages.items()} == {n: set() for n in stages}


def test_no_output_lies_inside_another(stages: dict[str, Stage]) -> None:
    outs = [out for stage in stages.values() for out in stage.outs]
    assert [(a, b) for a, b in permutations(outs, 2) if related(a, b)] == []


def test_a_dependency_is_an_output_or_its_parent(stages: dict[str, Stage]) -> None:
    """DVC does not see the edge when a dependency lies inside an output."""
    outs = [out for stage in stages.values() for out in stage.outs]
    inside = [
        (name, dep)
        for name, stage in stages.items()
        for dep in stage.deps
        for out in outs
        if dep != out and related(out, dep)
    ]
    assert inside == []


def test_commands_and_declarations_name_the_same_paths(stages: dict[str, Stage]) -> None:
    for name, stage in stages.items():
        words = shlex.split(stage.cmd)
        assert words[:2] == ["python", "-m"], name
        flags = dict(zip(words[3::2], words[4::2], strict=True))
        assert all(re.fullmatch(r"--[a-z-]+", flag) for flag in flags), name
        paths = {value for flag, value in flags.items() if flag not in NAMES}
        declared = [*stage.deps, *stage.outs]
        assert [path for path in paths if not any(related(path, of) for of in declared)] == [], name
        own = f"code/{name.partition('@')[0]}.txt"
        free = {own, "densespec", "stages"}
        assert [of for of in declared if of not in free and not any(related(p, of) for p in paths)] == []
        assert name == "code" or own in stage.deps, f"{name} does not depend on its code"


@pytest.mark.parametrize(
    "name",
    [
        *("prompt@question", f"corpus@{DOMAIN}", f"select@{DOMAIN}", f"evaluate@{DOMAIN}"),
        *(f"forgetting@{DOMAIN}-{DOMAIN}", "report"),
    ],
)
def test_a_stage_reads_only_what_it_declares(name: str, tiny_copy: Path) -> None:
    """Run where nothing else is; the outputs are the same, byte by byte. Others: test_faults.py."""
    lock = lock_of(tiny_copy)
    isolate(tiny_copy, name)
    assert stages_run(dvc(tiny_copy, "repro", "-s", name)) == [name]
    assert lock_of(tiny_copy) == lock


def test_wrong_parameters_stop_at_once_and_write_nothing(tiny_copy: Path) -> None:
    edit_yaml(tiny_copy / PARAMS, "mine", "dept", value=20)
    lock = lock_of(tiny_copy)
    done = run(tiny_copy, "python", "-m", "dvc", "repro", f"mine@{DOMAIN}", ok=False)
    assert done.returncode != 0
    assert "did you mean 'depth'?" in done.stdout
    assert not (tiny_copy / "data/candidates" / DOMAIN / "candidates.parquet").exists()
    assert lock_of(tiny_copy) == lock
