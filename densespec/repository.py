"""Where the repository is, for commands that run from any folder inside it."""

from __future__ import annotations

import os
from pathlib import Path


def repository_root(start: Path | None = None) -> Path:
    """The main repository: ``$DVC_ROOT``, else the nearest folder above with ``.dvc`` or ``.git``.

    DVC sets ``DVC_ROOT`` for a stage's command, also in ``--temp`` experiments, where the working
    folder is a copy below the main repository's ``.dvc/tmp`` that is deleted afterwards.

    Args:
        start: folder to look from; the working folder if None. Returned when nothing is found.
    """
    configured = os.environ.get("DVC_ROOT")
    if configured and start is None:
        return Path(configured).resolve()
    start = (start or Path()).resolve()
    if ".dvc" in start.parts:
        start = Path(*start.parts[: start.parts.index(".dvc")])
    for marker in (".dvc", ".git"):
        for folder in (start, *start.parents):
            if (folder / marker).exists():
                return folder
    return start
