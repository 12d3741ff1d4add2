"""The loss against a slow reference: query by query, in float64 NumPy, gradients from the formulas."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from densespec.distillation import loss
from densespec.distillation.loss import ListBatch, distillation_loss
from densespec.distillation.objective import TrainingLists
from densespec.distillation.temperature import matching_temperature, mean_entropy

torch.set_num_threads(1)


class Case(NamedTuple):
    """Lists of some queries: passages, teacher scores and the positive's place of each.

    ``relevant`` are the passages known to answer each, in its list or not; empty for none.
    """

    lists: list[list[int]]
    scores: list[list[float]]
    positive: list[int]
    passages: int
    seed: int
    relevant: list[list[int]] = []  # noqa: RUF012


@st.composite
def cases(draw, longest=6):
    passages = draw(st.integers(1, 9))  # few: lists overlap heavily
    score = st.one_of(st.integers(-3, 12).map(lambda n: n / 10), st.floats(-0.5, 1.5))
    lists = draw(
        st.lists(
            st.lists(st.integers(0, passages - 1), min_size=1, max_size=longest, unique=True),
            min_size=1, max_size=6,
        )
    )  # fmt: skip
    scores = [draw(st.lists(score, min_size=len(rows), max_size=len(rows))) for rows in lists]
    positive = [draw(st.integers(0, len(rows) - 1)) for rows in lists]
    known = st.lists(st.integers(0, passages - 1), max_size=3, unique=True)
    relevant = draw(st.one_of(st.just([]), st.lists(known, min_size=len(lists), max_size=len(lists))))
    return Case(lists, scores, positive, passages, draw(st.integers(0, 2**31)), relevant)


class Terms(NamedTuple):
    student_temperature: float = 0.05
    teacher_temperature: float = 0.3
    kl_weight: float = 1.0
    infonce_weight: float = 0.1
    infonce_temperature: float = 0.01
    mask_ratio: float = 0.6


terms = st.builds(
    Terms,
    student_temperature=st.sampled_from([0.02, 0.05, 1.0]),
    teacher_temperature=st.sampled_from([0.01, 0.1, 0.3, 2.0]),
    kl_weight=st.sampled_from([0.0, 1.0, 0.7]),
    infonce_weight=st.sampled_from([0.0, 0.1, 1.0]),
    infonce_temperature=st.sampled_from([0.01, 0.05, 1.0]),
    mask_ratio=st.sampled_from([0.3, 0.6, 0.95, 2.0]),
)


def softmax(values):
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def log_softmax(values):
    top = max(values)
    total = top + math.log(sum(math.exp(value - top) for value in values))
    return [value - total for value in values]


def vectors(case):
    random = np.random.default_rng(case.seed)
    made = [random.normal(size=(rows, 5)) for rows in (len(case.lists), case.passages)]
    return [v / np.linalg.norm(v, axis=1, keepdims=True) for v in made]


def reference(case: Case, terms: Terms):
    """Loss, its two terms, and the gradients for the queries' and the passages' vectors."""
    queries, passages = vectors(case)
    to_queries, to_passages = np.zeros_like(queries), np.zeros_like(passages)
    kl = infonce = 0.0
    count = len(case.lists)

    def flow(query, row, gradient):
        to_queries[query] += gradient / count * passages[row]
        to_passages[row] += gradient / count * queries[query]

    in_batch = sorted({row for rows in case.lists for row in rows})
    for query, (rows, scores, place) in enumerate(zip(case.lists, case.scores, case.positive, strict=True)):
        cosine = {row: float(queries[query] @ passages[row]) for row in range(case.passages)}
        if terms.kl_weight:
            student = log_softmax([cosine[row] / terms.student_temperature for row in rows])
            teacher = log_softmax([score / terms.teacher_temperature for score in scores])
            kl += sum(math.exp(t) * (t - s) for t, s in zip(teacher, student, strict=True)) / count
            for row, t, s in zip(rows, teacher, student, strict=True):
                gradient = (math.exp(s) - math.exp(t)) / terms.student_temperature
                flow(query, row, terms.kl_weight * gradient)
        if terms.infonce_weight:
            ratio = terms.mask_ratio if scores[place] >= 0 else 2 - terms.mask_ratio
            likely = {row for row, score in zip(rows, scores, strict=True) if score > ratio * scores[place]}
            known = set(case.relevant[query]) if case.relevant else set()
            close = (likely | known) - {rows[place]}
            against = [row for row in in_batch if row not in close]
            logits = [cosine[row] / terms.infonce_temperature for row in against]
            infonce -= log_softmax(logits)[against.index(rows[place])] / count
            for row, share in zip(against, softmax(logits), strict=True):
                gradient = (share - (row == rows[place])) / terms.infonce_temperature
                flow(query, row, terms.infonce_weight * gradient)
    total = terms.kl_weight * kl + terms.infonce_weight * infonce
    return total, kl, infonce, to_queries, to_passages


def batch_of(case: Case, dtype, slots=6):
    count = len(case.lists)
    batch = ListBatch(
        slots=torch.full((count, slots), -1),
        teacher=torch.full((count, slots), 0.9, dtype=dtype),  # scores of absent slots must not matter
        positive=torch.tensor(case.positive),
        relevant=torch.full((count, 3), -1),
    )
    for query, (rows, scores) in enumerate(zip(case.lists, case.scores, strict=True)):
        batch.slots[query, : len(rows)] = torch.tensor(rows)
        batch.teacher[query, : len(rows)] = torch.tensor(scores, dtype=dtype)
    for query, known in enumerate(case.relevant):
        batch.relevant[query, : len(known)] = torch.tensor(known)
    return batch


def library(case: Case, terms: Terms, dtype=torch.float64, slots=6):
    queries, passages = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in vectors(case))
    parts = distillation_loss(queries, passages, batch_of(case, dtype, slots), **terms._asdict())
    if parts.total.requires_grad:
        parts.total.backward()
    gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in (queries, passages)]
    return [part.item() for part in parts], [gradient.numpy() for gradient in gradients]


@settings(max_examples=250, deadline=None)
@given(cases(), terms)
@example(Case([[0]], [[0.5]], [0], 1, 0), Terms())  # one query, one candidate
@example(Case([[0], [0], [0]], [[0.5], [0.1], [-0.2]], [0, 0, 0], 3, 1), Terms())
@example(Case([[0, 1, 2], [2, 1]], [[0.5, 0.5, 0.5], [0.0, 0.0]], [1, 0], 3, 2), Terms())  # ties
@example(Case([[0, 1], [1, 0]], [[0.9, 0.1], [0.9, 0.1]], [0, 0], 2, 3), Terms(kl_weight=0.0))
@example(Case([[0, 1, 2]], [[0.9, 0.1, 0.2]], [0], 3, 3, [[0, 1]]), Terms(kl_weight=0.0))
@example(Case([[0, 1], [1, 0]], [[0.9, 0.1], [0.9, 0.1]], [0, 0], 2, 4), Terms(infonce_weight=0.0))
@example(Case([[0, 1]], [[0.9, 0.1]], [0], 2, 5), Terms(kl_weight=0.0, infonce_weight=0.0))
def test_loss_and_gradients_are_those_of_the_formulas(case, terms):
    total, kl, infonce, to_queries, to_passages = reference(case, terms)
    parts, gradients = library(case, terms)
    np.testing.assert_allclose(parts, [total, kl, infonce], atol=1e-6, rtol=0)
    np.testing.assert_allclose(gradients[0], to_queries, atol=1e-5, rtol=0)
    np.testing.assert_allclose(gradients[1], to_passages, atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(cases(), terms, st.sampled_from([1, 60, 120]))
def test_a_loss_computed_block_by_block_is_the_same(case, terms, block):
    whole, gradients = library(case, terms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "BLOCK", block)  # a block is one query or more
        parts, found = library(case, terms)
    np.testing.assert_allclose(parts, whole, atol=1e-9)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(), terms)
def test_single_precision_is_close(case, terms):
    # scores where single precision decides about the mask otherwise are not meant here
    scores = [[round(score * 8) / 8 for score in rows] for rows in case.scores]
    case, terms = case._replace(scores=scores), terms._replace(mask_ratio=0.59)
    total, _, _, to_queries, to_passages = reference(case, terms)
    parts, gradients = library(case, terms, torch.float32)
    assert math.isclose(parts[0], total, rel_tol=1e-4, abs_tol=1e-4)
    for found, expected in zip(gradients, (to_queries, to_passages), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * max(1.0, np.abs(expected).max()))


@settings(max_examples=40, deadline=None)
@given(cases(), terms, st.randoms(use_true_random=False))
def test_padding_numbering_and_order_do_not_matter(case, terms, random):
    plain = library(case, terms)
    np.testing.assert_allclose(library(case, terms, slots=11)[0], plain[0], atol=1e-9)
    order = list(range(len(case.lists)))
    random.shuffle(order)
    queries, passages = vectors(case)
    numbers = list(range(case.passages))
    random.shuffle(numbers)
    lists, relevant = (
        [[numbers[row] for row in rows] for rows in given] for given in (case.lists, case.relevant)
    )
    moved = batch_of(case._replace(lists=lists, relevant=relevant), torch.float64)
    shuffled = ListBatch(*(tensor[torch.tensor(order)] for tensor in moved))
    parts = distillation_loss(
        torch.tensor(queries[order]), torch.tensor(passages[np.argsort(numbers)]), shuffled, **terms._asdict()
    )
    np.testing.assert_allclose([part.item() for part in parts], plain[0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(longest=8), st.integers(1, 9))
def test_lists_are_cut_without_losing_the_positive(case, length):
    lists = TrainingLists(
        [f"q{n}" for n in range(len(case.lists))], case.lists, case.scores, case.positive, length
    )
    longest = min(length, max(map(len, case.lists)))
    assert lists.passages.shape == lists.scores.shape == (len(lists), longest)
    for number, (rows, scores, place) in enumerate(zip(case.lists, case.scores, case.positive, strict=True)):
        kept = min(len(rows), longest)
        found = lists.passages[number].tolist()
        assert found[kept:] == [-1] * (longest - kept)
        assert found[lists.positive[number]] == rows[place]
        assert found[:kept] == (rows[:kept] if place < kept else [*rows[: kept - 1], rows[place]])
        score_of = dict(zip(rows, scores, strict=True))
        np.testing.assert_allclose(
            lists.scores[number][:kept], [score_of[row] for row in found[:kept]], atol=1e-6
        )


lists_of_scores = st.lists(
    st.lists(st.floats(-2, 2), min_size=1, max_size=8).map(np.array), min_size=1, max_size=6
)


@settings(max_examples=80, deadline=None)
@given(lists_of_scores, st.sampled_from([0.01, 0.05, 0.3, 2.0]))
def test_mean_entropy_is_a_plain_loop(lists, temperature):
    entropies = []
    for scores in lists:
        shares = softmax([score / temperature for score in scores.tolist()])
        entropies.append(-sum(share * math.log(share) for share in shares if share > 0))
    np.testing.assert_allclose(mean_entropy(lists, temperature), np.mean(entropies), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(lists_of_scores, st.floats(0.02, 0.98))
def test_the_matching_temperature_hits_the_entropy(lists, share):
    low, high = mean_entropy(lists, 1e-3), mean_entropy(lists, 1e2)
    target = low + share * (high - low)
    if high - low > 1e-3:
        assert abs(mean_entropy(lists, matching_temperature(lists, target)) - target) < 1e-5
