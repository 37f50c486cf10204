"""Which words a vector holds, and what a word adds to it: two maps, fitted once on training texts and their vectors.

Shapes: N texts, Z width of the vectors, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.random import generator

_PASSES, _ROWS, _RATE = 5, 256, 5e-3


@dataclass(frozen=True)
class WordProbe:
    """A linear map from a vector to words, and one back.

    Attributes:
        mean_Z, map_ZZ: whitening of the vectors.
        read_ZW, bias_W: logistic: log odds that a whitened vector's text holds each word.
        write_WZ: what each word adds to the mean over a text's words, whose direction is the vector.
        length_Z: ridge from a whitened vector (and a one) to the number of words and marks.
    """

    mean_Z: Tensor
    map_ZZ: Tensor
    read_ZW: Tensor
    bias_W: Tensor
    write_WZ: Tensor
    length_Z: Tensor

    def whitened(self, z_BZ: Tensor) -> Tensor:
        """Vectors with zero mean and unit covariance in training."""
        return (z_BZ - self.mean_Z) @ self.map_ZZ

    def logits(self, z_BZ: Tensor) -> Tensor:
        """Log odds [B, W] that the text of each vector holds each word."""
        return self.whitened(z_BZ) @ self.read_ZW + self.bias_W

    def length(self, z_BZ: Tensor) -> Tensor:
        """Words and marks of each vector's text [B], estimated."""
        return self.whitened(z_BZ) @ self.length_Z[:-1] + self.length_Z[-1]

    @classmethod
    def fitted(cls, z_NZ: Tensor, rows: Sequence[Sequence[int]], words: int, seed: int = 0) -> WordProbe:
        """On vectors and the words of their texts (ids; what is not below ``words`` is passed over)."""
        mean_Z = z_NZ.mean(0)
        centred = z_NZ - mean_Z
        value, basis = torch.linalg.eigh(centred.T @ centred / len(centred) + 1e-4 * torch.eye(z_NZ.shape[1]))
        map_ZZ = basis * value.rsqrt() @ basis.T
        white = centred @ map_ZZ
        sets = [torch.tensor(sorted({i for i in row if i < words}), dtype=torch.int64) for row in rows]
        read, bias = _logistic(white, sets, words, seed)
        count_N = torch.tensor([len(row) for row in rows], dtype=torch.float32)
        design = torch.cat([white, torch.ones(len(white), 1)], 1)
        length = torch.linalg.solve(design.T @ design + 10.0 * torch.eye(design.shape[1]), design.T @ count_N)
        return cls(mean_Z, map_ZZ, read, bias, _additive(z_NZ, rows, words, seed), length)


def _logistic(white: Tensor, sets: Sequence[Tensor], words: int, seed: int) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(words)
    for held in sets:
        counts[held] += 1
    read = torch.zeros(white.shape[1], words)
    bias = torch.log((counts + 0.5) / len(sets))
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (read, bias)]
    draw, steps = generator(seed, 1), max(1, _PASSES * len(sets) // _ROWS)
    for step in range(steps):
        pick = torch.randint(len(sets), (_ROWS,), generator=draw)
        x = white[pick]
        slope = torch.sigmoid(x @ read + bias)
        for i, n in enumerate(pick.tolist()):
            slope[i, sets[n]] -= 1
        slope /= _ROWS
        rate = _RATE * (1 - step / steps)
        for p, g, (m, v) in zip((read, bias), (x.T @ slope, slope.sum(0)), moments, strict=True):
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            size = rate / (1 - 0.9 ** (step + 1))
            p.addcdiv_(m, (v / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8), value=-size)
    return read, bias


def _additive(z_NZ: Tensor, rows: Sequence[Sequence[int]], words: int, seed: int) -> Tensor:
    """Rows whose mean over a text points where its vector does; the last row stands for words that are not known."""
    table = torch.nn.Embedding(words + 1, z_NZ.shape[1])
    with torch.no_grad():
        table.weight.copy_(z_NZ.mean(0).expand(words + 1, -1))
    optimiser = torch.optim.Adam(table.parameters(), lr=_RATE)
    draw, steps = generator(seed, 2), max(1, 2 * _PASSES * len(rows) // _ROWS)
    flat = [torch.tensor([min(i, words) for i in row], dtype=torch.int64) for row in rows]
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        pick = torch.randint(len(rows), (_ROWS,), generator=draw)
        chosen = [flat[n] for n in pick.tolist()]
        offsets = torch.tensor([0, *(len(c) for c in chosen[:-1])]).cumsum(0)
        mean = F.embedding_bag(torch.cat(chosen), table.weight, offsets, mode="mean")
        # of unit length, so that a text's mean and its vector differ in the direction alone
        loss = (mean - z_NZ[pick]).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return table.weight.detach()
