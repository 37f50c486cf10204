from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import native_network, with_denoiser
from unmask.diagnosis.subject import Subject


@dataclass(frozen=True)
class NoPositions(Fault):
    """No absolute positions: with rotary ones alone an all-masked canvas looks the same from everywhere."""

    caught_by = "position_awareness"
    reference = "public repository RosMarinas/SGDD"

    def inject(self, subject: Subject) -> Subject:
        native, net = native_network(subject)
        if net.position is None:
            raise UsageError("this fault takes absolute positions away, and this model has none")
        net = copy.deepcopy(net)
        with torch.no_grad():
            assert net.position is not None
            net.position.zero_()
        if net.config.latent_tokens:
            # rotary distances to the latent's own tokens would still tell positions apart
            net.config.rope = False
        return with_denoiser(native, net)
