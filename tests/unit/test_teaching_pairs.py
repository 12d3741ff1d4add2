"""What all models that score pairs share: distinct pairs, batches, memory, shards, devices."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from densespec.errors import InputError
from densespec.teaching import pairs as module
from densespec.teaching.pairs import PairModel, pair_scores

PASSAGES = ["a bb ccc", "dd", "e " * 30, "dd", "f g h i j"]
QUERIES = ["one", "two words", "one", "nothing", "a longer query of words"]
CANDIDATES = [[0, 1, 2], [2, 3, 4, 1], [1, 0, 4, 3], [], [4]]
#: (query, passage) texts that differ: 'one' has four, 'two words' three, the long one one.
DISTINCT = 8

NO_MEMORY = torch.OutOfMemoryError("as a device would")


class Counting:
    """A model whose score depends on every token; it writes down the batches it was given."""

    def __init__(self, largest=10**9, replicas=1, error=NO_MEMORY):
        self.batches, self.largest, self.error = [], largest, error
        self.model = PairModel(range(replicas), self.tokenise, self.score, ["counting"])

    def tokenise(self, queries, passages):
        return [
            {"input_ids": [len(word) for word in f"{query} {passage}".split()]}
            for query, passage in zip(queries, passages, strict=True)
        ]

    def score(self, replica, tokens):
        lengths = [len(pair["input_ids"]) for pair in tokens]
        if max(lengths) * len(lengths) > self.largest:
            raise self.error
        self.batches.append(lengths)
        return np.float32([sum(n * t for n, t in enumerate(pair["input_ids"], 1)) for pair in tokens])


def expected():
    words = [[f"{query} {PASSAGES[row]}".split() for row in rows] for query, rows in
             zip(QUERIES, CANDIDATES, strict=True)]  # fmt: skip
    return [[sum(n * len(word) for n, word in enumerate(pair, 1)) for pair in pairs] for pairs in words]


def check(scores):
    for found, wanted in zip(scores, expected(), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


def score(model, folder, batch_tokens=64, passages=PASSAGES):
    return pair_scores(
        model.model, passages, QUERIES, CANDIDATES, folder, batch_tokens=batch_tokens, label="test"
    )


@pytest.mark.parametrize("shard", [1, 2, 16])
@pytest.mark.parametrize("batch_tokens", [8, 40, 10**6])
def test_each_distinct_pair_is_scored_once_within_the_budget(tmp_path, monkeypatch, shard, batch_tokens):
    monkeypatch.setattr(module, "SHARD_QUERIES", shard)
    model = Counting()
    check(score(model, tmp_path, batch_tokens))
    assert sum(len(batch) for batch in model.batches) == DISTINCT
    assert all(len(batch) * max(batch) <= batch_tokens for batch in model.batches if len(batch) > 1)
    if batch_tokens == 10**6:
        assert len(model.batches) == -(-3 // shard), "one batch per shard of three distinct queries"


def test_a_batch_may_be_of_one_query_only(tmp_path):
    model = Counting()
    model.model = model.model._replace(by_query=True)
    check(score(model, tmp_path, 10**6))
    assert sorted(len(batch) for batch in model.batches) == [1, 3, 4]


def test_finished_shards_are_found_again_until_something_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model = Counting()

    def scored(**changes):
        model.batches.clear()
        scores = score(model, tmp_path, **changes)
        return sum(len(batch) for batch in model.batches), scores

    assert scored()[0] == DISTINCT
    again, scores = scored()
    assert again == 0
    check(scores)
    assert scored(passages=["other", *PASSAGES[1:]])[0] == 4, "the pairs of the query that lists it"
    model.model = model.model._replace(setting=["other weights"])
    assert scored()[0] == DISTINCT
    assert scored(batch_tokens=63)[0] == DISTINCT


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model = Counting()
    whole = model.model

    def killed(replica, tokens):
        if len(model.batches) == 1:
            raise KeyboardInterrupt
        return whole.score(replica, tokens)

    model.model = whole._replace(score=killed)
    with pytest.raises(KeyboardInterrupt):
        score(model, tmp_path, 10**6)
    assert [len(batch) for batch in model.batches] == [4], "the first query was finished"
    model.model = whole
    check(score(model, tmp_path, 10**6))
    assert [len(batch) for batch in model.batches] == [4, 3, 1]


@pytest.mark.parametrize(
    "error",
    [
        NO_MEMORY,
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_what_memory_does_not_hold_is_halved_for_good(tmp_path, monkeypatch, capsys, error):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model = Counting(largest=70, error=error)
    check(score(model, tmp_path, 10**6))
    assert sum(len(batch) for batch in model.batches) == DISTINCT
    # 'one' has pairs of 31, 6, 4 and 2 tokens: 4 × 31 is too much, 2 × 31 is not
    assert [len(batch) for batch in model.batches[:2]] == [2, 2]
    assert capsys.readouterr().err.count("out of memory: batches of at most 62 tokens") == 1
    assert all(len(batch) * max(batch) <= 62 for batch in model.batches)


def test_other_errors_of_a_model_are_not_taken_for_memory(tmp_path):
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        score(Counting(largest=0, error=RuntimeError("The sizes of tensors must match")), tmp_path)


def test_a_pair_that_memory_does_not_hold_is_the_users_to_solve(tmp_path):
    with pytest.raises(InputError, match="one pair of 32 tokens"):
        score(Counting(largest=31), tmp_path, 32)


def test_devices_share_the_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model, seen, meeting = Counting(replicas=2), set(), threading.Barrier(2, timeout=60)
    plain = model.model.score

    def wait_for_each_other(replica, tokens):
        if replica not in seen:
            seen.add(replica)
            meeting.wait()
        return plain(replica, tokens)

    model.model = model.model._replace(score=wait_for_each_other)
    check(score(model, tmp_path, 40))
    assert seen == {0, 1}
    assert sum(len(batch) for batch in model.batches) == DISTINCT


def test_shards_are_the_same_for_any_number_of_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    check(score(Counting(replicas=3), tmp_path))
    other = Counting()
    check(score(other, tmp_path))
    assert other.batches == []


def test_damaged_shards_are_scored_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    check(score(Counting(), tmp_path))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    model = Counting()
    check(score(model, tmp_path))
    assert sum(len(batch) for batch in model.batches) == DISTINCT


def test_the_next_shard_is_tokenised_while_one_is_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model, second = Counting(), threading.Event()
    plain = model.model

    def tokenise(queries, passages):
        if "two words" in queries:
            second.set()
        return plain.tokenise(queries, passages)

    def after_the_second(replica, tokens):
        assert second.wait(60)
        return plain.score(replica, tokens)

    model.model = plain._replace(tokenise=tokenise, score=after_the_second)
    check(score(model, tmp_path))


def test_tokenising_is_one_threads_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model, busy = Counting(replicas=3), threading.Lock()
    plain = model.model.tokenise

    def alone(queries, passages):
        assert busy.acquire(blocking=False)
        time.sleep(0.05)
        busy.release()
        return plain(queries, passages)

    model.model = model.model._replace(tokenise=alone)
    check(score(model, tmp_path))


def test_an_error_on_one_device_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model = Counting(largest=31, replicas=2)
    with pytest.raises(InputError, match="a single pair"):
        score(model, tmp_path, 32)


def test_an_interruption_stops_a_shard_within_a_batch(tmp_path, monkeypatch):
    """A batch of the first shard fails after one of the second: the second's other pairs are not scored."""
    monkeypatch.setattr(module, "SHARD_QUERIES", 1)
    model, second, ended = Counting(replicas=2), threading.Event(), threading.Event()
    plain, batches = model.model.score, []

    class Ended(threading.Event):
        def set(self):
            super().set()
            ended.set()

    monkeypatch.setattr(module, "threading", SimpleNamespace(Event=Ended, Lock=threading.Lock))

    def score_one(replica, tokens):
        query = tokens[0]["input_ids"][:2]
        batches.append(query)
        if query == [3, 5]:  # 'two words'
            second.set()
            assert ended.wait(60)
        elif query[0] == 3:
            assert second.wait(60)
            raise KeyboardInterrupt
        return plain(replica, tokens)

    model.model = model.model._replace(score=score_one)
    with pytest.raises(KeyboardInterrupt):
        score(model, tmp_path, 1)
    assert batches.count([3, 5]) == 1, "of its three pairs"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_with_its_pair_and_not_kept(tmp_path, value):
    model = Counting()
    plain = model.model.score
    damaged = lambda replica, tokens: np.where(  # noqa: E731  of 'two words' and 'dd'
        [pair["input_ids"] == [3, 5, 2] for pair in tokens], np.float32(value), plain(replica, tokens)
    )
    model.model = model.model._replace(score=damaged)
    ids = {"query_ids": ["q0", "q1", "q2", "q3", "q4"], "passage_ids": ["p0", "p1", "p2", "p3", "p4"]}
    with pytest.raises(InputError, match=rf"{value} for query 'q1' and passage 'p1'(?s:.*)float32"):
        pair_scores(
            model.model, PASSAGES, QUERIES, CANDIDATES, tmp_path, batch_tokens=64, label="test", **ids
        )
    with pytest.raises(InputError, match="query 'two words' and passage 'dd'"):
        score(model, tmp_path)
    model.model = model.model._replace(score=plain)
    check(score(model, tmp_path))
