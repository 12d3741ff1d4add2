"""Tiny real models, built offline in a second: what tests load instead of MiniLM and the large teachers.

``tiny_bi_encoder`` behaves like a bag of random word vectors: texts that share words are close, so
retrieval, mining and filters have something to find. Its weights are not trained; a few gradient steps
move them. Everything is determined by ``seed``.
"""

from __future__ import annotations

import string
from pathlib import Path

HIDDEN = 32
#: As of a model that tells its two sides apart.
PROMPTS = {"query": "query: ", "document": "passage: "}
STOP_WORDS = """
the a an of to in is are was be and or not for with on at by from as it this that these those its into than
then how what which who when where why do does did can could should will would has have had if else while
all any each no yes one two three first last next new old same other more most less few many much some only
also but so such
"""
WORDS = f"""
{STOP_WORDS}
file files folder path directory name names line lines text string strings bytes byte character characters
word words read reads write writes open close create delete remove copy move find search replace match split
join sort sorted reverse count number numbers integer float value values key keys list lists dictionary set
tuple item items element elements index length size type types class classes object objects function
functions method methods module modules package argument arguments parameter parameters return returns
result results call calls error errors exception raise raised default option options format formats parse
parser encode decode encoding unicode ascii json csv xml html http url socket server client network thread
threads process processes lock queue event time date day month year hour minute second seconds timezone
random seed sample choice mean median sum average minimum maximum variance cell cells protein proteins gene
genes blood drug drugs patient patients disease cancer treatment increase increases decrease decreases risk
effect effects study studies trial mice human children women men vaccine virus bacteria iron heart brain
lung liver kidney bone growth expression mutation therapy dose level levels rate rates flow pressure
velocity wing wings plate boundary layer heat transfer supersonic shock wave temperature surface body
flutter lift drag jet theory laminar turbulent stability buckling cylinder shell shells load stress equation
print show display user users command commands current working disk system memory run running start stop
kill permission permissions owner group change changes update install archive compress extract download
upload remote host cat dog bird fish horse apple bread water fire earth river mountain forest house garden
table chair door window book paper music song red green blue white black yellow large small big tall short
long fast slow hot cold good bad contract contracts party parties notice payment termination liability price
order customer support ticket account password login reset email message messages page pages button screen
phone computer keyboard printer battery cable query queries passage passages model models train training
test tests data dataset corpus document documents
"""


def tiny_bi_encoder(
    path: Path,
    *,
    seed: int = 0,
    prompts: dict[str, str] | None = None,
    max_tokens: int = 128,
    pooling: str = "mean",
    include_prompt: bool = True,
) -> Path:
    """Write a bi-encoder (BERT, 2 layers of 32 dimensions, length 1) and return its folder.

    Args:
        path: folder to create.
        seed: of the weights.
        prompts: for example ``{"query": "query: ", "document": "passage: "}``.
        max_tokens: where texts are cut; at most 512.
        pooling: of the tokens' vectors, ``"mean"``, ``"cls"`` or ``"lasttoken"``.
        include_prompt: pool the prompt's tokens, too.
    """
    import torch

    _quiet()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(_config(layer_norm_eps=1.0))
        _favour_words(bert)
    raw = path / ".bert"
    _save(bert, raw, max_tokens)
    transformer = Transformer(str(raw), max_seq_length=max_tokens)
    model = SentenceTransformer(
        modules=[transformer, Pooling(HIDDEN, pooling, include_prompt=include_prompt), Normalize()],
        prompts=prompts,
        device="cpu",
    )
    model.save(str(path), create_model_card=False)
    _delete(raw)
    return path


def tiny_static(path: Path, *, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """Write a bi-encoder that averages random word vectors (32 dimensions) and return its folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(vocabulary())}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vectors = StaticEmbedding(tokenizer, embedding_dim=HIDDEN)
    model = SentenceTransformer(modules=[vectors], prompts=prompts, device="cpu")
    model.save(str(path), create_model_card=False)
    return path


def tiny_cross_encoder(path: Path, *, seed: int = 0, max_tokens: int = 256, labels: int = 1) -> Path:
    """Write a cross-encoder (BERT; with one output, sigmoid) and return its folder.

    Its scores are arbitrary, spread out, and the same on every machine up to rounding.
    """
    import torch

    _quiet()
    from sentence_transformers import CrossEncoder
    from transformers import BertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertForSequenceClassification(_config(num_labels=labels, initializer_range=0.5))
    raw = path / ".bert"
    _save(bert, raw, max_tokens)
    CrossEncoder(str(raw), max_length=max_tokens, device="cpu").save_pretrained(str(path))
    _delete(raw)
    return path


def tiny_t5(path: Path, *, seed: int = 0) -> Path:
    """Write a T5 (2 layers, a Unigram tokenizer with sentinels, true and false) and return its folder."""
    import torch

    _quiet()
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁"]
    pieces += [f"▁{word}" for word in ("Query:", "Document:", "Relevant:", "true", "false")]
    pieces += [f"▁{word}" for word in dict.fromkeys(WORDS.split())]
    pieces += [*string.ascii_letters, *string.digits, *string.punctuation]
    sentinels = [(f"<extra_id_{number}>", 0.0) for number in reversed(range(100))]
    tokenizer = T5Tokenizer(vocab=[(piece, -float(len(piece) < 3)) for piece in pieces] + sentinels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(tokenizer), d_model=HIDDEN, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                dropout_rate=0.0, decoder_start_token_id=0, initializer_factor=2.0,
            )
        )  # fmt: skip
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def tiny_decoder(path: Path, architecture: str, *, seed: int = 0, **changes: object) -> Path:
    """Write a decoder (2 layers) with a byte-level tokenizer and return its folder.

    Args:
        path: folder to create.
        architecture: ``"qwen3"``, ``"gemma"`` or ``"llama"``.
        seed: of the weights.
        changes: of the configuration.
    """
    import torch

    _quiet()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bytewise.train_from_iterator(["yes no Yes No"] * 99 + WORDS.split(), trainer)
    names = dict(zip(("pad_token", "bos_token", "eos_token"), special, strict=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise, additional_special_tokens=special[3:], **names
    )
    config = AutoConfig.for_model(
        architecture, vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        max_position_embeddings=1024, initializer_range=0.3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, **changes,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def vocabulary() -> list[str]:
    """Special tokens, characters (Latin, Greek, Cyrillic, digits, punctuation), their pieces, and words."""
    greek_and_cyrillic = [chr(c) for c in (*range(0x3B1, 0x3CA), *range(0x430, 0x450))]
    characters = [*string.ascii_lowercase, *string.digits, *greek_and_cyrillic]
    return [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *string.punctuation,
        *characters,
        *(f"##{character}" for character in characters),
        *dict.fromkeys(word for word in WORDS.split() if len(word) > 1),
    ]


def _config(**changes: object):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **changes,
    )


def _favour_words(bert) -> None:
    """Let wording decide: content words outweigh positions and layers (which start at 0.02) and all else.

    Stop words, punctuation and special tokens are short vectors (the layers' norms keep lengths, see
    ``layer_norm_eps``); a plural is close to its singular.
    """
    import torch

    stop_words = {*STOP_WORDS.split(), "query", "passage"}
    content = set(WORDS.split()) - stop_words
    with torch.no_grad():
        vectors = bert.embeddings.word_embeddings.weight
        vectors.normal_(std=1.0)
        number = {word: row for row, word in enumerate(vocabulary())}
        for word, row in number.items():
            if word in stop_words or not word.removeprefix("##").isalnum():
                vectors[row] *= 0.05
            elif word in content and word.endswith("s") and word[:-1] in content:
                vectors[row] = vectors[number[word[:-1]]] + 0.3 * vectors[row]
        vectors[number["[PAD]"]] = 0.0


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _save(bert, folder: Path, max_tokens: int) -> None:
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=max_tokens)
    bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _delete(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


#: Turns in plain marks, so that a test can read a prompt off; the roles are those of every chat template.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_language_model(path: Path, *, seed: int = 0, max_tokens: int = 2048, chat: bool = True) -> Path:
    """Write an instruct model (Llama, 2 layers of 32 dimensions, one token per byte) and return its folder.

    It writes gibberish that depends on the prompt, any script's bytes among it.

    Args:
        path: folder to create.
        seed: of the weights.
        max_tokens: longest prompt with its answer.
        chat: with a chat template.
    """
    import torch

    _quiet()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_as_tokens = Tokenizer(models.BPE({token: n for n, token in enumerate(alphabet)}, []))
    bytes_as_tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_as_tokens.decoder = decoders.ByteLevel()
    bytes_as_tokens.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_as_tokens, pad_token="<|pad|>", eos_token="<|end|>",
        model_max_length=max_tokens, chat_template=CHAT_TEMPLATE if chat else None,
    )  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(alphabet), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, intermediate_size=64, max_position_embeddings=max_tokens,
        initializer_range=0.3, pad_token_id=0, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llama = LlamaForCausalLM(config)
    llama.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
