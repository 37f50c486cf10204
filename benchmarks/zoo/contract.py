"""What a fault of the zoo declares. Everything else about it is its author's business.

A fault is planted into a healthy subject and comes with the *repair* that a good diagnosis leads to. How much it harms
is measured by the zoo (nats a token of what is written, under the healthy model), never declared. A fault is *named*
when the first cause of the verdict has its repair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unmask.diagnosis.subject import Subject

#: where a system can be put right; a cause in a verdict names one of these, and so does a fault of the zoo
REPAIRS: dict[str, str] = {
    "sampler.temperature": "the draw's temperature is not the one that is said, or not a sensible one",
    "sampler.law": "what is drawn from is not what the network says (stale or foreign logits, top-k or penalty unsaid)",
    "sampler.noise": "the noise of the draw is wrong (precision, shared between rows, independent of the seed)",
    "sampler.guidance": "guidance is wrong in formula, sign or strength",
    "sampler.schedule": "too few steps, or tokens badly divided among them",
    "sampler.order": "the order of positions is not the one that is said, or harms",
    "sampler.places": "places are written twice, left masked, or a prompt is touched",
    "sampler.length": "texts end too early, too late or not at all",
    "condition.rows": "vectors belong to other texts",
    "condition.scale": "vectors are shifted, scaled or not whitened as in training",
    "condition.unused": "the model does not use what the vector tells",
    "weights.loaded": "weights are missing, damaged, rounded, swapped or of another moment",
    "network.positions": "positions reach the network wrongly (offset, base, order)",
    "network.attention": "attention sees what it must not, or misses what it must (padding, neighbours, the future)",
    "network.time": "the time or mask ratio reaches the network wrongly",
    "network.mode": "dropout or batch statistics are on, or answers depend on the batch",
    "network.cache": "a cache answers for another past",
    "training.inputs": "training's inputs are not inference's (it sees its answer, another mask id, clean text)",
    "training.targets": "training asks for the wrong targets (shifted, visible, padding)",
    "training.ratios": "some mask ratios, places or lengths were hardly trained",
    "training.steps": "too little trained",
    "training.capacity": "too small a network",
    "training.data": "too little data, or data that is damaged (shuffled, repeated, of another kind)",
    "data.split": "held-out texts stand in training, so the score is of memory",
    "tokenizer": "ids are not those of training's tokenizer (merges, case, normalisation, order of ids)",
    "report": "the number that is watched is computed wrongly (weights, divisor, unit, rows)",
}

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
