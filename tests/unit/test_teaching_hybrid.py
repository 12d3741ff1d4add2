"""The hybrid teacher's signals against plain double loops, its mix and the choice of weights."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.errors import InputError
from densespec.records import Passage, Qrel
from densespec.retrieval.bm25 import Bm25
from densespec.retrieval.config import Bm25Config, StudentConfig
from densespec.retrieval.encoding import encode
from densespec.retrieval.judged import Judged
from densespec.teaching import hybrid, teachers
from densespec.teaching.hybrid import (
    COMPONENTS,
    best_sentence,
    choose_weights,
    late_interaction,
    lexical_scores,
    list_scales,
    mean_max_similarity,
    mix,
    sentences,
)
from densespec.teaching.teachers import TEACHERS, Material
from tests.teacher_params import score_config

PASSAGES = [
    Passage("p0", "files", "open a file to see. Read all of its lines! Close. Close the file after it"),
    Passage("p1", "", "a socket connects to a server over the network"),
    Passage("p2", "vaccine", "vaccine dose for children.\n\nA trial with heart disease patients"),
    Passage("p3", "", "boundary layer flow over a wing at supersonic velocity"),
    Passage("p4", "locks", "a thread waits for the lock of another. The queue is now empty. It waits on"),
    Passage("p5", "", "the blue river and the green mountain"),
]
TEXTS = [passage.content for passage in PASSAGES]
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


def late(model, folder, candidates=CANDIDATES):
    return late_interaction(model, "f", TEXTS, QUERIES, candidates, folder / "late", folder / "encode")


def best(model, query_vectors, folder, candidates=CANDIDATES):
    return best_sentence(
        model, "f", PASSAGES, TEXTS, QUERIES, query_vectors, candidates, folder / "best", folder / "encode"
    )


@pytest.mark.parametrize("shard", [2, 256])
def test_late_interaction_is_a_double_loop_over_token_vectors(model, tmp_path, monkeypatch, shard):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", shard)
    found = late(model, tmp_path)
    for query, rows, scores in zip(QUERIES, CANDIDATES, found, strict=True):
        assert scores.dtype == np.float32 and len(scores) == len(rows)
        for row, score in zip(rows, scores, strict=True):
            others = tokens_of(model, TEXTS[row], "document")
            mean = np.mean([
                max(float(unit(token) @ unit(other)) for other in others)
                for token in tokens_of(model, query, "query")
            ])
            assert score == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("shard", [2, 256])
def test_best_sentence_is_a_double_loop_over_sentences(model, query_vectors, tmp_path, monkeypatch, shard):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", shard)
    found = best(model, query_vectors, tmp_path)
    by_hand = {
        0: ["files\nopen a file to see.", "files\nRead all of its lines!", "files\nClose the file after it"],
        2: ["vaccine\nvaccine dose for children.", "vaccine\nA trial with heart disease patients"],
        4: ["locks\na thread waits for the lock of another.", "locks\nThe queue is now empty."],
    }
    for vector, rows, scores in zip(query_vectors, CANDIDATES, found, strict=True):
        assert scores.dtype == np.float32 and len(scores) == len(rows)
        for row, score in zip(rows, scores, strict=True):
            pieces = by_hand.get(row, [TEXTS[row]])
            cosines = model.encode_document(pieces, normalize_embeddings=True) @ vector
            assert score == pytest.approx(float(cosines.max()), abs=1e-5)


def test_sentences_of_long_short_and_endless_passages():
    assert sentences(Passage("a", "t", "Short. Yes.")) == ["t\nShort. Yes."], "no sentence is long enough"
    endless = Passage("a", "", "This is a sentence here. " * 10_000)
    assert sentences(endless) == ["This is a sentence here."] * hybrid.MAX_SENTENCES


def test_the_passage_a_query_is_about_gets_the_best_scores(model, query_vectors, tmp_path):
    for scores in (late(model, tmp_path), best(model, query_vectors, tmp_path)):
        assert [scores[number].argmax() for number in (0, 1, 3)] == [0, 0, 0]


def test_shards_are_found_again(model, query_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", 2)
    first = [*late(model, tmp_path), *best(model, query_vectors, tmp_path)]
    monkeypatch.setattr(model, "forward", lambda *a, **o: pytest.fail("the model was run"))
    monkeypatch.setattr(hybrid, "mean_max_similarity", lambda *a: pytest.fail("computed again"))
    again = [*late(model, tmp_path), *best(model, query_vectors, tmp_path)]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_changed_list_recomputes_only_the_shard_it_touches(model, tmp_path, monkeypatch):
    monkeypatch.setattr(hybrid, "SHARD_TEXTS", 2)
    late(model, tmp_path)
    computed = []
    plain = hybrid.mean_max_similarity

    def counted(queries, passage):
        computed.append(len(queries))
        return plain(queries, passage)

    monkeypatch.setattr(hybrid, "mean_max_similarity", counted)
    late(model, tmp_path, candidates=[[0, 4, 1], [2, 0, 5, 3], [], [4, 3, 5]])
    assert computed == [2, 2], "passages 4 and 5, with the queries that list them"


def test_vectors_of_earlier_runs_are_used(model, query_vectors, tmp_path, monkeypatch):
    """What mining left in the encoder's shards, and sentences known from other lists."""
    for texts, task in ((TEXTS, "document"), (QUERIES, "query")):
        encode(model, "f", texts, tmp_path / "encode", task=task, label="x", tokens=True)
    best(model, query_vectors, tmp_path)
    monkeypatch.setattr(model, "forward", lambda *a, **o: pytest.fail("the model was run"))
    assert len(late(model, tmp_path)) == 4
    assert len(best(model, query_vectors, tmp_path, candidates=[[1], [5], [2], []])) == 4


def test_mean_max_similarity_by_hand():
    passage = np.array([[1.0, 0.0], [0.6, 0.8]])
    queries = [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])]
    found = mean_max_similarity(queries, passage)
    np.testing.assert_allclose(found, [1.0, (0.8 + 1.0 - 0.6) / 3], rtol=1e-6)
    assert found.dtype == np.float32


def test_lexical_scores_are_those_of_the_index():
    index = Bm25(TEXTS)
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
    return components, Judged(ids, candidates, qrels)


@pytest.mark.parametrize("best", COMPONENTS)
def test_a_planted_best_component_is_found(best):
    components, judged = planted(best)
    scales = list_scales(components)
    weights, quality = choose_weights(components, scales, judged)
    assert quality == 1.0
    assert weights[best] == pytest.approx(0.6), (
        "the least weight that outvotes the rest: ties go to even weights"
    )
    assert sum(weights.values()) == pytest.approx(1.0)


def test_chosen_weights_have_the_quality_they_claim_and_no_single_component_beats_them():
    random = np.random.default_rng(3)
    _, judged = planted("dense")
    components = {
        name: [random.normal(size=15) + power * grades for grades in judged.grades()]
        for name, power in zip(COMPONENTS, (0.5, 1.0, 1.5, 0.1), strict=True)
    }
    scales = list_scales(components)
    weights, quality = choose_weights(components, scales, judged)

    def quality_of(weights):
        return np.mean(list(judged.ndcg_per_query(mix(components, scales, weights)).values()))

    assert quality == pytest.approx(quality_of(weights), abs=1e-6)
    assert all(quality >= quality_of({name: 1.0}) - 1e-6 for name in COMPONENTS)


def test_without_a_difference_all_components_weigh_the_same():
    components, judged = planted("bm25")
    same = dict.fromkeys(COMPONENTS, components["bm25"])
    weights, _ = choose_weights(same, list_scales(same), judged)
    assert sorted(weights.values()) == pytest.approx([0.2, 0.2, 0.3, 0.3])


def material(query_vectors, **changes):
    values = {
        "passages": PASSAGES,
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
    return score_config(hybrid={"weights": weights, "min_dev_queries": min_dev_queries})


def score(folder, tmp_path, query_vectors, config):
    student = StudentConfig(model=str(folder))
    return TEACHERS["hybrid"](
        material(query_vectors), config, student, tmp_path / "late", tmp_path / "encode"
    )


def test_material_knows_its_judged_queries_and_candidates(query_vectors):
    given = material(query_vectors)
    assert given.judged_dev() == [0, 1]
    assert given.judged([1], given.dev) == Judged(["q1"], [["p2", "p0", "p5", "p3"]], given.dev[1:2])


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
