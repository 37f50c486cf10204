"""Fills a trace while a text is written."""

from __future__ import annotations

from torch import Tensor

from unmask.decoding.logit_stats import LogitStats
from unmask.decoding.order import Candidates
from unmask.decoding.state import SamplerState
from unmask.decoding.trace import EventKind, Trace


class Recorder:
    """Writes events where a trace is wanted, and computes nothing where it is not.

    Args:
        trace: what to fill, or None.
        full: also keep the best guess at every candidate.
    """

    def __init__(self, trace: Trace | None, full: bool) -> None:
        self.trace, self.full = trace, full

    def written(
        self, candidates: Candidates, index_K: Tensor, value_K: Tensor, wants_chance: bool = False
    ) -> Tensor | None:
        """Note the candidates ``index_K`` being written with ``value_K``; called before the canvas changes.

        Returns:
            the probability of each value, fp64 [K], where there is a trace or ``wants_chance``; else None.
        """
        if self.trace is None and not wants_chance:
            return None
        canvas, stats = candidates.canvas, candidates.stats
        logits_KV = stats.logits(index_K)
        rows = LogitStats(
            lambda index: logits_KV if index is None else logits_KV[index],
            len(index_K),
            logits_KV.shape[1],
            {"best", "rest", "second"},
        )
        value_K1 = value_K[:, None]
        chosen_K1 = logits_KV.gather(1, value_K1)
        chance_K = (chosen_K1[:, 0].double() - rows.log_norm_N).exp()
        if self.trace is None:
            return chance_K
        row_K, col_K = candidates.row_N[index_K], candidates.col_N[index_K]
        best_K1 = rows.best_id_N[:, None]
        runner_K = logits_KV.scatter(1, best_K1, float("-inf")).argmax(1)
        self.trace.events.add(
            row=canvas.row_R[row_K],
            step=canvas.tick_R[row_K],
            position=col_K,
            kind=int(EventKind.WRITE),
            value=value_K,
            time=canvas.time_R[row_K],
            probability=chance_K,
            margin=1 - rows.shortfall_N,
            rank=(logits_KV > chosen_K1).sum(1),
            runner_up=runner_K,
            runner_up_probability=rows.top_prob_N * rows.second_N,
        )
        if self.full:
            self.trace.guesses.add(
                row=canvas.row_R[candidates.row_N],
                step=canvas.tick_R[candidates.row_N],
                position=candidates.col_N,
                value=stats.best_id_N,
                probability=stats.top_prob_N,
            )
        return chance_K

    def note(self, canvas: SamplerState, at_RL: Tensor, kind: EventKind, value_RL: Tensor, step_R: Tensor) -> None:
        """Note positions that changed without being drawn."""
        if self.trace is None or not bool(at_RL.any()):
            return
        row_K, col_K = at_RL.nonzero(as_tuple=True)
        self.trace.events.add(
            row=canvas.row_R[row_K],
            step=step_R[row_K],
            position=col_K,
            kind=int(kind),
            value=value_RL[row_K, col_K],
            time=canvas.time_R[row_K],
        )
