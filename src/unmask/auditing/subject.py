"""A sampler on the bench: the subject that a diagnosis's checks and the audit's own ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unmask.auditing.exact import ExactLaw
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch

#: settings of a config that an audit heeds
_PLANNED = frozenset(
    {
        "order",
        "steps",
        "quota",
        "sampler",
        "remasking",
        "block_length",
        "guidance",
        "temperature",
        "top_k",
        "top_p",
        "seed",
    }
)
#: exact draws that stand for held-out texts
ROWS = 512


class Sampled(NativeSubject):
    """A sampler with a law in the denoiser's place.

    Args:
        law: the perfect denoiser.
        plan: how it writes, where that is one of ours.
        seed: of the law's texts.

    Attributes:
        takes_steps: whether it can be told in how many forwards to write.
        fills: whether it can be given a canvas that holds tokens already.
        prefix_only: whether what is given must stand in front, as much of it in each row.
        names_rows: whether a row's noise goes by the row's number and not by its place in the batch.
    """

    takes_steps: bool = True
    fills: bool = True
    names_rows: bool = False
    prefix_only: bool = False

    def __init__(self, law: ExactLaw, plan: DecodingPlan | None = None, seed: int = 0) -> None:
        super().__init__(law, rows(law, ROWS, seed), rows(law, ROWS, seed + 1), plan=plan, name=law.name)

    def fill(
        self,
        x_BL: Tensor,
        seed: int,
        temperature: float | None = None,
        steps: int | None = None,
        first_row: int = 0,
    ) -> Tensor:
        """Finished canvases [B, L] for canvases that hold tokens and masks.

        Args:
            x_BL: ids. seed: of what is drawn.
            temperature: of the draw; the sampler's own when None.
            steps: forwards; the sampler's own number when None, and where it cannot be told.
            first_row: number of the first row, for a sampler that names its noise by row.
        """
        raise NotImplementedError


class Plan(Sampled):
    """Our samplers under a plan."""

    plan: DecodingPlan
    names_rows = True

    def __init__(self, law: ExactLaw, plan: DecodingPlan, seed: int = 0) -> None:
        super().__init__(law, plan, seed)
        self.takes_steps = "steps" in self.settings

    def fill(
        self,
        x_BL: Tensor,
        seed: int,
        temperature: float | None = None,
        steps: int | None = None,
        first_row: int = 0,
    ) -> Tensor:
        plan = replace(self.plan, seed=seed)
        if temperature is not None:
            cut = {"top_k": None, "top_p": None} if temperature == 0 else {}
            plan = replace(plan, temperature=temperature, **cut)  # type: ignore[arg-type]
        if steps is not None and self.takes_steps:
            plan = replace(plan, steps=steps)
        rows_B = torch.arange(first_row, first_row + len(x_BL))
        return generate(self.denoiser, x_BL, plan, row_ids_B=rows_B).sequences


def planned(config: SamplingConfig) -> Callable[[ExactLaw], Plan]:
    """What puts our sampler, under a config, on a law.

    Raises:
        UsageError: a setting that has no effect here: a law has one length, and remembers no keys.
    """
    given = config.changed()
    for name in given:
        if name not in _PLANNED:
            raise UsageError(f"{name}={given[name]!r} has no effect on an audit, which runs on laws of one length")
    steps = None if config.steps == "auto" else config.steps
    chosen = {name: value for name, value in given.items() if name not in ("steps", "temperature", "seed")}
    temperature = 1.0 if config.temperature is None else config.temperature
    plan = DecodingPlan(**chosen, steps=steps, temperature=temperature, seed=config.seed)
    return lambda law: Plan(law, plan)


def rows(law: ExactLaw, count: int, seed: int) -> Batch:
    """Exact draws, with their vectors where there are some."""
    if not law.latents:
        return Batch(law.exact(count, seed))
    z_B = torch.arange(count) % law.latents
    return Batch(law.exact(count, seed, z_B), law.condition(z_B))


def vectors(law: ExactLaw, batch: Batch) -> Tensor | None:
    """Which vector each row has; None without vectors."""
    return law.latent_of(batch.cond, len(batch))
