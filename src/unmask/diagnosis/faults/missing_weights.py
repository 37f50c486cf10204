from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import native_network, with_denoiser
from unmask.diagnosis.subject import Subject, Wrapped


@dataclass(frozen=True)
class MissingWeights(Fault):
    """The last block's weights were not in the file, and the loader left them at random without a word."""

    caught_by = "weights"

    def inject(self, subject: Subject) -> Subject:
        native, net = native_network(subject)
        net = copy.deepcopy(net)
        block = net.blocks[-1]
        lost = [f"blocks.{len(net.blocks) - 1}.{n}" for n, _ in block.named_parameters()]
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in block.parameters():
                p.copy_(torch.randn(p.shape, generator=noise) * 0.2)

        class Partial(Wrapped):
            def loading_report(self) -> dict[str, list[str]]:
                return {"missing": lost, "unexpected": []}

        return Partial(with_denoiser(native, net))
