import pytest
import torch

from unmask.core.errors import UsageError
from unmask.diffusion.process import reveal_probability
from unmask.diffusion.schedule import schedules

ALL = [(name, s) for name in schedules for s in schedules.get(name).examples()]
IDS = [schedules.spec_of(s) for _, s in ALL]
T = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


@pytest.mark.parametrize(("name", "schedule"), ALL, ids=IDS)
def test_ends_and_monotone(name, schedule):
    ends = schedule.alpha(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=0)
    assert (schedule.alpha(T).diff() < 0).all()


@pytest.mark.parametrize(("name", "schedule"), ALL, ids=IDS)
def test_derivative_is_autograd(name, schedule):
    t = T.clone().requires_grad_()
    (grad,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    torch.testing.assert_close(schedule.dalpha(T), grad, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("name", "schedule"), ALL, ids=IDS)
def test_inverse_and_weight(name, schedule):
    torch.testing.assert_close(schedule.inverse(schedule.alpha(T)), T, atol=1e-9, rtol=0)
    assert (schedule.weight(T) > 0).all()


@pytest.mark.parametrize(("name", "schedule"), ALL, ids=IDS)
def test_reveal_probabilities_telescope(name, schedule):
    """Staying hidden over a chain of steps multiplies to staying hidden over the whole."""
    grid = torch.linspace(1.0, 0.0, 11, dtype=torch.float64)
    stay = torch.stack([1 - reveal_probability(schedule, t, s) for t, s in zip(grid[:-2], grid[1:-1], strict=True)])
    torch.testing.assert_close(stay.prod(), 1 - schedule.alpha(grid[-2]), atol=1e-10, rtol=1e-9)


def test_unknown_schedule_and_setting_name_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        schedules.make("cosin")
    with pytest.raises(UsageError, match="did you mean 'power'"):
        schedules.make("polynomial:powr=2")
    with pytest.raises(UsageError, match="not a number"):
        schedules.make("polynomial:power=big")
    with pytest.raises(UsageError, match="must be positive"):
        schedules.make("polynomial:power=-1")


def test_specs_round_trip():
    for _, schedule in ALL:
        assert schedules.make(schedules.spec_of(schedule)) == schedule
