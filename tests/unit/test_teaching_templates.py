"""What a generative reranker reads: the family's tokens, and where long texts are cut."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from densespec.errors import InputError
from densespec.teaching.templates import Template, choose_template, score_tokens, tokenise
from tests.tiny_models import tiny_decoder

STYLES = {
    "family": Template(("{instruction}: {query}", "\n", "{passage}?"), "yes", "no", instruction="Judge")
}
OWN = {"style": "auto", "template": "", "instruction": "", "positive": "", "negative": ""}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_decoder(tmp_path_factory.mktemp("model") / "tiny", "llama"))


def choose(model="some/Family-1B", **changes):
    return choose_template("score.x", model, STYLES, **OWN | changes)


def test_the_familys_or_ones_own():
    assert choose().pieces == ("Judge: {query}", "\n", "{passage}?")
    assert choose(instruction="Rate").pieces[0] == "Rate: {query}"
    assert choose(model="other", style="family").positive == "yes"
    own = choose(template="{query} {passage}", positive="A")
    assert (own.pieces, own.positive, own.negative, own.special) == (("{query} {passage}",), "A", "", True)
    assert choose(template="{query} {passage}").negative == "no", "the style's tokens stay"


def test_a_parameter_that_would_do_nothing_is_refused():
    with pytest.raises(InputError, match=r"score\.x\.negative(.|\n)*'no' alone"):
        choose(negative="no")
    with pytest.raises(InputError, match=r"score\.x\.instruction"):
        choose(template="{query} {passage}", instruction="Rate")
    own = choose(template="{instruction}: {query} {passage}", instruction="Rate")
    assert own.pieces == ("Rate: {query} {passage}",)


@pytest.mark.parametrize("template", ["{query}", "{query} {query} {passage}", "{passage} {Query}"])
def test_a_template_must_name_query_and_passage_once(template):
    with pytest.raises(InputError, match=r"score\.x\.template"):
        choose(template=template)


def test_braces_in_texts_are_text(tokenizer):
    template = Template(("{query}|{passage}",), "yes")
    (pair,) = tokenise(tokenizer, template, ["{passage} {0}"], ["{query}"], 99, "score.x")
    assert tokenizer.decode(pair["input_ids"]) == "{passage} {0}|{query}"


@pytest.mark.parametrize(
    ("most", "text"),
    [
        (99, "<bos>Q: jqvwxz P: zqjvkx!"),
        (18, "<bos>Q: jqvwxz P: zqj!"),
        (15, "<bos>Q: jqvwxz P: !"),
        (12, "<bos>Q: jqv P: !"),
        (9, "<bos>Q:  P: !"),
    ],
)
def test_the_passage_is_cut_first_then_the_query_never_the_rest(tokenizer, most, text):
    template = Template(("Q: {query} P: ", "{passage}", "!"), "yes", begin=True)
    pairs = tokenise(tokenizer, template, ["jqvwxz", ""], ["zqjvkx", ""], most, "score.x")
    assert [tokenizer.decode(pair["input_ids"]) for pair in pairs] == [text, "<bos>Q:  P: !"]


def test_a_template_that_is_too_long_alone_is_refused(tokenizer):
    with pytest.raises(InputError, match="the template alone is"):
        tokenise(tokenizer, Template(("x" * 30, "{query}{passage}"), "yes"), ["a"], ["b"], 8, "score.x")


def test_tokens_of_the_score(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["yes", "no"])
    assert score_tokens(tokenizer, STYLES["family"], "score.x") == ids
    assert score_tokens(tokenizer, Template((), "no"), "score.x") == ids[1:]
    with pytest.raises(InputError, match="single tokens"):
        score_tokens(tokenizer, Template((), "neither of them"), "score.x")


def test_a_token_given_as_text_is_what_the_tokenizer_makes_of_it():
    """Llama's puts a space before text; the vocabulary has both."""
    vocabulary = {"<unk>": 0, "▁": 1, "Yes": 2, "▁Yes": 3}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Prepend("▁")
    spaced = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert score_tokens(spaced, Template((), "Yes"), "score.x") == [2]
    assert score_tokens(spaced, Template((), "Yes", as_text=True), "score.x") == [3]


def test_the_last_part_of_a_path_tells_the_family():
    styles = {"rankt5": STYLES["family"], "monot5": STYLES["family"]._replace(positive="true")}

    def positive(model):
        return choose_template("score.x", model, styles, **OWN).positive

    assert positive("castorini/monot5-base") == "true"
    assert positive("models/rankt5-against-monot5/MonoT5-base") == "true"
    assert positive("models/monot5/checkpoint-3") == "true"
    with pytest.raises(InputError, match=r"score\.x\.style"):
        positive("models/rankt5-against-monot5")
