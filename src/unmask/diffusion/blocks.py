"""The loss of blocks behind a prefix: next characters where they are drawn in order, masked ones where any order is.

Training and evaluation call the same function, so that what is trained and what is reported cannot drift apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from unmask.core.random import Stream, generator
from unmask.diffusion.linear_ce import linear_cross_entropy
from unmask.diffusion.objective import TokenLosses, Weighting, token_losses
from unmask.diffusion.process import MaskingProcess


class BlockNet(Protocol):
    """The part of a model that the loss uses; with ``any_order`` a :class:`unmask.core.denoiser.Denoiser` too."""

    @property
    def any_order(self) -> bool: ...
    @property
    def mask_id(self) -> int: ...
    def read_batch(self, batch: Mapping[str, Tensor]) -> Tensor: ...
    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]: ...


def block_losses(
    net: BlockNet,
    batch: Mapping[str, Tensor],
    law: MaskingProcess | None = None,
    noise: torch.Generator | None = None,
    *,
    part: tuple[int, int] | None = None,
    weighting: Weighting = "maskgit",
) -> TokenLosses:
    """Cross-entropies of the characters of a batch of prefixes and blocks, from one forward pass.

    Args:
        net: the model.
        batch: ``input_ids``, ``segment``, ``token``, ``character`` and ``target`` (negative where nothing is drawn),
            [B, L] each; see :func:`unmask.data.tidal.samples.layout`.
        law: how the characters of a block are hidden, where the model writes in any order.
        noise, part: see :meth:`MaskingProcess.corrupt`.
        weighting: of the masked loss; next-character losses have one, their mean.

    Returns:
        losses whose ``row_nelbo()`` is each row's nats: exact in order, an upper bound in expectation in any order.
    """
    if net.any_order:
        open_BL = batch["character"] > 0
        corruption = (law or MaskingProcess()).corrupt(batch["input_ids"], net.mask_id, noise, open_BL, part)
        return token_losses(
            net,  # type: ignore[arg-type]
            corruption,
            weighting=weighting,
            valid_BL=batch["segment"] > 0,
        )
    h_BLD, target_BL = net.read_batch(batch), batch["target"]
    row_N, col_N = (target_BL >= 0).nonzero(as_tuple=True)
    weight_N = torch.full((len(row_N),), 1 / max(len(row_N), 1), device=h_BLD.device)
    loss, ce_N, hit_N = linear_cross_entropy(
        *net.project(h_BLD[row_N, col_N]), target_BL[row_N, col_N], weight_N, forbid=net.mask_id
    )
    count_B = (target_BL >= 0).sum(1)
    ones_B = torch.ones(len(target_BL), device=h_BLD.device)
    return TokenLosses(loss, ce_N, hit_N, row_N, col_N, fraction_B=ones_B, weight_B=ones_B, tokens_B=count_B)


@torch.no_grad()
def bits_per_character(
    net: BlockNet,
    batches: Iterable[Mapping[str, Tensor]],
    characters: int,
    law: MaskingProcess | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Bits a character of texts, their ends included.

    Args:
        net: the model.
        batches: every row of the texts.
        characters: of all the texts together.
        law, seed: the masks, where the model writes in any order.
        device: the model's.

    Returns:
        ``bits_per_character``: exact in order, an upper bound in expectation in any order, for the texts as they were
        cut to blocks; ``loss`` in nats and ``accuracy``, each a written id.
    """
    nats, ce, hits, count = 0.0, 0.0, 0, 0
    for number, batch in enumerate(batches):
        here = {name: x.to(device) for name, x in batch.items()}
        noise = generator(seed, number, Stream.CORRUPT)
        found = block_losses(net, here, None if law is None else law.bound(), noise)
        nats += float(found.row_nelbo().double().sum())
        ce += float(found.ce_N.double().sum())
        hits += int(found.hit_N.sum())
        count += len(found.hit_N)
    return {"bits_per_character": nats / characters / math.log(2), "loss": ce / count, "accuracy": hits / count}
