from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.record import Record, record_of
from unmask.diagnosis.subject import Subject, Wrapped
from unmask.models.denoiser import MaskedDiffusionModel

CHANGES = ("whitening", "scale", "block")


@dataclass(frozen=True)
class ChangedOnLoading(Fault):
    """What was loaded is not what was trained, on every path alike: only what training scored can tell.

    ``whitening``: the latent's mean and map are the identity again. ``scale``: norms have another size. ``block``: the
    first block is of another moment.
    """

    caught_by = "record"

    what: str = "scale"

    @classmethod
    def examples(cls) -> list[ChangedOnLoading]:
        return [cls(what) for what in CHANGES]

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        if not isinstance(native.denoiser, MaskedDiffusionModel):
            raise UsageError("this fault changes a native model's weights")
        if self.what not in CHANGES:
            raise UsageError(f"what={self.what!r} must be one of {', '.join(CHANGES)}")
        record = record_of(native, "training")
        net = copy.deepcopy(native.denoiser)
        with torch.no_grad():
            if self.what == "whitening":
                if net.latent is None:
                    raise UsageError("this fault needs a model with a latent")
                net.latent.whiten.mean_Z.zero_()
                net.latent.whiten.map_ZZ.copy_(torch.eye(len(net.latent.whiten.mean_Z)))
            elif self.what == "scale":
                net.norm.weight.mul_(1.3)
            else:
                noise = torch.Generator().manual_seed(0)
                for p in net.blocks[0].parameters():
                    p.add_(torch.randn(p.shape, generator=noise) * p.std() * 0.5)

        class Recorded(Wrapped):
            def record(self) -> Record:
                return record

        return Recorded(with_denoiser(native, net))
