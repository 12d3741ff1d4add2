"""The hybrid teacher's signals against plain double loops, its mix and the choice of weights."""

from __future__ import annotations

import re

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Qrel
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.encoding import encode
from densespec.teaching import hybrid, teachers
from densespec.teaching.config import CrossEncoderConfig, HybridConfig, ScoreConfig
from densespec.teaching.hybrid import (
    COMPONENTS,
    choose_weights,
    late_interaction,
    lexical_scores,
    list_scales,
    mean_max_similarity,
    mix,
    ndcg_of_lists,
)
from densespec.teaching.teachers import TEACHERS, Material
from tests.tiny_models import PROMPTS

PASSAGES = [
    "open a file. Read its lines! Close the file",
    "a socket connects to a server over the network",
    "vaccine dose for children.\n\nA trial with heart disease patients",
    "boundary layer flow over a wing at supersonic velocity",
    "a thread waits for the lock of another thread. The queue is empty. It waits",
    "the blue river and the green mountain",
]
QUERIES = ["read a file", "heart disease in children", "supersonic wing", "lock of a thread"]
CANDIDATES = [[0, 4, 1], [2, 0, 5, 3], [], [4, 3]]


@pytest.fixture(scope="module")
def query_vectors(model):
    return np.asarray(model.encode_query(QUERIES, normalize_embeddings=True))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def tokens_of(model, text, task):
    serve = model.encode_query if task == "query" else model.encode_document
    return serve([text], output_value="token_embeddings")[0].numpy()


def sentences_of(model, text):
    """Vectors of a passage's sentences, tokens counted sentence by sentence."""
    vectors = tokens_of(model, text, "document")
    pieces = re.split(r"(?<=[.!?])\s+|\n\s*\n", PROMPTS["document"] + text)
    counts = [len(model.tokenizer.tokenize(piece)) for piece in pieces]
    counts[0] += 1  # [CLS]
    counts[-1] += 1  # [SEP]
    assert sum(counts) == len(vectors)
    ends = np.cumsum(counts)
    return [unit(vectors[end - count : end].mean(axis=0)) for count, end in zip(counts, ends, strict=True)]


def late(model, query_vectors, folder, **changes):
    options = {
        "passages": PASSAGES,
        "queries": QUERIES,
        "candidates": CANDIDATES,
        "folder": folder / "late",
        "encode_folder": folder / "encode",
        "batch_size": 4,
        **changes,
    }
    return late_interaction(model, "f", query_vectors=query_vectors, **options)


@pytest.mark.parametrize("shard", [2, 256])
def test_late_interaction_is_a_double_loop_over_token_vectors(
    model, query_vectors, tmp_path, monkeypatch, shard
):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", shard)
    maxsim, sentence = late(model, query_vectors, tmp_path)
    for number, (query, rows) in enumerate(zip(QUERIES, CANDIDATES, strict=True)):
        assert maxsim[number].dtype == sentence[number].dtype == np.float32
        assert len(maxsim[number]) == len(sentence[number]) == len(rows)
        for place, row in enumerate(rows):
            best = []
            for token in tokens_of(model, query, "query"):
                others = tokens_of(model, PASSAGES[row], "document")
                best.append(max(float(unit(token) @ unit(other)) for other in others))
            assert maxsim[number][place] == pytest.approx(np.mean(best), abs=2e-3)
            cosines = [float(query_vectors[number] @ vector) for vector in sentences_of(model, PASSAGES[row])]
            assert sentence[number][place] == pytest.approx(max(cosines), abs=2e-3)


def test_the_passage_a_query_is_about_gets_the_best_scores(model, query_vectors, tmp_path):
    maxsim, sentence = late(model, query_vectors, tmp_path)
    for number in (0, 1, 3):
        assert maxsim[number].argmax() == sentence[number].argmax() == 0


def test_shards_are_found_again(model, query_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", 2)
    first = late(model, query_vectors, tmp_path)
    monkeypatch.setattr(model, "forward", lambda *a, **o: pytest.fail("the model was run"))
    monkeypatch.setattr(hybrid, "mean_max_similarity", lambda *a: pytest.fail("computed again"))
    again = late(model, query_vectors, tmp_path)
    for one, two in zip(first, again, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_changed_list_recomputes_only_the_shard_it_touches(model, query_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", 2)
    late(model, query_vectors, tmp_path)
    computed = []
    plain = hybrid.mean_max_similarity

    def counted(queries, passage):
        computed.append(len(queries))
        return plain(queries, passage)

    monkeypatch.setattr(hybrid, "mean_max_similarity", counted)
    late(model, query_vectors, tmp_path, candidates=[[0, 4, 1], [2, 0, 5, 3], [], [4, 3, 5]])
    assert computed == [2, 2], "passages 4 and 5, with the queries that list them"


def test_token_vectors_of_mining_are_used(model, query_vectors, tmp_path, monkeypatch):
    """What the stage mine left in the encoder's shards is not computed again for the teacher."""
    for texts, task in ((PASSAGES, "document"), (QUERIES, "query")):
        encode(model, "f", texts, tmp_path / "encode", task=task, label="x", batch_size=4, tokens=True)
    monkeypatch.setattr(model, "forward", lambda *a, **o: pytest.fail("the model was run"))
    assert len(late(model, query_vectors, tmp_path)[0]) == 4


def test_mean_max_similarity_by_hand():
    passage = np.array([[1.0, 0.0], [0.6, 0.8]])
    queries = [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])]
    found = mean_max_similarity(queries, passage)
    np.testing.assert_allclose(found, [1.0, (0.8 + 1.0 - 0.6) / 3], rtol=1e-6)
    assert found.dtype == np.float32


def test_lexical_scores_are_those_of_the_index():
    index = Bm25(PASSAGES)
    found = lexical_scores(index, QUERIES, CANDIDATES)
    for query, rows, scores in zip(QUERIES, CANDIDATES, found, strict=True):
        assert scores.tolist() == [index.scores(query)[row] for row in rows]
        assert scores.dtype == np.float32


def test_scales_are_the_mean_deviation_within_lists():
    lists = {
        "a": [np.array([0.0, 2.0]), np.array([]), np.array([5.0]), np.array([0.0, 4.0])],
        "b": [np.ones(3)],
    }
    assert list_scales(lists) == {"a": pytest.approx(1.5), "b": 1e-6}
    assert list_scales({"a": [np.array([1.0])], "b": []}) == {"a": 1.0, "b": 1.0}


def test_the_mix_is_a_weighted_sum_in_units_of_the_scale():
    components = {
        "bm25": [np.array([10.0, 0.0]), np.array([], dtype=np.float32)],
        "dense": [np.array([0.1, 0.3]), np.array([], dtype=np.float32)],
        "maxsim": [np.array([9.0, 9.0]), np.array([], dtype=np.float32)],
    }
    scales = {"bm25": 5.0, "dense": 0.1, "maxsim": 1.0}
    mixed = mix(components, scales, {"bm25": 0.25, "dense": 0.75, "maxsim": 0.0})
    np.testing.assert_allclose(mixed[0], [0.25 * 2 + 0.75 * 1, 0.75 * 3], rtol=1e-6)
    assert mixed[1].shape == (0,) and mixed[0].dtype == np.float32


def planted(best, queries=12, length=15, seed=0):
    """Components of which only ``best`` ranks the relevant passage first; the others rank it last."""
    random = np.random.default_rng(seed)
    good = [random.permutation(length).astype(np.float32) for _ in range(queries)]
    components = {name: [values if name == best else -values for values in good] for name in COMPONENTS}
    ids = [f"q{n}" for n in range(queries)]
    candidates = [[f"p{n}-{place}" for place in range(length)] for n in range(queries)]
    qrels = [Qrel(ids[n], candidates[n][int(good[n].argmax())], 1) for n in range(queries)]
    return components, ids, candidates, qrels


@pytest.mark.parametrize("best", COMPONENTS)
def test_a_planted_best_component_is_found(best):
    components, ids, candidates, qrels = planted(best)
    scales = list_scales(components)
    weights, quality = choose_weights(components, scales, ids, candidates, qrels)
    assert quality == 1.0
    assert weights[best] == pytest.approx(0.6), (
        "the least weight that outvotes the rest: ties go to even weights"
    )
    assert sum(weights.values()) == pytest.approx(1.0)


def test_chosen_weights_have_the_quality_they_claim_and_no_single_component_beats_them():
    random = np.random.default_rng(3)
    _, ids, candidates, qrels = planted("dense")
    truth = {(qrel.query_id, qrel.passage_id) for qrel in qrels}
    components = {
        name: [
            random.normal(size=15) + power * np.array([(query, c) in truth for c in rows])
            for query, rows in zip(ids, candidates, strict=True)
        ]
        for name, power in zip(COMPONENTS, (0.5, 1.0, 1.5, 0.1), strict=True)
    }
    scales = list_scales(components)
    weights, quality = choose_weights(components, scales, ids, candidates, qrels)

    def quality_of(weights):
        return np.mean(list(ndcg_of_lists(ids, candidates, mix(components, scales, weights), qrels).values()))

    assert quality == pytest.approx(quality_of(weights), abs=1e-6)
    assert all(quality >= quality_of({name: 1.0}) - 1e-6 for name in COMPONENTS)


def test_without_a_difference_all_components_weigh_the_same():
    components, ids, candidates, qrels = planted("bm25")
    same = dict.fromkeys(COMPONENTS, components["bm25"])
    weights, _ = choose_weights(same, list_scales(same), ids, candidates, qrels)
    assert sorted(weights.values()) == pytest.approx([0.2, 0.2, 0.3, 0.3])


def test_ndcg_of_lists_orders_by_score_and_keeps_ties_in_order():
    found = ndcg_of_lists(
        ["a", "b"], [["x", "y", "z"], ["x", "y"]], [np.array([0.0, 1.0, 1.0]), np.array([1.0, 1.0])],
        [Qrel("a", "z", 1), Qrel("b", "x", 1)],
    )  # fmt: skip
    assert found == pytest.approx({"a": 1 / np.log2(3), "b": 1.0})


def material(query_vectors, **changes):
    values = {
        "passages": PASSAGES,
        "passage_ids": [f"p{row}" for row in range(len(PASSAGES))],
        "query_ids": ["q0", "q1", "q2", "q3"],
        "queries": QUERIES,
        "splits": ["dev", "dev", "dev", "train"],
        "sources": ["", "", "", "p4"],
        "candidates": CANDIDATES,
        "dense": [np.linspace(0.9, 0.1, len(rows), dtype=np.float32) for rows in CANDIDATES],
        "lexical": Bm25Config(k1=0.9, b=0.4, language="english"),
        "query_vectors": query_vectors,
        "dev": [Qrel("q0", "p0", 1), Qrel("q1", "p2", 1), Qrel("other", "p2", 1)],
    }
    return Material(**{**values, **changes})


def config(weights=None, min_dev_queries=2):
    return ScoreConfig(
        hybrid=HybridConfig(weights=weights, min_dev_queries=min_dev_queries),
        cross_encoder=CrossEncoderConfig(
            model="", revision=None, max_tokens=64, batch_size=4, trust_remote_code=False
        ),
        allow_weaker=False,
        batch_size=4,
        seed=1,
    )


def score(folder, tmp_path, query_vectors, config):
    student = StudentConfig(model=str(folder))
    return TEACHERS["hybrid"](
        material(query_vectors), config, student, tmp_path / "late", tmp_path / "encode"
    )


def test_material_knows_its_judged_queries_and_candidates(query_vectors):
    given = material(query_vectors)
    assert given.judged_dev() == [0, 1]
    assert given.candidate_ids(1) == ["p2", "p0", "p5", "p3"]


@pytest.mark.parametrize(
    ("weights", "least", "rule"),
    [
        (None, 2, "best nDCG@10 on 2 judged dev queries"),
        (None, 3, "even: fewer than 3 judged dev queries"),
        ({"dense": 1.0}, 1, "params"),
    ],
)
def test_the_teacher_says_how_its_weights_came_about(folder, tmp_path, query_vectors, weights, least, rule):
    scores, details = score(folder, tmp_path, query_vectors, config(weights, least))
    assert details["rule"] == rule
    assert [len(values) for values in scores] == [3, 4, 0, 2]
    if rule == "params":
        scale = details["scales"]["dense"]
        for found, dense in zip(scores, material(query_vectors).dense, strict=True):
            np.testing.assert_allclose(found, dense / scale, rtol=1e-5)
    if rule.startswith("even"):
        assert details["weights"] == dict.fromkeys(COMPONENTS, 0.25)


@pytest.mark.parametrize(
    "weights", [{}, {"densse": 1.0}, {"dense": 0.0}, {"dense": 1.0, "bm25": -0.5}], ids=str
)
def test_wrong_weights_are_refused_before_any_work(folder, tmp_path, query_vectors, monkeypatch, weights):
    monkeypatch.setattr(teachers, "late_interaction", lambda *a: pytest.fail("worked first"))
    with pytest.raises(InputError, match="positive weights of bm25, dense, maxsim, sentence"):
        score(folder, tmp_path, query_vectors, config(weights))
