"""The denoiser as a search asks it: rows of ids of any length, filled in or scored where they hold the mask.

A row's canvas is a function of the row alone, and its noise is named by the row: what stands beside it in a batch
changes nothing.

Shapes: R rows, L positions, V vocabulary, Z latent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream, uniform

#: positions behind a text's end that a canvas has at least, and what its length is a multiple of
_BEHIND, _STEP = 2, 4
#: values that are drawn among
_TOP = 24


@dataclass(frozen=True)
class DenoiserRows:
    """Rows for the denoiser.

    Attributes:
        ids: each row's ids, the mask where something is to be written; no end and no padding.
        z_Z: the vector that all are written from, or None.
        bias_V: added to the logits.
        penalty_V: taken from the logits of what a row shows already.
        temperature: of the values drawn.
        pace: share of what is masked that is unmasked in one step.
        names: a number for each row, which names its noise.
        seed: of the noise.
    """

    ids: Sequence[Sequence[int]]
    z_Z: Tensor | None
    bias_V: Tensor | None = None
    penalty_V: Tensor | None = None
    temperature: float = 1.0
    pace: float = 0.5
    names: Sequence[int] = ()
    seed: int = 0


class MaskFiller:
    """A denoiser with its tokenizer.

    Args:
        denoiser, tokenizer: of one model, which writes EOS and padding behind a text.
        autocast: makes the context that the network runs in.
        batch_size: rows at a time.

    Attributes:
        forwards: rows through the network so far.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tokenizer: Any,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        batch_size: int = 256,
    ) -> None:
        #: a model that knows its texts' lengths is shown a text and nothing behind it
        self.exact = denoiser.models_length
        if denoiser.pad_id is None or (denoiser.eos_id is None and not self.exact):
            raise UsageError("a search needs a model that writes the end of a text and the padding behind it")
        self.denoiser, self.tokenizer, self._autocast, self._batch = denoiser, tokenizer, autocast, batch_size
        self.mask, self.pad = denoiser.mask_id, denoiser.pad_id
        #: of a model of lengths, which writes no end, the padding stands for it
        self.eos = denoiser.pad_id if denoiser.eos_id is None else denoiser.eos_id
        self.vocab_size, self.forwards = denoiser.vocab_size, 0
        #: most tokens of a text
        self.longest = (denoiser.max_length or 10**6) - 1
        self.device = next(denoiser.parameters()).device  # type: ignore[attr-defined]
        self._pieces: dict[str, list[int]] = {}

    def pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """Ids of each piece of a text by itself."""
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._pieces]
        if new:
            ids = self.tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            self._pieces |= zip(new, ids, strict=True)
        return [self._pieces[piece] for piece in pieces]

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of rows of ids."""
        special = {self.mask, self.pad, self.eos}
        kept = [[i for i in row if i not in special] for row in rows]
        return [text.strip() for text in self.tokenizer.batch_decode(kept, clean_up_tokenization_spaces=False)]

    def corrected(self, write: Callable[[Denoiser, torch.device], Tensor]) -> Tensor:
        """What a corrector writes, in the precision that the writer runs in."""
        with self._autocast():
            return write(self.denoiser, self.device).cpu()

    @torch.no_grad()
    def log_probs(self, asked: Sequence[DenoiserRows]) -> list[Tensor]:
        """For each, ln p [masks, V] at the masked positions of its rows, row by row; bias and penalty left out."""
        out = [[torch.empty(0)] * len(rows.ids) for rows in asked]
        for part, x_RL, cond in self._batches(
            asked, [(a, r) for a, rows in enumerate(asked) for r in range(len(rows.ids))]
        ):
            at_RL = x_RL == self.mask
            log_p = self._logits(x_RL, at_RL, cond).log_softmax(-1)
            for (a, r), found in zip(part, log_p.split(at_RL.sum(1).tolist()), strict=True):
                out[a][r] = found
        return [torch.cat(found) if found else torch.empty(0, self.vocab_size) for found in out]

    @torch.no_grad()
    def fill(self, asked: Sequence[DenoiserRows]) -> list[tuple[list[list[int]], int]]:
        """For each, its rows with every mask written, in several steps, the surest first; and the forwards it took."""
        rows = [[list(ids) for ids in one.ids] for one in asked]
        todo = [(a, r) for a, one in enumerate(rows) for r, ids in enumerate(one) if self.mask in ids]
        step, forwards = 0, [0] * len(asked)
        while todo:
            for a, _ in todo:
                forwards[a] += 1
            for part, x_RL, cond in self._batches(asked, todo, rows):
                self._step(asked, rows, part, x_RL, cond, step)
            todo = [(a, r) for a, r in todo if self.mask in rows[a][r]]
            step += 1
        return list(zip(rows, forwards, strict=True))

    def _step(
        self,
        asked: Sequence[DenoiserRows],
        rows: list[list[list[int]]],
        part: list[tuple[int, int]],
        x_RL: Tensor,
        cond: Condition | None,
        step: int,
    ) -> None:
        at_RL = x_RL == self.mask
        row_N, place_N = at_RL.nonzero(as_tuple=True)
        logits_NV = self._logits(x_RL, at_RL, cond)
        whose_R = torch.tensor([a for a, _ in part])
        start = 0
        for a, count in zip(*(t.tolist() for t in whose_R.unique_consecutive(return_counts=True)), strict=True):
            one, here = asked[a], (row_N >= start) & (row_N < start + count)
            if one.bias_V is not None:
                logits_NV[here] += one.bias_V
            if one.penalty_V is not None:
                shown_RV = torch.zeros(count, self.vocab_size).scatter_(1, x_RL[start : start + count], 1.0)
                logits_NV[here] -= one.penalty_V * shown_RV[row_N[here] - start]
            logits_NV[here] /= one.temperature
            start += count
        logits_NV[:, [self.pad, self.eos]] = float("-inf")
        top_NK, value_NK = logits_NV.log_softmax(-1).topk(_TOP, -1)
        name_R = torch.tensor([asked[a].names[r] for a, r in part])
        seed = asked[part[0][0]].seed
        u_N = uniform(seed, name_R[row_N], step, place_N, Stream.VALUE).float()
        chance_NK = top_NK.softmax(-1)
        pick_N = (chance_NK.cumsum(-1) < u_N[:, None]).sum(-1).clamp(max=_TOP - 1)
        value_N = value_NK.gather(1, pick_N[:, None])[:, 0]
        sure_N = (
            top_NK.gather(1, pick_N[:, None])[:, 0]
            + 0.3 * uniform(seed, name_R[row_N], step, place_N, Stream.ORDER).float()
        )
        found = zip(row_N.tolist(), place_N.tolist(), value_N.tolist(), sure_N.tolist(), strict=True)
        by_row: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
        for row, place, value, sure in found:
            by_row[row].append((-sure, place, value))
        for row, places in by_row.items():
            a, r = part[row]
            count = max(1, -int(-len(places) * asked[a].pace // 1))
            for _, place, value in sorted(places)[:count]:
                rows[a][r][place] = value

    def _logits(self, x_RL: Tensor, at_RL: Tensor, cond: Condition | None) -> Tensor:
        # a fraction of what there is to write, which the padding is not
        t_R = at_RL.sum(1) / ((x_RL != self.pad) & (x_RL != self.eos)).sum(1).clamp(min=1)
        self.forwards += len(x_RL)
        x_RL, at_RL = x_RL.to(self.device), at_RL.to(self.device)
        with self._autocast():
            found = self.denoiser.logits(x_RL, at_RL, cond, t_R.to(self.device))
        return found.float().cpu()

    def _batches(
        self,
        asked: Sequence[DenoiserRows],
        todo: Sequence[tuple[int, int]],
        rows: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> Iterator[tuple[list[tuple[int, int]], Tensor, Condition | None]]:
        """Rows of one canvas length at a time, as (which, ids, condition)."""
        by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for a, r in todo:
            by_length[self.canvas(len(asked[a].ids[r]))].append((a, r))
        for length, members in sorted(by_length.items()):
            for start in range(0, len(members), self._batch):
                part = members[start : start + self._batch]
                lines = []
                for a, r in part:
                    ids = asked[a].ids[r] if rows is None else rows[a][r]
                    lines.append([*ids, self.eos, *[self.pad] * (length - len(ids) - 1)][:length])
                vectors = [asked[a].z_Z for a, _ in part]
                cond = None
                if all(z is not None for z in vectors):
                    cond = Condition.of(torch.stack(vectors).to(self.device))  # type: ignore[arg-type]
                yield part, torch.tensor(lines), cond

    def canvas(self, tokens: int) -> int:
        """Positions of the canvas for a text of so many tokens."""
        if self.exact:
            return tokens
        wanted = -(-(tokens + 1 + _BEHIND) // _STEP) * _STEP
        return max(tokens, min(wanted, self.longest + 1))
