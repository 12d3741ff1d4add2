"""Groups of like length against what they promise, text by text."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from densespec.retrieval.like_length import by_length

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def padded(lengths, left):
    """Features as a tokenizer pads them; each text's ids tell which text it is."""
    width = max(lengths)
    mask, ids = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width)
    for row, length in enumerate(lengths):
        cells = slice(width - length, None) if left else slice(length)
        mask[row, cells] = 1
        ids[row, cells] = torch.arange(length) + 100.0 * row
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": 3, "sizes": torch.tensor(lengths)}


@given(LENGTHS, st.booleans(), st.integers(1, 200), st.sampled_from([0.0, 0.1, 0.25, 0.9]))
def test_groups_hold_every_text_once_within_the_limits(lengths, left, tokens, padding):
    features = padded(lengths, left)
    groups = by_length(features, tokens=tokens, padding=padding)
    assert sorted(row for rows, _ in groups for row in rows.tolist()) == list(range(len(lengths)))
    in_order = [lengths[row] for rows, _ in groups for row in rows.tolist()]
    assert in_order == sorted(lengths)
    for rows, group in groups:
        mask = group["attention_mask"].bool()
        assert len(rows) == 1 or mask.numel() <= tokens
        assert len(rows) == 1 or mask.sum() >= mask.numel() * (1 - padding) - 1e-6
        assert mask.shape[1] == max(lengths[row] for row in rows.tolist())
        for row, ids, real in zip(rows.tolist(), group["input_ids"], mask, strict=True):
            assert ids[real].tolist() == [100 * row + place for place in range(lengths[row])]
        assert group["prompt_length"] == 3
        assert group["input_ids"].untyped_storage().nbytes() == group["input_ids"].nbytes  # no padding kept
        assert group["sizes"].tolist() == mask.sum(dim=1).tolist()


@given(LENGTHS)
def test_without_limits_there_is_one_group(lengths):
    ((rows, group),) = by_length(padded(lengths, left=False))
    assert len(rows) == len(lengths) and group["attention_mask"].shape[1] == max(lengths)


def test_a_text_without_tokens_has_a_column_of_its_own():
    empty = {"attention_mask": torch.zeros(2, 0, dtype=torch.long)}
    assert len(by_length(empty)) == 1
    ((_, group),) = by_length({"attention_mask": torch.zeros(2, 4, dtype=torch.long)})
    assert group["attention_mask"].shape == (2, 1)


def test_groups_hold_the_budget_with_padding_and_every_text_once():
    lengths = [3, 50, 7, 7, 20, 1, 9, 30]
    groups = reversed(by_length(padded(lengths, left=False), tokens=40))
    batches = [rows.tolist() for rows, _ in groups]
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert all(len(rows) * max(lengths[row] for row in rows) <= 40 for rows in batches if len(rows) > 1)
    assert batches[0] == [1]
