"""The stage ``generate``: which kinds a domain gets queries of, and names of kinds that there are not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from densespec.errors import InputError
from densespec.generation import kinds
from densespec.generation.prompt import Example, Prompt, read_prompt, write_prompt
from densespec.io.jsonl import write_jsonl
from densespec.io.tables import write_table
from densespec.records import Passage, passage_hash
from stages import generate, prompt

SYMPTOM = "version: symptom/1\nWrite a symptom.\n\n{passage}\n"
PASSAGE = Passage("p", "", "A dam burst upstream and the river rose by two metres within an hour.")


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """What the stage reads: one passage with a recorded query of both kinds; ``question`` has a prompt."""
    row = {"id": ["p"], "title": [""], "text": [PASSAGE.text], "hash": ["p"], "seed": [True], "reason": [""]}
    write_table(tmp_path / "passages.parquet", row)
    write_jsonl(
        tmp_path / "recordings.jsonl",
        [
            {"passage": passage_hash(PASSAGE), "kind": kind, "query": f"what made the {kind} rise?",
             "prompt": f"{kind}/1", "model": "llm"}
            for kind in ("question", "symptom")
        ],
    )  # fmt: skip
    (tmp_path / "source.yaml").write_text("title: Rivers\nlicence: MIT\n")
    write_prompt(tmp_path / "prompts/question.json", Prompt("question/1", "Ask.\n\n{passage}\n"))
    write_prompt(tmp_path / "prompts/symptom.json", None)
    monkeypatch.setattr(kinds, "SHARED", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    params = {
        "kinds": ["question", "symptom"],
        "generate": {"writers": ["recorded"]},
        "student": {"model": "none"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def written(repository: Path, monkeypatch, kind: str, **own) -> int:
    """Queries of one kind that the stage writes for a domain with these parameters."""
    (repository / "conf/domains").mkdir(parents=True, exist_ok=True)
    conf = yaml.safe_dump({"generate": own, "student": {}})
    (repository / "conf/domains/rivers.yaml").write_text(conf)
    arguments = {
        "--domain": "rivers", "--kind": kind, "--passages": "passages.parquet",
        "--recordings": "recordings.jsonl", "--prompt": f"prompts/{kind}.json",
        "--licence-from": "source.yaml", "--out": "out", "--metrics": "out.json",
    }  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["generate", *(part for pair in arguments.items() for part in pair)])
    generate.main()
    return json.loads((repository / "out.json").read_text())["queries"]


def test_a_kind_with_the_domains_own_prompt(repository, monkeypatch):
    assert written(repository, monkeypatch, "symptom", prompts={"symptom": SYMPTOM}) == 1
    assert "## The prompt, symptom/1" in (repository / "out/README.md").read_text()


def test_a_kind_that_a_domain_leaves_out_or_does_not_bring(repository, monkeypatch, capsys):
    assert written(repository, monkeypatch, "symptom", kinds=["question"]) == 0
    assert "## The prompt" not in (repository / "out/README.md").read_text()
    assert written(repository, monkeypatch, "question", kinds=["question"]) == 1
    assert "leaves" not in capsys.readouterr().out.splitlines()[-1]
    (repository / "recordings.jsonl").write_text("")
    assert written(repository, monkeypatch, "symptom") == 0
    assert "rivers leaves symptom queries out, or has no prompt" in capsys.readouterr().out


@pytest.mark.parametrize("own", [{"kinds": ["symptom"]}, {"examples": {"symptom": []}}, {}])
def test_a_kind_without_a_prompt_is_refused_where_it_is_named_or_recorded(repository, monkeypatch, own):
    if own:
        (repository / "recordings.jsonl").write_text("")
    with pytest.raises(InputError, match="a prompt for query kind 'symptom'"):
        written(repository, monkeypatch, "symptom", **own)


def test_a_kind_that_no_domain_brings_is_a_slip(repository, monkeypatch):
    arguments = ["--kind", "symptom", "--prompts", ".", "--out", "out.json"]
    written(repository, monkeypatch, "question", prompts={"symptom": SYMPTOM})
    monkeypatch.setattr(sys, "argv", ["prompt", *arguments])
    prompt.main()
    assert read_prompt(repository / "out.json") is None
    written(repository, monkeypatch, "question")
    monkeypatch.setattr(sys, "argv", ["prompt", *arguments])
    with pytest.raises(InputError, match="'symptom', for which there is none"):
        prompt.main()


def test_names_of_kinds_that_there_are_not_are_all_told(repository, monkeypatch):
    with pytest.raises(InputError) as told:
        written(
            repository, monkeypatch, "question", kinds=["queston"], prompts={"symptoms": SYMPTOM},
            examples={"claim": []},
        )  # fmt: skip
    assert told.value.where.startswith("conf/domains/rivers.yaml")
    assert told.value.found == (
        "generate.kinds: queston (did you mean question?), "
        "generate.prompts: symptoms (did you mean symptom?), generate.examples: claim"
    )


def test_an_experiment_with_fewer_kinds_may_leave_a_domains_prompts_where_they_are(repository, monkeypatch):
    own = {"kinds": ["question", "report"], "prompts": {"report": SYMPTOM}, "examples": {"report": []}}
    assert written(repository, monkeypatch, "question", **own) == 1


@pytest.mark.parametrize(
    ("own", "warned"),
    [
        ({"language": "de"}, True),
        ({"language": "en-GB"}, False),
        ({"language": "de", "writers": ["recorded"]}, False),
        ({"language": "de", "llm": {"model": "m", "examples": 0}}, False),
        ({"language": "de", "examples": {"question": [{"passage": "Ein Damm.", "query": "was?"}]}}, False),
    ],
)
def test_english_examples_for_queries_in_another_language_are_warned_of(
    repository, monkeypatch, capsys, own, warned
):
    """The recorded query comes first, so that no language model is asked."""
    shared = Prompt("question/1", "Ask.\n\n{passage}\n", (Example("A dam burst.", "what burst?"),))
    write_prompt(repository / "prompts/question.json", shared)
    written(repository, monkeypatch, "question", **{"writers": ["recorded", "transformers"], **own})
    assert ("is asked for queries in 'de' and shown English ones" in capsys.readouterr().err) == warned
