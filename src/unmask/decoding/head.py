"""The output head for few rows at a time, on a CPU.

A head of 32k ids applied to 16 rows spends most of its time laying out the weight matrix anew for each product. oneDNN
can lay it out once; measured 2 to 3 times faster at 4 to 80 rows (docs/decisions/0005-sampling-speed.md). Where that is
not possible (another device or dtype, a denoiser with its own ``head``, a build without oneDNN) the denoiser's is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.denoiser import Denoiser

#: below this many weights the layout costs nothing worth saving; above, a second copy of the head costs too much memory
FEWEST, MOST = 2**20, 2**28
#: products that pay for one layout
WORTH = 8


class FastHead:
    """``denoiser.head`` with the weight laid out once.

    Args:
        denoiser: the model; its weights must not change while this lives.
        calls: how often the head will be asked for, about.
    """

    def __init__(self, denoiser: Denoiser, calls: int) -> None:
        self.denoiser = denoiser
        self._wanted = calls >= WORTH and type(denoiser).head is Denoiser.head and torch.backends.mkldnn.is_available()
        self._packed: tuple[Tensor, Any] | None = None

    def __call__(self, h_ND: Tensor) -> Tensor:
        """Logits [N, V]; the mask id has ``-inf``."""
        if not self._wanted or h_ND.device.type != "cpu" or h_ND.dtype != torch.float32 or not len(h_ND):
            return self.denoiser.head(h_ND)
        features_ND, weight_VD, bias_V = self.denoiser.project(h_ND)
        if self._packed is None or self._packed[0] is not weight_VD:
            self._packed = self._pack(features_ND, weight_VD)
        if self._packed is None:
            return self.denoiser.head(h_ND)
        logits_NV = torch.ops.mkldnn._linear_pointwise(features_ND, self._packed[1], bias_V, "none", [], "")
        return self.denoiser.forbid(logits_NV)

    def _pack(self, features_ND: Tensor, weight_VD: Tensor) -> tuple[Tensor, Any] | None:
        fits = (
            FEWEST <= weight_VD.numel() <= MOST
            and weight_VD.dtype == features_ND.dtype == torch.float32
            and weight_VD.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
        )
        # a weight made anew at each call would be laid out at each call
        self._wanted = fits and self._packed is None
        if not self._wanted:
            return None
        return weight_VD, torch.ops.mkldnn._reorder_linear_weight(weight_VD, len(features_ND))
