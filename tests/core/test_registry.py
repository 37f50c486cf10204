from dataclasses import dataclass, field

import pytest

from unmask.core.condition import Condition
from unmask.core.errors import UsageError, did_you_mean
from unmask.core.registry import Registry
from unmask.diffusion.schedule import Schedule, schedules


def test_a_leaf_from_outside_is_one_class():
    """What docs/extending.md promises: a registered class works by name, with settings, everywhere."""

    @dataclass(frozen=True)
    class Square(Schedule):
        """alpha = (1 - t)^2."""

        sharp: float = 2.0

        def alpha(self, t):
            return (1 - t) ** self.sharp

    try:
        schedules.register(Square, "square")
        assert "square" in schedules.names()
        assert schedules.make("square:sharp=3").sharp == 3.0
        assert schedules.spec_of(schedules.make("square:sharp=3")) == "square:sharp=3.0"
        assert [r for r in schedules.table() if r["name"] == "square"][0]["summary"] == "alpha = (1 - t)^2."
        with pytest.raises(UsageError, match="exists already"):
            schedules.register(type(schedules.make("linear")), "square")
    finally:
        schedules.unregister("square")
    assert "square" not in schedules


def test_what_is_not_a_leaf_is_refused():
    with pytest.raises(UsageError, match="not a Schedule"):
        schedules.register(int, "int")  # type: ignore[arg-type]

    class Bare(Schedule):
        pass

    with pytest.raises(UsageError, match="frozen dataclass"):
        schedules.register(Bare, "bare")


def test_make_wants_settings_without_default():
    @dataclass(frozen=True)
    class Power(Schedule):
        """alpha = (1 - t)^power."""

        power: float
        marks: list = field(default_factory=lambda: [1])

    try:
        schedules.register(Power, "own_power")
        with pytest.raises(UsageError, match="'own_power' needs power: write own_power:power=..."):
            schedules.make("own_power")
        assert schedules.make("own_power:power=3") == Power(3, [1])
        row = next(row for row in schedules.table() if row["name"] == "own_power")
        assert row["settings"] == "power, marks=[1]"
    finally:
        schedules.unregister("own_power")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "does not name"),
        ("a b", "does not name"),
        ("polynomial:power", "has no value"),
        (None, "does not name"),
        ("polynomial:power=1.5.2", "not a number"),
        ("zzz", "known: cosine, linear"),
    ],
)
def test_bad_specs_are_one_sentence(spec, said):
    with pytest.raises(UsageError, match=said):
        schedules.make(spec)


def test_instances_pass_and_can_be_changed():
    one = schedules.make("polynomial:power=3")
    assert schedules.make(one) is one
    assert schedules.make(one, power=2.0).power == 2.0
    assert isinstance(schedules, Registry)


def test_did_you_mean():
    assert did_you_mean("margn", ["margin", "random"]) == "did you mean 'margin'?"
    assert did_you_mean("qqq", ["b", "a"]) == "known: a, b"


def test_condition_shapes_are_checked():
    import torch

    with pytest.raises(UsageError, match="latents"):
        Condition(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    both = Condition.of(torch.ones(2, 4)).cat(Condition.null(1, 4))
    assert both.present_B.tolist() == [True, True, False] and len(both.repeat(2)) == 6
    assert both.repeat(2).present_B.tolist() == [True, True, True, True, False, False]
