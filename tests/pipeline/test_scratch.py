"""``map_shards``: whatever dies at whatever moment, the same arrays come out, and nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.runtime import scratch
from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import Shard, map_shards


class PowerCut(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Machine:
    """Computes shards, and dies before the n-th step; a step is a computation, a write or a rename."""

    def __init__(self) -> None:
        self.computed: Counter[str] = Counter()
        self.steps_left = -1

    def step(self) -> None:
        if self.steps_left == 0:
            raise PowerCut
        self.steps_left -= 1

    def key(self, chunk: Sequence[int]) -> str:
        return digest("numbers", list(chunk))

    def compute(self, chunk: Sequence[int]) -> Shard:
        self.step()
        self.computed[self.key(chunk)] += 1
        return {"squares": np.asarray(chunk) ** 2, "halves": np.asarray(chunk, dtype=np.float32) / 2}

    def run(self, folder: Path, items: list[int], size: int, steps: int = -1) -> list[tuple[slice, Shard]]:
        """All shards.

        Raises:
            PowerCut: after ``steps`` steps.
        """
        self.steps_left = steps
        fsync, replace = os.fsync, os.replace

        def dying_fsync(descriptor: int) -> None:
            self.step()
            fsync(descriptor)

        def dying_replace(source: Path, target: Path) -> None:
            self.step()
            replace(source, target)
            self.step()

        patches = {"fsync": dying_fsync, "replace": dying_replace}
        with mock.patch.multiple(os, **patches):
            return list(map_shards(folder, items, size, self.key, self.compute, ""))


def as_lists(shards: list[tuple[slice, Shard]]) -> list[tuple[slice, dict[str, list[float]]]]:
    return [(part, {name: array.tolist() for name, array in shard.items()}) for part, shard in shards]


ITEMS = st.lists(st.integers(-1000, 1000), max_size=40)
SIZES = st.integers(1, 9)
CUTS = st.lists(st.integers(0, 30), max_size=4)


@settings(deadline=None)
@given(items=ITEMS, size=SIZES, cuts=CUTS, data=st.data())
def test_power_cuts_and_damaged_shards(
    items: list[int], size: int, cuts: list[int], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as interrupted:
        expected = Machine().run(Path(whole), items, size)
        machine, folder, damaged = Machine(), Path(interrupted), Counter[str]()
        for steps in cuts:
            finished = [path for path in folder.glob("*.npz") if not damaged[path.stem]]
            before = [path.stat().st_ino for path in finished]
            with contextlib.suppress(PowerCut):
                machine.run(folder, items, size, steps)
            assert [path.stat().st_ino for path in finished] == before
            shards = sorted(folder.glob("*.npz"))
            if shards and data.draw(st.booleans(), label="damage"):
                shard = data.draw(st.sampled_from(shards), label="shard")
                keep = data.draw(st.integers(0, shard.stat().st_size - 1), label="bytes kept")
                shard.write_bytes(shard.read_bytes()[:keep])
                damaged[shard.stem] += 1
        assert as_lists(machine.run(folder, items, size)) == as_lists(expected)
        distinct = {path.name for path in Path(whole).iterdir()}
        assert {path.name for path in folder.iterdir()} == distinct  # no leftovers
        # each shard once, once more for damage, and at most one lost to each power cut
        repeated = sum(machine.computed.values()) - len(distinct) - sum(damaged.values())
        assert repeated <= len(cuts)


@settings(deadline=None)
@given(items=ITEMS, more=ITEMS, size=SIZES)
def test_shards_follow_their_content(items: list[int], more: list[int], size: int) -> None:
    """A corpus that grows at its end keeps its full shards; other parameters never meet old shards."""
    with tempfile.TemporaryDirectory() as name:
        machine, folder = Machine(), Path(name)
        machine.run(folder, items, size)
        before = sum(machine.computed.values())
        grown = machine.run(folder, [*items, *more], size)
        full, total = len(items) // size, -(-(len(items) + len(more)) // size)
        assert sum(machine.computed.values()) - before <= total - full
        squares = [number for _, shard in grown for number in shard["squares"].tolist()]
        assert squares == [number**2 for number in [*items, *more]]
        assert [part for part, _ in grown] == [
            slice(start, min(start + size, len(items) + len(more)))
            for start in range(0, len(items) + len(more), size)
        ]


def test_the_shards_of_a_run_are_not_held_in_memory() -> None:
    """They come one by one: the next is computed when it is asked for."""
    with tempfile.TemporaryDirectory() as name:
        machine = Machine()
        shards = map_shards(Path(name), range(6), 2, machine.key, machine.compute, "")
        next(shards)
        assert sum(machine.computed.values()) == 1
        shards.close()
        assert scratch.load_shard(Path(name) / f"{machine.key(range(2))}.npz") is not None
