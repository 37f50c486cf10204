"""Tiny checkpoints in the formats of other people's models, with weights that are a formula and no random draw."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

LLADA: dict[str, Any] = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "d_model": 16,
    "n_heads": 4,
    "n_kv_heads": 2,
    "n_layers": 2,
    "mlp_hidden_size": 24,
    "vocab_size": 320,
    "embedding_size": 384,
    "mask_token_id": 300,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "max_sequence_length": 64,
    "rope_theta": 5000.0,
    "rms_norm_eps": 1e-5,
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "weight_tying": False,
    "include_bias": False,
    "include_qkv_bias": False,
}
DREAM: dict[str, Any] = {
    "model_type": "Dream",
    "architectures": ["DreamModel"],
    "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
    "vocab_size": 384,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000.0,
    "mask_token_id": 300,
    "pad_token_id": 1,
    "hidden_act": "silu",
    "rope_scaling": None,
    "tie_word_embeddings": False,
}


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights from sines of the index: norms near 1, matrices of unit gain. The same on every machine."""
    count = math.prod(shape)
    phase = sum(ord(letter) * (i + 1) for i, letter in enumerate(name)) % 1000
    wave = torch.sin(torch.arange(count, dtype=torch.float64) * 12.9898 + phase) * 43.7
    wave = (wave - wave.floor() - 0.5).view(shape)
    return wave * 0.4 + 1 if len(shape) == 1 and "norm" in name or name.endswith("ln_f.weight") else wave


def llada_weights(c: dict[str, Any] = LLADA) -> dict[str, Tensor]:
    D, H, V = c["d_model"], c["mlp_hidden_size"], c["embedding_size"]
    K = D // c["n_heads"] * (c["n_kv_heads"] or c["n_heads"])
    top = "model.transformer."
    shapes: dict[str, tuple[int, ...]] = {f"{top}wte.weight": (V, D), f"{top}ln_f.weight": (D,)}
    if not c["weight_tying"]:
        shapes[f"{top}ff_out.weight"] = (V, D)
    for i in range(c["n_layers"]):
        block = f"{top}blocks.{i}."
        shapes |= {f"{block}{n}_norm.weight": (D,) for n in ("attn", "ff")}
        shapes |= {f"{block}q_proj.weight": (D, D), f"{block}attn_out.weight": (D, D)}
        shapes |= {f"{block}{n}_proj.weight": (K, D) for n in "kv"}
        shapes |= {f"{block}{n}_proj.weight": (H, D) for n in ("ff", "up")}
        shapes[f"{block}ff_out.weight"] = (D, H)
        if c["include_qkv_bias"]:
            shapes |= {f"{block}q_proj.bias": (D,), f"{block}k_proj.bias": (K,), f"{block}v_proj.bias": (K,)}
    return {name: formula(name, shape) for name, shape in shapes.items()}


def dream_weights(c: dict[str, Any] = DREAM) -> dict[str, Tensor]:
    D, H, V = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    K = D // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (V, D)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for n, width in (("q", D), ("k", K), ("v", K)):
            shapes |= {f"{layer}self_attn.{n}_proj.weight": (width, D), f"{layer}self_attn.{n}_proj.bias": (width,)}
        shapes |= {f"{layer}self_attn.o_proj.weight": (D, D), f"{layer}mlp.down_proj.weight": (D, H)}
        shapes |= {f"{layer}mlp.{n}_proj.weight": (H, D) for n in ("gate", "up")}
        shapes |= {f"{layer}{n}_layernorm.weight": (D,) for n in ("input", "post_attention")}
    return {name: formula(name, shape) for name, shape in shapes.items()}


def ids() -> Tensor:
    """Three rows of ten ids, some of them the mask."""
    x_BL = (torch.arange(30) * 37 % 256 + 2).view(3, 10)
    x_BL[0, 3:7], x_BL[1, ::2], x_BL[2] = 300, 300, 300
    return x_BL


def valid() -> Tensor:
    """The second row lacks its last three positions."""
    valid_BL = torch.ones(3, 10, dtype=torch.bool)
    valid_BL[1, 7:] = False
    return valid_BL


def write(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], shards: int = 1) -> Path:
    """config.json and fp32 safetensors as the hub has them, in one file or in shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    single = {name: tensor.float().contiguous() for name, tensor in weights.items()}
    if shards == 1:
        save_file(single, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    place: dict[str, str] = {}
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: single[name] for name in sorted(single)[k::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        place |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in single.values())}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
