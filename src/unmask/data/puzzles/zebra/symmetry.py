"""Symmetries of zebra puzzles: values renamed, attributes permuted, clues reordered, the street mirrored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.split import mix
from unmask.data.puzzles.zebra.generate import Zebras
from unmask.data.puzzles.zebra.rules import KINDS, ORDERED

#: True for kinds of clues whose items may not change places
IS_ORDERED = np.array([kind in ORDERED for kind in KINDS])


def signature(zebras: Zebras) -> NDArray[np.uint64]:
    """A hash of each puzzle's clues that no symmetry changes; puzzles that are not equivalent may (rarely) share it."""
    size = np.uint64(zebras.houses * 16 + zebras.attributes)
    street = np.arange(zebras.houses)
    there = _hash(zebras, street, zebras.clue_BK3)
    turned = zebras.clue_BK3.copy()
    swap = IS_ORDERED[turned[:, :, 0]]
    turned[swap] = turned[swap][:, [0, 2, 1]]
    back = _hash(zebras, street[::-1], turned)
    return mix(mix(there) + mix(back) + size)


def _hash(zebras: Zebras, street_E: NDArray[np.int64], clue_BK3: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Colour refinement on the graph of items; houses start with their place as colour."""
    n, slots, _ = clue_BK3.shape
    items = (zebras.attributes + 1) * zebras.houses
    colour = np.zeros((n, items), dtype=np.uint64)
    colour[:, -zebras.houses :] = street_E + 1
    kind = clue_BK3[:, :, 0].astype(np.uint64)
    said = kind > 0
    role = IS_ORDERED[clue_BK3[:, :, 0]].astype(np.uint64)
    flat = [clue_BK3[:, :, side] + np.arange(n)[:, None] * items for side in (1, 2)]
    for _ in range(4):
        heard = np.zeros(n * items, dtype=np.uint64)
        for side in (0, 1):
            other = colour.reshape(-1)[flat[1 - side]]
            word = mix(mix(other) + kind * np.uint64(4) + role * np.uint64(side))
            np.add.at(heard, flat[side][said], word[said])
        colour = mix(mix(colour) + heard.reshape(n, items))
        family = mix(colour.reshape(n, -1, zebras.houses)).sum(axis=2)
        colour = mix(colour + np.repeat(family, zebras.houses, axis=1))
    return mix(family).sum(axis=1)
