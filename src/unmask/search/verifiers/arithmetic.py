"""Calculating as the verifier: each equation in a text is to be true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from unmask.core.verifier import Checked, Verifier
from unmask.search.verifier import VerifierKind

_NUMBER = r"-?\d+(?:\.\d+)?"
_SIDE = rf"{_NUMBER}(?:\s*[-+*/×÷−]\s*{_NUMBER})*"
#: an equation, or what begins one and is not finished; it does not begin inside a number or a word
_EQUATION = re.compile(rf"(?<![\w.]){_SIDE}(?:\s*=\s*{_SIDE})*\s*=(?:\s*{_SIDE})?(?![\w])")
_TERM = re.compile(rf"\s*([-+*/×÷−]?)\s*({_NUMBER})")


@dataclass(frozen=True)
class ArithmeticVerifierKind(VerifierKind):
    """True equations: each side of ``12 + 7 = 19`` is calculated, in the prompt and what is written behind it."""

    checks: ClassVar[str] = "equations"

    def verifier(self, before: Sequence[str]) -> Verifier:
        return ArithmeticVerifier(before)


class ArithmeticVerifier:
    """Accepts a text with equations that are all true; one without any is not accepted.

    Args:
        before: what stands before the text of each row.
    """

    def __init__(self, before: Sequence[str]) -> None:
        self.before = before

    def key(self, text: str) -> str:
        """The text itself."""
        return text

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """The share of equations that are true, the first wrong side blamed; see the protocol."""
        found = [self._one(self.before[row], text) for text, row in zip(texts, rows, strict=True)]
        scores = [score for score, _ in found]
        return Checked(scores, [s == 1.0 for s in scores], [1] * len(texts), blame_N=[blame for _, blame in found])

    @staticmethod
    def _one(before: str, text: str) -> tuple[float, tuple[int, int] | None]:
        whole, faults, count = before + text, [], 0
        for match in _EQUATION.finditer(whole):
            count += 1
            wrong = wrong_side(match.group())
            if wrong is not None:
                faults.append((match.start() + wrong[0], match.start() + wrong[1]))
        if not count:
            return 0.0, None
        if not faults:
            return 1.0, None
        start, end = (max(0, place - len(before)) for place in faults[0])
        return (count - len(faults)) / count, (start, end)


def wrong_side(equation: str) -> tuple[int, int] | None:
    """Where the first side stands that differs from the one at the left; None if all are equal."""
    at, first = 0, None
    for side in equation.split("="):
        value = calculated(side)
        if first is None:
            first = (value,)
        elif first[0] is None or value is None or not _equal(first[0], value, side):
            return at, at + len(side)
        at += len(side) + 1
    return None


def calculated(side: str) -> Fraction | None:
    """The value of sums and products of numbers, exact; None for nothing, or what is divided by zero."""
    terms: list[Fraction] = []
    for sign, digits in _TERM.findall(side):
        number = Fraction(digits)
        if sign in "*×" and sign:
            terms[-1] *= number
        elif sign and sign in "/÷":
            if not number:
                return None
            terms[-1] /= number
        else:
            terms.append(-number if sign and sign in "-−" else number)
    return sum(terms, Fraction(0)) if terms else None


def _equal(left: Fraction, value: Fraction, side: str) -> bool:
    """Whether two values are equal, up to the rounding of a side that is one decimal number."""
    digits = re.fullmatch(r"\s*-?\d+\.(\d+)\s*", side)
    return left == value if digits is None else abs(left - value) <= Fraction(1, 2 * 10 ** len(digits[1]))
