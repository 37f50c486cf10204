"""Faults found in public samplers and trainers, on a real network in fp32; each names who has it.

Tested elsewhere: guidance without an attention mask (LLaDA) and at weights other than 0 and 1 (duo), prompts
overwritten when rows hide unequally (Dream), neither top_k nor top_p (xlm), noise in the model's precision (mdlm):
test_generate.py; settings ignored (Dream, LaViDa): test_decoding_contract.py.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unmask.core.random import generator
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.cache import caches
from unmask.decoding.order import orders
from unmask.decoding.quota import quotas
from unmask.decoding.remask import remaskers
from unmask.decoding.rule import samplers
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.diffusion.schedule import schedules
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

VOCAB, MASK = 97, 96


def network(std: float | None = None) -> MaskedDiffusionModel:
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=VOCAB, mask_token_id=MASK, max_position_embeddings=32, dim=32, layers=2, heads=2, ffn_dim=64
    )
    model = MaskedDiffusionModel(config).eval().requires_grad_(False)
    if std is not None:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return model


def ragged() -> tuple[Tensor, Tensor]:
    """Prompts of 2, 9, 0 and 5 tokens, holes between given ones, and padding behind."""
    x_BL = torch.full((4, 20), MASK)
    valid_BL = torch.ones_like(x_BL, dtype=torch.bool)
    for row, (prompt, length) in enumerate(((2, 20), (9, 14), (0, 8), (5, 17))):
        x_BL[row, :prompt] = torch.arange(prompt) + 10 * row + 2
        x_BL[row, length - 1] = 7 + row
        x_BL[row, length:], valid_BL[row, length:] = 0, False
    return x_BL, valid_BL


PLANS: dict[str, dict[str, Any]] = {
    **{f"order {orders.spec_of(leaf)}": {"order": leaf} for n in orders for leaf in orders.get(n).examples()},
    **{f"quota {quotas.spec_of(leaf)}": {"quota": leaf} for n in quotas for leaf in quotas.get(n).examples()},
    **{f"sampler {samplers.spec_of(leaf)}": {"sampler": leaf} for n in samplers for leaf in samplers.get(n).examples()},
    **{
        f"remasking {remaskers.spec_of(leaf)}": {"sampler": "ancestral", "steps": 9, "remasking": leaf}
        for n in remaskers
        for leaf in remaskers.get(n).examples()
    },
    **{f"cache {caches.spec_of(leaf)}": {"cache": leaf} for n in caches for leaf in caches.get(n).examples()},
    "guidance": {"guidance": 2.5},
    "top_p": {"top_p": 0.6, "top_k": 20},
    "gumbel": {"draw": "gumbel"},
    "argmax": {"temperature": 0.0},
    "penalty": {"repetition_penalty": 2.0},
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("block_length", [None, 4])
def test_a_batch_writes_what_its_rows_write_one_by_one(name: str, block_length: int | None) -> None:
    """Fast-dLLM#39; Fast-dLLM's and bd3lms' first-hitting samplers take one row only."""
    model, (x_BL, valid_BL) = network(0.3), ragged()
    if "guidance" in PLANS[name]:  # each row needs something to be guided by
        x_BL[2, 0] = 5
    plan = DecodingPlan(seed=11, block_length=block_length, **PLANS[name])
    together = generate(model, x_BL, plan, valid_BL=valid_BL, trace=None)
    assert not (together.sequences[valid_BL] == MASK).any()
    for row in range(4):
        length = int(valid_BL[row].sum())
        # alone, and without its padding
        alone = generate(model, x_BL[row : row + 1, :length], plan, row_ids_B=torch.tensor([row]), trace=None)
        assert torch.equal(alone.sequences[0], together.sequences[row, :length])
        assert alone.forwards == int(together.forwards_B[row])


@pytest.mark.parametrize("schedule", list(schedules))
def test_every_schedule_listed_trains_and_writes(schedule: str) -> None:
    """mdlm lists a polynomial schedule that raises."""
    model, (x_BL, valid_BL) = network(0.3), ragged()
    for spec in (schedules.spec_of(leaf) for leaf in schedules.get(schedule).examples()):
        out = generate(model, x_BL, DecodingPlan(sampler=samplers.make("ancestral", schedule=spec)), valid_BL=valid_BL)
        assert not (out.sequences[valid_BL] == MASK).any()
        found = token_losses(model, MaskingProcess("time", spec).corrupt(x_BL % MASK, MASK, generator(1)))
        assert torch.isfinite(found.ce_N).all()


@pytest.mark.parametrize("estimator", ["count", "time", "grid"])
@pytest.mark.parametrize("time_power", [1.0, 2.0])
def test_an_untrained_model_costs_log_v(estimator: str, time_power: float) -> None:
    """x-transformers' weighted loss is negative, xlm's bound is twice it, dLLM_Reason's is four times it."""
    model = network()
    law = MaskingProcess(estimator, "sgdd" if estimator == "grid" else "linear", time_power=time_power)
    ids_BL = torch.randint(0, MASK, (2000, 16), generator=torch.Generator().manual_seed(1))
    found = token_losses(model, law.corrupt(ids_BL, MASK, generator(2)))
    assert (found.ce_N > 0).all() and (found.weight_B > 0).all() and (found.row_nelbo() >= 0).all()
    rows_B = found.row_nelbo() / 16
    error = float(rows_B.std() / len(rows_B) ** 0.5)
    assert float(rows_B.mean()) == pytest.approx(math.log(VOCAB - 1), abs=0.02 + 4 * error) and error < 0.3
