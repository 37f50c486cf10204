"""What is drawn follows the law it must: exactly the joint one at a time, exactly the factorised law in parallel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from decoding_toy import LookupDenoiser, subsets
from oracles import toy_joint
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.remasking.cap import Cap
from unmask.decoding.remasking.conf import Conf
from unmask.decoding.remasking.loop import Loop
from unmask.decoding.remasking.rescale import Rescale
from unmask.decoding.state import SamplerState
from unmask.diffusion.schedule import schedules

N = 8000
Chances = Callable[[list[int]], dict[tuple[int, ...], float]]


@pytest.fixture(scope="module")
def toy() -> LookupDenoiser:
    return LookupDenoiser(toy_joint(seed=3, vocab=3, length=3, sharp=1.5))


def sample(toy: LookupDenoiser, **settings: object) -> Tensor:
    x_BL = torch.full((N, 3), toy.mask_id)
    return toy.law_of(generate(toy, x_BL, DecodingPlan(**settings), trace=None).sequences)


def p_value(count: Tensor, law: Tensor) -> float:
    """Chi-square test, outcomes expected fewer than five times pooled."""
    expected = law.flatten() / law.sum() * count.sum()
    rare = expected < 5
    if rare.any():
        count = torch.cat([count[~rare], count[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        count, expected = count[expected > 0], expected[expected > 0]
    return float(stats.chisquare(count.numpy(), expected.numpy()).pvalue)


def walk(
    toy: LookupDenoiser, start: dict[Any, float], chance_of: Chances, keep_start: bool = False
) -> dict[Any, float]:
    """One step of a law over states: ``chance_of(hidden positions) -> {subset: chance}``; values are independent.

    ``keep_start`` gives the law of pairs (state before, state after).
    """
    out: dict[Any, float] = {}
    for state, mass in start.items():
        hidden = [i for i, v in enumerate(state) if v == toy.mask_id]
        p_LV = toy.marginals(torch.tensor([state]))[0]
        for subset, chance in chance_of(hidden).items():
            for values in itertools.product(range(toy.vocab_size - 1), repeat=len(subset)):
                p = mass * chance
                new = list(state)
                for i, v in zip(subset, values, strict=True):
                    p *= float(p_LV[i, v])
                    new[i] = v
                key = (state, tuple(new)) if keep_start else tuple(new)
                if p > 0:
                    out[key] = out.get(key, 0.0) + p
    return out


def as_law(toy: LookupDenoiser, states: dict[Any, float]) -> Tensor:
    law = torch.zeros_like(toy.joint)
    for state, mass in states.items():
        if mass > 1e-12:  # alpha of the last step is 1 only up to rounding
            assert toy.mask_id not in state
            law[state] += mass
    return law


def shown_with(chance: float) -> Chances:
    """Each hidden position shown independently with this chance."""

    def law(hidden: list[int]) -> dict[tuple[int, ...], float]:
        return {
            tuple(hidden[i] for i in s): chance ** len(s) * (1 - chance) ** (len(hidden) - len(s))
            for s in subsets(len(hidden))
        }

    return law


def exactly(count: int) -> Chances:
    """A uniform subset of this size."""

    def law(hidden: list[int]) -> dict[tuple[int, ...], float]:
        sets = list(itertools.combinations(hidden, min(count, len(hidden))))
        return {s: 1 / len(sets) for s in sets}

    return law


def ancestral_law(toy: LookupDenoiser, steps: int, schedule: str = "linear") -> Tensor:
    alpha = schedules.make(schedule).alpha(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).tolist()
    states = {(toy.mask_id,) * 3: 1.0}
    for a_t, a_s in itertools.pairwise(alpha):
        states = walk(toy, states, shown_with(min(1.0, (a_s - a_t) / (1 - a_t))))
    return as_law(toy, states)


@pytest.mark.parametrize("order", ["random", "left_to_right", "top_prob", "margin", "entropy"])
def test_one_at_a_time_is_the_joint_in_every_order(toy: LookupDenoiser, order: str) -> None:
    assert p_value(sample(toy, order=order, quota="one", seed=1), toy.joint) > 1e-3


def test_one_at_a_time_with_noise_and_gumbel_draws_is_the_joint(toy: LookupDenoiser) -> None:
    plan = {"order": "margin:noise=gumbel,coefficient=0.5", "quota": "one", "draw": "gumbel", "seed": 2}
    assert p_value(sample(toy, **plan), toy.joint) > 1e-3


def test_first_hitting_is_the_joint(toy: LookupDenoiser) -> None:
    assert p_value(sample(toy, sampler="first_hitting", seed=3), toy.joint) > 1e-3


def test_first_hitting_moments_follow_their_law(toy: LookupDenoiser) -> None:
    """The moments of three hits are three uniforms, the largest first: Beta laws."""
    x_BL = torch.full((2000, 3), toy.mask_id)
    events = generate(toy, x_BL, DecodingPlan(sampler="first_hitting", seed=4)).trace.events  # type: ignore[union-attr]
    for step in (1, 2):
        # the clock when the next hit is awaited is the moment of hit number ``step``
        tau = events["time"][events["step"] == step]
        assert stats.kstest(tau.numpy(), stats.beta(4 - step, step).cdf).pvalue > 1e-3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ancestral_follows_its_own_grid_law(toy: LookupDenoiser, schedule: str) -> None:
    count = sample(toy, sampler=f"ancestral:schedule={schedule}", steps=2, seed=5)
    assert p_value(count, ancestral_law(toy, 2, schedule)) > 1e-3
    assert p_value(count, toy.joint) < 1e-6  # two steps must show the grid's error


def test_ancestral_tends_to_the_joint(toy: LookupDenoiser) -> None:
    gaps = [float((ancestral_law(toy, s) - toy.joint).abs().sum() / 2) for s in (2, 8, 32)]
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert p_value(sample(toy, sampler="ancestral", steps=32, seed=6), ancestral_law(toy, 32)) > 1e-3


def test_parallel_writing_has_exactly_the_factorised_law(toy: LookupDenoiser) -> None:
    """All three at once: the product of marginals, whose distance from the joint is the total correlation."""
    count = sample(toy, order="random", quota="linear", steps=1, seed=7)
    a, b, c = (toy.joint.sum(dim=[d for d in range(3) if d != i]) for i in range(3))
    product = a[:, None, None] * b[:, None] * c
    total_correlation = float((toy.joint * (toy.joint / product).log()).sum())
    entropy = [-float((p * p.log()).sum()) for p in (a, b, c, toy.joint.flatten())]
    assert total_correlation == pytest.approx(sum(entropy[:3]) - entropy[3])
    assert p_value(count, product) > 1e-3
    assert p_value(count, toy.joint) < 1e-12


def test_two_then_one_has_its_own_law(toy: LookupDenoiser) -> None:
    states = walk(toy, walk(toy, {(3, 3, 3): 1.0}, exactly(2)), exactly(1))
    assert p_value(sample(toy, order="random", quota="linear", steps=2, seed=8), as_law(toy, states)) > 1e-3


def test_drawn_confidence_is_not_exact_and_says_so(toy: LookupDenoiser) -> None:
    """Keeping likely draws sharpens the law, even one at a time: why drawn_prob is no default."""
    count = sample(toy, order="drawn_prob", quota="one", seed=9)
    assert p_value(count, toy.joint) < 1e-12
    entropy = stats.entropy(count.numpy())
    assert entropy < float(-(toy.joint * toy.joint.log()).sum()) - 0.05


def test_temperature_has_its_law(toy: LookupDenoiser) -> None:
    """At temperature T a single hidden position follows p^(1/T)."""
    x_BL = torch.full((N, 3), toy.mask_id)
    x_BL[:, :2] = torch.tensor([1, 2])
    out = generate(toy, x_BL, DecodingPlan(order="random", temperature=0.5, seed=10), trace=None).sequences
    p = toy.joint[1, 2] ** 2
    assert p_value(torch.bincount(out[:, 2], minlength=3).double(), p) > 1e-3


# -- ReMDM ----------------------------------------------------------------------------------------------------------
def remdm(steps: int, remasking: object, schedule: str = "linear") -> dict[str, object]:
    return {"sampler": f"ancestral:schedule={schedule}", "steps": steps, "remasking": remasking, "seed": 11}


@pytest.mark.parametrize("remasking", [Cap(0.3), Rescale(0.6), Loop(0.5)])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_remasking_keeps_the_hidden_share(toy: LookupDenoiser, remasking: object, schedule: str) -> None:
    """The forward process' marginal: after each step a position is hidden with chance 1 - alpha."""
    steps, rows = 8, 3000
    x_BL = torch.full((rows, 3), toy.mask_id)
    trace = generate(toy, x_BL, DecodingPlan(**remdm(steps, remasking, schedule))).trace
    assert trace is not None
    law = schedules.make(schedule)
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[1:]
    hidden = 1 - law.alpha(remasking.retime(t, law)).clamp(0, 1)  # type: ignore[attr-defined]
    for step, share in enumerate(hidden.tolist(), 1):
        seen = float((trace.replay(step) == toy.mask_id).double().mean())
        # positions of a row are nearly independent in being hidden; 5 standard errors
        assert abs(seen - share) < 5 * math.sqrt(max(share * (1 - share), 1e-9) / rows / 3) + 1e-9, (step, seen, share)
    assert int((trace.events["kind"] == 1).sum()) > 100


def test_no_strength_is_plain_ancestral(toy: LookupDenoiser) -> None:
    x_BL = torch.full((50, 3), toy.mask_id)
    for settings in (remdm(8, Cap(0.0)), remdm(8, Rescale(0.0))):
        plain = {**settings, "remasking": None}
        remasked, ancestral = (generate(toy, x_BL, DecodingPlan(**s)).sequences for s in (settings, plain))
        assert torch.equal(remasked, ancestral)


def remdm_law(toy: LookupDenoiser, steps: int, remasking: Cap | Rescale) -> Tensor:
    """ReMDM's law by enumeration: values are drawn given the state before anything is hidden again."""
    states = {(toy.mask_id,) * 3: 1.0}
    for k in range(steps):
        a_t, a_s = k / steps, (k + 1) / steps
        top = min(1.0, (1 - a_s) / a_t) if a_t else 1.0
        sigma = min(remasking.eta, top) if isinstance(remasking, Cap) else remasking.eta * top
        shown = walk(toy, states, shown_with((a_s - (1 - sigma) * a_t) / (1 - a_t)), keep_start=True)
        states = {}
        for (before, after), mass in shown.items():
            written = [i for i, v in enumerate(before) if v != toy.mask_id]
            for subset in subsets(len(written)):
                hide = {written[i] for i in subset}
                chance = sigma ** len(hide) * (1 - sigma) ** (len(written) - len(hide))
                new = tuple(toy.mask_id if i in hide else v for i, v in enumerate(after))
                states[new] = states.get(new, 0.0) + mass * chance
    return as_law(toy, states)


@pytest.mark.parametrize("remasking", [Cap(0.4), Rescale(0.6)])
def test_remasking_follows_its_own_law(toy: LookupDenoiser, remasking: Cap | Rescale) -> None:
    law = remdm_law(toy, 4, remasking)
    count = sample(toy, **remdm(4, remasking))
    assert p_value(count, law) > 1e-3
    assert p_value(count, ancestral_law(toy, 4)) < 1e-4


def test_remasking_tends_to_the_joint(toy: LookupDenoiser) -> None:
    """It does, though on an exact denoiser it writes more at once and so stays behind ancestral at equal steps."""
    for remasking in (Cap(0.05), Rescale(0.1)):
        gaps = [float((remdm_law(toy, steps, remasking) - toy.joint).abs().sum() / 2) for steps in (4, 16, 64)]
        assert gaps[0] > 2 * gaps[1] > 4 * gaps[2], gaps


def test_low_confidence_is_hidden_first() -> None:
    """conf, by hand: sigma_max times the softmax of -p over written positions, nothing for hidden ones."""
    x_BL = torch.tensor([[5, 3, 3, 7]])
    fill_BL = torch.tensor([[False, True, True, True]])
    all_BL = torch.ones_like(fill_BL)
    canvas = SamplerState.start(x_BL, fill_BL, all_BL, torch.tensor([0]), mask_id=9, seed=0, steps=4, block_length=None)
    canvas.x_RL = torch.tensor([[5, 3, 9, 7]])
    canvas.chance_RL = torch.tensor([[0.0, 0.9, 0.0, 0.2]], dtype=torch.float64)
    t = torch.tensor([0.5], dtype=torch.float64)
    sigma_RL = Conf().sigma(canvas, t, t / 2, torch.tensor([0.8]), torch.tensor([0.9]))
    a, b = math.exp(-0.9), math.exp(-0.2)
    assert sigma_RL.tolist()[0] == pytest.approx([0, 0.125 * a / (a + b), 0, 0.125 * b / (a + b)], rel=1e-6)


def test_loop_forgets_its_start(toy: LookupDenoiser) -> None:
    """Rewriting at one level for long: the error of the coarse start goes, only that of the last stretch stays."""
    loop = Loop(eta=0.15, t_on=0.95, t_off=0.05, alpha_on=0.7)
    laws = [sample(toy, **remdm(steps, loop)) / N for steps in (20, 80)]
    gap = [float((law - toy.joint.flatten()).abs().sum() / 2) for law in laws]
    assert gap[1] < 0.6 * gap[0]
