"""The loop behind :func:`unmask.decoding.sampler.generate`.

Shapes: B rows of the batch, R rows still being written, L length, N candidates, K positions written now, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream
from unmask.core.sampling import categorical, gumbel_argmax, restrict
from unmask.decoding.cache import BlockKVCache
from unmask.decoding.logit_stats import LogitStats
from unmask.decoding.order import Candidates
from unmask.decoding.packed_lm_head import PackedLMHead, wide
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.recorder import Recorder
from unmask.decoding.rule import SamplerStep
from unmask.decoding.state import SamplerState
from unmask.decoding.trace import EventKind, Trace
from unmask.decoding.weight_prepacking import laid_out_body


@dataclass(frozen=True)
class Progress:
    """What a callback sees after a step.

    Attributes:
        forward: body passes so far.
        sequences_BL: the canvas as it stands, a copy.
        row_K, position_K, value_K: what was written now.
        trace: the trace so far, or None.
        at_end: takes what a callback wants called when generation is over, however it ends: a display has to close
            also where a row ends by itself after the last call, or something is raised.
    """

    forward: int
    sequences_BL: Tensor
    row_K: Tensor
    position_K: Tensor
    value_K: Tensor
    trace: Trace | None
    at_end: Callable[[Callable[[], object]], object]


@dataclass
class SamplerOutput:
    """What came out.

    Attributes:
        sequences: ids [B, L] (times ``num_return_sequences``, the copies of a row together).
        trace: events, or None.
        forwards: body passes, each over all rows still being written.
        forwards_B: passes each row took part in.
        head_rows: rows the output head was run on (both branches of guidance counted, where the head cannot mix them).
        body_rows: positions the body was run on (both branches counted); what a cache saves.
        plan: what it was made with.
    """

    sequences: Tensor
    trace: Trace | None
    forwards: int
    forwards_B: Tensor
    head_rows: int
    plan: DecodingPlan
    body_rows: int = 0


Callback = Callable[[Progress], None]
TokenHook = Callable[["int | None", Tensor], Tensor]


@dataclass
class SamplingLoop:
    """One generation; lives as long as its loop."""

    denoiser: Denoiser
    plan: DecodingPlan
    trace_mode: str | None
    callback: Callback | None
    hook: TokenHook | None
    ending: ExitStack = field(default_factory=ExitStack)
    forwards: int = 0
    head_rows: int = 0
    body_rows: int = 0
    carry: Any = None
    cond: Condition | None = None
    valid_RL: Tensor | None = None
    kind: str = ""
    recorder: Recorder = field(init=False)
    head: PackedLMHead = field(init=False)
    remembered: BlockKVCache | None = None
    forwards_B: Tensor = field(init=False)
    needs: set[str] = field(default_factory=set)

    def go(
        self, x_BL: Tensor, fill_BL: Tensor, cond: Condition | None, valid_BL: Tensor | None, ids_B: Tensor
    ) -> SamplerOutput:
        plan, mask_id = self.plan, self.denoiser.mask_id
        canvas = SamplerState.start(
            x_BL,
            fill_BL,
            torch.ones_like(fill_BL) if valid_BL is None else valid_BL,
            ids_B,
            mask_id=mask_id,
            seed=plan.seed,
            steps=plan.steps,
            block_length=plan.block_length,
        )
        out_BL = canvas.x_RL.clone()
        self.forwards_B = torch.zeros_like(canvas.total_R)
        start = Trace(out_BL.cpu().clone(), mask_id, plan.to_dict())
        self.recorder = Recorder(None if self.trace_mode is None else start, self.trace_mode == "full")
        self.cond, self.valid_RL = cond, valid_BL
        forwards = int(torch.minimum(canvas.total_R, canvas.budget_R).max())
        self.head = PackedLMHead(self.denoiser, forwards)
        if plan.cache_leaf is not None:
            self.remembered = BlockKVCache(self.denoiser, plan.cache_leaf)
        if plan.stop_at_eos and self.denoiser.eos_id is None:
            raise UsageError("stop_at_eos=True needs a model with an eos_id; this one has none")
        if plan.guide.active:
            given_BL = ~fill_BL if valid_BL is None else valid_BL & ~fill_BL
            self.kind = plan.guide.resolve(self.denoiser.conditional, cond, bool(given_BL.any()))
        if "order" in plan.sampler_leaf.uses:
            self.needs = {*plan.order_leaf.needs, *plan.quota_leaf.needs}
        self._ask_hook(None, canvas, out_BL)
        canvas = self._settle(canvas, out_BL)
        with laid_out_body(self.denoiser, forwards, x_BL.numel()):
            while len(canvas):
                canvas = self._step(canvas, out_BL)
        body_rows = self.body_rows if self.remembered is None else self.remembered.body_rows
        return SamplerOutput(
            out_BL, self.recorder.trace, self.forwards, self.forwards_B, self.head_rows, plan, body_rows
        )

    # -- one step ---------------------------------------------------------------------------------------------------
    def _step(self, canvas: SamplerState, out_BL: Tensor) -> SamplerState:
        plan = self.plan
        candidates = Candidates(canvas, canvas.open_RL, self._looker(canvas), self._pick)
        move = plan.sampler_leaf.move(plan, canvas, candidates)
        idle_R = ~move.chosen_RL.any(1)
        if not candidates.seen and bool(idle_R.any()):
            # rows that write nothing need no forward: only they move on, and the others decide the same again
            self._hide(canvas, move, idle_R)
            canvas.time_R = torch.where(idle_R, move.time_R, canvas.time_R)
            canvas.advance(idle_R)
            return self._settle(canvas, out_BL)
        if self.recorder.full:
            _ = candidates.stats
        # 1 logits of what is written   2 its values
        row_K, col_K = move.chosen_RL.nonzero(as_tuple=True)
        if candidates.seen:
            index_NL = torch.full(move.chosen_RL.shape, -1, device=row_K.device)
            index_NL[candidates.row_N, candidates.col_N] = torch.arange(len(candidates), device=row_K.device)
            index_K = index_NL[row_K, col_K]
        else:
            candidates = Candidates(canvas, move.chosen_RL, self._looker(canvas), self._pick)
            index_K = torch.arange(len(candidates), device=row_K.device)
        value_K = candidates.value_N[index_K] if candidates.drawn else self._pick(candidates, index_K)
        # 3 the trace, while the canvas still shows what the model saw   4 unmask and mask
        wants_chance = plan.remasker is not None and plan.remasker.needs_chance
        chance_K = self.recorder.written(candidates, index_K, value_K, wants_chance)
        canvas.x_RL = canvas.x_RL.index_put((row_K, col_K), value_K)
        if chance_K is not None:
            canvas.chance_RL = canvas.chance_RL.index_put((row_K, col_K), chance_K)
        if move.score_RL is not None:
            canvas.score_RL = torch.where(move.chosen_RL, move.score_RL, canvas.score_RL)
        every_R = torch.ones_like(idle_R)
        self._hide(canvas, move, every_R)
        out_BL[canvas.row_R] = canvas.x_RL
        # 5 clocks, hook, callback   6 blocks and finished rows
        canvas.time_R = move.time_R
        canvas.advance(every_R)
        self._ask_hook(self.forwards - 1, canvas, out_BL)
        if self.callback is not None:
            row_K = canvas.row_R[row_K]
            trace, at_end = self.recorder.trace, self.ending.callback
            self.callback(Progress(self.forwards, out_BL.clone(), row_K, col_K, value_K, trace, at_end))
        return self._settle(canvas, out_BL)

    def _looker(self, canvas: SamplerState) -> Callable[[Tensor, Tensor], LogitStats]:
        def look(row_N: Tensor, col_N: Tensor) -> LogitStats:
            h_RLD = self._body(canvas, row_N, col_N)
            h_ND = h_RLD[row_N, col_N]
            other_ND = h_RLD[row_N + len(canvas), col_N] if self.kind else None

            def read(index_K: Tensor | None) -> Tensor:
                def part(h: Tensor) -> Tensor:
                    return h if index_K is None else h[index_K]

                x_KL = None if self.plan.repetition_penalty == 1 else canvas.x_RL[part(row_N)]
                return self._head(part(h_ND), None if other_ND is None else part(other_ND), x_KL)

            return LogitStats(read, len(row_N), self.denoiser.vocab_size, self.needs)

        return look

    def _body(self, canvas: SamplerState, row_N: Tensor, col_N: Tensor) -> Tensor:
        """States of which only those at the asked places are read."""
        x_RL, cond, t_R, valid_RL = canvas.x_RL, self.cond, canvas.fraction_R, self.valid_RL
        if self.kind:
            # both branches in one forward
            hidden_RL = x_RL
            if self.kind == "prompt":
                given_RL = ~canvas.fill_RL if valid_RL is None else valid_RL & ~canvas.fill_RL
                hidden_RL = x_RL.masked_fill(given_RL, canvas.mask_id)
            x_RL, t_R = torch.cat([x_RL, hidden_RL]), t_R.repeat(2)
            valid_RL = None if valid_RL is None else valid_RL.repeat(2, 1)
            if cond is not None:
                cond = cond.cat(cond.nulled() if self.kind == "null" else cond)
        self.forwards += 1
        self.forwards_B[canvas.row_R] += 1
        if self.remembered is not None:
            return self.remembered.body(canvas, x_RL, cond, t_R, valid_RL)
        self.body_rows += x_RL.numel()
        at_RL = torch.zeros_like(canvas.x_RL, dtype=torch.bool)
        at_RL[row_N, col_N] = True
        at_RL = at_RL.repeat(2, 1) if self.kind else at_RL
        body = self.denoiser.body_at(x_RL, at_RL, cond, t_R, valid_BL=valid_RL, carry=self.carry)
        self.carry = body.carry if self.denoiser.wants_carry else None
        return body.h_BLD

    def _head(self, h_KD: Tensor, other_KD: Tensor | None, x_KL: Tensor | None) -> Tensor:
        if other_KD is None:
            logits_KV, rows = self.head(h_KD), len(h_KD)
        else:
            logits_KV, rows = self.head.guided(h_KD, other_KD, self.plan.guide.gamma)
        self.head_rows += rows
        logits_KV = wide(logits_KV)
        if x_KL is not None:
            logits_KV = self._penalise(logits_KV.log_softmax(-1), x_KL)
        return logits_KV

    def _penalise(self, log_p_KV: Tensor, x_KL: Tensor) -> Tensor:
        exempt = [i for i in (self.denoiser.pad_id, self.denoiser.eos_id) if i is not None]
        shown_KL = log_p_KV.gather(1, x_KL)
        exempt_KL = torch.isin(x_KL, torch.tensor(exempt, dtype=x_KL.dtype, device=x_KL.device))
        return log_p_KV.scatter(1, x_KL, torch.where(exempt_KL, shown_KL, shown_KL * self.plan.repetition_penalty))

    def _pick(self, candidates: Candidates, index_K: Tensor | None) -> Tensor:
        plan, stats, canvas = self.plan, candidates.stats, candidates.canvas
        if plan.temperature == 0:
            return stats.best_id_N if index_K is None else stats.best_id_N[index_K]
        row_K = candidates.row_N if index_K is None else candidates.row_N[index_K]
        col_K = candidates.col_N if index_K is None else candidates.col_N[index_K]
        logits_KV = restrict(stats.logits(index_K), temperature=plan.temperature, top_k=plan.top_k, top_p=plan.top_p)
        if plan.draw == "gumbel":
            return gumbel_argmax(
                logits_KV, plan.seed, canvas.id_R[row_K], canvas.tick_R[row_K], canvas.place_RL[row_K, col_K]
            )
        return categorical(logits_KV, canvas.uniform_N(row_K, col_K, Stream.VALUE))

    # -- after a step -----------------------------------------------------------------------------------------------
    def _hide(self, canvas: SamplerState, move: SamplerStep, rows_R: Tensor) -> None:
        if move.remask_RL is None:
            return
        hide_RL = move.remask_RL & rows_R[:, None]
        self.recorder.note(
            canvas, hide_RL, EventKind.REMASK, torch.full_like(canvas.x_RL, canvas.mask_id), canvas.tick_R
        )
        canvas.x_RL = canvas.x_RL.masked_fill(hide_RL, canvas.mask_id)

    def _ask_hook(self, step: int | None, canvas: SamplerState, out_BL: Tensor) -> None:
        if self.hook is None or not len(canvas):
            return
        new_BL = self.hook(step, out_BL.clone())
        if not isinstance(new_BL, Tensor) or new_BL.shape != out_BL.shape or new_BL.is_floating_point():
            raise UsageError(f"token_hook must return ids of shape {tuple(out_BL.shape)}, got {type(new_BL).__name__}")
        new_RL = new_BL[canvas.row_R]
        changed_RL = new_RL != canvas.x_RL
        if bool((changed_RL & ~canvas.fill_RL).any()):
            raise UsageError("token_hook changed a given token: it may change only positions that are to be written")
        self.recorder.note(canvas, changed_RL, EventKind.HOOK, new_RL, (canvas.tick_R - 1).clamp(min=0))
        canvas.x_RL = new_RL

    def _stop_at_eos(self, canvas: SamplerState) -> None:
        masked_RL = canvas.masked_RL
        settled_RL = canvas.fill_RL & (canvas.x_RL == self.denoiser.eos_id) & (masked_RL.long().cumsum(1) == 0)
        rest_RL = masked_RL & settled_RL.any(1)[:, None]
        end_id = self.denoiser.eos_id if self.denoiser.pad_id is None else self.denoiser.pad_id
        ends_RL = torch.full_like(canvas.x_RL, end_id or 0)
        self.recorder.note(canvas, rest_RL, EventKind.PAD, ends_RL, (canvas.tick_R - 1).clamp(min=0))
        canvas.x_RL = torch.where(rest_RL, ends_RL, canvas.x_RL)

    def _settle(self, canvas: SamplerState, out_BL: Tensor) -> SamplerState:
        """Open next blocks, stop at EOS, and take finished rows out of the batch."""
        if self.plan.stop_at_eos:
            self._stop_at_eos(canvas)
        if self.hook is not None:
            canvas.reopen()
        while True:
            done_R = ~canvas.finished_R & self.plan.sampler_leaf.block_done(self.plan, canvas)
            if not bool(done_R.any()):
                break
            canvas.next_block(done_R)
        out_BL[canvas.row_R] = canvas.x_RL
        finished_R = canvas.finished_R
        if bool(finished_R.any()):
            keep_R = (~finished_R).nonzero()[:, 0]
            canvas = canvas.keep(keep_R)
            self.carry = _take(self.carry, torch.cat([keep_R, keep_R + len(finished_R)]) if self.kind else keep_R)
            if self.remembered is not None:
                self.remembered.keep(keep_R)
            self.cond = None if self.cond is None else self.cond[keep_R]
            self.valid_RL = None if self.valid_RL is None else self.valid_RL[keep_R]
        return canvas


def _take(carry: Any, rows: Tensor) -> Any:
    """The carry of these rows: a tensor [B, ...], a tuple or list of carries, or an object with ``index_rows``."""
    if carry is None:
        return None
    if isinstance(carry, Tensor):
        return carry[rows]
    if isinstance(carry, (tuple, list)):
        return type(carry)(_take(c, rows) for c in carry)
    if hasattr(carry, "index_rows"):
        return carry.index_rows(rows)
    raise UsageError(f"a carry of type {type(carry).__name__} needs index_rows(rows), so that finished rows can leave")
