"""A model without its tokenizer is refused, whatever empty one transformers would make, and so are foreign texts."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    ByT5Tokenizer,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

import unmask
from unmask.core.errors import CheckpointError, UsageError
from unmask.core.unknown import UnknownTokens, require_known, unknown_tokens, warn_of_unknown
from unmask.data.tokenizer import encode_fixed, from_encoder, train_bpe
from unmask.data.tokenizer_files import holds_tokenizer, require_words
from unmask.models.causal import load_causal
from unmask.models.encoders import SentenceEncoder

SHAPE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip
MODELS: dict[str, Any] = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SHAPE)),
    "albert": lambda: AlbertForMaskedLM(AlbertConfig(**SHAPE, embedding_size=8)),
    "deberta": lambda: DebertaV2ForMaskedLM(DebertaV2Config(**SHAPE)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SHAPE)),
    "modernbert": lambda: ModernBertForMaskedLM(ModernBertConfig(**SHAPE, pad_token_id=0)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("settings", [False, True], ids=["bare", "with settings"])
def test_a_model_without_tokenizer_files_is_refused(tmp_path: Path, kind: str, settings: bool) -> None:
    MODELS[kind]().save_pretrained(tmp_path)
    if settings:  # tokenizer_config.json holds no word
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    with pytest.raises(CheckpointError, match="holds no tokenizer") as caught:
        unmask.load(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
    if kind in ("gpt2", "llama"):
        with pytest.raises(CheckpointError, match="holds no tokenizer"):
            load_causal(tmp_path)
    if kind in ("bert", "roberta"):
        with pytest.raises(CheckpointError, match="holds no tokenizer"):
            SentenceEncoder.load(tmp_path)
        with pytest.raises(CheckpointError, match="holds no tokenizer"):
            from_encoder(tmp_path)


def test_an_empty_vocabulary_is_no_tokenizer(tmp_path: Path) -> None:
    MODELS["bert"]().save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        unmask.load(tmp_path, device="cpu")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nriver\n")
    assert len(unmask.load(tmp_path, device="cpu").tokenizer("the river", add_special_tokens=False)["input_ids"]) == 2


@pytest.mark.parametrize(
    "file",
    ["tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
     "tekken.json", "qwen.tiktoken", "tokenizer.model.v3", "bpe.codes", "source.spm"],
)  # fmt: skip
def test_holds_tokenizer_knows_the_files_of_many(tmp_path: Path, file: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "special_tokens_map.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    assert not holds_tokenizer(tmp_path)
    (tmp_path / file).write_text("")
    assert holds_tokenizer(tmp_path)


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    for file in tmp_path.glob("added_tokens.json"):
        file.unlink()
    assert holds_tokenizer(tmp_path)
    require_words(ByT5Tokenizer(), "bytes")


def word_level(*words: str) -> PreTrainedTokenizerFast:
    names = ["<unk>", "<pad>", "<eos>", "<mask>", *words]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", mask_token="<mask>"
    )


def test_unknown_tokens_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = word_level("a", "b")
    found = unknown_tokens(tokenizer, ["a b x", "y b", "a"])
    assert (found.unknown, found.tokens) == (2, 6) and str(found) == "33.3 % of the tokens are unknown (<unk>)"
    assert str(unknown_tokens(tokenizer, ["a b"])) == "" and unknown_tokens(tokenizer, []).share == 0
    assert str(UnknownTokens(1, 100_000, "<unk>")).startswith("under 0.1 %")
    with caplog.at_level(logging.WARNING, "unmask"):
        warn_of_unknown(found, "m", "prompts")
    assert "prompts: 33.3 % of the tokens are unknown (<unk>) to the tokenizer of 'm'" in caplog.text
    with pytest.raises(UsageError, match="100 % of the tokens are unknown .<unk>. to the tokenizer of 'm'"):
        require_known(unknown_tokens(tokenizer, ["x y", "z"]), "m")


def test_an_unknown_word_that_is_an_end_is_none() -> None:
    """GPT-2 names its end of text as its unknown word; a tokenizer of bytes knows everything."""
    tokenizer = train_bpe(["the river"], 270)
    tokenizer.split_special_tokens = False
    tokenizer.unk_token = tokenizer.eos_token
    assert unknown_tokens(tokenizer, ["the <eos> \u2603"]).unknown == 0


def test_texts_with_the_mask_are_no_training_rows() -> None:
    tokenizer = word_level("a", "b")
    texts = ["a b", "a <mask> b", "b"]
    found = encode_fixed(tokenizer, texts, 4, drop_masked=True)
    assert found.rows.tolist() == [0, 2] and found.masked == 1 and "1 texts with the mask word left out" in str(found)
    assert tokenizer.mask_token_id not in found.ids and len(encode_fixed(tokenizer, texts, 4)) == 3
    ours = train_bpe(["a <mask> b"], 270)  # spells the word in ordinary tokens
    assert encode_fixed(ours, texts, 16, drop_masked=True).masked == 0
