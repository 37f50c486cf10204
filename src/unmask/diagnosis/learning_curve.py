"""What more training would bring, from training's own record: a power law of the held-out loss over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: points that the law's three numbers are fitted to at least
FEWEST = 5
#: how much longer the training that is asked about
LONGER = 10.0


@dataclass(frozen=True)
class Trend:
    """The loss over the steps, a + b steps^-c, fitted to a record.

    Attributes:
        figure: which loss.
        steps: the last that was recorded.
        now: the loss there, by the fit.
        gain: what ten times the steps would bring, nats a token; low, high: 95 % by the profile of the law's exponent.
    """

    figure: str
    steps: int
    now: float
    gain: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.gain:.2f} [{self.low:.2f}, {self.high:.2f}]"


def trend(curve: Sequence[Mapping[str, float]], figures: Sequence[str] = ("loss_r100", "loss")) -> Trend | None:
    """The trend of the first of some figures that was recorded often enough; None where none was."""
    for figure in figures:
        points = sorted({(p["step"], p[figure]) for p in curve if figure in p and p["step"] > 0})
        # the law is of the training itself, not of its first moments
        points = [p for p in points if p[0] * 20 >= points[-1][0]]
        if len(points) >= FEWEST:
            return _fitted(figure, np.array(points))
    return None


def _fitted(figure: str, point_K2: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Trend:
    step_K, loss_K = point_K2[:, 0], point_K2[:, 1]
    last = step_K[-1]
    exponents = np.geomspace(0.03, 4, 120)
    misfit, gains, ends = [], [], []
    for c in exponents:
        basis_K2 = np.stack([np.ones_like(step_K), (step_K / last) ** -c], axis=1)
        found = np.linalg.lstsq(basis_K2, loss_K, rcond=None)[0]
        if found[0] < 0:  # no loss ends below nothing
            found = np.array([0.0, float(loss_K @ basis_K2[:, 1] / (basis_K2[:, 1] @ basis_K2[:, 1]))])
        misfit.append(float(((basis_K2 @ found - loss_K) ** 2).sum()))
        gains.append(float(found[1] * (1 - LONGER**-c)))
        ends.append(float(found.sum()))
    best = int(np.argmin(misfit))
    # exponents whose misfit is within chance of the best one's: the profile likelihood's 95 % (chi-square, 1 degree)
    near = np.array(misfit) <= misfit[best] * (1 + 3.84 / max(len(loss_K) - 3, 1)) + 1e-12
    inside = np.array(gains)[near]
    return Trend(figure, int(last), ends[best], gains[best], float(inside.min()), float(inside.max()))
