"""What a config.json describes is decided once, by transformers' own tables, without running anybody's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

import unmask
from unmask.core.errors import CheckpointError, UsageError
from unmask.data.tokenizer import train_bpe
from unmask.models.causal import CausalModel, load_causal
from unmask.models.kind import kind_of, require_causal, require_masked

CODE = {"AutoModel": "modeling_x.X", "AutoModelForCausalLM": "modeling_x.X"}


def config(kind: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **({"architectures": list(names)} if names else {}), **more}


@pytest.mark.parametrize(
    ("raw", "family"),
    [
        (config("unmask_denoiser", "UnmaskForMaskedLM", auto_map=CODE), "unmask"),
        (config("unmask_tidal"), "tidal"),
        (config("llada", "LLaDAModelLM", auto_map=CODE, mask_token_id=5), "llada"),
        (config("Dream", "DreamModel", auto_map=CODE), "dream"),
        (config("bert", "BertForMaskedLM"), "masked"),
        (config("bert", "BertForPreTraining"), "masked"),
        (config("bert"), "masked"),
        (config("xlm", "XLMWithLMHeadModel"), "masked"),
        (config("bert", "BertForMaskedLM", auto_map={"AutoModel": "modeling_mine.MyBert"}), "masked"),
        (config("modernbert", "ModernBertForMaskedLM"), "masked"),
        (config("bert", "BertLMHeadModel", is_decoder=True), "causal"),
        (config("bert", "BertForMaskedLM", is_decoder=True), "causal"),
        (config("xlm", "XLMWithLMHeadModel", causal=True), "causal"),
        (config("gpt2", "GPT2LMHeadModel"), "causal"),
        (config("gpt2", "GPT2Model"), "causal"),
        (config("opt"), "causal"),
        (config("llama", "LlamaForCausalLM"), "causal"),
        (config("gemma3", "Gemma3ForConditionalGeneration"), "causal"),
        (config("bart", "BartForCausalLM", is_decoder=True, is_encoder_decoder=False), "causal"),
        (config("modernbert-decoder", "ModernBertDecoderForCausalLM"), "causal"),
        (config("deepseek_v3", "DeepseekV3ForCausalLM", auto_map={"AutoModelForCausalLM": "m.X"}), "causal"),
    ],
)  # fmt: skip
def test_kind_of_names_the_family_that_reads_it(raw: dict[str, Any], family: str) -> None:
    assert kind_of(raw).family == family


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (config("sdar", "SDARForCausalLM", auto_map=CODE), "a diffusion model with code of its own (SDARForCausalLM)"),
        (config("Fast_dLLM_Qwen", "Fast_dLLM_QwenForCausalLM", auto_map=CODE), "a diffusion model with code"),
        (config("a2d-qwen3", "A2DQwen3LMHeadModel", auto_map=CODE), "a diffusion model with code"),
        (config("llada2_moe", "LLaDA2MoeModelLM", auto_map=CODE), "a diffusion model with code"),
        (config("llada", "LLaDAMoEModelLM", auto_map=CODE), "a diffusion model with code"),
        (config("mdlm", "MDLM", auto_map={"AutoModelForMaskedLM": "m.MDLM"}), "a diffusion model with code"),
        (config("duo", "DUO", auto_map=CODE), "a diffusion model with code"),
        (config("qwen2", "Qwen2ForDiffusionLM", auto_map=CODE), "a diffusion model with code"),
        (config("qwen2", "Qwen2ForCausalLM", auto_map=CODE, mask_token_id=9), "a diffusion model with code"),
        (config("newtype", "NewForCausalLM", auto_map=CODE, mask_token_id=9), "a diffusion model with code"),
        (config("phi-own", "PhiForCausalLM", auto_map=CODE), "a model with code of its own"),
        (config("jina", "JinaForMaskedLM", auto_map={"AutoModelForMaskedLM": "m.X"}), "a masked language model with"),
        (config("t5", "T5ForConditionalGeneration", is_encoder_decoder=True), "an encoder-decoder"),
        (config("t5"), "an encoder-decoder"),
        (config("bart"), "an encoder-decoder"),
        (config("bert", "BertLMHeadModel"), "without is_decoder"),
        (config("bert", "BertModel"), "no head that predicts tokens"),
        (config("bert", "BertForSequenceClassification"), "no language model"),
        (config("gpt2", "GPT2ForSequenceClassification"), "no language model"),
        (config("lada", "LadaNet"), "does not know"),
        ({"architectures": ["GPT2LMHeadModel"]}, "names no model_type"),
        ({}, "names no model_type"),
    ],
)  # fmt: skip
def test_kind_of_names_what_nothing_here_reads(raw: dict[str, Any], said: str) -> None:
    kind = kind_of(raw)
    assert kind.family == "other" and said in kind.said
    for require, error in ((require_causal, UsageError), (require_masked, CheckpointError)):
        with pytest.raises(error, match="'x' is a") as caught:
            require(kind, "x")
        assert "\n" not in str(caught.value)


def test_own_code_is_run_only_if_it_is_no_diffusion() -> None:
    require_causal(kind_of(config("phi-own", "PhiForCausalLM", auto_map=CODE)), "x", own_code=True)
    with pytest.raises(UsageError, match="diffusion"):
        require_causal(kind_of(config("sdar", "SDARForCausalLM", auto_map=CODE)), "x", own_code=True)


SHAPE: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return train_bpe(["the river runs to the sea"], 270)


def test_load_causal_refuses_masks_and_loads_decoders(tmp_path: Path, words: PreTrainedTokenizerFast) -> None:
    shape = SHAPE | {"vocab_size": len(words)}
    for name, net in (
        ("masked", BertForMaskedLM(BertConfig(**shape))),
        ("decoder", BertLMHeadModel(BertConfig(**shape, is_decoder=True))),
    ):
        net.save_pretrained(tmp_path / name)
        words.save_pretrained(tmp_path / name)
    with pytest.raises(UsageError, match="masked language model .BertForMaskedLM., not a causal one") as caught:
        load_causal(tmp_path / "masked")
    assert "\n" not in str(caught.value)
    assert isinstance(unmask.load(tmp_path / "decoder", device="cpu"), CausalModel)
    # the same weights without the word that makes them causal are neither
    tree = json.loads((tmp_path / "decoder" / "config.json").read_text())
    (tmp_path / "decoder" / "config.json").write_text(json.dumps(tree | {"is_decoder": False}))
    for call in (load_causal, unmask.load):
        with pytest.raises(UsageError, match="without is_decoder"):
            call(tmp_path / "decoder")


def test_load_causal_refuses_a_body_without_a_head(tmp_path: Path, words: PreTrainedTokenizerFast) -> None:
    """transformers would draw the head at random and say so only in a log."""
    LlamaModel(LlamaConfig(**SHAPE, vocab_size=len(words))).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="lack lm_head.weight"):
        load_causal(tmp_path)
