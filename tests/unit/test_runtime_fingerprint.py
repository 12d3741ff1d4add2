"""Fingerprints: of code (what a comment must not change and an edit must), of files, of settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from densespec.runtime.fingerprint import code_fingerprint, digest, file_digest, folder_digest

ROOT = Path(__file__).parent.parent.parent
FILES = {
    "stages/mine.py": '''
"""Script."""
from densespec.mining.candidates import mine
from densespec.retrieval import dense

def main():
    """Do it."""
    from densespec.io import atomic
    from densespec.tracking.live import live_run
    mine(1)
''',
    "densespec/__init__.py": "",
    "densespec/mining/__init__.py": '"""Mining."""\n',
    "densespec/mining/candidates.py": "import densespec.errors\n\ndef mine(depth):\n    return depth + 1\n",
    "densespec/retrieval/__init__.py": "",
    "densespec/retrieval/dense.py": "from . import fusion\nfrom .deep.measure import MEASURE\n",
    "densespec/retrieval/fusion.py": "K = 60\n",
    "densespec/retrieval/deep/__init__.py": "from ..sibling import S\n",
    "densespec/retrieval/deep/measure.py": "MEASURE = 1\n",
    "densespec/retrieval/sibling.py": "S = 1\n",
    "densespec/io/__init__.py": "",
    "densespec/io/atomic.py": "A = 1\n",
    "densespec/errors.py": "class InputError(Exception):\n    '''Docs.'''\n",
    "densespec/tracking/__init__.py": "",
    "densespec/tracking/live.py": "from densespec.tracking import store\nL = 1\n",
    "densespec/tracking/store.py": "S = 1\n",
    "densespec/selection/__init__.py": "",
    "densespec/selection/lists.py": "L = 1\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def fingerprint(root):
    return code_fingerprint(root / "stages" / "mine.py", root)


def edit(root, name, old, new):
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/mine.py", "    mine(1)", "    # a comment\n\n    mine(1)  # another"),
        ("stages/mine.py", "mine(1)", "mine(\n        1,\n    )"),
        ("stages/mine.py", '"""Script."""', '"""Another\nscript."""'),
        ("stages/mine.py", '"""Do it."""', '"""Do it well."""'),
        ("stages/mine.py", '"""Script."""', ""),
        ("densespec/mining/candidates.py", "def mine(depth):", 'def mine(depth):\n    """Docs."""'),
        ("densespec/mining/__init__.py", '"""Mining."""\n', ""),
        ("densespec/errors.py", "'''Docs.'''", "'''More\n    docs.'''"),
        ("densespec/tracking/live.py", "L = 1", "L = 2"),
        ("densespec/tracking/store.py", "S = 1", "S = 2"),
        ("densespec/selection/lists.py", "L = 1", "L = 2"),
    ],
)
def test_what_does_not_count(root, name, old, new):
    before = fingerprint(root)
    edit(root, name, old, new)
    assert fingerprint(root) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/mine.py", "mine(1)", "mine(2)"),
        ("densespec/mining/candidates.py", "+ 1", "+ 2"),
        ("densespec/mining/candidates.py", "depth", "width"),
        ("densespec/mining/__init__.py", '"""Mining."""', "import sys"),
        ("densespec/retrieval/fusion.py", "60", "61"),
        ("densespec/retrieval/deep/measure.py", "1", "2"),
        ("densespec/retrieval/sibling.py", "1", "2"),
        ("densespec/io/atomic.py", "1", "2"),
        ("densespec/errors.py", "Exception", "ValueError"),
        ("stages/mine.py", "mine(1)", "'not a docstring'\n    mine(1)"),
    ],
)
def test_what_counts(root, name, old, new):
    before = fingerprint(root)
    edit(root, name, old, new)
    assert fingerprint(root) != before


def test_a_package_above_an_imported_module_counts(root):
    before = fingerprint(root)
    (root / "densespec" / "__init__.py").write_text("import warnings\n")
    assert fingerprint(root) != before


def test_it_does_not_depend_on_where_the_repository_lies(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "elsewhere"
    shutil.copytree(root, copy)
    assert fingerprint(copy) == fingerprint(root)


def test_every_stage_of_this_repository_has_its_own():
    scripts = [p for p in (ROOT / "stages").glob("*.py") if p.stem not in ("__init__", "code")]
    assert len(scripts) >= 8
    assert len({code_fingerprint(script, ROOT) for script in scripts}) == len(scripts)


def test_nothing_in_the_package_is_imported_in_a_way_the_fingerprint_cannot_see():
    for path in [*ROOT.glob("densespec/*/*.py"), *ROOT.glob("stages/*.py")]:
        if path.name != "pydocs.py":  # imports what it documents
            assert "import_module(" not in path.read_text(), path


def test_a_digest_follows_content_and_not_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    parts = [[1, 2], [2, 1], ["1", 2], [12], [[1], 2], [], [None], [1, 2.0]]
    assert len({digest(*part) for part in parts}) == len(parts)
    assert len(digest("ü")) == 16


def test_a_folder_is_known_by_names_and_bytes(tmp_path):
    def folder(name, files):
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return folder_digest(tmp_path / name)

    base = {"config.json": "{}", "1_Pooling/config.json": "p"}
    first = folder("a", base)
    assert folder("b", {**base, "README.md": "card", ".hidden": "x", "m.pyc": ""}) == first
    others = [
        folder("c", {**base, "config.json": "{ }"}),
        folder("d", {"config.json": "{}", "2_Pooling/config.json": "p"}),
        folder("e", {**base, "model.safetensors": ""}),
    ]
    assert len({first, *others}) == 4
    assert file_digest(tmp_path / "a" / "config.json") == file_digest(tmp_path / "b" / "config.json")
