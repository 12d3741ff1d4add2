"""Starting a training in several processes."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from densespec.distillation import launch
from densespec.distillation.launch import is_first_process, start_processes
from densespec.errors import InputError


@pytest.fixture
def started(monkeypatch):
    """Command lines that would have replaced this process."""
    commands = []
    monkeypatch.setattr(launch, "die_with_parent", lambda: None)
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    monkeypatch.setattr(sys, "argv", ["distill.py", "--domain", "d"])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    return commands


def test_one_process_is_this_one(started):
    start_processes(1, "stages.distill")
    assert not started and is_first_process()


def test_several_are_started_by_torchrun_with_the_same_arguments(started):
    start_processes(2, "stages.distill")
    (command,) = started
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--nproc-per-node=2" in command
    assert command[-4:] == ["-m", "stages.distill", "--domain", "d"]


def test_a_started_process_starts_no_others(started, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    start_processes(2, "stages.distill")
    assert not started and not is_first_process()


def test_more_processes_than_gpus_are_refused(started, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="at most one process per GPU"):
        start_processes(3, "stages.distill")
