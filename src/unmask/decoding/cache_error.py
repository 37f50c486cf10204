"""How far a block cache is from the model it stands in for, measured on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UsageError
from unmask.decoding.cache import BlockCache
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class CacheError:
    """What :func:`cache_error` measured.

    Attributes:
        kl_nats: mean KL(uncached || cached) a masked position of the open block, over the steps that used the memory.
            Positions behind it, which some caches run too, are not in it: caches are compared on the same positions.
        top1: share of these positions whose most probable id is the same.
        predictions: how many they were; 0 if nothing was answered from memory.
        tokens_changed: share of the written tokens that the plan without its cache writes otherwise. One early
            difference changes what follows, so this grows with the length.
        body_rows, body_rows_uncached: positions that the body was run on, with the cache and without.
    """

    kl_nats: float
    top1: float
    predictions: int
    tokens_changed: float
    body_rows: int
    body_rows_uncached: int

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@torch.no_grad()
def cache_error(
    denoiser: Denoiser,
    x_BL: Tensor,
    plan: DecodingPlan,
    *,
    fill_BL: Tensor | None = None,
    cond: Condition | None = None,
    valid_BL: Tensor | None = None,
) -> CacheError:
    """Write with the plan's cache, and ask the whole model the same at each step.

    Args:
        denoiser, x_BL, fill_BL, cond, valid_BL: as for :func:`unmask.decoding.sampler.generate`.
        plan: with a cache.

    Raises:
        UsageError: a plan without a cache, or a model that remembers nothing.
    """
    if plan.cache_leaf is None:
        raise UsageError("cache_error needs a plan with a cache: give cache='prefix' or 'dual'")
    given: dict[str, Any] = {"fill_BL": fill_BL, "cond": cond, "valid_BL": valid_BL, "trace": None}
    spy = _RecordingDenoiser(denoiser)
    rule = _Watched(refresh=plan.cache_leaf.refresh, rule=plan.cache_leaf, spy=spy)
    cached = generate(spy, x_BL, replace(plan, cache=rule), **given)
    whole = generate(denoiser, x_BL, replace(plan, cache=None), **given)
    written_BL = (x_BL == denoiser.mask_id) if fill_BL is None else fill_BL
    differ_N = (cached.sequences != whole.sequences)[written_BL]
    return CacheError(
        kl_nats=spy.kl / max(spy.count, 1),
        top1=spy.same / spy.count if spy.count else 1.0,
        predictions=spy.count,
        tokens_changed=float(differ_N.double().mean()) if len(differ_N) else 0.0,
        body_rows=cached.body_rows,
        body_rows_uncached=whole.body_rows,
    )


class _RecordingDenoiser(Denoiser):
    """The denoiser, asked twice whenever it answers from memory."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner: Any = inner
        self.vocab_size, self.mask_id, self.max_length = inner.vocab_size, inner.mask_id, inner.max_length
        self.pad_id, self.eos_id, self.conditional = inner.pad_id, inner.eos_id, inner.conditional
        self.can_cache = bool(getattr(inner, "can_cache", False))
        self.kl, self.same, self.count = 0.0, 0, 0
        # what is masked in each row's open block, and the rows of the canvas that are answered from memory now; None
        # is all of them
        self.open_RL = torch.empty(0, 0, dtype=torch.bool)
        self.rows: Tensor | None = None

    def body(self, *args: Any, **kwargs: Any) -> Body:
        return self.inner.body(*args, **kwargs)  # type: ignore[no-any-return]

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.inner.project(h_ND)  # type: ignore[no-any-return]

    def head(self, h_ND: Tensor) -> Tensor:
        return self.inner.head(h_ND)  # type: ignore[no-any-return]

    def cached_body(
        self, x_BL: Tensor, *args: Any, valid_BL: Tensor | None = None, at_BL: Tensor | None = None, memory: Any = None
    ) -> tuple[Tensor, Any]:
        inside = None if memory is None else memory.inner
        h_BLD, inside = self.inner.cached_body(x_BL, *args, valid_BL=valid_BL, at_BL=at_BL, memory=inside)
        if at_BL is not None:
            rows = torch.arange(len(x_BL), device=x_BL.device) if self.rows is None else self.rows
            # under guidance both branches of a row are there, one behind the other
            asked_BL = self.open_RL[rows % len(self.open_RL)]
            true_BLD = self.inner.body(x_BL, *args, valid_BL=valid_BL).h_BLD
            mine_NV = self.inner.head(h_BLD[asked_BL]).double().log_softmax(-1)
            true_NV = self.inner.head(true_BLD[asked_BL]).double().log_softmax(-1)
            self.same += int((mine_NV.argmax(-1) == true_NV.argmax(-1)).sum())
            self.kl += float((true_NV.exp() * (true_NV - mine_NV).nan_to_num(0.0)).sum())
            self.count += len(mine_NV)
        return h_BLD, _Memory(inside, self)


@dataclass(frozen=True)
class _Watched(BlockCache):
    """The plan's rule; it is asked before the body is, and is the one place that sees the canvas."""

    rule: BlockCache = field(kw_only=True)
    spy: _RecordingDenoiser = field(kw_only=True)

    def active(self, canvas: SamplerState) -> Tensor:
        self.spy.open_RL, self.spy.rows = canvas.open_RL, None
        return self.rule.active(canvas)


class _Memory:
    """A model's memory that says which rows are taken out of it: others are refreshed in the same step."""

    def __init__(self, inner: Any, spy: _RecordingDenoiser) -> None:
        self.inner, self.spy = inner, spy

    def index_rows(self, rows: Tensor) -> _Memory:
        self.spy.rows = rows
        return _Memory(self.inner.index_rows(rows), self.spy)

    def put_rows(self, rows: Tensor, other: _Memory) -> None:
        self.inner.put_rows(rows, other.inner)
