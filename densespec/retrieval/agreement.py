"""How alike two scorers rank the same candidates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def kendall_tau(one: Array, other: Array) -> float:
    """Kendall's τ-b (Biometrika 1945) of two scorings (candidates,), from -1 to 1.

    Returns:
        NaN where one of them scores all candidates alike, or there are fewer than two.
    """
    signs = [np.sign(values[:, None] - values[None, :]).ravel() for values in (one, other)]
    untied = np.sqrt(np.prod([float(sign @ sign) for sign in signs]))
    return float(signs[0] @ signs[1]) / float(untied) if untied else math.nan
