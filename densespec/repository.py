"""Where the repository is, for commands that run from any folder inside it."""

from __future__ import annotations

import os
from pathlib import Path


def repository_root() -> Path:
    """The main repository: ``$DVC_ROOT``, else the nearest folder above with ``.dvc`` or ``.git``.

    DVC sets ``DVC_ROOT`` for a stage's command, also in ``--temp`` experiments, where the working
    folder is a copy below the main repository's ``.dvc/tmp`` that is deleted afterwards.

    Returns:
        The working folder where neither is found.
    """
    configured = os.environ.get("DVC_ROOT")
    if configured:
        return Path(configured).resolve()
    start = Path().resolve()
    if ".dvc" in start.parts:
        start = Path(*start.parts[: start.parts.index(".dvc")])
    for marker in (".dvc", ".git"):
        for folder in (start, *start.parents):
            if (folder / marker).exists():
                return folder
    return start
