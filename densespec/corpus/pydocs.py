"""The embedded domain: docstrings of the running Python's standard library as passages.

Real text that nobody here wrote and that every machine has: public modules, classes, functions and
methods; title = qualified name and signature, text = cleaned docstring. The result depends on the
Python version alone (modules that differ between platforms or builds are left out).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Iterator

from densespec.records import Passage

#: Modules left out: graphical, tests, jokes with side effects, removed in Python 3.12 or 3.13, or
#: present only on some platforms and builds (the corpus must depend on the Python version alone).
EXCLUDED_MODULES = frozenset(
    """
    aifc antigravity asynchat asyncore audioop cgi cgitb chunk crypt curses dbm distutils ensurepip
    fcntl grp idlelib imghdr imp lib2to3 mailcap msilib msvcrt nis nntplib nt ntpath ossaudiodev
    pipes posix pty pwd pydoc_data readline resource smtpd sndhdr spwd sre_compile sre_constants
    sre_parse sunau syslog telnetlib termios test this tkinter tty turtle turtledemo uu venv winreg
    winsound xdrlib
    """.split()  # noqa: SIM905
)
#: Submodules left out for the same reasons, or because importing them runs a program.
EXCLUDED_SUBMODULES = re.compile(
    r"(^|\.)(__main__|_[a-z].*|test.*|tests|idle_test|windows_.*|macurl2path)$"
    r"|^ctypes\.(macholib|wintypes)|^multiprocessing\.(popen|resource|heap|dummy|reduction)|^encodings\."
    r"|^json\.tool$|^asyncio\.(unix|windows|proactor)|^xml\.etree\.cElementTree$|^sqlite3\.dump$"
)
#: Shorter docstrings say too little to be found by.
MIN_TEXT_CHARS = 50


def stdlib_passages() -> list[Passage]:
    """Passages of the running interpreter's standard library, sorted by id.

    Returns:
        About 3,500 passages; ``id`` is the qualified name (``"json.dumps"``).

    Raises:
        RuntimeError: the interpreter runs with ``-OO``, which strips docstrings.
    """
    if sys.flags.optimize >= 2:
        raise RuntimeError(
            "the pydocs domain reads docstrings, but this Python runs with -OO (PYTHONOPTIMIZE=2), "
            "which strips them: unset PYTHONOPTIMIZE and run again"
        )
    passages: dict[str, Passage] = {}
    seen: dict[int, str] = {}
    for name, module in _public_modules():
        for qualified, thing in _documented(name, module):
            if qualified in passages or id(thing) in seen:
                continue
            text = _clean(inspect.getdoc(thing) if not _inherits_doc(thing) else None)
            if len(text) < MIN_TEXT_CHARS:
                continue
            seen[id(thing)] = qualified
            passages[qualified] = Passage(qualified, qualified + _signature(thing), text)
    # one passage per distinct docstring (str, bytes and bytearray share dozens): shortest name wins
    kept: dict[str, Passage] = {}
    for passage in sorted(passages.values(), key=lambda p: (len(p.id), p.id)):
        kept.setdefault(passage.text, passage)
    return sorted(kept.values())


def _public_modules() -> Iterator[tuple[str, types.ModuleType]]:
    names = [n for n in sorted(sys.stdlib_module_names) if not n.startswith("_")]
    for name in ["builtins", *names]:
        if name in EXCLUDED_MODULES:
            continue
        module = _import(name)
        if module is None:
            continue
        yield name, module
        for info in sorted(_submodules(module), key=lambda found: found.name):
            if EXCLUDED_SUBMODULES.search(info.name):
                continue
            submodule = _import(info.name)
            if submodule is not None:
                yield info.name, submodule


def _submodules(module: types.ModuleType) -> list[pkgutil.ModuleInfo]:
    path = getattr(module, "__path__", None)
    if path is None:
        return []
    found = []
    for info in pkgutil.iter_modules(path, module.__name__ + "."):
        found.append(info)
        if info.ispkg and not EXCLUDED_SUBMODULES.search(info.name):
            package = _import(info.name)
            if package is not None:
                found += _submodules(package)
    return found


def _import(name: str) -> types.ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:  # built without an optional library
            return None


def _documented(name: str, module: types.ModuleType) -> Iterator[tuple[str, object]]:
    """Yield (qualified name, object) of the module, then of its own public classes and functions."""
    yield name, module
    public = getattr(module, "__all__", None)
    members = sorted(public) if public else [n for n in sorted(vars(module)) if n[0] != "_"]
    for member in members:
        thing = getattr(module, member, None)
        home = getattr(thing, "__module__", None) or name
        if not public and home.lstrip("_") != name.lstrip("_"):
            continue  # imported from elsewhere
        qualified = member if name == "builtins" else f"{name}.{member}"
        if inspect.isclass(thing):
            yield qualified, thing
            for attribute, value in sorted(vars(thing).items()):
                function = getattr(value, "__func__", value)
                if not attribute.startswith("_") and inspect.isroutine(function):
                    yield f"{qualified}.{attribute}", function
        elif inspect.isroutine(thing):
            yield qualified, thing


def _inherits_doc(thing: object) -> bool:
    """True for classes without a docstring of their own: getdoc would return a base's."""
    return inspect.isclass(thing) and not vars(thing).get("__doc__")


def _signature(thing: object) -> str:
    if isinstance(thing, types.ModuleType):
        return ""
    try:
        signature = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError):  # none, or one that inspect cannot parse
        return "()" if inspect.isroutine(thing) else ""
    # addresses, and objects whose repr differs between builds
    signature = signature.replace(repr(sys.executable), "sys.executable")
    signature = re.sub(r"<([\w.]+)[^<>]*>", r"<\1>", signature)
    return signature if len(signature) <= 160 else "(...)"


def _clean(doc: str | None) -> str:
    if not doc:
        return ""
    doc = re.sub(r" at 0x[0-9a-f]+", "", doc)
    lines = [line.rstrip() for line in doc.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
