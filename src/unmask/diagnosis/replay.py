"""A sampler's steps put to the network again: how likely what was drawn is under each law it may have been drawn from.

Rows are looked at a few at a time, and a law is dropped as soon as what is told is surely likelier (a sequential
probability ratio test), so that most laws cost a few rows.

Shapes: Q states asked about, L length, N values drawn, V vocabulary (docs/notation.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.law import DrawLaw, DrawnTokens, laws, opened
from unmask.diagnosis.subject import Batch, Generated

#: nats between two laws that chance exceeds in fewer than 6 of 100,000 runs; log of the number of laws is added
SURE_NATS = 9.7
#: standard deviations within which what was drawn must lie under a law that is named
FITS = 4.5
#: share of the probability that may move when the same question is asked twice; beyond it there is no law to replay
UNSTEADY = 0.01
#: rows looked at together, and numbers of logits held at once
ROWS, NUMBERS = 4, 2**24


@dataclass
class _Tally:
    """Sums over values: log-likelihood minus its expectation, its variance, and nats over what is told."""

    off: float = 0.0
    variance: float = 0.0
    gain: float = 0.0

    def add(self, law_NV: Tensor, ids_N: Tensor, told_N: Tensor | None = None) -> Tensor:
        """Log-likelihood [N] under a law, added up."""
        logp_NV = opened(law_NV)
        here_N = logp_NV.gather(-1, ids_N[:, None])[:, 0]
        p_NV = logp_NV.exp()
        mean_N = (p_NV * logp_NV).sum(-1)
        self.off += float((here_N - mean_N).sum())
        self.variance += float(((p_NV * logp_NV.square()).sum(-1) - mean_N.square()).sum())
        if told_N is not None:
            self.gain += float((here_N - told_N).sum())
        return here_N

    @property
    def sigmas(self) -> float:
        return self.off / math.sqrt(max(self.variance, 1e-9))


@dataclass(frozen=True)
class Replay:
    """What was drawn, against what is told of it.

    Attributes:
        values: how many values were looked at.
        sigmas: how many standard deviations their likelihood is off under the law that is told.
        nats: the same in nats a value; positive: likelier than drawn values are.
        law: the law that explains them surely better, and that they fit; None if none does.
        gain: nats by which it is likelier, in all.
        gains: of each law, nats over what is told when it was dropped or at the end.
        own_NV, ids_N: answers before temperature (what guidance made of them) and values, for a few hundred.
    """

    values: int
    sigmas: float
    nats: float
    law: DrawLaw | None
    gain: float
    gains: Mapping[str, float] = field(repr=False)
    own_NV: Tensor = field(repr=False)
    ids_N: Tensor = field(repr=False)

    @property
    def strange(self) -> bool:
        """Whether the values were not drawn from the law that is told."""
        return self.law is not None or abs(self.sigmas) > FITS

    @property
    def share(self) -> float:
        """Nats a value that a named law gains, beside one nat; a tenth at least.

        A twentieth where values fit no law that is known: what is wrong with the answers themselves, if others find
        something, says more.
        """
        if not self.strange:
            return 0.0
        return 0.05 if self.law is None else min(1.0, max(0.1, self.gain / max(self.values, 1)))


def replayed(context: CheckContext, out: Generated) -> Replay:
    """The replay of some texts of the first prompts: of 16 rows with the quick budget, of 64 else; once."""
    rows = min(len(out.ids_BL), max(16, context.budget.samples // 2))
    batch = context.prompts.rows(0, len(out.ids_BL))
    return context.once(("replay", id(out)), lambda: (replay(context, out, batch, rows), out))[0]  # type: ignore[no-any-return]


def replay(context: CheckContext, out: Generated, batch: Batch, rows: int, keep: int = 512) -> Replay:
    """Every value that the first ``rows`` rows drew (of the positions that the budget scores), under each law.

    Args:
        context: the subject on the bench.
        out: what it wrote for ``batch``, with its steps.
        batch: the rows written for.
        rows: how many of them to look at.
        keep: values whose answers are kept.
    """
    known = [law for name in laws for law in laws.get(name).examples()]
    sure = SURE_NATS + math.log(len(known))
    told, open_laws = _Tally(), {i: _Tally() for i in range(len(known))}
    gains: dict[str, float] = {}
    answers: list[Tensor] = []
    values: list[Tensor] = []
    count = 0
    width = max(1, min(ROWS, NUMBERS // (context.budget.positions * context.subject.vocab_size)))
    for first in range(0, min(rows, len(out.ids_BL)), width):
        drawn = _drawn(context, out, batch, first, min(first + width, rows, len(out.ids_BL)))
        if drawn is None:
            continue
        here_N = told.add(drawn.told(drawn.own_NV), drawn.ids_N)
        for i in list(open_laws):
            law_NV = known[i].log_probs(drawn)
            if law_NV is None:
                continue
            open_laws[i].add(law_NV, drawn.ids_N, here_N)
            gains[known[i].said] = open_laws[i].gain
            if open_laws[i].gain < -sure:
                del open_laws[i]
        count += len(drawn.ids_N)
        if sum(len(ids_N) for ids_N in values) < keep:
            answers.append(drawn.own_NV.float().cpu())
            values.append(drawn.ids_N.cpu())
    better = {i: t for i, t in open_laws.items() if t.gain > sure}
    fitting = {i: t for i, t in better.items() if abs(t.sigmas) <= FITS}
    best = max(fitting, key=lambda i: fitting[i].gain, default=None)
    sigmas = told.sigmas
    if better and best is None:
        # something beats what is told, but nothing that is known fits
        sigmas = math.copysign(max(abs(sigmas), 2 * FITS), sigmas)
    return Replay(
        count,
        sigmas,
        told.off / max(count, 1),
        None if best is None else known[best],
        max((t.gain for t in better.values()), default=0.0),
        gains,
        torch.cat(answers)[:keep] if answers else torch.zeros(0, context.subject.vocab_size),
        torch.cat(values)[:keep] if values else torch.zeros(0, dtype=torch.long),
    )


def _drawn(context: CheckContext, out: Generated, batch: Batch, first: int, last: int) -> DrawnTokens | None:
    """The steps of some rows that drew a value, with what they drew; None where they drew nothing."""
    steps = out.steps or ()
    mask_id = -1 if context.subject.mask_id is None else context.subject.mask_id
    part = slice(first, last)
    looked_BL = context.some(torch.ones_like(out.ids_BL, dtype=torch.bool))[part]
    x, before, at, ids, row, t = [], [], [], [], [], []
    for i, step in enumerate(steps):
        # what was drawn shows in the next step's canvas; a later step may hide it again
        after_BL = (steps[i + 1].x_BL if i + 1 < len(steps) else out.ids_BL)[part]
        at_BL = step.drawn_BL[part] & looked_BL & (after_BL != mask_id)
        busy_R = at_BL.any(1).nonzero()[:, 0]
        if not len(busy_R):
            continue
        x.append(step.x_BL[part][busy_R])
        before.append((steps[i - 1].x_BL if i else step.x_BL)[part][busy_R])
        at.append(at_BL[busy_R])
        ids.append(after_BL[busy_R][at_BL[busy_R]])
        row.append(busy_R.to(out.ids_BL.device) + first)
        if step.t_B is not None:
            t.append(step.t_B[part][busy_R.to(step.t_B.device)])
    if not x:
        return None
    own, earlier, later = _vectors(batch.cond, torch.cat(row), len(out.ids_BL))
    return DrawnTokens(
        out,
        lambda state: context.logits(state).double().log_softmax(-1),
        torch.cat(x),
        torch.cat(before),
        torch.cat(at),
        torch.cat(ids),
        own,
        earlier,
        later,
        _times(t, len(x)),
        _ends(context),
    )


def _ends(context: CheckContext) -> tuple[int, ...]:
    """The ids of the end of a text: its own, and of a masked model that writes it the padding behind."""
    s = context.subject
    padding = s.pad_id if s.kind == "masked" else None
    return tuple({i for i in (s.eos_id, padding) if i is not None}) if s.writes_padding else ()


def _vectors(
    cond: Condition | None, row_Q: Tensor, rows: int
) -> tuple[Condition | None, Condition | None, Condition | None]:
    """The vectors of rows, of the rows before them and of the rows behind them."""
    if cond is None:
        return None, None, None
    row_Q = row_Q.to(cond.latent_BZ.device)
    return cond[row_Q], cond[(row_Q - 1) % rows], cond[(row_Q + 1) % rows]


def _times(t: Sequence[Tensor], steps: int) -> Tensor | None:
    """The times that were passed; None where some are not known."""
    if len(t) < steps or not t:
        return None
    t_Q = torch.cat(list(t))
    return None if bool(torch.isnan(t_Q).any()) else t_Q
