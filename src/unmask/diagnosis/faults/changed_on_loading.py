from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.record import Record, record_of
from unmask.diagnosis.subject import Subject, Wrapped

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
        if self.what not in CHANGES:
            raise UsageError(f"what={self.what!r} must be one of {', '.join(CHANGES)}")
        record = record_of(native, "training")
        changed = with_denoiser(native, copy.deepcopy(native.denoiser))
        # the tensors of a state dict are the network's own
        parts = [(name, w) for name, w in changed.weights().items() if self._belongs(name)]
        if not parts:
            raise UsageError(f"this model has no {self.what} to change")
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, w in parts:
                if self.what == "block":
                    w.add_(torch.randn(w.shape, generator=noise) * w.std() * 0.5)
                elif self.what == "scale":
                    w.mul_(1.3)
                else:
                    w.copy_(torch.eye(len(w)) if name.endswith("map_ZZ") else torch.zeros_like(w))

        class Recorded(Wrapped):
            def record(self) -> Record:
                return record

        return Recorded(changed)

    def _belongs(self, name: str) -> bool:
        if self.what == "block":
            return name.startswith("blocks.0.") and name.endswith("weight")
        return name == "norm.weight" if self.what == "scale" else ".whiten." in name
