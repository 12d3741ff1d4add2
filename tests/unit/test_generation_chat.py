"""Prompts, few-shot pools and what they become: the messages that a language model is sent."""

from __future__ import annotations

import json

import pytest

from densespec.errors import InputError
from densespec.generation.chat import chat_requests, split_template
from densespec.generation.prompt import (
    SHARED,
    Example,
    Prompt,
    domain_prompt,
    read_prompt,
    shared_prompt,
    write_prompt,
)
from densespec.records import Passage

TEMPLATE = "Ask one question.\n\nBe brief.\n\nPassage:\n{passage}\n"
POOL = tuple(Example(f"example passage {n}", f"example query {n}") for n in range(8))
PASSAGES = [Passage(f"p{n}", f"Title {n}", f"Text of number {n}.") for n in range(40)]


def requests(passages=PASSAGES, kind="question", pool=POOL, template=TEMPLATE, **changes):
    values = {"language": "en", "examples": 3, "passage_chars": 2048, "seed": 0}
    return chat_requests(passages, kind, Prompt("question/1", template, pool), **{**values, **changes})


def test_a_request_is_instruction_examples_passage():
    [request] = requests(PASSAGES[:1], examples=2)
    roles = [message["role"] for message in request.messages]
    first, query, second, other_query, last = [message["content"] for message in request.messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    shown = dict(POOL)
    assert first.startswith("Ask one question.\n\nBe brief.\n\nPassage:\nexample passage ")
    assert query == shown[first.split("Passage:\n")[1]]
    assert other_query == shown[second.removeprefix("Passage:\n")] != query
    assert last == "Passage:\nTitle 0\nText of number 0."


def test_a_structured_request_asks_for_json_and_shows_it():
    pool = (Example("ein Fluss", 'was heißt "Fluß"?'),)
    [request] = requests(PASSAGES[:1], examples=1, pool=pool, structured=True)
    first, shown, last = [message["content"] for message in request.messages]
    assert first.startswith('Ask one question.\n\nBe brief.\n\nReply with JSON: {"query": "…"}\n\nPassage:\n')
    assert "Fluß" in shown and json.loads(shown) == {"query": 'was heißt "Fluß"?'}
    assert last == requests(PASSAGES[:1])[0].messages[-1]["content"]


@pytest.mark.parametrize("changes", [{"pool": ()}, {"examples": 0}])
def test_without_examples_the_prompt_is_the_template(changes):
    [request] = requests(PASSAGES[:1], **changes)
    [message] = request.messages
    assert message["content"] == TEMPLATE.strip().replace("{passage}", PASSAGES[0].content)


def test_the_draw_depends_on_seed_passage_and_kind_only():
    alone = [requests([passage])[0] for passage in PASSAGES]
    assert requests() == alone == list(reversed(requests(PASSAGES[::-1])))
    for other in (requests(seed=1), requests(kind="claim")):
        assert all(one.seed != two.seed for one, two in zip(other, alone, strict=True))
        assert sum(one.messages != two.messages for one, two in zip(other, alone, strict=True)) > 30
    renumbered = requests([passage._replace(id="other") for passage in PASSAGES])
    assert renumbered == alone
    assert len({request.seed for request in alone}) == len(alone)


def test_every_example_is_drawn_and_none_twice_for_a_passage():
    counts = dict.fromkeys((example.query for example in POOL), 0)
    for request in requests():
        drawn = [message["content"] for message in request.messages if message["role"] == "assistant"]
        assert len(set(drawn)) == 3
        for query in drawn:
            counts[query] += 1
    assert min(counts.values()) > 5  # of 120 draws, 15 expected each
    assert len(requests(PASSAGES[:1], examples=50)[0].messages) == 2 * len(POOL) + 1


def test_passages_and_examples_are_cut():
    long = Passage("long", "", "日本語" * 1000)
    messages = requests([long], pool=(Example("x" * 3000, "q"),), passage_chars=100)[0].messages
    assert messages[0]["content"].endswith("Passage:\n" + "x" * 100)
    assert messages[2]["content"] == "Passage:\n" + ("日本語" * 34)[:100]


@pytest.mark.parametrize(
    ("language", "named"),
    [
        ("de", "German"),
        ("ja", "Japanese"),
        ("pt-BR", "Portuguese"),
        ("gsw", "the language with the code gsw"),
    ],
)
def test_the_prompt_names_the_language(language, named):
    instruction, turn = split_template(TEMPLATE, language)
    assert (
        instruction == f"Ask one question.\n\nBe brief.\n\nWrite in {named}, the language of the passage.\n\n"
    )
    assert turn == "Passage:\n{passage}"
    own, _ = split_template("Frage auf {language}.\n\n{passage}", language)
    assert own == f"Frage auf {named}.\n\n"
    assert "Write in" not in "".join(split_template(TEMPLATE, "en-GB"))


def test_texts_of_any_script_come_through_unchanged():
    passages = [
        Passage("東京", "規則", "河川の水位が上がると、市は橋を閉鎖する。{passage} {language}"),
        Passage("köln", "", "Größere Beträge überweist die Behörde 🙂."),
    ]
    for passage, request in zip(passages, requests(passages, language="ja"), strict=True):
        assert request.messages[-1]["content"] == f"Passage:\n{passage.content}"


@pytest.mark.parametrize("kind", ["question", "claim", "title", "keywords", "web_search", "msmarco"])
def test_the_shipped_prompts_share_their_instruction(kind):
    prompt = shared_prompt(SHARED, kind)
    assert len(prompt.examples) >= 30
    instruction, turn = split_template(prompt.template, "en")
    assert (instruction + turn).strip() == prompt.template.strip()
    assert turn == "Passage:\n{passage}" and " alone" in instruction.replace("\n", " ")


def test_a_domain_may_bring_its_own_prompt_and_pool(tmp_path):
    (tmp_path / "question.txt").write_text("version: question/1\n{passage}", encoding="utf-8")
    assert shared_prompt(tmp_path, "question") == Prompt("question/1", "{passage}\n")
    (tmp_path / "question.examples.jsonl").write_text('{"passage": "ä", "query": "だ"}\n', encoding="utf-8")
    shared = shared_prompt(tmp_path, "question")
    assert shared == Prompt("question/1", "{passage}\n", (Example("ä", "だ"),))
    assert domain_prompt(shared, "question", None, None) == shared
    text, pool = "version: tickets/2\nTell {passage}", [{"passage": "a", "query": "b"}]
    own = Prompt("tickets/2", "Tell {passage}\n", (Example("a", "b"),))
    assert domain_prompt(shared, "question", text, None) == own._replace(examples=shared.examples)
    assert domain_prompt(shared, "question", text, []) == own._replace(examples=())
    assert domain_prompt(None, "symptom", text, pool) == own
    assert domain_prompt(None, "symptom", None, pool) is None


def test_a_prompt_is_read_as_it_was_written(tmp_path):
    for prompt in (Prompt("q/1", "だ {passage}\n", (Example("ä", "b"), Example("c\nd", "e"))), None):
        write_prompt(tmp_path / "prompt.json", prompt)
        assert read_prompt(tmp_path / "prompt.json") == prompt


@pytest.mark.parametrize(
    "line", ['{"passage": "a"}', '{"passage": "a", "query": " "}', '{"passage": 1, "query": "b"}']
)
def test_a_malformed_example_is_named_with_file_and_line(tmp_path, line):
    (tmp_path / "question.txt").write_text("version: question/1\n{passage}", encoding="utf-8")
    good = '{"passage": "a", "query": "b"}\n'
    (tmp_path / "question.examples.jsonl").write_text(good + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"question.examples.jsonl:2(.|\n)*'passage' and 'query'"):
        shared_prompt(tmp_path, "question")


def test_a_malformed_prompt_of_a_domain_is_named():
    with pytest.raises(InputError, match=r"generate.prompts.question:1(.|\n)*version"):
        domain_prompt(None, "question", "Ask {passage}", None)
    with pytest.raises(InputError, match=r"generate.examples.question"):
        domain_prompt(Prompt("q/1", ""), "question", None, [{"passage": "only"}])
