"""A masked diffusion model before its first step: its shape, and what it takes from the texts that it will learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.canvas import CanvasDataset
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.initial import start_embeddings

#: texts that whitening is fitted to, at most
FITTED = 50_000


def fresh(m: Any, tokenizer: Any, encoder: Any, rows: CanvasDataset) -> MaskedDiffusionModel:
    """A network before its first step: its shape as a recipe says, what it starts with from the texts.

    Args:
        m: a recipe's settings of the model (:class:`unmask.training.arguments.ModelArguments`).
        tokenizer: of the texts.
        encoder: of their vectors, or None.
        rows: the texts to train on.

    Raises:
        UsageError: settings that do not fit.
    """
    config = MaskedDiffusionConfig(
        vocab_size=len(tokenizer),
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=m.length,
        dim=m.dim,
        layers=m.layers,
        heads=m.heads,
        ffn_dim=m.ffn_dim,
        loops=m.loops,
        input_injection=m.input_injection,
        deep_supervision=m.deep_supervision,
        gated=m.gated,
        dropout=m.dropout,
        rope=m.rope,
        absolute=m.absolute,
        conditioning=m.conditioning,
        latent_dim=0 if encoder is None else encoder.width,
        latent_tokens=0 if encoder is None else m.latent_tokens,
        bottleneck=0 if encoder is None else m.bottleneck,
        bag_of_words=0 if encoder is None else m.bag_of_words,
        time_embedding=m.time_embedding,
        self_conditioning=m.self_conditioning,
        length_model=m.length_model,
    )
    net = MaskedDiffusionModel(config)
    if net.lengths is not None:
        net.lengths.fit(torch.from_numpy(np.asarray(rows.lengths, np.int64)))
    if net.latent is not None and m.whiten != "none":
        vectors = np.asarray(rows.latents[:FITTED], dtype=np.float32)
        net.latent.whiten.fit(torch.from_numpy(vectors), full=m.whiten == "full")
    if m.embedding_init == "encoder":
        start_embeddings(net.embed, config.dim, _encoder_embeddings(m.tokenizer == "encoder", tokenizer, encoder))
    return net


def _encoder_embeddings(own: bool, tokenizer: Any, encoder: Any) -> Tensor:
    """One vector a token id: the encoder's word embedding in its ``own`` vocabulary, else the spelling's vector."""
    if encoder is None:
        raise UsageError("embedding_init='encoder' needs an encoder, and conditioning='none' has none: use 'random'")
    size = len(tokenizer)
    special = set(tokenizer.all_special_ids)
    if own:
        words = encoder.word_embeddings().float()
        grown = torch.full((size, words.shape[1]), float("nan"))
        grown[: len(words)] = words[:size]
    else:
        spelled = [tokenizer.decode([i]) for i in range(size)]
        grown = torch.from_numpy(np.array(encoder.encode(spelled), dtype=np.float32))
    grown[sorted(special)] = float("nan")
    return grown
