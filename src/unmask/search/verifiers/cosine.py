"""The vector a text is written from as its verifier: encode what was written, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import UsageError
from unmask.core.verifier import Checked
from unmask.search.verifier import VerifierKind

#: cosine above which a text is taken to be the one that the vector was made of, by how the vectors are stored: above
#: all of 3,000 near misses (a comma, a name, the order of two words: up to .99991), and below what rounding to the
#: stored precision takes from the text itself, which in int8 comes down to .99992, so that *verified* means less there
THRESHOLDS = {"fp32": 0.99995, "fp16": 0.99995, "bf16": 0.99995, "int8": 0.9999}
#: below the threshold by how much a coarse encoder's word is not the last one
_DOUBT = 0.002
_PROBE = ("The QUICK Brown fox", "the quick brown fox")


@dataclass(frozen=True)
class CosineVerifierKind(VerifierKind):
    """The re-encoded text's cosine to the vector that it is written from.

    Attributes:
        threshold: smallest cosine that is *verified*; 0 follows how the vectors are stored (0.99995 in fp32).
    """

    checks: ClassVar[str] = "texts that are written from a vector"
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold={self.threshold} must lie in (0, 1]: it is a cosine")

    def least(self, stored: str = "fp32") -> float:
        """The smallest cosine that passes, for vectors stored in this precision."""
        return self.threshold or THRESHOLDS[stored]


class CosineVerifier:
    """Accepts a text whose vector has a cosine of at least ``threshold`` to the row's.

    Args:
        targets: row -> its vector [Z].
        encoder: judges in fp32.
        coarse: a faster one of the same weights that looks first, or None; what it finds near is judged again.
        threshold: smallest cosine that passes.
        batch_size: texts at a time.
    """

    def __init__(
        self,
        targets: dict[int, Tensor],
        encoder: Any,
        coarse: Any = None,
        threshold: float = THRESHOLDS["fp32"],
        batch_size: int = 64,
    ) -> None:
        self.targets = {row: F.normalize(z.float().cpu(), dim=0) for row, z in targets.items()}
        self.encoder, self.coarse, self.threshold, self._batch = encoder, coarse, threshold, batch_size
        self.uncased = is_uncased(encoder)

    def key(self, text: str) -> str:
        """Without case where the encoder reads none."""
        return text.lower() if self.uncased else text

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """Cosines and vectors; see :class:`unmask.core.verifier.Verifier`."""
        first = self.coarse or self.encoder
        unique = list(dict.fromkeys(texts))
        at = {text: i for i, text in enumerate(unique)}
        pick = torch.tensor([at[text] for text in texts])
        vector_NZ = self._vectors(first, unique)[pick]
        target_NZ = torch.stack([self.targets[row] for row in rows])
        score_N = (vector_NZ * target_NZ).sum(1)
        calls_N = torch.ones(len(texts), dtype=torch.int64)
        near = (score_N > self.threshold - _DOUBT).nonzero()[:, 0]
        if self.coarse is not None and len(near):
            again_MZ = self._vectors(self.encoder, [texts[i] for i in near.tolist()])
            vector_NZ[near], score_N[near] = again_MZ, (again_MZ * target_NZ[near]).sum(1)
            calls_N[near] += 1
        # the last digits depend on what else is in the batch
        score_N = (score_N.double() * 1e6).round() / 1e6
        return Checked(score_N.tolist(), (score_N >= self.threshold).tolist(), calls_N.tolist(), vector_NZ)

    def _vectors(self, encoder: Any, texts: Sequence[str]) -> Tensor:
        return F.normalize(torch.from_numpy(encoder.encode(texts, batch_size=self._batch)).float(), dim=1)


def is_uncased(encoder: Any) -> bool:
    """Whether an encoder reads capitals as small letters, so that it cannot verify them."""
    tokenizer = getattr(encoder, "tokenizer", None)
    if tokenizer is None:
        high, low = encoder.encode(list(_PROBE))
        return bool(abs(high - low).max() < 1e-6)
    high, low = tokenizer(list(_PROBE))["input_ids"]
    return bool(high == low)
