"""What a fault of the zoo declares. Everything else about it is its author's business.

A fault is planted into a healthy subject and comes with the *repair* that a good diagnosis leads to. How much it harms
is measured by the zoo (nats a token of what is written, under the healthy model), never declared. A fault is *named*
when the first cause of the verdict has its repair, one of :data:`unmask.diagnosis.repair.REPAIRS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unmask.diagnosis.repair import REPAIRS
from unmask.diagnosis.subject import Subject

__all__ = ["REPAIRS", "Needs", "ZooFault", "ZooSubject"]

Needs = Literal["masked", "causal", "latent", "any_order", "block"]


@dataclass(frozen=True)
class ZooFault:
    """One fault.

    Attributes:
        name: short, unique.
        kind: the group it is counted in, e.g. ``sampler``.
        repair: a key of :data:`REPAIRS`.
        needs: what a subject must be for it to be planted.
        plant: the subject with the fault at a strength in (0, 1]; 1 is the fault as it is met, 0.5 half of it. It may
            wrap the subject, or ignore it and train another one.
        graded: whether half of it can be planted.
        also: further repairs, for pairs of faults that are planted together; both must be named.
    """

    name: str
    kind: str
    repair: str
    plant: Callable[[Subject, float], Subject]
    needs: frozenset[Needs] = frozenset()
    graded: bool = False
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for repair in (self.repair, *self.also):
            if repair not in REPAIRS:
                raise ValueError(f"{self.name}: repair {repair!r} is none of {', '.join(REPAIRS)}")


@dataclass(frozen=True)
class ZooSubject:
    """A healthy subject, made when it is wanted.

    Attributes:
        name: short, unique.
        has: what it is (see :class:`ZooFault.needs`).
        make: the subject; whatever it trains is kept by the zoo's cache folder, given as a path in ``$UNMASK_ZOO``.
        control: why it is unusual but right, for the healthy subjects that only must not be blamed; else "".
    """

    name: str
    has: frozenset[Needs]
    make: Callable[[], Subject]
    control: str = ""
