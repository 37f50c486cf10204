"""How much of a cache may stay: as a fraction kept, as kvpress' fraction removed, or in tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from unmask.core.errors import UsageError

_TOKENS = re.compile(r"(\d+)\s*t(okens)?")


@dataclass(frozen=True)
class CacheBudget:
    """How much of a cache is kept: a share or a number of tokens. Make one with :meth:`of` or :meth:`parse`.

    Attributes:
        keep: fraction of the tokens kept, exact; None where the budget is in tokens.
        count: tokens kept; None where the budget is a fraction.
    """

    keep: Fraction | None = None
    count: int | None = None

    @classmethod
    def of(
        cls, keep: float | str | None = None, compression_ratio: float | str | None = None, tokens: int | None = None
    ) -> CacheBudget:
        """The budget of a compression ratio, a kept share or a number of tokens: exactly one of the three.

        Args:
            keep: fraction kept, in (0, 1].
            compression_ratio: fraction removed, in [0, 1): kvpress' convention, the opposite of ``keep``.
            tokens: tokens kept in each layer, at least 1.

        Raises:
            UsageError: none or several are given, or one is out of range.
        """
        if sum(x is not None for x in (keep, compression_ratio, tokens)) != 1:
            raise UsageError("a budget is one of keep, compression_ratio and tokens: give exactly one of them")
        if tokens is not None:
            if tokens < 1 or int(tokens) != tokens:
                raise UsageError(f"tokens={tokens} must be a whole number, at least 1")
            return cls(count=int(tokens))
        if keep is not None:
            share = _exact(keep, "keep")
            if not 0 < share <= 1:
                raise UsageError(f"keep={keep} must lie in (0, 1]: it is the fraction that stays")
            return cls(keep=share)
        removed = _exact(compression_ratio, "compression_ratio")
        if not 0 <= removed < 1:
            raise UsageError(f"compression_ratio={compression_ratio} must lie in [0, 1): it is the fraction removed")
        return cls(keep=1 - removed)

    @classmethod
    def parse(cls, text: str) -> CacheBudget:
        """``0.9`` keeps nine tenths, ``256t`` keeps 256 tokens."""
        match = _TOKENS.fullmatch(text.strip())
        return cls.of(tokens=int(match[1])) if match else cls.of(keep=text.strip())

    def tokens(self, length: int) -> int:
        """Tokens kept of ``length``: rounded down, at least 1, at most ``length``.

        The fraction is exact, so 0.2 of 10 is 2; in floating point ``int(10 * (1 - 0.8))`` is 1.
        """
        wanted = self.count if self.keep is None else int(length * self.keep)
        return min(length, max(1, int(wanted or 0)))

    @property
    def whole(self) -> bool:
        """Whether nothing is removed, whatever the length."""
        return self.keep == 1

    def __str__(self) -> str:
        return f"{self.count} tokens" if self.keep is None else f"{float(self.keep):g}"


def ratio_for(tokens: int, length: int) -> float:
    """A ``compression_ratio`` for which kvpress' ``int(length * (1 - ratio))`` is ``tokens`` in any rounding."""
    return 0.0 if tokens >= length else 1 - (tokens + 1e-6) / length


def _exact(value: float | str | None, name: str) -> Fraction:
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{name}={value!r} is not a number") from error
