"""The output head for few rows at a time.

Two things that the denoiser's own ``head`` does not know. Guidance mixes logits, and a head that is one product after
``project`` may mix its *features* instead: half the rows, and nothing of size [N, V] to mix. And on a CPU a head of 32k
ids applied to 16 rows spends most of its time laying out the weight matrix anew for each product; oneDNN can lay it out
once, measured 2 to 3 times faster at 4 to 80 rows in fp32 and up to 2 times in bf16
(docs/decisions/0005-sampling-speed.md). Where that is not possible (another device or dtype, a denoiser with its own
``head``, a build without oneDNN) the denoiser's is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.decoding.guidance import guide
from unmask.decoding.weight_prepacking import lay_out, product, product_dtype

#: below this many weights the layout costs nothing worth saving; above, a second copy of the head costs too much memory
FEWEST, MOST = 2**20, 2**28
#: products that pay for one layout
WORTH = 8


@dataclass(frozen=True)
class _Packed:
    """A weight laid out for oneDNN, beside what it was made from, and its bias with -inf at the mask id."""

    source_VD: Tensor
    weight: Tensor
    dtype: torch.dtype
    source_bias_V: Tensor | None = None
    bias_V: Tensor | None = None


class PackedLMHead:
    """``denoiser.head`` with the weight laid out once, and guidance inside.

    Args:
        denoiser: the model; its weights must not change while this lives.
        calls: how often the head will be asked for, about.
    """

    def __init__(self, denoiser: Denoiser, calls: int) -> None:
        self.denoiser = denoiser
        kind = type(denoiser)
        self._linear = kind.head is Denoiser.head and kind.forbid is Denoiser.forbid
        self._wanted = calls >= WORTH and self._linear
        self._packed: _Packed | None = None

    def __call__(self, h_ND: Tensor) -> Tensor:
        """Logits [N, V] in the model's precision; the mask id has ``-inf``."""
        if not self._linear:
            return self.denoiser.head(h_ND)
        return self._product(*self.denoiser.project(h_ND))

    def guided(self, h_ND: Tensor, other_ND: Tensor, gamma: float) -> tuple[Tensor, int]:
        """Logits of classifier-free guidance, up to a constant a row, and the rows the head ran on.

        Args:
            h_ND, other_ND: hidden states with and without the condition.
            gamma: see :func:`unmask.decoding.guidance.guide`.
        """
        both_ND = torch.cat([h_ND, other_ND])
        if not self._linear:
            logits_c_NV, logits_u_NV = wide(self.denoiser.head(both_ND)).chunk(2)
            return guide(logits_c_NV, logits_u_NV, gamma), len(both_ND)
        features_ND, weight_VD, bias_V = self.denoiser.project(both_ND)
        # gamma + (1 - gamma) = 1: an affine map of the mixture is the mixture of the affine maps
        c_ND, u_ND = wide(features_ND).chunk(2)
        return self._product(torch.lerp(u_ND, c_ND, gamma).to(features_ND.dtype), weight_VD, bias_V), len(h_ND)

    def _product(self, features_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        if self._wanted and len(features_ND) and (self._packed is None or self._packed.source_VD is not weight_VD):
            self._packed = self._pack(features_ND, weight_VD)
        packed = self._packed
        if packed is None or not self._wanted or not len(features_ND):
            return self.denoiser.forbid(torch.nn.functional.linear(features_ND, weight_VD, bias_V))
        if bias_V is not packed.source_bias_V:
            packed = self._packed = replace(packed, source_bias_V=bias_V, bias_V=self._bias(packed, bias_V))
        return product(features_ND.to(packed.dtype), packed.weight, packed.bias_V)

    def _pack(self, features_ND: Tensor, weight_VD: Tensor) -> _Packed | None:
        dtype = product_dtype(weight_VD)
        works = dtype is not None and (torch.is_autocast_enabled("cpu") or features_ND.dtype == dtype)
        # a weight made anew at each call would be laid out at each call
        self._wanted = works and FEWEST <= weight_VD.numel() <= MOST and self._packed is None
        if dtype is None or not self._wanted:
            return None
        packed = _Packed(weight_VD, lay_out(weight_VD, dtype, len(features_ND)), dtype)
        return replace(packed, bias_V=self._bias(packed, None))

    def _bias(self, packed: _Packed, bias_V: Tensor | None) -> Tensor:
        """The bias with -inf at the mask id: written into the logits it would cost a cache miss a row."""
        row_V = packed.source_VD.new_zeros(len(packed.source_VD)) if bias_V is None else bias_V.detach()
        mask = torch.tensor(self.denoiser.mask_id)
        return row_V.to(packed.dtype).index_fill(0, mask, float("-inf"))


def wide(x: Tensor) -> Tensor:
    """At least fp32: half precision has 3 digits, too few to compare confidences."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
