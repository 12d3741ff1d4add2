"""How a batch becomes a loss: the collator, and the gradient cache against the plain way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from densespec.distillation import objective
from densespec.distillation.loss import distillation_loss
from densespec.distillation.objective import ListCollator, ListwiseDistillation, TrainingLists
from densespec.distillation.saving import save_student
from densespec.distillation.temperature import matching_temperature, mean_entropy, temperatures_of
from densespec.retrieval.student import load_student

torch.set_num_threads(1)
PASSAGES = [
    "open a file and read its lines",
    "a socket",
    "vaccine dose for children with heart disease, in a trial of " + "many patients " * 12,
    "boundary layer flow over a wing",
    "a thread waits for the lock of another thread",
    "never in a list",
    "the river and the mountain",
    "file",
]
LISTS = TrainingLists(
    ["read a file", "supersonic wing flow", "heart disease in children", "lock", "network server", "a river"],
    [[0, 7, 4], [3, 6, 2, 0], [2], [4, 0, 7, 1], [1, 0], [6, 3, 4, 7]],
    [[0.9, 0.8, 0.1], [1.1, 0.2, 0.7, 0.0], [0.8], [0.9, 0.9, 0.3, -0.1], [0.2, 0.6], [0.7, 0.3, 0.2, 0.1]],
    [0, 0, 0, 1, 1, 0],
    4,
)
TERMS = {
    "student_temperature": 0.05,
    "teacher_temperature": 0.2,
    "kl_weight": 1.0,
    "infonce_weight": 0.1,
    "infonce_temperature": 0.05,
    "mask_ratio": 0.6,
}


@pytest.fixture(scope="module")
def model(folder):
    return load_student(str(folder), device="cpu")


def collate(model, numbers, passages=PASSAGES, max_query_tokens=16):
    return ListCollator(model, LISTS, passages, max_query_tokens)([{"list": n} for n in numbers])


def features(batch, *tasks):
    return [
        {name.removeprefix(f"{task}_"): v for name, v in batch.items() if name.startswith(f"{task}_")}
        for task in tasks
    ]


def total(by_term):
    return sum(by_term.values())


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def plain(model, numbers, terms):
    """Every passage of the corpus and every query encoded with gradients, the lists' own numbers as slots."""
    vectors = [
        functional.normalize(model(model.preprocess(texts, prompt=prompt))["sentence_embedding"], dim=1)
        for texts, prompt in (([LISTS.queries[n] for n in numbers], "query: "), (PASSAGES, "passage: "))
    ]
    batch = LISTS.batch(torch.tensor(numbers))
    return distillation_loss(*vectors, batch, **terms).total


@pytest.mark.parametrize("budget", [1, 20, 64, 100_000])
@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 4, 5], [3], [2], [5, 1]], ids=str)
def test_the_gradient_cache_gives_the_plain_loss_and_gradients(model, numbers, budget):
    model.train()
    expected = plain(model, numbers, TERMS)
    expected_gradients = gradients(model, expected)
    loss = ListwiseDistillation(model, LISTS, None, budget, TERMS)
    batch = collate(model, numbers)
    found = total(loss(features(batch, "query", "document"), batch["label"]))
    found_gradients = gradients(model, found)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert set(found_gradients) == set(expected_gradients) and len(found_gradients) > 20
    largest = max(gradient.abs().max().item() for gradient in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(
            found_gradients[name],
            gradient,
            atol=1e-5 * max(1.0, largest),
            rtol=0,
            msg=lambda m, n=name: f"{n}: {m}",
        )
    with torch.no_grad():  # as in a dev evaluation
        again = total(loss(features(batch, "query", "document"), batch["label"]))
    assert again.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["KL", "InfoNCE"])
def test_the_gradient_cache_serves_each_term_alone(model, weights):
    terms = {**TERMS, "kl_weight": weights[0], "infonce_weight": weights[1]}
    numbers = [0, 1, 3]
    expected = plain(model, numbers, terms)
    batch = collate(model, numbers)
    found = ListwiseDistillation(model, LISTS, None, 64, terms)(
        features(batch, "query", "document"), batch["label"]
    )
    assert found["kl" if weights[1] == 0 else "infonce"].item() == pytest.approx(expected.item(), abs=1e-5)
    assert total(found).item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("fixed", [False, True], ids=["both", "query"])
def test_leading_dimensions_of_both_sides_count(model, fixed):
    """Fixed passage vectors are cut too."""
    numbers, tasks = [0, 1, 3], ("query",) if fixed else ("query", "document")
    vectors = torch.tensor(model.encode_document(PASSAGES, normalize_embeddings=True))
    queries = model(model.preprocess([LISTS.queries[n] for n in numbers], prompt="query: "))
    lists = LISTS.batch(torch.tensor(numbers))
    expected = [
        distillation_loss(
            functional.normalize(queries["sentence_embedding"][:, :dim], dim=1),
            functional.normalize(vectors[:, :dim], dim=1), lists, **TERMS,
        ).total
        for dim in (32, 8)
    ]  # fmt: skip
    batch = collate(model, numbers, None if fixed else PASSAGES)
    loss = ListwiseDistillation(model, LISTS, vectors if fixed else None, 64, {**TERMS, "dims": (8,)})
    found = loss(features(batch, *tasks), batch["label"])
    found = sum(found.values()) if isinstance(found, dict) else found
    assert found.item() == pytest.approx((sum(expected) / 2).item(), abs=1e-5)


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_each_distinct_text_is_encoded_once_per_pass(model, monkeypatch, budget):
    encoded = []
    forward = model.forward

    def counting(given, **options):
        for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True):
            encoded.append(tuple(ids[mask.bool()].tolist()))
        return forward(given, **options)

    monkeypatch.setattr(model, "forward", counting)
    monkeypatch.setattr(LISTS, "queries", [*LISTS.queries[:5], LISTS.queries[0]])
    numbers = [0, 1, 3, 5]  # two lists of one query
    batch = collate(model, numbers)
    loss = ListwiseDistillation(model, LISTS, None, budget, TERMS)(
        features(batch, "query", "document"), batch["label"]
    )
    texts = [f"query: {LISTS.queries[n]}" for n in (0, 1, 3)]
    texts += [f"passage: {PASSAGES[row]}" for row in (0, 1, 2, 3, 4, 6, 7)]
    once = sorted(tuple(model.tokenizer(text)["input_ids"]) for text in texts)
    assert sorted(encoded) == once, "without gradients, where there is a cache"
    total(loss).backward()
    assert sorted(encoded) == sorted(once * (1 if budget == 100_000 else 2)), "once more with gradients"


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize(
    ("budget", "most", "least_passes"), [(4096, 0.1, 11), (1_000_000, 0.25, 5)], ids=["cache", "no cache"]
)
def test_padding_stays_under_a_share(model, monkeypatch, padding_side, budget, most, least_passes):
    """Lengths as in a corpus of paragraphs: log-normal, here cut at 128 tokens; short questions."""
    random = np.random.default_rng(0)
    passages = [" ".join(["file"] * int(n)) for n in np.clip(random.lognormal(3.8, 0.7, 600), 2, 200)]
    queries = [" ".join(["read"] * int(n)) for n in np.clip(random.lognormal(2.2, 0.5, 300), 2, 60)]
    rows = [random.choice(600, 8, replace=False).tolist() for _ in queries]
    monkeypatch.setattr(model.tokenizer, "padding_side", padding_side)
    lists = TrainingLists(queries, rows, [[0.5] * 8 for _ in rows], [0] * 300, 8)
    batch = ListCollator(model, lists, passages, 64)([{"list": n} for n in range(300)])
    cells = tokens = passes = 0
    forward = model.forward

    def counting(given, **options):
        nonlocal cells, tokens, passes
        mask = given["attention_mask"]
        assert mask[:, 0 if padding_side == "right" else -1].all(), "padding is where it should be"
        assert mask.numel() * (1 - most) <= budget
        cells += mask.numel()
        tokens += int(mask.sum())
        passes += 1
        return forward(given, **options)

    monkeypatch.setattr(model, "forward", counting)
    loss = ListwiseDistillation(model, lists, None, budget, TERMS)
    with torch.no_grad():
        loss(features(batch, "query", "document"), batch["label"])
    assert passes >= least_passes
    assert most / 4 < 1 - tokens / cells < most


def test_bfloat16_embeddings_give_a_loss_in_single_precision(model):
    batch = collate(model, [0, 1, 3])
    loss = ListwiseDistillation(model, LISTS, None, 64, TERMS)
    labels = batch["label"]
    with torch.no_grad():
        single = [model(given)["sentence_embedding"] for given in features(batch, "query", "document")]
        half = [rows.bfloat16() for rows in single]
        found, rounded = loss.parts(half, labels), loss.parts([rows.float() for rows in half], labels)
    assert found.total.dtype == torch.float32 and found == rounded


def test_fixed_vectors_train_the_query_encoder_alone(model):
    vectors = torch.tensor(model.encode_document(PASSAGES, normalize_embeddings=True))
    numbers = [0, 1, 2, 3, 4, 5]
    batch = collate(model, numbers, passages=None)
    assert not any(name.startswith("document") for name in batch)
    loss = ListwiseDistillation(model, LISTS, vectors, 64, TERMS)
    by_term = loss(features(batch, "query"), batch["label"])
    assert set(by_term) == {"kl", "infonce"}
    queries = model(model.preprocess(LISTS.queries, prompt="query: "))["sentence_embedding"]
    parts = distillation_loss(
        functional.normalize(queries, dim=1), vectors,
        LISTS.batch(torch.arange(6)), **TERMS,
    )  # fmt: skip
    assert by_term["kl"].item() == pytest.approx(parts.kl.item(), abs=1e-5)
    assert by_term["infonce"].item() == pytest.approx(0.1 * parts.infonce.item(), abs=1e-5)
    expected = gradients(model, parts.total)
    found = gradients(model, sum(by_term.values()))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4)
    assert vectors.grad is None


def test_the_label_points_to_the_encoded_texts(model, monkeypatch):
    monkeypatch.setattr(LISTS, "queries", [*LISTS.queries[:5], LISTS.queries[2]])
    batch = collate(model, [3, 2, 5])
    assert batch["label"][:, :2].tolist() == [[3, 0], [2, 1], [5, 1]]
    assert len(batch["query_input_ids"]) == 2
    decoded = [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in batch["document_input_ids"]]
    lists = ([4, 0, 7, 1], [2, -1, -1, -1], [6, 3, 4, 7])
    for slots, rows in zip(batch["label"][:, 2:].tolist(), lists, strict=True):
        for slot, row in zip(slots, rows, strict=True):
            assert slot == -1 if row == -1 else decoded[slot].startswith(f"passage : {PASSAGES[row][:6]}")
    assert len(decoded) == 7
    fixed = collate(model, [3, 2], passages=None)
    assert fixed["label"].tolist() == [[3, 0, 4, 0, 7, 1], [2, 1, 2, -1, -1, -1]]


def test_training_reads_what_encoding_reads(model, monkeypatch):
    """Prompts and special tokens of the collator are those of encode_query and encode_document."""
    seen = []
    forward = model.forward

    def looking(given, **options):
        seen.append(given["input_ids"][0][given["attention_mask"][0].bool()].tolist())
        return forward(given, **options)

    monkeypatch.setattr(model, "forward", looking)
    batch = collate(model, [1])
    for task, texts, serve in (
        ("query", [LISTS.queries[1]], model.encode_query),
        ("document", [PASSAGES[row] for row in (0, 2, 3, 6)], model.encode_document),
    ):
        for place, text in enumerate(texts):
            serve(text)
            ids, mask = batch[f"{task}_input_ids"][place], batch[f"{task}_attention_mask"][place]
            assert ids[mask.bool()].tolist() == seen[-1]


def test_long_queries_are_cut_in_training(model):
    assert collate(model, [1, 2], max_query_tokens=4)["query_input_ids"].shape == (2, 4)


@pytest.mark.parametrize(("limit", "max_query_tokens"), [(16, 64), (512, 1024), (64, 16)])
def test_a_long_query_is_read_as_in_encoding_up_to_the_lower_limit(folder, limit, max_query_tokens):
    """``max_query_tokens`` alone would override the student's own limit, and pass its 512 positions."""
    model = load_student(str(folder), device="cpu", max_tokens=limit)
    lists = TrainingLists(["file read " * 400], [[0]], [[1.0]], [0], 1)
    (query,) = features(ListCollator(model, lists, None, max_query_tokens)([{"list": 0}]), "query")
    assert query["input_ids"].shape == (1, min(limit, max_query_tokens))
    with torch.no_grad():
        trained = functional.normalize(model(query)["sentence_embedding"], dim=1)[0].numpy()
    served = model.encode_query(lists.queries[0], normalize_embeddings=True)
    assert np.allclose(trained, served, atol=1e-5) == (limit <= max_query_tokens)


def test_mean_entropy_of_known_distributions():
    assert mean_entropy([np.zeros(4), np.zeros(8)], 0.3) == pytest.approx((np.log(4) + np.log(8)) / 2)
    assert mean_entropy([np.array([1.0])], 0.3) == 0.0
    assert mean_entropy([np.array([0.0, 1e4])], 0.3) == pytest.approx(0.0)
    assert mean_entropy([np.array([0.0, np.log(3)])], 1.0) == pytest.approx(np.log(4) - 0.75 * np.log(3))


def test_a_given_teacher_temperature_is_kept_and_none_is_matched():
    student, teacher = [np.array([0.6, 0.5, 0.4])], [np.array([1.0, 0.4, 0.0])]
    given = temperatures_of(student, teacher, 0.05, 0.3)
    assert (given["student"], given["teacher"]) == (0.05, 0.3)
    assert given["teacher_entropy"] == mean_entropy(teacher, 0.3) != pytest.approx(given["student_entropy"])
    matched = temperatures_of(student, teacher, 0.05, None)
    assert matched["teacher"] == matched["teacher_matched"] == given["teacher_matched"]
    assert matched["teacher_entropy"] == pytest.approx(mean_entropy(student, 0.05))


def test_matching_temperatures():
    lists = [np.array([0.9, 0.5, 0.1]), np.array([0.2, 0.8])]
    for temperature in (0.01, 0.1, 0.3, 5.0):
        assert matching_temperature(lists, mean_entropy(lists, temperature)) == pytest.approx(
            temperature, rel=1e-3
        )
    halved = [scores / 2 for scores in lists]
    entropy = mean_entropy(lists, 0.3)
    assert matching_temperature(halved, entropy) == pytest.approx(0.15, rel=1e-4)


def test_an_entropy_out_of_reach_gives_an_end_of_the_range():
    lists = [np.array([0.9, 0.5])]
    assert matching_temperature(lists, 5.0) == pytest.approx(1e3)
    assert matching_temperature(lists, -1.0) == pytest.approx(1e-4)
    assert matching_temperature([np.zeros(3)], 0.5) == pytest.approx(1e-4)


def test_the_encoders_of_a_router_go_one_at_a_time_in_several_processes(model, tmp_path, monkeypatch):
    """DDP stops at passes over parameters that have nothing in common; the cache makes one at a time."""
    save_student(tmp_path, model, model, "query", "tiny")
    for student, processes, cached in ((load_student(str(tmp_path)), 1, False), (model, 2, False),
                                       (load_student(str(tmp_path)), 2, True)):  # fmt: skip
        monkeypatch.setattr(objective, "get_world_size", lambda count=processes: count)
        batch = ListCollator(student, LISTS, PASSAGES, 64)([{"list": 0}, {"list": 1}])
        loss = ListwiseDistillation(student, LISTS, None, 10**6, TERMS)
        assert loss._needs_cache(features(batch, "query", "document")) == cached
