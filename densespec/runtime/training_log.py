"""What a trainer of transformers logs: passed on as it comes, and read back as a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback


class Report(TrainerCallback):  # type: ignore[misc]
    """Passes every logged number on, with its step."""

    def __init__(self, log: Callable[[dict[str, float], int], None]) -> None:
        self.log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Called by the trainer."""
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        self.log(numbers, state.global_step)


def dev_curve(
    history: Sequence[Mapping[str, Any]], names: Mapping[str, str], decisive: str
) -> list[dict[str, float]]:
    """One row per dev evaluation, in order of their steps.

    Args:
        history: the trainer's ``log_history``.
        names: name in the history → name in a row.
        decisive: the row's name without which a step was no dev evaluation.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        row = rows.setdefault(int(entry["step"]), {"step": float(entry["step"])})
        row.update({ours: float(entry[theirs]) for theirs, ours in names.items() if theirs in entry})
    return [rows[step] for step in sorted(rows) if decisive in rows[step]]
