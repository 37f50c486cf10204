"""Tiny random causal models of every kind of position and head sharing that the room claims to handle."""

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB, WINDOW = 97, 12
SHARED = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_attention_heads=4, initializer_range=0.3)


def make(kind: str, layers: int = 3):
    """llama (GQA, tied), mha (one key head a query head, untied), qwen2, qwen3, mistral (window 12), gpt2 (learned)."""
    torch.manual_seed(7)
    rotary = dict(SHARED, num_hidden_layers=layers, max_position_embeddings=512)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**rotary, num_key_value_heads=2, tie_word_embeddings=True))
    elif kind == "mha":
        model = LlamaForCausalLM(LlamaConfig(**rotary, num_key_value_heads=4, tie_word_embeddings=False))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**rotary, num_key_value_heads=2))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**rotary, num_key_value_heads=2, head_dim=8))
    elif kind == "mistral":
        model = MistralForCausalLM(MistralConfig(**rotary, num_key_value_heads=2, sliding_window=WINDOW))
    else:
        config = GPT2Config(
            vocab_size=VOCAB, n_embd=32, n_head=4, n_layer=layers, n_positions=128, initializer_range=0.3
        )
        model = GPT2LMHeadModel(config)
    return model.eval().requires_grad_(False)


KINDS = ("llama", "mha", "qwen2", "qwen3", "mistral", "gpt2")


def ids(length: int, seed: int = 0, rows: int = 1) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
