"""Writers in turn, filters, recordings, prompts, the card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from densespec.errors import InputError
from densespec.generation.card import dataset_card, read_licence, render_card
from densespec.generation.config import GenerateConfig
from densespec.generation.filters import REASONS, rejection
from densespec.generation.prompt import SHARED, Prompt, shared_prompt
from densespec.generation.recorded import read_recordings
from densespec.generation.recorded import write as recorded
from densespec.generation.registry import WRITERS
from densespec.generation.words import copied_words, length, run_key, tokens
from densespec.generation.writer import Recording, Setting, Written
from densespec.generation.writing import Kept, counts, sample, write_queries
from densespec.records import LABELLED_PROMPT, Passage, passage_hash

PASSAGES = [Passage(f"p{n}", f"Title {n}", f"Passage number {n} tells of river {n}.") for n in range(6)]
PROMPT = Prompt("question/1", "Ask about:\n{passage}\n")


def setting(**changes) -> Setting:
    values = {
        "corpus": PASSAGES,
        "recordings": {},
        "prompt": PROMPT,
        "language": "en",
        "max_words": 20,
        "copy_ngram": 6,
        "seed": 0,
        "embed": lambda texts, task: np.zeros((len(texts), 2), np.float32),
        "student": "tiny",
        "parameters": GenerateConfig(),
        "scratch": Path(),
        "usage": {},
    }
    return Setting(**{**values, **changes})


def writer(texts, prompt="test/1", cut=False):
    """A writer that says the given texts: passage id → list of queries."""

    def write(passages, kind, setting):
        for passage in passages:
            for text in texts.get(passage.id, ()):
                yield Written(passage, text, prompt, "test", cut=cut)

    return write


def test_a_passage_gets_queries_of_the_first_writer_that_has_some():
    first = writer({"p0": ["what is at zero?"], "p1": ["what is at one?", "who is at one?"]})
    second = writer({p.id: [f"second on {p.id}?"] for p in PASSAGES})
    outcome = write_queries(
        PASSAGES[:3], "question", {"first": first, "second": second}, setting(), limits={}
    )
    assert [(q.source_id, q.writer) for q in outcome.queries] == [
        ("p0", "first"), ("p1", "first"), ("p1", "first"), ("p2", "second"),
    ]  # fmt: skip
    assert outcome.writers == {
        "first": {"asked": 3, "missing": 1, "written": 3, "kept": 3},
        "second": {"asked": 1, "missing": 0, "written": 1, "kept": 1},
    }


def test_a_passage_whose_queries_were_all_dropped_goes_to_the_next_writer():
    first, second = writer({"p0": ["", "   "]}), writer({"p0": ["what is it?"]})
    outcome = write_queries(
        PASSAGES[:1], "question", {"first": first, "second": second}, setting(), limits={}
    )
    assert [(q.writer, q.id) for q in outcome.queries] == [
        ("second", f"question-{passage_hash(PASSAGES[0])}-3")
    ]
    assert outcome.dropped["empty"] == 2


def test_answers_are_tidied_and_counted_and_refusals_go_to_the_next_writer():
    first = writer(
        {"p0": ['Sure! Here is a question:\n"What is at zero?"'], "p1": ["I cannot help with that."]}
    )
    second = writer({"p1": ["what is at one?"]})
    outcome = write_queries(PASSAGES[:2], "question", {"a": first, "b": second}, setting(), limits={})
    assert [(q.text, q.writer) for q in outcome.queries] == [
        ("What is at zero?", "a"),
        ("what is at one?", "b"),
    ]
    assert (outcome.tidied, outcome.preambles) == (1, 1)
    assert outcome.dropped == {**dict.fromkeys(REASONS, 0), "refusal": 1}
    assert counts(outcome, "question/1")["preambles"] == 1


def test_a_query_that_the_longest_answer_cut_is_dropped_and_one_above_the_cut_is_kept():
    answers = {
        "p0": "Here is a question that it answers:\n\nHow often may a client resend a request before",
        "p1": "What is at one?\n\nThis question asks",
        "p2": "<think>The passage tells of",
    }
    first = writer({name: [answer] for name, answer in answers.items()}, cut=True)
    second = writer({"p0": ["How often may a client resend a request before it gives up?"]})
    outcome = write_queries(PASSAGES[:3], "question", {"a": first, "b": second}, setting(), limits={})
    assert [(q.text, q.writer) for q in outcome.queries] == [
        ("How often may a client resend a request before it gives up?", "b"),
        ("What is at one?", "a"),
    ]
    assert outcome.dropped == {**dict.fromkeys(REASONS, 0), "cut_off": 2}


def test_check_language_drops_queries_in_another_language_unless_it_is_off():
    write = writer({"p0": ["Wovon erzählt die Passage und wie heißt der Fluss?"]})
    args = PASSAGES[:1], "question", {"w": write}, setting()
    assert write_queries(*args, limits={}).dropped["wrong_language"] == 1
    assert len(write_queries(*args, limits={}, check_language=False).queries) == 1


def test_ids_do_not_depend_on_filters_or_other_passages():
    write = writer({"p1": ["", "what is at one?"], "p2": ["two?"]})
    one = write_queries(PASSAGES[1:2], "claim", {"w": write}, setting(), limits={}).queries
    all_of_them = write_queries(PASSAGES, "claim", {"w": write}, setting(), limits={}).queries
    assert [q.id for q in one] == [f"claim-{passage_hash(PASSAGES[1])}-2"]
    assert one[0] in all_of_them


def test_a_limited_writer_takes_uncovered_passages_first_and_the_same_for_every_kind():
    write = writer({p.id: [f"about {p.id}?"] for p in PASSAGES})
    covered = {passage_hash(p) for p in PASSAGES[:4]}
    for kind in ("question", "title"):
        outcome = write_queries(PASSAGES, kind, {"w": write}, setting(), {"w": 2}, covered)
        assert [q.source_id for q in outcome.queries] == ["p4", "p5"]
    assert len(write_queries(PASSAGES, "title", {"w": write}, setting(), {"w": 5}, covered).queries) == 5
    assert write_queries(PASSAGES, "title", {"w": write}, setting(), {"w": 0}).queries == []


def test_a_query_that_people_judged_for_several_passages_is_kept_for_each_and_no_model_may_repeat_it():
    """Once per passage, however often it is recorded there."""
    def labelled(passages, kind, setting):
        for passage in passages[:2]:
            for text in ("how tall is it?", "How tall is it", f"only {passage.id}?"):
                yield Written(passage, text, LABELLED_PROMPT, "human")

    repeating = writer({p.id: ["How tall is it?"] for p in PASSAGES})
    outcome = write_queries(PASSAGES, "question", {"recorded": labelled, "w": repeating}, setting(), {})
    assert [(q.source_id, q.text) for q in outcome.queries] == [
        ("p0", "how tall is it?"), ("p0", "only p0?"), ("p1", "how tall is it?"), ("p1", "only p1?")
    ]  # fmt: skip
    assert outcome.dropped["duplicate"] == 2 + len(PASSAGES) - 2


def test_what_people_wrote_is_left_as_it_is():
    texts = {
        "p0": "After the update `nothing` works.\nHow do I reset it?",
        "p1": "Unfortunately I lost the wifi password",
        "p2": "Query: which passage of the law",
    }
    said = {name: [text] for name, text in texts.items()}
    labelled = writer(said, LABELLED_PROMPT)
    outcome = write_queries(PASSAGES, "question", {"recorded": labelled}, setting(), {})
    assert [query.text for query in outcome.queries] == [" ".join(text.split()) for text in texts.values()]
    assert not any(outcome.dropped.values()) and outcome.tidied == outcome.preambles == 0
    by_model = write_queries(PASSAGES, "question", {"w": writer(said)}, setting(), {})
    assert [query.text for query in by_model.queries] == [
        "After the update nothing works.", "which passage of the law"
    ]  # fmt: skip
    assert by_model.dropped["refusal"] == 1


def test_most_of_a_sample_stays_when_the_corpus_grows():
    before = sample(PASSAGES[:5], 3, seed=0)
    after = sample(PASSAGES, 3, seed=0)
    assert len(set(before) & set(after)) >= 2
    assert sample(list(reversed(PASSAGES)), 3, seed=0) == list(reversed(after))
    assert sample(PASSAGES, 3, seed=1) != after or sample(PASSAGES, 3, seed=2) != after


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("?! …", "empty"),
        ("w " * 21, "too_long"),
        ("w " * 20, ""),
        ("the OLD  title!", "equals_title"),
        ("Tell me how the quick brown fox jumped over the fence", "copies_passage"),  # seven in a row
        ("how quick brown fox jumped over the?", ""),  # six
        ("Dogs sleep.", "copies_passage"),  # a whole sentence
        ("a line of text", "copies_passage"),  # a whole line
        ("what have I asked before", "duplicate"),
    ],
)
def test_filters(text, reason):
    passage = Passage(
        "p", "The old title", "The quick brown fox jumped over the lazy dog. Dogs sleep. Bye\nA line of text"
    )
    seen = {"what have i asked before"}
    assert rejection(text, passage, seen, max_words=20, copy_ngram=6) == reason
    assert reason in ("", *REASONS)


def test_copies_and_lengths_in_scripts_without_spaces():
    passage = run_key("河川の水位が上がると橋を閉鎖する")
    assert length("橋を閉鎖する") == 3
    assert copied_words(tokens("いつ橋を閉鎖する？"), passage) == 3
    assert copied_words(tokens("नदी का पानी"), run_key("नदी का पानी बढ़ता है")) == 3
    assert tokens("नमस्ते") == ["नमस्ते"]


def test_recorded_replays_by_kind_and_hash(tmp_path):
    path = tmp_path / "recordings.jsonl"
    key = passage_hash(PASSAGES[0])
    rows = [
        {"passage": key, "kind": kind, "query": f"{kind}, recorded", "prompt": f"{kind}/1", "model": "llm"}
        for kind in ("question", "title")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recordings = read_recordings(path)["title"]
    assert recordings == {key: [Recording("title, recorded", "title/1", "llm")]}
    written = list(recorded(PASSAGES, "title", setting(recordings=recordings)))
    assert written == [Written(PASSAGES[0], "title, recorded", "title/1", "llm")]
    changed = PASSAGES[0]._replace(text="other wording")
    assert list(recorded([changed], "title", setting(recordings=recordings))) == []


def test_a_malformed_recording_is_named_with_file_and_line(tmp_path):
    path = tmp_path / "recordings.jsonl"
    path.write_text('{"passage": "0", "kind": "claim", "query": 3, "prompt": "claim/1"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"recordings.jsonl:1(.|\n)*query: 3, no model"):
        read_recordings(path)


def test_prompts_of_the_package_are_well_formed():
    for kind in ("question", "claim", "title", "keywords", "web_search", "msmarco"):
        prompt = shared_prompt(SHARED, kind)
        assert prompt.version.startswith(f"{kind}/") and "{passage}" in prompt.template


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ask about {passage}", "found:.*Ask about"),
        ("version: question/1\nAsk.", "a template without it"),
        (b"version: question/1\n\xff{passage}", "UTF-8"),
    ],
)
def test_bad_prompts(tmp_path, content, message):
    assert shared_prompt(tmp_path, "question") is None
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "question.txt").write_bytes(data)
    with pytest.raises(InputError, match=message):
        shared_prompt(tmp_path, "question")


def test_config_names_unknown_writers():
    assert GenerateConfig(writers=list(WRITERS)).writers == list(WRITERS)
    with pytest.raises(ValueError, match=r"unknown writer vlm; there are: recorded, .*, vllm"):
        GenerateConfig(writers=["recorded", "vlm"])
    with pytest.raises(ValueError, match="at most once"):
        GenerateConfig(writers=["recorded", "recorded"])


def test_card_counts_and_its_front_matter_is_yaml(tmp_path):
    source = tmp_path / "source.yaml"
    source.write_text('title: "Docs: a | b"\nlicence: CC-BY-4.0\n', encoding="utf-8")
    title, licence = read_licence(source)
    queries = [
        Kept("claim-0-1", "a | `b`", "claim", "p0", "recorded", "claim/1", "llm"),
        Kept("claim-1-1", "c", "claim", "p1", "extractive", "extractive/1", "tiny"),
        Kept("claim-1-2", "d", "claim", "p1", "extractive", "extractive/1", "tiny"),
    ]
    card = dataset_card(
        queries, domain="docs", kind="claim", title=title, licence=licence, language="en", seed=3,
        settings={"max_words": 20, "copy_ngram": 6}, dropped={"empty": 1},
    )  # fmt: skip
    assert card["writers"] == {"recorded": 1, "extractive": 2}
    assert (card["queries"], card["passages"], card["prompts"]["claim/1"]) == (3, 2, 1)
    text = render_card(card, queries, Prompt("claim/1", "Write.\n{passage}\n"))
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert (front["license"], front["language"]) == ("cc-by-4.0", ["en"])
    assert "| a \\| 'b' | `p0` | recorded |" in body
    assert "dvc import <this repository> data/queries/docs/claim --rev synth-docs-v1" in body
    unknown = render_card({**card, "licence": "PSF-2.0"}, queries, Prompt("claim/1", "{passage}"))
    assert "license: other\nlicense_name: PSF-2.0\n" in unknown


def test_missing_licence_is_said_so(tmp_path):
    source = tmp_path / "source.yaml"
    source.write_text("reader: files\nlicence:\n", encoding="utf-8")
    assert read_licence(source) == ("unknown", "unknown")
