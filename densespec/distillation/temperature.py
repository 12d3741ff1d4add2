"""Temperatures: teacher and student should be equally sure of their lists.

A teacher's softmax that is much sharper or flatter than the student's makes the KL term change the
scale of the similarities instead of their order. τ_t is therefore chosen so that the mean entropy of
the teacher's softmax over the dev lists equals the student's at τ_s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def mean_entropy(lists: Sequence[Array], temperature: float) -> float:
    """Mean entropy in nats of softmax(scores / temperature) over lists of scores (candidates,)."""
    entropies = []
    for scores in lists:
        logits = np.asarray(scores, dtype=np.float64) / temperature
        logits -= logits.max()
        weights = np.exp(logits)
        total = weights.sum()
        entropies.append(float(np.log(total) - (weights * logits).sum() / total))
    return float(np.mean(entropies))


def matching_temperature(teacher: Sequence[Array], entropy: float) -> float:
    """Temperature at which the teacher's mean entropy over the lists equals ``entropy``.

    Entropy rises with temperature, so bisection on a logarithmic scale finds it.

    Args:
        teacher: scores (candidates,) per list.
        entropy: the target in nats, for example the student's.

    Returns:
        The temperature, from 1e-4 to 1e3; an end of that range where even that does not reach the target.
    """
    low, high = 1e-4, 1e3
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        if mean_entropy(teacher, middle) < entropy:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))


def temperatures_of(
    student: Sequence[Array], teacher: Sequence[Array], student_temperature: float, given: float | None
) -> dict[str, float]:
    """Temperatures of a training, and what they make of the dev lists.

    Args:
        student: cosines (candidates,) per dev list.
        teacher: calibrated scores (candidates,) per dev list.
        student_temperature: τ_s.
        given: τ_t; None takes the matching one.

    Returns:
        ``student``, ``teacher`` (in use), ``teacher_matched``, and the mean entropies ``student_entropy``
        and ``teacher_entropy`` in nats.
    """
    entropy = mean_entropy(student, student_temperature)
    matched = matching_temperature(teacher, entropy)
    used = matched if given is None else given
    return {
        "student": student_temperature,
        "teacher": used,
        "teacher_matched": matched,
        "student_entropy": entropy,
        "teacher_entropy": mean_entropy(teacher, used),
    }
