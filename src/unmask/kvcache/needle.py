"""A needle in prose: a number said once, asked for at the end, by the depth at which it was said."""

from __future__ import annotations

import torch

from unmask.core.random import generator
from unmask.kvcache.model import CausalModelProtocol
from unmask.kvcache.probes import Filler, Probe

CITIES = ("Lisbon", "Cairo", "Oslo", "Lima", "Delhi", "Paris", "Seoul", "Quito", "Berlin", "Dublin", "Athens", "Havana")


def needles(
    causal: CausalModelProtocol,
    text: str,
    length: int,
    *,
    depths: int = 5,
    each: int = 2,
    digits: int = 4,
    seed: int = 0,
) -> list[Probe]:
    """Needles at evenly spread depths.

    Args:
        causal: the model whose tokenizer counts.
        text: prose to hide in.
        length: context in tokens.
        depths: how many depths from 0 (first) to 1 (last).
        each: how many needles at each depth.
        digits: of the number.
        seed: of numbers, cities and prose.

    Raises:
        UsageError: the context is too short for the needle, or the text for the context.
    """
    filler = Filler(causal, text)
    made = []
    for n in range(depths * each):
        depth = (n // each) / max(1, depths - 1)
        draw = torch.randint(10 ** (digits - 1), 10**digits, (1,), generator=generator(seed, n))
        city, number = CITIES[n % len(CITIES)], int(draw)
        said = f"The secret number of the city of {city} is"
        made.append(
            Probe(
                "needle",
                filler.around([(depth, f"{said} {number}.")], length, seed + n),
                causal.encode(f" {said}", start=False),
                causal.encode(f" {number}", start=False),
                depth,
            )
        )
    return made
