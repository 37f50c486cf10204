"""Small checkpoints in the formats of other people's models, with a tokenizer trained on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

import tiny_checkpoints as tiny
from unmask.data.tokenizer import train_bpe

TEXTS = ["the river runs to the sea", "a house stands by the river", "birds fly over the house and the sea"]
MASK = 300
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(mask_at: int | None = None, template: str | None = None) -> PreTrainedTokenizerFast:
    """Trained on the spot; ``mask_at`` leaves the mask to config.json and fills the vocabulary up to it."""
    found = train_bpe(TEXTS, 280)
    if mask_at is not None:
        found.add_special_tokens({"extra_special_tokens": [f"<extra{i}>" for i in range(mask_at - len(found))]})
        found.add_special_tokens({"mask_token": "<|mask|>"})
        assert found.mask_token_id == mask_at
    found.chat_template = template
    return found


def native(folder: Path, kind: str, shards: int = 1, **changes: Any) -> Path:
    config, weights = (tiny.DREAM, tiny.dream_weights) if kind == "dream" else (tiny.LLADA, tiny.llada_weights)
    tokenizer(MASK, TEMPLATE).save_pretrained(folder)
    return tiny.write(folder, config | changes, weights(config | changes), shards)


SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
MASKED_LM = {"bert": (BertConfig, BertForMaskedLM), "roberta": (RobertaConfig, RobertaForMaskedLM)}
MASKED_LM["modernbert"] = (ModernBertConfig, ModernBertForMaskedLM)


def masked_lm(folder: Path, kind: str, vocab: int | None = None) -> tuple[Path, Any]:
    words = tokenizer()
    config, model = MASKED_LM[kind]
    ids = {f"{name}_token_id": 1 for name in ("bos", "eos", "cls", "sep")} if kind == "modernbert" else {}
    torch.manual_seed(0)
    net = model(config(vocab_size=vocab or len(words), **SHAPE, **ids)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder, net
