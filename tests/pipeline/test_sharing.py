"""What a colleague gets: the same bytes by push and pull, and datasets by tag (docs/sharing.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipeline.repository import (
    DOMAIN,
    KINDS,
    clone,
    commit,
    dvc,
    edit_yaml,
    git,
    lock_of,
    stages_run,
    status,
)

pytestmark = pytest.mark.slow

UP_TO_DATE = "Data and pipelines are up to date."
BUCKET = "densespec-tests"
S3 = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def assert_complete(root: Path, original: Path, **variables: str) -> None:
    """Nothing reruns, nothing differs from git or from the original's files."""
    output = dvc(root, "repro", **variables)
    assert (stages_run(output), output.splitlines()[-1]) == ([], UP_TO_DATE)
    assert git(root, "status", "--porcelain") == ""
    for path in (f"models/{DOMAIN}/specialised/modules.json", f"reports/{DOMAIN}/report.html"):
        assert (root / path).read_bytes() == (original / path).read_bytes()


# A folder: the remote that .dvc/config has


@pytest.fixture
def pushed(tiny_copy: Path) -> Path:
    """A copy whose remote, the folder beside it, holds everything."""
    assert "files pushed" in dvc(tiny_copy, "push")
    assert (tiny_copy.parent / "densespec-remote").is_dir()
    return tiny_copy


def test_a_second_clone_pulls_and_reruns_nothing(pushed: Path) -> None:
    second = clone(pushed, pushed.parent / "second")
    dvc(second, "pull")
    assert status(second) == {}
    assert_complete(second, pushed)


def test_a_third_clone_needs_no_pull(pushed: Path) -> None:
    third = clone(pushed, pushed.parent / "third")
    output = dvc(third, "repro", "--pull", "--allow-missing")
    assert (stages_run(output), output.splitlines()[-1]) == ([], UP_TO_DATE)
    assert not (third / "models" / DOMAIN).exists()  # nothing was needed, so nothing was fetched
    edit_yaml(third / "params.yaml", "report", "examples_per_kind", value=1)
    assert stages_run(dvc(third, "repro", "--pull")) == ["report"]
    git(third, "checkout", "-q", ".")
    assert stages_run(dvc(third, "repro", "--pull")) == []
    assert_complete(third, pushed)


# S3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an S3 server with an empty bucket."""
    server_module = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    pytest.importorskip("dvc_s3", reason="pip install dvc-s3")
    import boto3

    for name, value in S3.items():
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.stop()


def test_s3_takes_the_place_of_the_folder(tiny_copy: Path, s3: str) -> None:
    dvc(tiny_copy, "remote", "modify", "shared", "url", f"s3://{BUCKET}/densespec")
    dvc(tiny_copy, "remote", "modify", "shared", "endpointurl", s3)
    commit(tiny_copy, "remote: S3")
    dvc(tiny_copy, "push", **S3)
    second = clone(tiny_copy, tiny_copy.parent / "second")
    dvc(second, "pull", **S3)
    assert_complete(second, tiny_copy, **S3)
    assert not (tiny_copy.parent / "densespec-remote").exists()


# A dataset in another repository


def test_another_repository_takes_a_dataset_and_follows_it(tiny_copy: Path) -> None:
    hosted = tiny_copy.parent / "hosted.git"
    # a relative folder means nothing to those who have only an address
    dvc(tiny_copy, "remote", "modify", "shared", "url", str(tiny_copy.parent / "remote"))
    commit(tiny_copy, "remote: an absolute folder")
    publish(tiny_copy, hosted, f"synth-{DOMAIN}-v1")
    other = tiny_copy.parent / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    dvc(other, "init", "-q")

    dvc(other, "import", "--rev", f"synth-{DOMAIN}-v1", str(hosted), f"data/queries/{DOMAIN}", "-o", "synth")
    assert {path.name for path in (other / "synth").iterdir()} == set(KINDS)
    for kind in KINDS:
        for name in ("queries.jsonl", "card.json", "README.md"):
            assert (other / "synth" / kind / name).read_bytes() == (
                tiny_copy / "data/queries" / DOMAIN / kind / name
            ).read_bytes()
    commit(other, "synthetic queries, version 1")

    edit_yaml(tiny_copy / "params.yaml", "kinds", value=[*KINDS, "title"])
    new = f"generate@{DOMAIN}-title"
    assert stages_run(dvc(tiny_copy, "repro", new)) == ["prompt@title", new]
    commit(tiny_copy, "a fourth kind")
    publish(tiny_copy, hosted, f"synth-{DOMAIN}-v2")
    dvc(other, "update", "synth.dvc", "--rev", f"synth-{DOMAIN}-v2")
    assert {path.name for path in (other / "synth").iterdir()} == {*KINDS, "title"}
    source = yaml.safe_load((other / "synth.dvc").read_text())["deps"][0]["repo"]
    assert source["rev"] == f"synth-{DOMAIN}-v2"
    assert source["rev_lock"] == git(tiny_copy, "rev-parse", "HEAD").strip()


def publish(root: Path, hosted: Path, tag: str) -> None:
    """Tag, push the data, push the commit."""
    git(root, "tag", tag)
    dvc(root, "push")
    if not hosted.exists():
        git(root, "clone", "-q", "--bare", ".", str(hosted))
    git(root, "push", "-q", "--tags", str(hosted), "main")


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_says_what_the_dataset_is(kind: str, tiny_repo: Path) -> None:
    folder = tiny_repo / "data/queries" / DOMAIN / kind
    card = json.loads((folder / "card.json").read_text())
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    assert (card["domain"], card["kind"], card["queries"]) == (DOMAIN, kind, len(queries))
    assert card["passages"] == len({query["source_id"] for query in queries})
    for name, field in {"writers": "writer", "prompts": "prompt", "models": "model"}.items():
        assert card[name] == Counter(query[field] for query in queries)
    assert {"recorded", "extractive"} == set(card["writers"])
    assert f"{kind}/1" in card["prompts"]
    assert card["seed"] == 0
    assert card["filters"]["settings"] == {"max_words": 20, "copy_ngram": 6}
    assert set(card["filters"]["dropped"]) >= {"too_long", "copies_passage", "duplicate"}
    assert (card["licence"], card["language"]) == ("Apache-2.0", "en")
    readme = (folder / "README.md").read_text()
    front = yaml.safe_load(readme.split("---")[1])
    assert front["license"] == "apache-2.0"
    for text in (f"| queries | {len(queries)} |", "recorded: 12", f"{kind}/1", "| seed | 0 |", "Apache-2.0"):
        assert text in readme


def test_nothing_in_the_outputs_names_this_machine(tiny_repo: Path) -> None:
    """Outputs are the same bytes on every machine: no absolute path, no user."""
    folders = [tiny_repo / name for name in ("data", "models", "metrics", "reports", "code")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 40
    marks = [str(tiny_repo.parent).encode(), str(Path.home()).encode() + b"/"]
    assert [file for file in files if any(mark in file.read_bytes() for mark in marks)] == []
    assert str(tiny_repo.parent) not in json.dumps(lock_of(tiny_repo))
