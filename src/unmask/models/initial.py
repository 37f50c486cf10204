"""Where the parts of a denoiser start: small and random, and what steers or gates at zero.

Shapes: V vocabulary, E width of an encoder's embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.core.errors import UsageError
from unmask.models.bag_of_words import BagOfWords
from unmask.models.corrector import HypothesisInput
from unmask.models.latent import LatentInput
from unmask.models.layers import Block
from unmask.models.length import LengthHead


def start_weights(module: nn.Module) -> None:
    """Give one module of a network its first weights, not those of the modules in it."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.RMSNorm) and module.weight is not None:
        nn.init.ones_(module.weight)
    if isinstance(module, Block):
        if module.modulation is not None:
            nn.init.zeros_(module.modulation.weight)
            nn.init.zeros_(module.modulation.bias)
        if module.attn.relation is not None:
            nn.init.zeros_(module.attn.relation)
    if isinstance(module, LatentInput):
        nn.init.zeros_(module.null_steer)
        nn.init.zeros_(module.whiten.mean_Z)
        module.whiten.map_ZZ.copy_(torch.eye(len(module.whiten.map_ZZ)))
        if module.null_tokens is not None:
            nn.init.normal_(module.null_tokens, std=0.02)
    if isinstance(module, HypothesisInput):
        module.reset()
    if isinstance(module, BagOfWords):
        module.reset_gates()
        nn.init.normal_(module.to_words.weight, std=module.to_words.in_features**-0.5)
        nn.init.zeros_(module.prior_V)
    if isinstance(module, LengthHead):
        module.start()


@torch.no_grad()
def start_embeddings(embed: nn.Embedding, width: int, embeddings_VE: Tensor) -> None:
    """Start embeddings from an encoder's by the linear map that keeps most of their inner products.

    Args:
        embed: whose first ``width`` columns start so; they are as large as random ones.
        embeddings_VE: one row a token id of *this* vocabulary; rows of NaN keep their random start.

    Raises:
        UsageError: another number of rows.
    """
    if len(embeddings_VE) != len(embed.weight):
        raise UsageError(f"{len(embeddings_VE)} embedding rows do not fit a vocabulary of {len(embed.weight)}")
    known = ~torch.isnan(embeddings_VE).any(1)
    x = embeddings_VE[known].float()
    x = x - x.mean(0)
    _, vectors = torch.linalg.eigh(x.T @ x)
    mapped = x @ vectors[:, -min(width, x.shape[1]) :]
    mapped = nn.functional.pad(mapped, (0, width - mapped.shape[1]))
    embed.weight[known, :width] = mapped * (0.02 / mapped.std())
