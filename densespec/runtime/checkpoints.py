"""Checkpoints of a training: which are whole, and whether anything is left to train."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sentence_transformers.util import get_world_size
from torch import distributed
from transformers import TrainerCallback, TrainerState

from densespec.errors import InputError
from densespec.io.jsonl import read_json, write_json

#: Written last into a checkpoint: name and size of its files. One without it, or with files missing,
#: is the leftover of a process killed while it wrote or deleted that checkpoint.
COMPLETE = "complete"


class MarkComplete(TrainerCallback):  # type: ignore[misc]
    """Writes the mark into a checkpoint that all processes have written."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after a checkpoint."""
        if get_world_size() > 1:
            distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(folder / COMPLETE, _sizes(folder))


def last_complete(checkpoints: Path) -> tuple[str | None, TrainerState | None]:
    """The newest checkpoint that is complete, as is the best one it refers to; others are removed."""
    complete = {}
    for folder in checkpoints.glob("checkpoint-*"):
        if _is_complete(folder):
            complete[int(folder.name.split("-")[1])] = folder
        else:
            shutil.rmtree(folder)
    for step in sorted(complete, reverse=True):
        state = TrainerState.load_from_json(str(complete[step] / "trainer_state.json"))
        if state.best_global_step is None or state.best_global_step in complete:
            return str(complete[step]), state
        shutil.rmtree(complete[step])
    return None, None


def is_finished(state: TrainerState, total: int, patience: int) -> bool:
    """Whether nothing is left to train; the trainer itself would go on after an early stop."""
    stopping = state.stateful_callbacks.get("EarlyStoppingCallback", {}).get("attributes", {})
    stopped = int(stopping.get("early_stopping_patience_counter", 0)) >= patience
    return stopped or int(state.global_step) >= total


def _is_complete(folder: Path) -> bool:
    try:
        return bool(read_json(folder / COMPLETE).items() <= _sizes(folder).items())
    except InputError:
        return False


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
