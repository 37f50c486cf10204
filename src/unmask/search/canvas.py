"""A canvas as :mod:`unmask.search.mend` has it written: drafts under a plan, and the places that are wrong anew.

What is to be mended is tried in two ways: at the first wrong place every token, the likeliest first, a slice of them
each time; and runs of tokens about it, or all that stands behind it, masked and drawn again.

Shapes: B rows, L positions, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.core.random import hashed
from unmask.data.tokenizer import decode
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.models.text_model import Laid
from unmask.search.mend import Draft, Wanted

#: tokens that are tried at the first wrong place, of each ranking; runs that are drawn again
_TOKENS, _DRAWN = 24, 4
#: temperature of what is written again, where nobody asks for one
REDRAW = 1.0


@dataclass(frozen=True)
class _Job:
    """A row with masks to be filled in."""

    asked: int
    row: int
    x_L: Tensor
    fill_L: Tensor
    name: int
    source: str


class CanvasRewriter:
    """Rows of a canvas, drafted and mended.

    Args:
        denoiser, tokenizer: of one model.
        laid: the rows, empty.
        read: texts of rows that were written: (the rows as they are laid, ids).
        plan: of the first draft, which is what the model writes without a verifier.
        temperature: of all that is written again.
        autocast: makes the context that the network runs in.
        batch_size: rows at a time.
    """

    patience = 12

    def __init__(
        self,
        denoiser: Denoiser,
        tokenizer: Any,
        laid: Laid,
        read: Callable[[Laid, Tensor], list[str]],
        plan: DecodingPlan,
        temperature: float,
        autocast: Callable[[], AbstractContextManager[Any]],
        batch_size: int = 64,
    ) -> None:
        self.denoiser, self.tokenizer, self.laid, self.plan = denoiser, tokenizer, laid, plan
        self._read, self._autocast, self._batch = read, autocast, batch_size
        self._again = plan if temperature == plan.temperature else replace(plan, temperature=temperature)
        self._fill_BL = laid.x_BL == denoiser.mask_id if laid.fill_BL is None else laid.fill_BL

    def write(self, wanted: Sequence[Wanted]) -> list[tuple[list[Draft], int]]:
        """See :class:`unmask.search.mend.Rewriter`."""
        mended = [(n, one, self._place(one)) for n, one in enumerate(wanted) if one.attempt is not None]
        drafts: list[list[tuple[Tensor, str]]] = [[] for _ in wanted]
        forwards, jobs = [0] * len(wanted), []
        for n, one in enumerate(wanted):
            if one.attempt is None:
                # the first draft has the noise of a row that nobody checks
                name = one.row if one.round == 0 else int(hashed(0, one.row, one.round))
                jobs.append(_Job(n, one.row, self.laid.x_BL[one.row], self._fill_BL[one.row], name, "draft"))
        for (n, one, at), found in zip(mended, self._tokens(mended), strict=True):
            drafts[n] += [(x_L, "token") for x_L in found]
            forwards[n] += 2
            jobs += self._drawn(n, one, at)
        for plan, some in (
            (self.plan, [job for job in jobs if wanted[job.asked].round == 0]),
            (self._again, [job for job in jobs if wanted[job.asked].round > 0]),
        ):
            for job, x_L, passes in self._filled(plan, some):
                drafts[job.asked].append((x_L, job.source))
                forwards[job.asked] += passes
        flat = [(one.row, x_L, source) for one, own in zip(wanted, drafts, strict=True) for x_L, source in own]
        texts = iter(self._texts([row for row, *_ in flat], [x_L for _, x_L, _ in flat]))
        return [
            ([Draft(next(texts), x_L, source) for x_L, source in own], passes)
            for own, passes in zip(drafts, forwards, strict=True)
        ]

    # -- where ------------------------------------------------------------------------------------------------------
    def _place(self, one: Wanted) -> int:
        """The position to begin at: the first that may be written from the blamed one on; any where none is blamed."""
        assert one.attempt is not None
        own = self._fill_BL[one.row].nonzero()[:, 0].tolist()
        blame = one.attempt.blame
        if blame is None:
            return int(random.Random(int(hashed(self.plan.seed, one.row, one.round))).choice(own))
        shown = self._shown(one.row)
        ids = one.attempt.draft.state[shown].tolist()
        low, high = 0, len(ids)
        while low < high:  # the fewest tokens that reach beyond the first blamed character
            middle = (low + high) // 2
            if len(decode(self.tokenizer, [ids[: middle + 1]])[0]) > blame[0]:
                high = middle
            else:
                low = middle + 1
        if low == len(ids):  # it lies behind the text: at what ends it, or at the last token
            end = self.denoiser.eos_id
            low = ids.index(end) if end in ids else len(ids) - 1
        return next((place for place in own if place >= shown[low]), own[-1])

    def _shown(self, row: int) -> list[int]:
        """Positions that the text of a row is read from: an answer's own, else all that exist."""
        laid = self.laid
        if laid.whole_B is not None and not laid.whole_B[row]:
            return self._fill_BL[row].nonzero()[:, 0].tolist()
        return list(range(laid.x_BL.shape[1])) if laid.valid_BL is None else laid.valid_BL[row].nonzero()[:, 0].tolist()

    # -- one token --------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _tokens(self, mended: Sequence[tuple[int, Wanted, int]]) -> list[list[Tensor]]:
        """Each row with other tokens at its place: those likely with the rest shown, and with all behind it masked."""
        found: list[list[Tensor]] = []
        mask = self.denoiser.mask_id
        for start in range(0, len(mended), max(1, self._batch // 2)):
            part = mended[start : start + max(1, self._batch // 2)]
            rows = torch.tensor([one.row for _, one, _ in part]).repeat(2)
            at_B = torch.tensor([at for *_, at in part], device=self._fill_BL.device).repeat(2)
            x_BL = torch.stack([one.attempt.draft.state for _, one, _ in part]).repeat(2, 1)  # type: ignore[union-attr]
            place_L = torch.arange(x_BL.shape[1], device=x_BL.device)
            at_BL = place_L == at_B[:, None]
            hide_BL = self._fill_BL[rows] & (place_L > at_B[:, None])
            hide_BL[: len(part)] = False
            laid = picked(self.laid, rows)
            x_BL = x_BL.masked_fill(hide_BL | at_BL, mask)
            hidden_B = (hide_BL | at_BL).sum(1) / self._fill_BL[rows].sum(1)
            with self._autocast():
                logits_BV = self.denoiser.logits(x_BL, at_BL, laid.cond, hidden_B, valid_BL=laid.valid_BL).float()
            for special in (mask, self.denoiser.pad_id, self.denoiser.eos_id):
                if special is not None:
                    logits_BV[:, special] = float("-inf")
            order_BV = logits_BV.sort(dim=-1, descending=True, stable=True).indices
            for k, (_, one, at) in enumerate(part):
                state = one.attempt.draft.state  # type: ignore[union-attr]
                first = (one.attempt.visits - 1) * _TOKENS  # type: ignore[union-attr]
                tokens = [i for b in (k, k + len(part)) for i in order_BV[b, first : first + _TOKENS].tolist()]
                found.append([_with(state, at, i) for i in dict.fromkeys(tokens) if i != state[at]])
                found[-1] += self._ended(one, at)
        return found

    def _ended(self, one: Wanted, at: int) -> list[Tensor]:
        """The row with its end at a place, of a model that writes ends."""
        end, pad, fill_L = self.denoiser.eos_id, self.denoiser.pad_id, self._fill_BL[one.row]
        places = self._shown(one.row)
        if (
            end is None
            or self.denoiser.models_length
            or at == places[0]
            or not bool(fill_L[places[places.index(at) :]].all())
        ):
            return []
        ended = _with(one.attempt.draft.state, at, end)  # type: ignore[union-attr]
        behind_L = fill_L & (torch.arange(len(ended), device=ended.device) > at)
        return [ended if pad is None else ended.masked_fill(behind_L, pad)]

    # -- runs of tokens ---------------------------------------------------------------------------------------------
    def _drawn(self, asked: int, one: Wanted, at: int) -> list[_Job]:
        draw = random.Random(int(hashed(self.plan.seed, one.row, one.round, 1)))
        own = self._fill_BL[one.row].nonzero()[:, 0].tolist()
        first, last = own.index(at), len(own)
        state: Tensor = one.attempt.draft.state  # type: ignore[union-attr]
        spans = [(first, last, "rest"), (max(0, first - draw.randint(1, 3)), last, "rest")]
        while len(spans) < _DRAWN:
            begin = max(0, first - draw.randint(0, 3))
            spans.append((begin, min(last, begin + draw.randint(2, 6)), "span"))
        jobs = []
        for k, (begin, end, source) in enumerate(spans):
            fill_L = torch.zeros_like(self._fill_BL[one.row])
            fill_L[own[begin:end]] = True
            x_L = state.masked_fill(fill_L, self.denoiser.mask_id)
            jobs.append(_Job(asked, one.row, x_L, fill_L, int(hashed(1, one.row, one.round, k)), source))
        return jobs

    def _filled(self, plan: DecodingPlan, jobs: Sequence[_Job]) -> list[tuple[_Job, Tensor, int]]:
        found = []
        for start in range(0, len(jobs), self._batch):
            part = jobs[start : start + self._batch]
            laid = picked(self.laid, torch.tensor([job.row for job in part]))
            with self._autocast():
                out = generate(
                    self.denoiser,
                    torch.stack([job.x_L for job in part]),
                    plan,
                    fill_BL=torch.stack([job.fill_L for job in part]),
                    valid_BL=laid.valid_BL,
                    cond=laid.cond,
                    row_ids_B=torch.tensor([job.name for job in part]),
                    trace=None,
                )
            found += list(zip(part, out.sequences, out.forwards_B.tolist(), strict=True))
        return found

    def _texts(self, rows: Sequence[int], states: Sequence[Tensor]) -> list[str]:
        return self._read(picked(self.laid, torch.tensor(rows)), torch.stack(list(states))) if rows else []


def picked(laid: Laid, rows: Tensor) -> Laid:
    """Some rows of a canvas."""
    values = {f.name: getattr(laid, f.name) for f in fields(laid)}
    values["cond"] = None if laid.cond is None else laid.cond[rows.to(laid.cond.present_B.device)]
    return Laid(**{k: v[rows.to(v.device)] if isinstance(v, Tensor) else v for k, v in values.items()})


def _with(x_L: Tensor, at: int, token: int) -> Tensor:
    x_L = x_L.clone()
    x_L[at] = token
    return x_L
