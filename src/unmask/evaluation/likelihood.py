"""A bound on the likelihood of texts, and the losses behind it by how much of the text was masked.

Shapes: N texts, L canvas, B rows of a batch, K bins of the masked fraction, Z latent (docs/notation.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.core import distributed
from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskedBatch, MaskingProcess
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.metrics.length import text_lengths
from unmask.metrics.perplexity import exp

#: upper edges of the bins of the masked fraction; the last holds r = 1 alone
EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 - 1e-6, 1.0)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RatioProfile:
    """Losses and hits of masked tokens by the masked fraction of their row, kept apart for each text.

    Attributes:
        edges: upper edges; bin k holds edges[k-1] < r <= edges[k].
        nats_NK, hits_NK, count_NK: sums over a text's masked tokens, and how many there were.
    """

    edges: tuple[float, ...]
    nats_NK: Array
    hits_NK: Array
    count_NK: Array

    def loss(self, seed: int = 0) -> list[Interval]:
        """Mean cross-entropy of each bin, nats/token."""
        return [ratio_interval(n, c, seed=seed) for n, c in zip(self.nats_NK.T, self.count_NK.T, strict=True)]

    def accuracy(self, seed: int = 0) -> list[Interval]:
        """Share of masked tokens whose most probable id is right, in each bin."""
        return [ratio_interval(h, c, seed=seed) for h, c in zip(self.hits_NK.T, self.count_NK.T, strict=True)]

    def labels(self) -> list[str]:
        """What to call each bin, e.g. ``0.4-0.5``; the last is ``1``."""
        lows = (0.0, *self.edges[:-1])
        return [f"{low:.2g}-{high:.2g}" for low, high in zip(lows[:-1], self.edges[:-1], strict=True)] + ["1"]

    def middles(self) -> list[float]:
        """Where to plot each bin."""
        lows = (0.0, *self.edges[:-1])
        return [(low + high) / 2 for low, high in zip(lows[:-1], self.edges[:-1], strict=True)] + [1.0]


@dataclass(frozen=True)
class Likelihood:
    """What :func:`bound` measured, one row a text.

    Attributes:
        nelbo_N: upper bound of each text's -log p in nats, given its condition; the KL of a bottleneck is not in it.
        tokens_N: text tokens with EOS, without padding: what bits and perplexity are *per*.
        text: losses at text positions (EOS included).
        padding: losses at padding.
        masked_nats_N, masked_count_N: cross-entropies of each text's masked text tokens over all sampled corruptions,
            and how many these were. The profiles cannot give them: a sample that masks everything is not in them.
        length_nats_N: nats of each text's number of tokens, which are part of ``nelbo_N``; None for a model that writes
            its own EOS.
        kl_N: KL of the bottleneck in nats, None without one. In evaluation the latent is the posterior's mean, so
            ``nelbo_N`` bounds -log p(text | latent); nelbo + KL is the price of both, not a bound on -log p(text).
        samples: corruptions a text.
    """

    nelbo_N: Array
    tokens_N: Array
    text: RatioProfile
    padding: RatioProfile
    masked_nats_N: Array
    masked_count_N: Array
    kl_N: Array | None
    samples: int
    length_nats_N: Array | None = None

    def nats_per_token(self, seed: int = 0) -> Interval:
        """NELBO in nats a text token, interval over texts (mask sampling noise is part of it)."""
        return ratio_interval(self.nelbo_N, self.tokens_N, seed=seed)

    def bits_per_token(self, seed: int = 0) -> Interval:
        """NELBO in bits a text token."""
        return self.nats_per_token(seed).map(lambda nats: nats / math.log(2))

    def perplexity_bound(self, seed: int = 0) -> Interval:
        """exp of the NELBO a text token: perplexity is at most this."""
        return self.nats_per_token(seed).map(exp)

    def masked_nats_per_token(self, seed: int = 0) -> Interval:
        """Mean cross-entropy over the masked text tokens of the sampled corruptions: cloze skill, *not* a bound."""
        return ratio_interval(self.masked_nats_N, self.masked_count_N, seed=seed)


@contextmanager
def scoring(denoiser: Denoiser) -> Iterator[None]:
    """Evaluation mode and no gradients; every part's own mode is put back afterwards."""
    parts = [m for m in denoiser.modules() if m.training] if isinstance(denoiser, torch.nn.Module) else []
    for part in parts:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in parts:
            part.training = True


def bound(
    denoiser: Denoiser,
    ids_NL: Tensor,
    cond: Condition | None = None,
    *,
    law: MaskingProcess | None = None,
    samples: int = 8,
    batch_size: int = 64,
    seed: int = 0,
    open_NL: Tensor | None = None,
    valid_NL: Tensor | None = None,
    share: bool = False,
) -> Likelihood:
    """NELBO of texts, and loss and accuracy by mask ratio.

    The canvas with its padding is what is scored, so that the number bounds the text *and where it ends*; it is divided
    by the tokens of the text. Of a model of lengths a text's own tokens are scored, and -log p(n | z) of their number,
    exactly; where some of the tokens are given, their number is given too. Corruptions of a text are spread evenly over
    the masked fractions (antithetic) and seeded by the text's number alone: neither the batch size nor the texts after
    it change its score. The fully masked canvas is scored once for each text, exactly, and fills the bin r = 1; it does
    not enter the NELBO.

    Args:
        denoiser: the model; scored in evaluation mode.
        ids_NL: clean ids, padded to the canvas.
        cond: semantic vectors, one a text.
        law: how positions are masked; exactly n ~ U{1..L} of them (arXiv 2502.09992) when None.
        samples: corruptions a text.
        batch_size: rows a forward pass.
        seed: of the corruptions; two calls with one seed score the same corruptions, so that they can be paired.
        open_NL: positions that are written and scored; all when None (a prompt or a board's givens are closed).
        valid_NL: positions that exist; all when None. Those of a model that was not trained to write its padding are
            neither open nor valid.
        share: each process of a launch scores its part of the texts and gets everyone's; all must call.

    Raises:
        UsageError: no text, a mask id in a text, conditions that do not pair up, or a law that makes no bound.
    """
    law = MaskingProcess("count") if law is None else law
    _check(denoiser, ids_NL, cond, law, samples, batch_size)
    N, L, K = len(ids_NL), ids_NL.shape[1], len(EDGES)
    device = getattr(denoiser, "device", ids_NL.device)
    edges_K = torch.tensor(EDGES, device=device)
    ids_NL = ids_NL.to(device)
    if denoiser.models_length and valid_NL is None:
        length_N = text_lengths(ids_NL, denoiser.eos_id, denoiser.pad_id)
        valid_NL = torch.arange(L, device=device) < length_N[:, None]
        open_NL = valid_NL if open_NL is None else open_NL.to(device) & valid_NL
    open_NL = torch.ones_like(ids_NL, dtype=torch.bool) if open_NL is None else open_NL.to(device)
    # a text that ends before the canvas does is masked and read up to its end alone: what stands beside it in the data,
    # and so decides on the canvas, changes nothing
    width_N = torch.full((N,), L, device=device)
    if valid_NL is not None:
        valid_NL = valid_NL.to(device)
        width_N = torch.where(valid_NL, torch.arange(1, L + 1, device=device), 0).amax(1)
    length_N = text_lengths(ids_NL, denoiser.eos_id, denoiser.pad_id)
    in_text_NL = torch.arange(L, device=device) < length_N[:, None]
    mine = distributed.split_between_processes(N) if share else range(N)

    nelbo_N = torch.zeros(N, dtype=torch.float64, device=device)
    length_nats_N = torch.zeros_like(nelbo_N) if denoiser.models_length else None
    kl_N: Tensor | None = None
    # nats, hits, count; text and padding
    sums = torch.zeros(3, 2 * N * K, dtype=torch.float64, device=device)
    # nats, count of text tokens in the samples
    hidden = torch.zeros(2, N, dtype=torch.float64, device=device)
    with scoring(denoiser):
        rows = _corruptions(denoiser, ids_NL, open_NL, width_N, law, samples, batch_size, seed, mine)
        for text_B, full_B, corruption in rows:
            part = None if cond is None else cond.to(device)[text_B]
            valid_BL = None
            if valid_NL is not None:
                width = int(width_N[text_B].max())
                corruption = _cut(corruption, width)
                valid_BL = valid_NL[text_B, :width]
            carry = None
            if denoiser.wants_carry:
                carry = denoiser.body(corruption.x_BL, part, corruption.fraction_B, valid_BL=valid_BL).carry
            losses = token_losses(denoiser, corruption, part, valid_BL=valid_BL, carry=carry)
            nats_N = losses.ce_N.double()
            # the exact row weighs nothing, though it may be infinite
            weighed_B = torch.where(full_B, 0.0, losses.row_sum().double() * losses.weight_B)
            nelbo_N.index_add_(0, text_B, weighed_B)
            if length_nats_N is not None and losses.length_nats_B is not None:
                whole_B = (open_NL[text_B] == valid_NL[text_B]).all(1)  # type: ignore[index]
                nats_B = torch.where(whole_B, losses.length_nats_B.double(), 0.0)
                length_nats_N.index_copy_(0, text_B, nats_B)
            if losses.kl_BZ is not None:
                kl_N = torch.zeros_like(nelbo_N) if kl_N is None else kl_N
                kl_N.index_copy_(0, text_B, losses.kl_BZ.double().sum(1))
            bin_B = torch.bucketize(corruption.fraction_B, edges_K).clamp(max=K - 1)
            text_N = text_B[losses.row_N]
            inside_N = in_text_NL[text_N, losses.col_N]
            cell_N = (text_N * K + bin_B[losses.row_N]) * 2 + (~inside_N).long()
            drawn_N = inside_N & ~full_B[losses.row_N]
            for total, value_N in zip(hidden, (nats_N, torch.ones_like(nats_N)), strict=True):
                total.index_add_(0, text_N[drawn_N], value_N[drawn_N])
            # a sampled row that masks everything repeats the exact one
            keep_N = (full_B | (corruption.fraction_B < 1))[losses.row_N]
            for total, value_N in zip(sums, (nats_N, losses.hit_N.double(), torch.ones_like(nats_N)), strict=True):
                total.index_add_(0, cell_N[keep_N], value_N[keep_N])
    if share:
        nelbo_N, sums, hidden = (
            distributed.all_reduce_sum(nelbo_N),
            distributed.all_reduce_sum(sums),
            distributed.all_reduce_sum(hidden),
        )
        if length_nats_N is not None:
            length_nats_N = distributed.all_reduce_sum(length_nats_N)
        if any(distributed.gather_object([kl_N is not None])):
            kl_N = distributed.all_reduce_sum(torch.zeros_like(nelbo_N) if kl_N is None else kl_N)
    nelbo_N = nelbo_N / samples
    if length_nats_N is not None:
        nelbo_N = nelbo_N + length_nats_N
    table = sums.view(3, N, K, 2).cpu().numpy()
    return Likelihood(
        nelbo_N=nelbo_N.cpu().numpy(),
        tokens_N=(in_text_NL & open_NL).sum(1).double().cpu().numpy(),
        text=RatioProfile(EDGES, *table[..., 0]),
        padding=RatioProfile(EDGES, *table[..., 1]),
        masked_nats_N=hidden[0].cpu().numpy(),
        masked_count_N=hidden[1].cpu().numpy(),
        kl_N=None if kl_N is None else kl_N.cpu().numpy(),
        samples=samples,
        length_nats_N=None if length_nats_N is None else length_nats_N.cpu().numpy(),
    )


def _check(
    denoiser: Denoiser, ids_NL: Tensor, cond: Condition | None, law: MaskingProcess, samples: int, batch_size: int
) -> None:
    if ids_NL.ndim != 2 or not len(ids_NL):
        raise UsageError(f"a bound needs ids [N, L] with at least one text, got shape {tuple(ids_NL.shape)}")
    if samples < 1 or batch_size < 1:
        raise UsageError(f"samples={samples} and batch_size={batch_size} must be at least 1")
    if cond is not None and len(cond) != len(ids_NL):
        raise UsageError(f"{len(cond)} conditions do not pair up with {len(ids_NL)} texts")
    if law.word_dropout:
        raise UsageError(f"a law with word_dropout={law.word_dropout} makes no bound: score with law.bound()")
    masked_N = (ids_NL == denoiser.mask_id).any(1)
    if masked_N.any():
        raise UsageError(f"text {int(masked_N.int().argmax())} holds the mask id {denoiser.mask_id}: score clean texts")


def _corruptions(
    denoiser: Denoiser,
    ids_NL: Tensor,
    open_NL: Tensor,
    width_N: Tensor,
    law: MaskingProcess,
    samples: int,
    batch_size: int,
    seed: int,
    mine: range,
) -> Iterator[tuple[Tensor, Tensor, MaskedBatch]]:
    """Text number [B], whether the row is the text's fully masked one [B] (its weight is 0), and the corruption."""
    rows = samples + 1
    texts = -(-batch_size // rows)
    for start in range(mine.start, mine.stop, texts):
        group = []
        for i in range(start, min(start + texts, mine.stop)):
            own = int(width_N[i])
            ids, open_ = ids_NL[i, :own].expand(samples, -1), open_NL[i, :own].expand(samples, -1)
            group.append((i, law.corrupt(ids, denoiser.mask_id, generator(seed, i, Stream.CORRUPT), open_)))
        number = torch.tensor([i for i, _ in group], device=ids_NL.device)
        hidden = torch.stack([_with_all(c.masked_BL, open_NL[i]) for i, c in group]).flatten(0, 1)
        weight = torch.stack([torch.nn.functional.pad(c.weight_B, (0, 1)) for _, c in group]).flatten()
        full = torch.arange(rows, device=ids_NL.device).eq(samples).repeat(len(group))
        text = number.repeat_interleave(rows)
        for part in torch.arange(len(text), device=ids_NL.device).split(batch_size):
            clean, masked, opened = ids_NL[text[part]], hidden[part], open_NL[text[part]].sum(1)
            yield (
                text[part],
                full[part],
                MaskedBatch(
                    x_BL=clean.masked_fill(masked, denoiser.mask_id),
                    clean_BL=clean,
                    masked_BL=masked,
                    fraction_B=(masked.sum(1) / opened).float(),
                    weight_B=weight[part],
                    open_B=opened,
                ),
            )


def _with_all(masked_BL: Tensor, open_L: Tensor) -> Tensor:
    """Sampled masks, wide as the canvas, and one more row that hides everything."""
    wide_BL = torch.nn.functional.pad(masked_BL, (0, len(open_L) - masked_BL.shape[1]))
    return torch.cat([wide_BL, open_L[None]])


def _cut(corruption: MaskedBatch, width: int) -> MaskedBatch:
    """A batch up to the end of its longest text."""
    parts = {name: getattr(corruption, name)[:, :width] for name in ("x_BL", "clean_BL", "masked_BL")}
    return replace(corruption, **parts)
