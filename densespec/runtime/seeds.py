"""Random numbers that depend on what they are for, not on the order of the work."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(seed: int, *purpose: str) -> int:
    """A 32-bit seed from the run's seed and a purpose such as ("generate", passage id, kind)."""
    text = "\x1f".join((str(seed), *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def generator_for(seed: int, *purpose: str) -> np.random.Generator:
    """A NumPy generator seeded by :func:`seed_for`."""
    return np.random.default_rng(seed_for(seed, *purpose))
