"""The zoo that the diagnosis is built against: subjects, faults and controls that whoever writes checks may look at.

:func:`subjects` and :func:`faults` are what :mod:`zoo.run` asks a zoo for. Its figures flatter, since its authors knew
the checks and the authors of the checks know it: what is published first is the held-out part.
"""

from __future__ import annotations

from zoo.contract import ZooFault, ZooSubject
from zoo.own import known, loaded, numbers, sampling, trained
from zoo.own.by_hand import by_hand
from zoo.own.controls import controls
from zoo.own.kept import Recipe
from zoo.own.ours import system
from zoo.own.pairs import pairs


def subjects() -> list[ZooSubject]:
    """The healthy subjects that faults are planted into, then the controls."""
    masked, causal = frozenset({"masked", "any_order"}), frozenset({"causal"})
    latent = masked | {"latent"}
    return [
        ZooSubject("sgdd", latent, lambda: system("sgdd", Recipe())),
        ZooSubject("sgdd_lengths", latent, lambda: system("sgdd", Recipe(lengths=True))),
        ZooSubject("plain", masked, lambda: system("plain", Recipe())),
        ZooSubject("causal", causal, lambda: system("causal", Recipe())),
        ZooSubject("hand", masked, lambda: by_hand(False, Recipe())),
        ZooSubject("hand_vector", latent, lambda: by_hand(True, Recipe())),
        *controls(),
    ]


def faults() -> list[ZooFault]:
    """Single faults, then pairs of them."""
    own = [*sampling.faults(), *loaded.faults(), *trained.faults(), *numbers.faults()]
    return [*own, *known.faults(), *pairs(own)]
