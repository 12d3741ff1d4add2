"""Rerankers that answer yes or no: each family's documented way, pair by pair without padding."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from densespec.errors import InputError
from densespec.teaching import causal as module
from densespec.teaching.causal import common_prefix, load_causal
from densespec.teaching.pairs import pair_scores
from tests.tiny_models import tiny_decoder

PASSAGES = ["open a file", "a socket connects to a server " * 3, "vaccine dose", "a wing", "the river " * 9]
QUERIES = ["read files", "server", "children", "supersonic wing"]
CANDIDATES = [[0, 1, 4], [], [2], [3, 0, 1, 2, 4]]
TASK = "Given a web search query, retrieve relevant passages that answer the query"
PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'."
)
#: Gemma 2 caps its logits and has windows.
ARCHITECTURES = ("qwen3", "gemma", "gemma2", "llama")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, tmp_path_factory):
    return tiny_decoder(tmp_path_factory.mktemp("model") / "tiny", request.param)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    return tiny_decoder(tmp_path_factory.mktemp("model") / "tiny", "qwen3")


def loaded(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()


def by_qwen3(plain, query, passage, instruction=TASK):
    """As Qwen3-Reranker's card: three parts, log-softmax of the last position's logits of no and yes."""
    tokenizer, model = plain
    parts = [
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
        'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
        f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {passage}",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ]
    ids = [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    both = torch.stack([logits[tokenizer.convert_tokens_to_ids(word)] for word in ("no", "yes")])
    return torch.log_softmax(both, dim=0)[1].item()


def by_bge(plain, query, passage):
    """As bge-reranker-v2-gemma's card: parts joined as tokens, the last position's logit of Yes."""
    tokenizer, model = plain

    def tokens(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    ids = [tokenizer.bos_token_id, *tokens(f"A: {query}"), *tokens("\n"), *tokens(f"B: {passage}")]
    ids += tokens("\n") + tokens(PROMPT)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1, tokens("Yes")[0]].item()


def score(model, tmp_path, batch_tokens=512, candidates=CANDIDATES):
    return pair_scores(
        model, PASSAGES, QUERIES, candidates, tmp_path, batch_tokens=batch_tokens, label="causal"
    )


def compare(found, expected, transform=lambda scores: scores):
    for scores, query, rows in zip(found, QUERIES, CANDIDATES, strict=True):
        wanted = [expected(query, PASSAGES[row]) for row in rows]
        np.testing.assert_allclose(transform(scores), wanted, atol=1e-4)
    assert np.ptp(found[3]) > 0.01


def log_probability(scores):
    return -np.logaddexp(0, -scores)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("batch_tokens", [8, 600, 8192])
def test_qwen3_reranker_is_yes_against_no(folder, tmp_path, batch_tokens, share_prefix):
    model = load_causal(str(folder), style="qwen3-reranker", share_prefix=share_prefix)
    plain = loaded(folder)
    compare(score(model, tmp_path, batch_tokens), lambda *pair: by_qwen3(plain, *pair), log_probability)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("batch_tokens", [8, 300, 8192])
def test_bge_reranker_is_the_logit_of_yes(folder, tmp_path, batch_tokens, share_prefix):
    model = load_causal(str(folder), style="bge-reranker", share_prefix=share_prefix)
    plain = loaded(folder)
    compare(score(model, tmp_path, batch_tokens), lambda *pair: by_bge(plain, *pair))


def test_what_pairs_begin_with_is_computed_once_per_batch(qwen3, tmp_path, monkeypatch):
    counts = {}
    for shares in (True, False):
        model = load_causal(str(qwen3), style="qwen3-reranker", share_prefix=shares)
        shapes = []
        model.replicas[0].register_forward_pre_hook(
            lambda _, args, given, shapes=shapes: shapes.append(tuple(given["input_ids"].shape)),
            with_kwargs=True,
        )
        score(model, tmp_path, 10**6, [CANDIDATES[0], [], [], CANDIDATES[3]])
        counts[shares] = shapes
    # a batch per query: its prefix for one, then what follows for all
    assert [rows for rows, _ in counts[True]] == [1, 3, 1, 5]
    assert [rows for rows, _ in counts[False]] == [8]
    tokens = {shares: sum(rows * length for rows, length in shapes) for shares, shapes in counts.items()}
    assert tokens[True] < tokens[False] / 2, "most of these short pairs is instruction"


def test_models_with_a_sliding_window_share_nothing(tmp_path):
    from transformers import Qwen3Config

    assert Qwen3Config(use_sliding_window=False).sliding_window is None
    folder = tiny_decoder(
        tmp_path / "tiny", "qwen3", use_sliding_window=True, sliding_window=16, max_window_layers=0
    )
    model = load_causal(str(folder), style="qwen3-reranker", share_prefix=True)
    assert not model.by_query
    plain = loaded(folder)
    compare(score(model, tmp_path / "s", 2000), lambda *pair: by_qwen3(plain, *pair), log_probability)


def test_common_prefix_leaves_every_pair_a_token():
    pairs = [{"input_ids": ids} for ids in ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 5])]
    assert common_prefix(pairs) == 2
    assert common_prefix([{"input_ids": [1, 2]}, {"input_ids": [2, 2]}]) == 0


def test_the_name_of_a_model_tells_its_style(qwen3, tmp_path):
    for name, tokens in (("Qwen3-Reranker-0.6B", 2), ("bge-reranker-v2-gemma", 1)):
        (tmp_path / name).symlink_to(qwen3)
        assert load_causal(str(tmp_path / name)).replicas[0].lm_head.out_features == tokens
    with pytest.raises(InputError, match="one of qwen3-reranker, bge-reranker"):
        load_causal(str(qwen3))


def test_an_instruction_of_ones_own(qwen3, tmp_path):
    model = load_causal(str(qwen3), style="qwen3-reranker", instruction="find the river")
    plain = loaded(qwen3)
    compare(
        score(model, tmp_path), lambda *pair: by_qwen3(plain, *pair, instruction="find the river"),
        log_probability,
    )  # fmt: skip


def test_a_template_of_ones_own(qwen3, tmp_path):
    tokenizer, plain = loaded(qwen3)
    model = load_causal(
        str(qwen3), template="Passage: {passage}\nQuery: {query}\nAnswer yes or no:", positive="Yes"
    )

    def expected(query, passage):
        ids = tokenizer(f"Passage: {passage}\nQuery: {query}\nAnswer yes or no:", return_tensors="pt")
        with torch.no_grad():
            return plain(**ids).logits[0, -1, tokenizer.convert_tokens_to_ids("Yes")].item()

    compare(score(model, tmp_path), expected)


def test_a_long_passage_is_cut_and_the_turn_behind_it_stays(qwen3):
    tokenizer, _ = loaded(qwen3)
    model = load_causal(str(qwen3), style="qwen3-reranker", max_tokens=300)
    (pair,) = model.tokenise(["server"], ["the river " * 200])
    assert len(pair["input_ids"]) == 300
    text = tokenizer.decode(pair["input_ids"])
    assert "<Query>: server\n<Document>: the river the river" in text
    assert text.endswith("river<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n") or text.endswith(
        "the<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


#: A model that brings its code: every layer has a head of one output, ``cutoff_layers`` says which count.
LAYERWISE = """
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel


class LayerWise(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        heads = [nn.Linear(config.hidden_size, 1) for _ in range(config.num_hidden_layers)]
        self.lm_head = nn.ModuleList(heads)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, cutoff_layers=None):
        states = self.model(
            input_ids, attention_mask=attention_mask, position_ids=position_ids, output_hidden_states=True
        ).hidden_states
        return ([self.lm_head[layer - 1](states[layer])[..., 0] for layer in cutoff_layers],)
"""


@pytest.fixture
def layerwise(tmp_path, monkeypatch):
    """A folder with such a model, and its logit of a pair at a layer."""
    from transformers import AutoModelForCausalLM, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tiny_decoder(tmp_path / "bge-reranker-layerwise", "llama")
    (folder / "modeling_layerwise.py").write_text(LAYERWISE)
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForCausalLM": "modeling_layerwise.LayerWise"}
    (folder / "config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    model.save_pretrained(folder)
    return folder


def test_a_layer_of_a_layer_wise_model(layerwise, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(layerwise, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(layerwise)

    class AtLayer:
        def __init__(self, layer):
            self.layer = layer

        def __call__(self, ids):
            last = plain(ids, cutoff_layers=[self.layer])[0][0]  # (pairs, positions): no vocabulary
            return type("Outputs", (), {"logits": last[..., None].expand(*last.shape, len(tokenizer))})

    for layer in (1, 2):
        model = load_causal(str(layerwise), layer=layer, revision="read", trust_remote_code=True)
        compare(
            score(model, tmp_path / "s"),
            lambda *pair: by_bge((tokenizer, AtLayer(layer)), *pair),  # noqa: B023
        )


def test_a_layer_needs_a_model_that_has_them_and_its_code_a_revision(layerwise, qwen3):
    with pytest.raises(InputError, match=r"score\.causal\.layer"):
        load_causal(str(qwen3), style="bge-reranker", layer=1)
    with pytest.raises(InputError, match=r"score\.causal\.layer"):
        load_causal(str(layerwise), revision="read", trust_remote_code=True)
    with pytest.raises(InputError, match=r"set score\.causal\.revision"):
        load_causal(str(layerwise), layer=1, trust_remote_code=True)


def test_code_of_a_models_own_that_does_not_run_is_one_error(layerwise):
    """As the code of bge-reranker-v2-minicpm-layerwise, written for transformers 4, does not."""
    options = {"revision": "read", "trust_remote_code": True}
    with pytest.raises(InputError, match=r"score\.causal\.layer = 9(.|\n)*IndexError"):
        load_causal(str(layerwise), layer=9, **options)
    code = layerwise / "modeling_layerwise.py"
    code.write_text(LAYERWISE.replace("[..., 0] for layer", "[..., 0] * float('nan') for layer"))
    with pytest.raises(InputError, match="scores that are no numbers"):
        load_causal(str(layerwise), layer=1, **options)
    code.write_text("from transformers import of_the_past\n" + LAYERWISE)
    with pytest.raises(InputError, match=r"runs with transformers 5(.|\n)*of_the_past"):
        load_causal(str(layerwise), layer=1, **options)


def test_a_model_of_a_like_name_that_is_asked_in_another_way_is_refused():
    with pytest.raises(InputError, match="merges tokens"):
        load_causal("BAAI/bge-reranker-v2.5-gemma2-lightweight")


def test_prefixes_of_a_few_tokens_are_not_worth_it(qwen3, tmp_path, monkeypatch):
    model = load_causal(str(qwen3), style="bge-reranker")
    monkeypatch.setattr(module, "LEAST_PREFIX", 10**6)
    monkeypatch.setattr(module, "_prefix", None)
    plain = loaded(qwen3)
    compare(score(model, tmp_path, 8192), lambda *pair: by_bge(plain, *pair))


def test_in_bfloat16_scores_are_close_and_not_rounded_to_it(qwen3, tmp_path):
    exact = np.concatenate(score(load_causal(str(qwen3), style="bge-reranker"), tmp_path / "a"))
    rounded = load_causal(str(qwen3), style="bge-reranker", dtype="bfloat16")
    found = np.concatenate(score(rounded, tmp_path / "b"))
    assert np.corrcoef(found, exact)[0, 1] > 0.95
    assert (torch.tensor(found).bfloat16().float().numpy() != found).any()


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_attention_that_is_not_installed_is_refused(qwen3):
    with pytest.raises(InputError, match="check id, revision and attention"):
        load_causal(str(qwen3), style="bge-reranker", attention="flash_attention_2")
