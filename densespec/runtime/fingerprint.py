"""Fingerprints of code, models and inputs: what decides whether finished work may be reused."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any


def code_fingerprint(script: Path, root: Path) -> str:
    """SHA-256 over a script and its static import closure inside the ``densespec`` package.

    Comments, layout and docstrings do not count: the hash is over ``ast.unparse`` of each module
    without docstrings, so editing them reruns nothing. ``densespec.tracking`` is left out: what is
    logged never changes an output.

    Args:
        script: the stage's script.
        root: folder that holds the ``densespec`` package.
    """
    modules: dict[str, str] = {}
    queue = [script]
    while queue:
        path = queue.pop()
        name = path.relative_to(root).as_posix()
        if name in modules or name.startswith("densespec/tracking/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        queue += _imports(tree, path, root)
        modules[name] = ast.unparse(_without_docstrings(tree))
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\0{modules[name]}\0".encode())
    return digest.hexdigest()


def _imports(tree: ast.AST, path: Path, root: Path) -> list[Path]:
    package = path.relative_to(root).parent.parts
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    found = []
    for name in names:
        if name.split(".")[0] == "densespec":
            base = root.joinpath(*name.split("."))
            # importing a module runs the __init__ of every package above it
            packages = [p for p in (base, *base.parents) if p.is_relative_to(root / "densespec")]
            files = [base.with_suffix(".py"), *(package / "__init__.py" for package in packages)]
            found += [file for file in files if file.is_file()]
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree


def digest(*parts: Any) -> str:
    """16 hex digits of SHA-256 over JSON of the parts (sorted keys)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hex digits of SHA-256 over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@cache
def folder_digest(path: Path) -> str:
    """Digest over names and bytes of all files below a folder, hidden ones and READMEs left out."""
    files = sorted(
        f
        for f in path.rglob("*")
        if f.is_file() and not f.name.startswith(".") and f.suffix not in (".md", ".pyc")
    )
    return digest([[f.relative_to(path).as_posix(), file_digest(f)] for f in files])
