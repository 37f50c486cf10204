"""Every loss and bound, as views of one set of weighted token losses.

One forward pass over a corrupted batch gives a cross-entropy for each hidden token. What people call "the loss" is a
choice of weights on those numbers:

* ``maskgit``: their mean. Watched by most, a bound of nothing (arXiv 2202.04200).
* ``llada``: each divided by its row's masked fraction, summed, per token (arXiv 2502.09992).
* ``nelbo``: each times the law's weight, summed, per token: an upper bound of -log p in expectation (arXiv 2406.07524).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.diffusion.linear_ce import linear_cross_entropy
from unmask.diffusion.process import MaskedBatch

Weighting = Literal["maskgit", "llada", "nelbo"]


@dataclass
class TokenLosses:
    """Cross-entropies of the masked tokens of a batch, with the weights of the objective.

    Attributes:
        loss: the differentiable scalar under the weighting asked for (without the KL).
        ce_N: nats a hidden token, detached, row-major.
        hit_N: whether the most probable id is right.
        row_N, col_N: where each hidden token stands.
        fraction_B: masked fraction of each row.
        weight_B: NELBO weight of each row (NaN where the law bounds nothing).
        tokens_B: tokens by which a row's bound is divided (text tokens with EOS, without padding, where known).
        kl_BZ: KL of the bottleneck, nats a dimension, with gradient; None without one.
        length_nats_B: nats of each row's number of tokens, with gradient; None for a model that writes its own EOS.
        carry: what the model wants handed back.
    """

    loss: Tensor
    ce_N: Tensor
    hit_N: Tensor
    row_N: Tensor
    col_N: Tensor
    fraction_B: Tensor
    weight_B: Tensor
    tokens_B: Tensor
    kl_BZ: Tensor | None = None
    carry: Any = None
    length_nats_B: Tensor | None = None

    def before(self, length_B: Tensor) -> TokenLosses:
        """The losses of masked tokens before ``length_B`` in their row: the text without its padding.

        Padding is nearly free to predict; left in, it flatters every mean. (A bound keeps it: it is part of the text.)
        """
        text_N = self.col_N < length_B[self.row_N]
        kept = {name: getattr(self, name)[text_N] for name in ("ce_N", "hit_N", "row_N", "col_N")}
        return replace(self, **kept)

    def mean(self) -> Tensor:
        """Mean cross-entropy over masked tokens, nats: cloze skill, not a bound."""
        return self.ce_N.mean()

    def row_sum(self) -> Tensor:
        """Sum of each row's cross-entropies [B]."""
        return torch.zeros_like(self.weight_B, dtype=self.ce_N.dtype).index_add_(0, self.row_N, self.ce_N)

    def row_nelbo(self) -> Tensor:
        """Each row's estimate of its NELBO in nats, given its condition [B]: its length's nats and its tokens'.

        A bottleneck's KL is not in it: it prices the vector, which evaluation hands over, and not the text.
        """
        if torch.isnan(self.weight_B).any():
            raise UsageError("word dropout makes no bound: score with MaskingProcess.bound()")
        nelbo_B = self.row_sum() * self.weight_B
        return nelbo_B if self.length_nats_B is None else nelbo_B + self.length_nats_B.detach()

    def nelbo(self) -> Tensor:
        """The NELBO of the batch, nats a token."""
        return self.row_nelbo().sum() / self.tokens_B.sum()

    def llada(self) -> Tensor:
        """LLaDA's loss with weights 1/t, nats a token: equal to :meth:`nelbo` for uniform t on a linear schedule."""
        return (self.row_sum() / self.fraction_B).sum() / self.tokens_B.sum()

    def by_fraction(self, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of cross-entropy, of hits, and counts in bins of the row's masked fraction.

        Args:
            edges: increasing upper edges; bin i holds edges[i-1] < r <= edges[i]. End with ``1 - tiny, 1`` to keep the
                fully masked state by itself.
        """
        bin_N = torch.bucketize(self.fraction_B, edges)[self.row_N].clamp(max=len(edges) - 1)
        zeros = torch.zeros(len(edges), dtype=torch.float64, device=self.ce_N.device)
        return (
            zeros.index_add(0, bin_N, self.ce_N.double()),
            zeros.index_add(0, bin_N, self.hit_N.double()),
            zeros.index_add(0, bin_N, torch.ones_like(self.ce_N, dtype=torch.float64)),
        )


def token_losses(
    denoiser: Denoiser,
    corruption: MaskedBatch,
    cond: Condition | None = None,
    *,
    weighting: Weighting = "maskgit",
    tokens_B: Tensor | None = None,
    token_weight_BL: Tensor | None = None,
    valid_BL: Tensor | None = None,
    carry: Any = None,
) -> TokenLosses:
    """Cross-entropies of the masked tokens of a batch, from one forward pass; the head runs on these rows only.

    Args:
        denoiser: the model.
        corruption: from :meth:`MaskingProcess.corrupt`.
        cond: semantic vectors.
        weighting: which view ``loss`` is.
        tokens_B: divisor of the bounds, a row; the number of positions that could be hidden when None.
        token_weight_BL: further weights on the *trained* loss (a lower one for padding, say); views ignore it.
        valid_BL: positions that exist.
        carry: what a previous pass on the same state returned (self-conditioning).
    """
    c = corruption
    tokens_B = c.open_B if tokens_B is None else tokens_B
    row_N, col_N = c.masked_BL.nonzero(as_tuple=True)
    # 1 body (its last layer where it is read)   2 gather hidden rows   3 head input
    out = denoiser.body_at(c.x_BL, c.masked_BL, cond, c.fraction_B, valid_BL=valid_BL, carry=carry)
    features_ND, head_VD, bias_V = denoiser.project(out.h_BLD[row_N, col_N])
    # 4 the weight of each row's cross-entropy, known before the loss so that gradients are made chunk by chunk
    if weighting == "maskgit":
        weight_N = torch.ones(len(row_N), device=features_ND.device)
    elif weighting == "llada":
        weight_N = (1 / c.fraction_B)[row_N]
    elif weighting == "nelbo":
        if torch.isnan(c.weight_B).any():
            raise UsageError(
                "word dropout makes no bound, so it cannot be trained with weighting 'nelbo': use 'maskgit'"
            )
        weight_N = c.weight_B[row_N]
    else:
        raise UsageError(f"weighting={weighting!r} must be 'maskgit', 'llada' or 'nelbo'")
    if token_weight_BL is not None:
        weight_N = weight_N * token_weight_BL[row_N, col_N]
    scale = weight_N.sum().clamp(min=1e-9) if weighting == "maskgit" else tokens_B.sum()
    # 5 chunked cross-entropy   6 the views
    loss, ce_N, hit_N = linear_cross_entropy(
        features_ND, head_VD, bias_V, c.clean_BL[row_N, col_N], weight_N / scale, forbid=denoiser.mask_id
    )
    for h_BLD in out.earlier_BLD:
        # deep supervision: the loss is the mean over loops, the views are those of the last
        features_ND, head_VD, bias_V = denoiser.project(h_BLD[row_N, col_N])
        more, _, _ = linear_cross_entropy(
            features_ND, head_VD, bias_V, c.clean_BL[row_N, col_N], weight_N / scale, forbid=denoiser.mask_id
        )
        loss = loss + more
    if out.earlier_BLD:
        loss = loss / (1 + len(out.earlier_BLD))
    return TokenLosses(
        loss=loss,
        ce_N=ce_N,
        hit_N=hit_N,
        row_N=row_N,
        col_N=col_N,
        fraction_B=c.fraction_B,
        weight_B=c.weight_B,
        tokens_B=tokens_B,
        kl_BZ=out.kl_BZ,
        carry=out.carry,
        length_nats_B=length_nats(denoiser, cond, c.x_BL, valid_BL),
    )


def length_nats(
    denoiser: Denoiser, cond: Condition | None, x_BL: Tensor, valid_BL: Tensor | None = None
) -> Tensor | None:
    """-log p(n | z) of each row's number of positions that exist [B], nats; None for a model that writes its own EOS.

    Raises:
        UsageError: a row of more tokens than the model knows of, or of none.
    """
    log_p_BL = denoiser.length_log_probs(cond, len(x_BL))
    if log_p_BL is None:
        return None
    n_B = torch.full_like(x_BL[:, 0], x_BL.shape[1]) if valid_BL is None else valid_BL.sum(1)
    if not 1 <= int(n_B.min()) <= int(n_B.max()) <= log_p_BL.shape[1]:
        raise UsageError(
            f"texts of {int(n_B.min())} to {int(n_B.max())} tokens: this model knows lengths of 1 to "
            f"{log_p_BL.shape[1]}"
        )
    return -log_p_BL.gather(1, n_B[:, None] - 1)[:, 0]
