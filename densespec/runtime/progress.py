"""Progress on long work: a tqdm bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show progress on standard error; yields a function that takes the number of items just done.

    Without a label nothing is shown: work inside other work.
    """
    from tqdm import tqdm

    interval = 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(
        total=total, desc=label, mininterval=interval, dynamic_ncols=True, disable=not label
    ) as bar:
        yield bar.update


def say(message: str) -> None:
    """One line for the user, on standard error, at once."""
    print(message, file=sys.stderr, flush=True)
