"""Sums and differences as texts: "12 + 7 = 19". Seeded; no held-out pair is ever trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator

#: operands are 0..LARGEST (the source's range)
LARGEST = 100_000


@dataclass(frozen=True)
class ArithmeticProblem:
    """One addition or subtraction with its answer.

    Attributes:
        a, b: operands, not negative.
        sign: "+" or "-".
    """

    a: int
    sign: str
    b: int

    @property
    def prompt(self) -> str:
        return f"{self.a} {self.sign} {self.b} ="

    @property
    def answer(self) -> str:
        """With the space before it, as a block takes it."""
        return f" {self.a + self.b if self.sign == '+' else self.a - self.b}"

    @property
    def text(self) -> str:
        return self.prompt + self.answer


@dataclass(frozen=True)
class Problems:
    """Problems to train on, held out in the same range, and with longer operands."""

    train: list[ArithmeticProblem]
    held_out: list[ArithmeticProblem]
    longer: list[ArithmeticProblem]


def arithmetic(
    train: int = 100_000,
    held_out: int = 2_000,
    longer: int = 1_000,
    *,
    largest: int = LARGEST,
    short: float = 0.25,
    seed: int = 0,
) -> Problems:
    """Draw problems: half sums, half differences, operands uniform in 0..``largest``.

    Args:
        train, held_out: how many; no (a, sign, b) is drawn twice, so none of them is in both.
        short: share of the problems *to train on* whose operands have any number of digits equally often: of uniform
            operands up to 100,000 one in a hundred has three digits or fewer, too few to learn from.
        longer: how many with both operands in ``largest`` + 1 .. 10 * ``largest`` - 1: one digit more.
        seed: same seed, same problems; the held-out ones do not depend on how many are trained on.

    Raises:
        UsageError: fewer problems exist than are asked for, or ``short`` is outside [0, 1].
    """
    if not 0 <= short <= 1:
        raise UsageError(f"short={short} must lie in [0, 1]")
    if largest < 1 or train + held_out > (largest + 1) ** 2:
        raise UsageError(
            f"operands up to {largest} make {2 * (largest + 1) ** 2} problems: ask for at most half of them"
        )
    taken: set[ArithmeticProblem] = set()
    held = _draw(held_out, 0, largest, seed, 1, taken)
    trained = _draw(train, 0, largest, seed, 2, taken, short)
    return Problems(trained, held, _draw(longer, largest + 1, 10 * largest - 1, seed, 3, taken))


def _draw(
    count: int, low: int, high: int, seed: int, part: int, taken: set[ArithmeticProblem], short: float = 0.0
) -> list[ArithmeticProblem]:
    noise = generator(seed, part, Stream.SHUFFLE)
    found: list[ArithmeticProblem] = []
    while len(found) < count:
        size = max(count, 16)
        pairs = torch.randint(low, high + 1, (size, 2), generator=noise)
        if short:
            digits = torch.randint(1, len(str(high - 1)) + 1, (size, 2), generator=noise)
            even = (torch.rand(size, 2, generator=noise, dtype=torch.float64) * 10.0**digits).long().clamp(max=high)
            pairs = torch.where(torch.rand(size, 1, generator=noise) < short, even, pairs)
        for a, b in pairs.tolist():
            problem = ArithmeticProblem(a, "+-"[len(found) % 2], b)
            if problem not in taken and len(found) < count:
                taken.add(problem)
                found.append(problem)
    return found
