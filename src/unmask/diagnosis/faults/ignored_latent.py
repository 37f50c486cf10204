from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.core.condition import Condition
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import ShortTraining, retrained
from unmask.diagnosis.subject import Subject


def shuffled(cond: Condition, noise: torch.Generator) -> Condition:
    """Every text with another text's vector."""
    return cond[torch.randperm(len(cond), generator=noise)]


@dataclass(frozen=True)
class IgnoredLatent(Fault):
    """Posterior collapse: trained so that the vector means nothing (here, because it is another text's)."""

    caught_by = "latent_use"
    conditional = True
    trains = True

    steps: int = 500

    def inject(self, subject: Subject) -> Subject:
        return retrained(subject, ShortTraining(steps=self.steps, twist=shuffled))
