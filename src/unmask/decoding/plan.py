"""Everything that decides how a text is written, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from unmask.core.errors import UsageError
from unmask.core.registry import Leaf
from unmask.decoding.cache import BlockCache, caches
from unmask.decoding.guidance import Guidance
from unmask.decoding.order import Order, orders
from unmask.decoding.quota import Quota, quotas
from unmask.decoding.remask import Remasker, remaskers
from unmask.decoding.rule import Sampler, samplers

DRAWS = ("inverse", "gumbel")


@dataclass(frozen=True)
class DecodingPlan:
    """How to write. A setting that could have no effect is refused, so that none is ignored in silence.

    Attributes:
        order: which position first (``unmask list orders``); ``margin`` when None. Only for samplers that use it.
        quota: how many at a step; ``cosine`` when None.
        steps: for the whole row, shared out over blocks; as many as there are positions to write when None.
        temperature: of the values drawn; 0 takes the most probable one.
        top_k, top_p: keep the k best values, or the smallest set with this much mass. Only with temperature above 0.
        repetition_penalty: log-probabilities of ids that the row already shows are multiplied by this (1 is off).
            On log-probabilities, not raw logits, so that a constant added by the model changes nothing. PAD and EOS
            are exempt.
        guidance: gamma, or a :class:`Guidance`; gamma = w + 1 in the other common convention.
        remasking: a ReMDM remasker, for samplers that use it.
        block_length: write in blocks of this many positions from left to right; the last may be shorter.
        cache: ``prefix`` or ``dual`` remembers keys between the starts of blocks (``unmask list caches``): faster, and
            other tokens, because the remembered keys are old; None runs the whole canvas at each step.
        sampler: ``maskgit`` (order x quota), ``ancestral`` or ``first_hitting``.
        stop_at_eos: a row stops once an EOS is written with nothing masked before it; the rest becomes PAD (EOS
            without a PAD). Off by default: a model that writes after an EOS would be cut.
        seed: names all noise.
        draw: ``inverse`` (one fp64 uniform a draw) or ``gumbel`` (V of them; the same law).
    """

    order: str | Order | None = None
    quota: str | Quota | None = None
    steps: int | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    guidance: float | Guidance = 1.0
    remasking: str | Remasker | None = None
    block_length: int | None = None
    cache: str | BlockCache | None = None
    sampler: str | Sampler = "maskgit"
    stop_at_eos: bool = False
    seed: int = 0
    draw: str = "inverse"

    def __post_init__(self) -> None:
        sampler = self.sampler_leaf
        name = samplers.name_of(sampler)
        for setting in ("order", "quota", "steps", "remasking"):
            if getattr(self, setting) is not None and setting not in sampler.uses:
                others = [n for n in samplers if setting in samplers.get(n).uses]
                raise UsageError(
                    f"{setting}={getattr(self, setting)!r} has no effect with sampler {name!r}; samplers that use it: "
                    + ", ".join(others)
                )
        if "order" in sampler.uses:
            orders.make(self.order if self.order is not None else "margin")
        if not self.counts_steps and self.steps is not None:
            raise UsageError(
                f"steps={self.steps} has no effect with quota {quotas.name_of(self.quota_leaf)!r}, which decides by "
                "itself: leave steps out"
            )
        if self.remasking is not None:
            remaskers.make(self.remasking)
            if self.stop_at_eos:
                raise UsageError("stop_at_eos=True cannot be joined with remasking: a written EOS may be masked again")
        if self.cache is not None:
            caches.make(self.cache)
        if self.stop_at_eos and getattr(sampler, "rerank", False):
            raise UsageError("stop_at_eos=True cannot be joined with rerank: a written EOS may be masked again")
        for setting in ("steps", "top_k", "block_length"):
            value = getattr(self, setting)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"{setting}={value!r} must be a whole number of at least 1, or None")
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature={self.temperature} must be a finite number of at least 0; 0 is argmax")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p={self.top_p} must lie in (0, 1]")
        if self.draw not in DRAWS:
            raise UsageError(f"draw={self.draw!r} must be one of {', '.join(DRAWS)}")
        if self.temperature == 0:
            vain = [n for n in ("top_k", "top_p") if getattr(self, n) is not None]
            vain += ["draw"] if self.draw != "inverse" else []
            if vain:
                raise UsageError(
                    f"{vain[0]}={getattr(self, vain[0])!r} has no effect at temperature=0, which takes the best"
                )
        if not 0 < self.repetition_penalty < float("inf"):
            raise UsageError(f"repetition_penalty={self.repetition_penalty} must be a finite number above 0; 1 is off")
        if not isinstance(self.guidance, Guidance):
            Guidance(float(self.guidance))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not -(2**63) <= self.seed < 2**63:
            raise UsageError(f"seed={self.seed!r} must be a whole number of at most 64 bits")

    @cached_property
    def sampler_leaf(self) -> Sampler:
        """The sampler as an instance."""
        return samplers.make(self.sampler)

    @cached_property
    def order_leaf(self) -> Order:
        """The order as an instance."""
        return orders.make("margin" if self.order is None else self.order)

    @cached_property
    def quota_leaf(self) -> Quota:
        """The quota as an instance."""
        return quotas.make("cosine" if self.quota is None else self.quota)

    @cached_property
    def remasker(self) -> Remasker | None:
        """The remasker as an instance, or None."""
        return None if self.remasking is None else remaskers.make(self.remasking)

    @cached_property
    def cache_leaf(self) -> BlockCache | None:
        """The cache as an instance, or None."""
        return None if self.cache is None else caches.make(self.cache)

    @property
    def counts_steps(self) -> bool:
        """Whether ``steps`` shapes anything: adaptive quotas and ``first_hitting`` decide by themselves."""
        uses = self.sampler_leaf.uses
        return "steps" in uses and ("quota" not in uses or self.quota_leaf.uses_steps)

    @cached_property
    def guide(self) -> Guidance:
        """The guidance as an instance."""
        return self.guidance if isinstance(self.guidance, Guidance) else Guidance(float(self.guidance))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what was set, leaves by their name with settings."""
        registries = {"order": orders, "quota": quotas, "remasking": remaskers, "cache": caches, "sampler": samplers}
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if isinstance(value, Leaf):
                value = registries[f.name].spec_of(value)  # type: ignore[attr-defined]
            elif isinstance(value, Guidance):
                value = {"gamma": value.gamma, "kind": value.kind}
            out[f.name] = value
        return out
