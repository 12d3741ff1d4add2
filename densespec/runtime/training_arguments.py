"""What all trainings by a trainer of transformers have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def shared_arguments(
    checkpoints: Path,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    warmup_share: float,
    eval_steps: int,
    metric: str,
    seed: int,
) -> dict[str, Any]:
    """Arguments of a training that evaluates, saves and logs at the same steps, and can go on from each.

    Args:
        checkpoints: folder of this training's checkpoints.
        steps: optimisation steps, at most.
        learning_rate: peak.
        weight_decay: AdamW's.
        warmup_share: of the steps.
        eval_steps: steps between dev evaluations.
        metric: that picks the weights: ``eval_loss``, or one of which more is better.
        seed: of everything random.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(checkpoints),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_steps": round(warmup_share * steps),
        "max_grad_norm": 1.0,
        "eval_strategy": "steps",
        "eval_steps": eval_steps,
        "save_strategy": "steps",
        "save_steps": eval_steps,
        "save_total_limit": 2,
        "logging_steps": eval_steps,
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": metric != "eval_loss",
        "restore_callback_states_from_checkpoint": True,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "seed": seed,
        "data_seed": seed,
        "report_to": [],
        "disable_tqdm": False,  # off by default at the log level that quiet_libraries sets
        "remove_unused_columns": False,
    }
