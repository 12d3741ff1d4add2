"""However often work is killed and whatever shard is damaged, the rest of it gives the same bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from densespec.runtime.fingerprint import digest
from densespec.runtime.scratch import map_shards
from densespec.runtime.seeds import generator_for


class Killed(BaseException):
    pass


def compute(items):
    noise = [generator_for(item, "noise").random(2) for item in items]
    return {"vectors": np.array(noise, dtype=np.float32), "items": np.array(items)}


def work(folder, items, size, die_at=None):
    """All vectors, and how many shards were computed; dies when it comes to computing shard ``die_at``."""
    computed = 0

    def mortal(part):
        nonlocal computed
        if computed == die_at:
            raise Killed
        computed += 1
        return compute(part)

    shards = map_shards(folder, items, size, lambda part: digest("key", list(part)), mortal, "work")
    return b"".join(shard["vectors"].tobytes() + shard["items"].tobytes() for _, shard in shards), computed


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=20, unique=True),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.floats(0, 0.99)), max_size=4),
)
def test_a_resumed_run_gives_the_bytes_of_an_uninterrupted_one(tmp_path_factory, items, size, faults):
    folder = tmp_path_factory.mktemp("shards")
    whole, shards = work(tmp_path_factory.mktemp("whole"), items, size)
    assert shards == -(-len(items) // size)
    finished = 0
    for die_at, damaged, share in faults:
        try:
            work(folder, items, size, die_at)
        except Killed:
            finished = min(finished + die_at, shards)
        else:
            finished = shards
        files = sorted(folder.iterdir())
        assert len(files) == finished, "nothing half written, nothing lost"
        if damaged < len(files):
            path = files[damaged]
            path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
            resumed, again = work(folder, items, size)
            assert (resumed, again) == (whole, shards - finished + 1)
            finished = shards
    assert work(folder, items, size) == (whole, shards - finished)
