"""The whole engine against the formula: query by query, text by text, in double precision.

The reference encodes every text alone, without padding, and writes the loss down as the documentation does;
autograd differentiates it with respect to the encoder's parameters. The engine gets the same lists as a
batch: distinct texts, mini-batches of some size, or fixed passage vectors.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from densespec.distillation.loss import ListBatch, masked_pairs
from densespec.distillation.objective import ListCollator, ListwiseDistillation, TrainingLists
from densespec.retrieval.student import load_student
from densespec.selection.lists import false_negatives
from tests.tiny_models import PROMPTS, STOP_WORDS, WORDS, tiny_bi_encoder

torch.set_num_threads(1)
TERMS = {
    "student_temperature": 0.05,
    "teacher_temperature": 0.3,
    "kl_weight": 1.0,
    "infonce_weight": 0.1,
    "infonce_temperature": 0.01,
    "mask_ratio": 0.6,
}
VOCABULARY = sorted(set(WORDS.split()) - set(STOP_WORDS.split()))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_bi_encoder(tmp_path_factory.mktemp("model") / "tiny", prompts=PROMPTS)
    return load_student(str(folder), device="cpu").double()


def case(seed, queries=7, passages=12, longest=6, ties=False):
    """Lists over few passages, so that they overlap heavily; a query text occurs twice."""
    random = np.random.default_rng(seed)

    def text(words):
        return " ".join(random.choice(VOCABULARY, words))

    texts = [text(random.integers(1, 30)) for _ in range(passages)]
    questions = [text(random.integers(1, 6)) for _ in range(queries)]
    questions[-1] = questions[0]
    rows = [
        random.choice(passages, random.integers(1, longest + 1), replace=False).tolist()
        for _ in range(queries)
    ]
    draw = (lambda n: random.choice([0.2, 0.6, 1.0], n)) if ties else (lambda n: random.uniform(-0.2, 1.2, n))
    scores = [draw(len(places)).tolist() for places in rows]
    positive = [int(random.integers(len(places))) for places in rows]
    relevant = [random.choice(passages, 2).tolist() if number % 3 else [] for number in range(queries)]
    return SimpleNamespace(
        passages=texts, lists=TrainingLists(questions, rows, scores, positive, longest, relevant), rows=rows,
        positive=positive, relevant=relevant,
    )  # fmt: skip


def encoded(model, prompt, text):
    vector = model(model.preprocess([prompt + text]))["sentence_embedding"][0]
    return vector / vector.norm()


def reference(model, case, numbers, terms, fixed=None):
    """Loss of the lists with these numbers, from the formula."""
    terms = SimpleNamespace(**terms)
    in_batch = sorted({row for n in numbers for row in case.rows[n]})
    if fixed is None:
        passage = {row: encoded(model, "passage: ", case.passages[row]) for row in in_batch}
    else:
        passage = {row: fixed[row] for row in in_batch}
    loss = 0.0
    for n in numbers:
        query = encoded(model, "query: ", case.lists.queries[n])
        rows, place = case.rows[n], case.positive[n]
        score = {row: case.lists.scores[n][k].item() for k, row in enumerate(rows)}  # in single precision
        total = sum(math.exp(score[row] / terms.teacher_temperature) for row in rows)
        student = sum(torch.exp(query @ passage[row] / terms.student_temperature) for row in rows)
        for row in rows:
            t = math.exp(score[row] / terms.teacher_temperature) / total
            s = torch.exp(query @ passage[row] / terms.student_temperature) / student
            loss = loss + terms.kl_weight * t * (math.log(t) - torch.log(s)) / len(numbers)
        positive = rows[place]
        ratio = terms.mask_ratio if score[positive] >= 0 else 2 - terms.mask_ratio
        likely = {row for row in rows if score[row] > ratio * score[positive]}
        close = (likely | set(case.relevant[n])) - {positive}
        against = sum(
            torch.exp(query @ passage[row] / terms.infonce_temperature)
            for row in in_batch if row not in close
        )  # fmt: skip
        share = torch.exp(query @ passage[positive] / terms.infonce_temperature) / against
        loss = loss - terms.infonce_weight * torch.log(share) / len(numbers)
    return loss


def features_of(model, case, numbers, fixed=None):
    """What the trainer gives to the loss for a batch."""
    passages = case.passages if fixed is None else None
    batch = ListCollator(model, case.lists, passages, 64)([{"list": n} for n in numbers])
    features = [
        {name.removeprefix(f"{task}_"): value for name, value in batch.items() if name.startswith(f"{task}_")}
        for task in (("query", "document") if fixed is None else ("query",))
    ]
    return features, batch["label"]


def engine(model, case, numbers, terms, budget, fixed=None):
    loss = ListwiseDistillation(model, case.lists, fixed, budget, terms)
    return sum(loss(*features_of(model, case, numbers, fixed)).values())


def gradients(model, loss):
    model.zero_grad()
    if loss.requires_grad:
        loss.backward()
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in model.named_parameters()
    }


def check(model, case, numbers, terms=TERMS, budget=40, fixed=None):
    model.train()
    expected = reference(model, case, numbers, terms, fixed)
    expected_gradients = gradients(model, expected)
    found = engine(model, case, numbers, terms, budget, fixed)
    found_gradients = gradients(model, found)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(
            found_gradients[name], gradient, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    return expected_gradients


@pytest.fixture(params=["both", "query"])
def fixed(request, model):
    """A function from a case to its passages' fixed vectors; to None where both sides are trained."""

    def vectors(case):
        if request.param == "both":
            return None
        with torch.no_grad():
            return torch.stack([encoded(model, "passage: ", text) for text in case.passages])

    return vectors


@pytest.mark.parametrize("budget", [1, 40, 100_000], ids=lambda tokens: f"{tokens} tokens")
@pytest.mark.parametrize("seed", range(3))
def test_random_lists_with_heavy_overlap(model, fixed, seed, budget):
    lists = case(seed)
    found = check(model, lists, range(7), budget=budget, fixed=fixed(lists))
    assert max(gradient.abs().max().item() for gradient in found.values()) > 0.1, (
        "there is something to compare"
    )


@pytest.mark.parametrize(
    "numbers", [[6, 0, 3], [4], [0, 6]], ids=["ragged batch", "one query", "one text twice"]
)
def test_the_last_batch_of_an_epoch_and_fewer_queries_than_a_batch(model, fixed, numbers):
    lists = case(3)
    check(model, lists, numbers, fixed=fixed(lists))


def test_lists_of_one_candidate(model, fixed):
    lists = case(4, longest=1)
    check(model, lists, range(7), fixed=fixed(lists))


def test_tied_teacher_scores(model, fixed):
    lists = case(5, ties=True)
    check(model, lists, range(7), {**TERMS, "mask_ratio": 1.0}, fixed=fixed(lists))


@pytest.mark.parametrize(
    "changes",
    [
        {"infonce_weight": 0.0},
        {"kl_weight": 0.0, "infonce_weight": 1.0},
        {"mask_ratio": 0.95, "infonce_temperature": 0.05},
        {"mask_ratio": 0.01},
        {"mask_ratio": 100.0},
        {"student_temperature": 1.0, "teacher_temperature": 0.05},
    ],
    ids=["no InfoNCE", "no KL", "our own", "all masked", "none masked", "other temperatures"],
)
def test_terms_and_masks(model, fixed, changes):
    lists = case(6)
    check(model, lists, range(7), {**TERMS, **changes}, fixed=fixed(lists))


@pytest.mark.parametrize("ratio", [0.9, 1.5])
@pytest.mark.parametrize("positive", [0.5, 0.0, -0.5])
def test_the_mask_is_that_of_the_lists_filter_on_either_side_of_zero(positive, ratio):
    scores = np.array([positive, *np.linspace(-1, 1, 21) + 0.02], dtype=np.float32)
    unknown = torch.empty((1, 0), dtype=torch.long)
    block = ListBatch(torch.arange(22)[None], torch.tensor(scores)[None], torch.tensor([0]), unknown)
    (found,) = masked_pairs(block, 22, ratio)
    assert found.tolist() == false_negatives(scores, 0, max_ratio=ratio).tolist()
    below = scores[1:][~found[1:].numpy()].max()
    assert (below < positive) == (ratio < 1 or positive == 0)


def test_another_querys_positive_in_this_querys_list_above_the_threshold_is_masked(model, fixed):
    """Passage 1, the second query's positive: masked for the first (0.7 of 1.0), a negative for the third."""
    lists = case(7, queries=3)
    lists.rows, lists.positive = [[0, 1, 2], [1, 3], [4, 1]], [0, 0, 0]
    scores = [[1.0, 0.7, 0.5], [0.9, 0.1], [1.0, 0.5]]
    lists.relevant = [[], [], []]
    lists.lists = TrainingLists(lists.lists.queries, lists.rows, scores, lists.positive, 6)
    vectors = fixed(lists)
    check(model, lists, range(3), fixed=vectors)
    terms = {**TERMS, "kl_weight": 0.0, "infonce_temperature": 1.0}
    masked, unmasked = (
        engine(model, lists, range(3), {**terms, "mask_ratio": ratio}, 40, vectors).item()
        for ratio in (0.6, 0.71)
    )
    assert masked < unmasked - 1e-6, "the mask is in the loss"


def test_another_passage_that_is_known_to_answer_the_query_is_no_negative(model, fixed):
    """Masked in the query's list or another's, whatever the teacher says; the positive stays."""
    lists = case(8, queries=3)
    lists.rows, lists.positive = [[0, 1, 2], [3, 4], [1, 5, 0]], [0, 0, 0]
    scores = [[1.0, 0.1, 0.2], [0.9, 0.1], [1.0, 0.3, -0.5]]
    terms = {**TERMS, "kl_weight": 0.0, "infonce_weight": 1.0, "infonce_temperature": 1.0}

    def loss(relevant):
        lists.relevant = relevant
        lists.lists = TrainingLists(lists.lists.queries, lists.rows, scores, lists.positive, 6, relevant)
        vectors = fixed(lists)
        check(model, lists, range(3), terms, fixed=vectors)
        return engine(model, lists, range(3), terms, 40, vectors).item()

    unmasked = loss([[0], [], []])
    in_list, elsewhere = loss([[0, 1], [], []]), loss([[0], [11, 3, 5], []])
    assert in_list < unmasked - 1e-3
    assert elsewhere < unmasked - 1e-3
    assert loss([[0, 1], [3, 5], [1]]) < min(in_list, elsewhere)
