"""Scratch: the lock against a second process, shards that are found again, seeds, progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.runtime import scratch
from densespec.runtime.progress import progress, say
from densespec.runtime.scratch import locked_scratch, map_shards, scratch_root
from densespec.runtime.seeds import generator_for, seed_for

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys, time
from densespec.runtime.scratch import locked_scratch
with locked_scratch("mine", "tiny"):
    print("locked", flush=True)
    time.sleep(60)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {HOLDER!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DENSESPEC_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(scratch, "die_with_parent", lambda: None)
    return tmp_path / "shards"


def start(program):
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return process, process.stdout.readline().strip()


def test_scratch_lies_in_the_main_repository_also_in_temporary_experiments(monkeypatch, tmp_path):
    assert scratch_root() == tmp_path / "scratch"
    monkeypatch.delenv("DENSESPEC_SCRATCH")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert scratch_root() == Path(".densespec/scratch")
    monkeypatch.setenv("DVC_ROOT", "/repo")
    assert scratch_root() == Path("/repo/.densespec/scratch")


def test_a_second_process_is_refused_until_the_first_ends():
    process, said = start(HOLDER)
    try:
        assert said == "locked"
        with pytest.raises(InputError) as caught:
            with locked_scratch("mine", "tiny"):
                pytest.fail("entered a locked folder")
        assert f"process {process.pid} holds the lock" in caught.value.found
        assert "stage 'mine' of domain 'tiny'" in caught.value.expected
        with locked_scratch("mine", "other"), locked_scratch("score", "tiny"):
            pass  # other work is not held up
    finally:
        process.kill()
        process.communicate()
    with locked_scratch("mine", "tiny") as found:
        assert found == scratch_root() / "mine" / "tiny"
        assert (found / "lock").read_text() == str(os.getpid())


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_stage_ends_with_its_parent():
    parent, said = start(PARENT)
    child = int(said)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the stage outlived its parent")
    with locked_scratch("mine", "tiny"):
        pass


def squares(items):
    return {"values": np.array([n * n for n in items]), "count": np.array(len(items))}


def key(items):
    return "-".join(map(str, items))


def collect(folder, items, compute=squares, size=3):
    """Values of all shards, and what was computed for them."""
    computed = []

    def counted(part):
        computed.append(list(part))
        return compute(part)

    shards = [(part, shard) for part, shard in map_shards(folder, items, size, key, counted, "work")]
    assert [n for part, _ in shards for n in items[part]] == list(items)
    values = [value for _, shard in shards for value in shard["values"].tolist()]
    return values, computed


def test_shards_are_computed_once(folder):
    assert collect(folder, range(7)) == ([0, 1, 4, 9, 16, 25, 36], [[0, 1, 2], [3, 4, 5], [6]])
    assert collect(folder, range(7)) == ([0, 1, 4, 9, 16, 25, 36], [])


def test_only_what_is_new_is_computed(folder):
    collect(folder, [0, 1, 2, 3, 4, 5])
    assert collect(folder, [3, 4, 5, 9, 1, 2, 0, 1, 2])[1] == [[9, 1, 2]]


def test_nothing_to_do(folder):
    assert collect(folder, []) == ([], [])


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, -1], ids=str)
def test_a_damaged_shard_is_computed_again(folder, keep):
    values, _ = collect(folder, range(6))
    path = folder / "3-4-5.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    assert collect(folder, range(6)) == (values, [[3, 4, 5]])
    assert path.read_bytes() == whole
    assert collect(folder, range(6)) == (values, [])


def test_a_shard_with_a_flipped_byte_is_computed_again(folder):
    values, _ = collect(folder, range(3))
    path = folder / "0-1-2.npz"
    whole = path.read_bytes()
    place = whole.index(np.arange(3).tobytes()[8:16] + (4).to_bytes(8, "little"))
    path.write_bytes(whole[:place] + b"\x07" + whole[place + 1 :])
    assert collect(folder, range(3)) == (values, [[0, 1, 2]])


def test_a_shard_of_objects_is_not_unpickled(folder):
    folder.mkdir()
    np.savez(folder / "0-1-2.npz", allow_pickle=True, values=np.array([{}], dtype=object))
    assert collect(folder, range(3)) == ([0, 1, 4], [[0, 1, 2]])


def test_what_was_finished_before_a_failure_is_kept(folder):
    def fails_at_four(items):
        if 4 in items:
            raise KeyboardInterrupt
        return squares(items)

    with pytest.raises(KeyboardInterrupt):
        collect(folder, range(9), fails_at_four)
    assert sorted(path.name for path in folder.iterdir()) == ["0-1-2.npz"]
    assert collect(folder, range(9))[1] == [[3, 4, 5], [6, 7, 8]]


def test_memory_holds_one_shard_at_a_time(folder):
    computed = []

    def counted(items):
        computed.append(items[0])
        return squares(items)

    shards = map_shards(folder, range(9), 3, key, counted, "work")
    next(shards)
    assert computed == [0]


def test_what_is_found_equals_what_was_computed_in_type_and_shape(folder):
    arrays = {
        "tokens": np.ones((2, 3), np.float16),
        "ends": np.array([1, 2], np.int64),
        "none": np.zeros((0, 4), np.float32),
        "text": np.array(["a", "ü"]),
    }
    for _ in range(2):
        ((part, shard),) = map_shards(folder, [0], 1, key, lambda items: arrays, "work")
        assert part == slice(0, 1)
        for name, array in arrays.items():
            assert shard[name].dtype == array.dtype and shard[name].shape == array.shape
            np.testing.assert_array_equal(shard[name], array)


def test_progress_and_words_go_to_standard_error(capsys):
    with progress("encode", 5) as advance:
        advance(5)
    say("done")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "encode: 100%" in captured.err and captured.err.endswith("done\n")


def test_seeds_depend_on_what_they_are_for():
    assert seed_for(1, "split", "a") == seed_for(1, "split", "a")
    purposes = [(1,), (2,), (1, "a"), (1, "b"), (1, "a", "b"), (1, "ab"), (1, "b", "a")]
    assert len({seed_for(*purpose) for purpose in purposes}) == len(purposes)
    assert all(0 <= seed_for(*purpose) < 2**32 for purpose in purposes)
    assert seed_for(1, "split") == 123110849, "seeds must be the same on every machine and version"


def test_generators_of_one_purpose_agree():
    first, second = (generator_for(7, "audit").integers(0, 100, 20) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (generator_for(7, "other").integers(0, 100, 20) != first).any()
