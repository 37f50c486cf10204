"""The loss of "which tokens does the text hold, whatever their order?", beside that of the masked tokens.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

#: how many of the likeliest tokens the recall looks at
TOP = 30


@dataclass
class BagLosses:
    """Cross-entropy and recall of a bag of words, one number a text.

    Attributes:
        nats_B: binary cross-entropy summed over the vocabulary, with gradient.
        distinct_B: distinct tokens of each text, special ones apart.
        recall_B: share of them among the ``TOP`` likeliest; NaN for a text without any.
    """

    nats_B: Tensor
    distinct_B: Tensor
    recall_B: Tensor

    def sums(self, present_B: Tensor) -> Tensor:
        """Nats (with gradient), distinct tokens, recalls and texts, summed over the rows that have a vector and words.

        What :func:`bag_figures` divides.
        """
        rows_B = present_B & (self.distinct_B > 0)
        each_KB = [self.nats_B, self.distinct_B, self.recall_B, torch.ones_like(self.nats_B)]
        return torch.stack([x_B.to(self.nats_B.dtype).where(rows_B, 0.0).sum() for x_B in each_KB])


def bag_figures(sums_K: Tensor) -> dict[str, float]:
    """``bag_loss``, nats a distinct token, and ``bag_recall30``, the mean text's; nothing of no texts."""
    nats, distinct, recall, texts = sums_K.tolist()
    return {"bag_loss": nats / distinct, f"bag_recall{TOP}": recall / texts} if texts else {}


def tokens_held(ids_BL: Tensor, length_B: Tensor, special: Iterable[int], vocabulary: int) -> Tensor:
    """Whether each token stands in the first ``length`` positions [B, V]; ``special`` ones never do."""
    special = sorted(set(special))
    before_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) < length_B[:, None]
    held_BV = torch.zeros(len(ids_BL), vocabulary, dtype=torch.bool, device=ids_BL.device)
    held_BV.scatter_(1, ids_BL.where(before_BL, special[0]), True)
    held_BV[:, special] = False
    return held_BV


def bag_losses(logits_BV: Tensor, ids_BL: Tensor, length_B: Tensor, special: Iterable[int]) -> BagLosses:
    """Cross-entropies of a bag of words against the texts it is of.

    Args:
        logits_BV: log odds that a token stands in the text.
        ids_BL, length_B: the texts; positions from ``length`` on are padding.
        special: ids that are no words (the mask, PAD, EOS), at least one.
    """
    special = sorted(set(special))
    held_BV = tokens_held(ids_BL, length_B, special, logits_BV.shape[1])
    none_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool, device=logits_BV.device)
    none_V[special] = True
    nats_BV = torch.nn.functional.binary_cross_entropy_with_logits(logits_BV, held_BV.float(), reduction="none")
    ranked_BV = logits_BV.detach().masked_fill(none_V, float("-inf"))
    top_BK = ranked_BV.topk(min(TOP, logits_BV.shape[1]), dim=1).indices
    distinct_B = held_BV.sum(1)
    return BagLosses(nats_BV.masked_fill(none_V, 0.0).sum(1), distinct_B, held_BV.gather(1, top_BK).sum(1) / distinct_B)
