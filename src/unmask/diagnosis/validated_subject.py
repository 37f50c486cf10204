"""A subject under watch: calls are counted, and what goes wrong in them becomes a finding, not a traceback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UnmaskError
from unmask.diagnosis.subject import (
    Batch,
    CachedRun,
    Generated,
    NotProvided,
    Split,
    State,
    Subject,
    TrainingView,
    Wrapped,
)


class SubjectFault(UnmaskError):
    """A method of the subject raised, or returned what cannot be."""

    def __init__(self, method: str, message: str) -> None:
        super().__init__(f"{method} {message}")
        self.method = method


class Guarded(Wrapped):
    """Counts rows x calls in ``forwards`` and checks what comes back."""

    def __init__(self, inner: Subject) -> None:
        super().__init__(inner)
        self.forwards = 0

    def provides(self, method: str) -> bool:
        return self.inner.provides(method)

    def same_view(self, batch: Batch, seed: int, like: TrainingView) -> TrainingView:
        """The view of a batch under a seed that was seen before; inputs and scored positions must be the same again."""
        view = self.training_view(batch, seed)
        if not (torch.equal(view.x_BL, like.x_BL) and torch.equal(view.scored_BL, like.scored_BL)):
            raise SubjectFault(
                "training_view",
                f"hides other positions when asked twice with seed {seed}: draw all its noise from the seed",
            )
        return view

    def _ask(self, method: str, call: Callable[[], Any]) -> Any:
        try:
            with torch.no_grad():
                return call()
        except (NotProvided, SubjectFault):
            raise
        except Exception as error:
            words = " ".join(str(error).split())
            raise SubjectFault(method, f"raised {type(error).__name__}: {words[:400]}") from error

    def data(self, n: int, split: Split = "held_out") -> Batch:
        batch: Batch = self._ask("data", lambda: self.inner.data(n, split))
        ids = batch.ids_BL
        if ids.ndim != 2 or not len(ids):
            raise SubjectFault("data", f"returned ids of shape {tuple(ids.shape)}, not [rows, length]")
        masked = 0 if self.mask_id is None else int((ids == self.mask_id).any(1).sum())
        if masked:
            raise SubjectFault(
                "data", f"returned {masked} of {len(ids)} rows with the mask id in them: give clean texts"
            )
        return batch

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        view: TrainingView = self._ask("training_view", lambda: self.inner.training_view(batch, seed))
        self.forwards += len(batch)
        rows = int(view.scored_BL.sum())
        if len(view.ce_N) != rows:
            raise SubjectFault(
                "training_view", f"returned {len(view.ce_N)} cross-entropies for {rows} scored positions"
            )
        if not rows:
            raise SubjectFault("training_view", "scores no position at all")
        if not bool(torch.isfinite(view.ce_N).all()):
            raise SubjectFault("training_view", f"returned {_odd(view.ce_N)} among its cross-entropies")
        if not torch.isfinite(torch.tensor(float(view.loss))):
            raise SubjectFault("training_view", f"returned the loss {view.loss}")
        return view

    def predict(self, state: State) -> Tensor:
        self.forwards += len(state.x_BL)
        logits_NV: Tensor = self._ask("predict", lambda: self.inner.predict(state))
        return self._checked("predict", logits_NV, int(state.at_BL.sum()))

    def _checked(self, method: str, logits_NV: Tensor, rows: int) -> Tensor:
        if logits_NV.ndim != 2 or len(logits_NV) != rows:
            raise SubjectFault(
                method, f"returned logits of shape {tuple(logits_NV.shape)} where {rows} positions were asked for"
            )
        # one number a row decides: NaN or +inf anywhere, or -inf everywhere, makes it unusable
        total_N = logits_NV.float().logsumexp(-1)
        if not bool(torch.isfinite(total_N).all()):
            share = float((~torch.isfinite(total_N)).float().mean())
            raise SubjectFault(method, f"returned {_odd(total_N)} in {share:.0%} of the rows of logits")
        return logits_NV

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        out: Generated = self._ask("generate", lambda: self.inner.generate(batch, seed, **settings))
        if out.forwards is not None:
            self.forwards += out.forwards
        else:
            self.forwards += len(out.ids_BL) * len(out.steps or [0])
        if len(out.ids_BL) != len(batch):
            raise SubjectFault("generate", f"wrote {len(out.ids_BL)} texts where {len(batch)} were asked for")
        return out

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        return self._ask("encode", lambda: self.inner.encode(texts))  # type: ignore[no-any-return]

    def obeys(self, batch: Batch, ids_BL: Tensor) -> Tensor:
        return self._ask("obeys", lambda: self.inner.obeys(batch, ids_BL))  # type: ignore[no-any-return]

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        ids_N: Tensor = self._ask("draw", lambda: self.inner.draw(logits_NV, seed))
        if ids_N.shape != logits_NV.shape[:1]:
            raise SubjectFault("draw", f"returned ids of shape {tuple(ids_N.shape)} for {len(logits_NV)} rows")
        return ids_N

    def posterior(self, cond: Condition) -> tuple[Tensor, Tensor]:
        return self._ask("posterior", lambda: self.inner.posterior(cond))  # type: ignore[no-any-return]

    def reloaded(self) -> dict[str, Tensor]:
        return self._ask("reloaded", self.inner.reloaded)  # type: ignore[no-any-return]

    def weights(self) -> dict[str, Tensor]:
        return self._ask("weights", self.inner.weights)  # type: ignore[no-any-return]

    def loading_report(self) -> dict[str, list[str]]:
        return self._ask("loading_report", self.inner.loading_report)  # type: ignore[no-any-return]

    def blocks(self, n: int) -> list[list[str]]:
        return self._ask("blocks", lambda: self.inner.blocks(n))  # type: ignore[no-any-return]

    def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
        run: CachedRun = self._ask("cached", lambda: self.inner.cached(ids_BL, start))
        self.forwards += len(ids_BL) * (1 + len(run.position_T))
        rows = len(ids_BL) * (ids_BL.shape[1] - start)
        self._checked("cached", run.logits_NV, rows)
        return run


def _odd(value: Tensor) -> str:
    return "NaN" if bool(torch.isnan(value).any()) else "infinities"
