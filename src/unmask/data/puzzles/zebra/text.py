"""Zebra puzzles as text: ``3x3; A1 same B2; C3 left of A2; B1 differs H3``.

First the size (houses x attributes), then the clues, parted by semicolons or line breaks. Attributes are the letters
A to F, their values the digits from 1; H1, H2, ... are the houses from left to right.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UsageError, did_you_mean
from unmask.data.puzzles.zebra.generate import Zebras, count
from unmask.data.puzzles.zebra.rules import KINDS, MOST_HOUSES

_CLUE = re.compile(r"^([A-Z])([0-9]) +([a-z ]+?) +([A-Z])([0-9])$", re.IGNORECASE)


def item_name(item: int, houses: int, attributes: int) -> str:
    """``A1`` for attribute 0, value 0; ``H1`` for the first house."""
    attribute, value = divmod(item, houses)
    return ("H" if attribute == attributes else "ABCDEF"[attribute]) + str(value + 1)


def clue_text(clue_3: NDArray[np.int64], houses: int, attributes: int) -> str:
    """One clue, as :func:`parse` reads it."""
    kind, x, y = (int(part) for part in clue_3)
    return f"{item_name(x, houses, attributes)} {KINDS[kind]} {item_name(y, houses, attributes)}"


def parse(text: str, largest: int = MOST_HOUSES) -> Zebras:
    """The one puzzle of a text, with its solution.

    Args:
        text: the size, then the clues.
        largest: most houses and attributes that there is room for.

    Raises:
        UsageError: the size or a clue cannot be read, the clues contradict each other, or they leave several solutions.
    """
    size, *lines = [part.strip() for part in re.split(r"[;\r\n]", text) if part.strip()] or [""]
    match = re.fullmatch(r"([3-6]) ?x ?([3-6])", size, re.IGNORECASE)
    if match is None:
        raise UsageError(
            f"a zebra puzzle starts with its size, houses x attributes from 3x3 to 6x6, then a semicolon, not with "
            f"{size[:40]!r}"
        )
    houses, attributes = int(match[1]), int(match[2])
    if max(houses, attributes) > largest:
        raise UsageError(f"this puzzle is {houses}x{attributes}, and there is room for {largest}x{largest} at most")
    clues = np.array([_clue(line, houses, attributes) for line in lines], dtype=np.int64).reshape(1, -1, 3)
    puzzle = Zebras(houses, attributes, np.zeros((1, houses * attributes), dtype=np.int64), clues)
    found, home = count(puzzle)
    if found[0] == 0:
        raise UsageError(f"the clues of this zebra puzzle ({len(lines)}) contradict each other: no solution is left")
    if found[0] > 1:
        raise UsageError(f"the clues of this zebra puzzle ({len(lines)}) leave several solutions: add a clue")
    return Zebras(houses, attributes, home, clues)


def _clue(line: str, houses: int, attributes: int) -> tuple[int, int, int]:
    match = _CLUE.match(re.sub(r"\s+", " ", line))
    if match is None:
        raise UsageError(f"{line!r} is no clue: write for example 'A1 same B2' or 'A1 left of H3'")
    kind = match[3].lower()
    if kind in ("right of", "just right of"):
        turned = f"{match[4]}{match[5]} {kind.replace('right', 'left')} {match[1]}{match[2]}"
        raise UsageError(f"{kind!r} in the clue {line!r} is no relation: write {turned!r}")
    if kind not in KINDS[1:]:
        raise UsageError(f"{kind!r} in the clue {line!r} is no relation: {did_you_mean(kind, KINDS[1:])}")
    letters = "ABCDEF"[:attributes] + "H"
    items = []
    for letter, digit in ((match[1].upper(), match[2]), (match[4].upper(), match[5])):
        if letter not in letters or not 1 <= int(digit) <= houses:
            raise UsageError(
                f"{letter}{digit} in the clue {line!r} does not exist: "
                f"this puzzle has {', '.join(letters)}, each from 1 to {houses}"
            )
        items.append(letters.index(letter) * houses + int(digit) - 1)
    return KINDS.index(kind), items[0], items[1]
