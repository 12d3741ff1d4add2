"""The page: sections in their order, one file, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from densespec.reporting.markup import Html, join, tag
from densespec.reporting.script import SCRIPT
from densespec.reporting.style import STYLE


def page(domain: str, title: str, top: Sequence[Html], sections: Sequence[tuple[str, str, str, Html]]) -> str:
    """One self-contained HTML document.

    Args:
        domain: name of the domain.
        title: what its corpus is; may be empty.
        top: what stands above the first section: the verdict and what goes with it.
        sections: anchor, name in the navigation, title and content of each section.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", f"{domain}: retrieval report"),
        tag("style", Html(STYLE)),
    )
    links = [tag("a", "Verdict", href="#verdict")]
    links += [tag("a", name, href=f"#{anchor}") for anchor, name, _, _ in sections]
    body = tag(
        "body",
        tag("nav", tag("div", *links), aria_label="Sections"),
        tag(
            "header",
            tag("div", tag("h1", f"Retrieval on {domain}"), tag("div", title, cls="soft") if title else None),
            cls="top",
        ),
        tag(
            "main",
            *top,
            *(
                tag("section", tag("h2", heading), content, id=anchor)
                for anchor, _, heading, content in sections
            ),
        ),
        tag("footer", "Written by densespec. The same inputs give the same bytes."),
        tag("script", Html(SCRIPT)),
    )
    return join([Html("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n"])
