"""Answers of a language model: what is asked, what is kept, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.runtime.answers import Answer, Answers, Unfinished


class Model:
    """Answers with the request's length; ``asked`` holds what it was asked, call by call."""

    def __init__(self):
        self.asked = []

    def __call__(self, requests):
        self.asked.append(list(requests))
        return [Answer(str(len(request)), len(request), 2) for request in requests]


def test_what_is_kept_is_not_asked_again(tmp_path):
    model = Model()
    answers = Answers(tmp_path, ["m"], model)
    assert [given.text for given in answers(["a", "bb", "a"])] == ["1", "2", "1"]
    answers(["bb", "ccc"])
    assert model.asked == [["a", "bb"], ["ccc"]]
    answers([])
    again = Answers(tmp_path, ["m"], model, shard_size=1)
    assert [given.text for given in again(["ccc", "dddd", "bb", "eeeee"])] == ["3", "4", "2", "5"]
    assert model.asked[2:] == [["dddd"], ["eeeee"]]
    Answers(tmp_path, ["another"], model)(["a"])
    assert model.asked[4:] == [["a"]]


def test_usage_counts_each_answer_that_was_given_whenever_it_was_bought(tmp_path):
    Answers(tmp_path, [], Model())(["a", "bb", "ccc"])
    answers = Answers(tmp_path, [], Model())
    assert answers.usage() == {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}
    answers(["bb"])
    answers(["bb", "dddd"])
    assert answers.usage() == {"requests": 2, "prompt_tokens": 6, "completion_tokens": 4}


def test_the_time_of_an_answer_counts_once_however_often_it_is_given(tmp_path):
    answers = Answers(tmp_path, [], Model())
    given = answers(["a", "a", "bb", "a"])
    assert answers.seconds() == pytest.approx(given[0].seconds + given[2].seconds) and given[0].seconds > 0


def test_a_killed_run_loses_the_shard_in_work_alone(tmp_path):
    model = Model()

    def dies(requests):
        if "ccc" in requests:
            raise KeyboardInterrupt
        return model(requests)

    with pytest.raises(KeyboardInterrupt):
        Answers(tmp_path, [], dies, shard_size=2)(["a", "bb", "ccc", "dddd"])
    answers = Answers(tmp_path, [], model, shard_size=2)
    assert [given.text for given in answers(["a", "bb", "ccc", "dddd"])] == ["1", "2", "3", "4"]
    assert model.asked == [["a", "bb"], ["ccc", "dddd"]]


@pytest.mark.parametrize("lost", [{"bb"}, {"a", "bb", "ccc"}])
def test_answers_before_a_failure_for_good_are_not_asked_again(tmp_path, lost):
    model = Model()

    def fails(requests):
        failure = InputError("there", expected="an answer", found="none", remedy="again")
        raise Unfinished(failure, [None if each in lost else model([each])[0] for each in requests])

    requests = ["a", "bb", "ccc"]
    with pytest.raises(InputError, match=r"there\n.*an answer\n.*none\n.*again"):
        Answers(tmp_path, [], fails)(requests)
    model.asked.clear()
    answers = Answers(tmp_path, [], model)
    assert [given.text for given in answers(requests)] == ["1", "2", "3"]
    assert model.asked == [sorted(lost)]
    assert answers.usage() == {"requests": 3, "prompt_tokens": 6, "completion_tokens": 6}


def test_texts_come_out_of_shards_as_they_went_in(tmp_path):
    said = ["  だ?  ", "", "zwei\nZeilen", "half \ud83d of a pair", "\nnichts"]
    for _ in range(2):
        answers = Answers(tmp_path, [], lambda requests: [Answer(said[n], 1, 2) for n in requests])
        given = answers(range(5))
        assert [one.text for one in given] == ["だ?", "", "zwei\nZeilen", "half ? of a pair", "nichts"]
        assert len({one.seconds for one in given}) == 1 and given[0].seconds > 0


def test_an_answer_is_cut_unless_a_line_break_made_its_last_line_whole(tmp_path):
    said = [Answer("a wh", 1, 12, cut=True), Answer("a whole line\n", 1, 12, cut=True), Answer("whole", 1, 2)]
    for _ in range(2):
        given = Answers(tmp_path, [], lambda requests: [said[n] for n in requests])(range(3))
        assert [one.cut for one in given] == [True, False, False]


def test_shards_of_earlier_versions_are_passed_over(tmp_path):
    np.savez(tmp_path / "old.npz", key=["k"], text=["t"], tokens=[[1, 2]], seconds=[1.0])
    assert [given.text for given in Answers(tmp_path, [], Model())(["a"])] == ["1"]
