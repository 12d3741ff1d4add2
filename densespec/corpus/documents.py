"""A folder of Markdown, text and HTML files as passages: one per file, titled by what the file says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from densespec.corpus.readers import Row, plain_id
from densespec.errors import InputError
from densespec.io.jsonl import not_utf8

DOCUMENTS = (".md", ".markdown", ".txt", ".html", ".htm")
LINE_BREAK = b"\n"
#: A line of front matter: a name and its value.
NAMED = re.compile(r"^[\"'$@\w][^:=\n]{0,80}[:=]", re.MULTILINE)


def read_document(path: Path) -> str:
    """Text of a UTF-8 file with ``\\n`` as line break.

    Raises:
        InputError: unreadable, or not UTF-8 (with the line).
    """
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise InputError(
            path, expected="a readable file", found=error.strerror or str(error), remedy="check the path"
        ) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(LINE_BREAK) + 1
        raise not_utf8(path, line, raw, error.start, "file") from None


def folder_passages(folder: Path) -> tuple[Iterator[Row], Counter[str]]:
    """Documents below a folder, hidden files and folders left out; the id is the relative path.

    Returns:
        Rows in order of id, and suffix → number of the files that are not read.

    Raises:
        InputError: no readable document is there.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    documents = [path for path in files if path.suffix.lower() in DOCUMENTS]
    others = Counter(
        path.suffix.lower() or path.name for path in files if path.suffix.lower() not in DOCUMENTS
    )
    if not documents:
        there = ", ".join(f"{count} × {suffix}" for suffix, count in others.most_common(5))
        raise InputError(
            folder,
            expected=f"corpus.jsonl (BEIR), or {', '.join(DOCUMENTS)} files in it or below it",
            found=there or "no files",
            remedy="name the folder that holds the documents, or convert them",
        )
    return (_document_row(folder, path) for path in documents), others


def _document_row(folder: Path, path: Path) -> Row:
    text, suffix = read_document(path), path.suffix.lower()
    if suffix in (".html", ".htm"):
        title, body = html_text(text)
    elif suffix == ".txt":
        title, body = plain_text(text)
    else:
        title, body = markdown_text(text)
    name = plain_id(path.relative_to(folder).as_posix())
    return str(path), {"_id": name, "title": title or (path.stem if body else ""), "text": body}


def plain_text(text: str) -> tuple[str, str]:
    """Title and body of a plain text: a short first line is the title if more follows."""
    first, _, rest = text.strip().partition("\n")
    is_title = len(first) <= 120 and bool(rest.strip())
    return (first.strip(), rest.strip()) if is_title else ("", text.strip())


def markdown_text(text: str) -> tuple[str, str]:
    """Title and body of a Markdown document, without front matter and comments.

    The title is that of the front matter, else the first heading, which then leaves the body.
    """
    front = re.match(r"(---|\+\+\+)[ \t]*\n(.*?)(?<=\n)(?:\1|\.\.\.)[ \t]*(?:\n|$)", text, re.DOTALL)
    title = ""
    if front and (not front[2].strip() or NAMED.search(front[2])):  # else it opened with a rule
        text = text[front.end() :]
        named = re.search(r"^title\s*[:=]\s*(.+)$", front[2], re.MULTILINE)
        title = named[1].strip().strip("\"'").strip() if named else ""
    lines = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).strip().split("\n")
    heading = _first_heading(lines)
    if heading:
        begin, end, words = heading
        if not title or title.casefold() == words.casefold():
            title = words
            lines[begin:end] = []
    return title, _without_gaps(lines)


def _without_gaps(lines: Sequence[str]) -> str:
    """Lines joined, with at most one blank line in a row."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip())


def _first_heading(lines: Sequence[str]) -> tuple[int, int, str] | None:
    """First line, line after the last, and words of the first heading outside code."""
    fence = ""
    for number, line in enumerate(lines):
        mark = re.match(r" {0,3}(```+|~~~+)", line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            atx = re.match(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$", line)
            if atx and atx[1].strip():
                return number, number + 1, atx[1].strip()
            under = lines[number + 1] if number + 1 < len(lines) else ""
            if line.strip() and re.fullmatch(r" {0,3}(=+|-{2,})[ \t]*", under) and line[:1] not in "|-*>":
                return number, number + 2, line.strip()
    return None


def html_text(text: str) -> tuple[str, str]:
    """Title and body of an HTML page, without scripts, styles and navigation; blocks on their own lines.

    A page with a ``<main>`` is read inside it, and its first heading is the title; elsewhere the first
    heading is often the site's name, and ``<title>`` comes first.
    """
    page = _read_page(text, dropped=("nav", "template", "noscript", "svg"))
    if page.inside_dropped:  # a navigation that is never closed would swallow the rest
        page = _read_page(text, dropped=())
    title, heading = (" ".join("".join(part).split()) for part in (page.title, page.heading))
    main = "".join(page.body[page.main[0] : page.main[1]]) if page.main else ""
    lines = [line.rstrip() for line in (main.strip() or "".join(page.body).strip()).split("\n")]
    body = _without_gaps(lines)
    title = (heading or title) if main.strip() else (title or heading)
    first, _, rest = body.partition("\n")
    return title, rest.strip() if first.strip() == title else body


def _read_page(text: str, dropped: Sequence[str]) -> _Page:
    page = _Page(dropped=dropped)
    try:
        page.feed(text)
        page.close()
    except AssertionError:  # how Python's parser says that a declaration, such as "<![ and", is none
        page = _Page(dropped=dropped)
        page.feed(re.sub(r"<!(?!--|doctype\b)", "&lt;!", text, flags=re.IGNORECASE))
        page.close()
    return page


class _Page(HTMLParser):
    """Collects title, first heading and readable text."""

    HEADINGS = ("h1", "h2", "h3")
    PARAGRAPHS = (
        *HEADINGS,
        "h4",
        "h5",
        "h6",
        "article",
        "blockquote",
        "dl",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "ul",
    )
    LINES = (
        "address",
        "aside",
        "br",
        "dd",
        "details",
        "div",
        "dt",
        "figcaption",
        "footer",
        "header",
        "hr",
        "li",
        "main",
        "option",
        "summary",
        "tr",
    )

    def __init__(self, dropped: Sequence[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.heading: list[str] = []
        self.body: list[str] = []
        self.main: tuple[int, int | None] | None = None  # where the first <main> begins and ends in the body
        self.inside_dropped = 0
        self._dropped = dropped
        self._raw = ""  # script or style being read
        self._in_title = False
        self._heading_open = ""
        self._heading_done = False
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        if tag in ("script", "style"):
            self._raw = tag
        elif tag in self._dropped:
            self.inside_dropped += 1
        elif tag == "title" and not self.inside_dropped:
            self._in_title = not self.title
        elif tag in self.HEADINGS and not self._heading_done and not self.inside_dropped:
            self._heading_open = self._heading_open or tag
        elif tag == "main" and not self.main and not self.inside_dropped:
            self.main = (len(self.body), None)
            self.heading, self._heading_open, self._heading_done = [], "", False
        self._preformatted += tag == "pre"
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        if tag == self._raw:
            self._raw = ""
        elif tag in self._dropped:
            self.inside_dropped = max(self.inside_dropped - 1, 0)
        elif tag == "title":
            self._in_title = False
        elif tag == "main" and self.main and self.main[1] is None:
            self.main = (self.main[0], len(self.body))
        elif tag == self._heading_open:
            self._heading_open, self._heading_done = "", bool("".join(self.heading).strip())
        self._preformatted = max(self._preformatted - (tag == "pre"), 0)
        self._break(tag)

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._raw or self.inside_dropped:
            return
        if self._in_title:
            self.title.append(data)
            return
        if self._heading_open:
            self.heading.append(data)
        if not self._preformatted:
            data = re.sub(r"\s+", " ", data)
            if self._at_line_start():
                data = data.lstrip()
        self.body.append(data)

    def _break(self, tag: str) -> None:
        if self._raw or self.inside_dropped:
            return
        if tag in ("td", "th") and not self._last().endswith((" ", "\n")):
            self.body.append(" ")
        if tag in self.PARAGRAPHS:
            self.body.append("\n\n")
        elif tag in self.LINES and not self._at_line_start():
            self.body.append("\n")

    def _at_line_start(self) -> bool:
        return self._last().endswith("\n")

    def _last(self) -> str:
        return next((part for part in reversed(self.body) if part), "\n")
