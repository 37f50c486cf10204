"""`--minutes`: time says how long to train; the clock here is made up, and a step takes what a test says it takes."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiny_training import history, settings, steps_with, write_texts
from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.recipes import find, names
from unmask.training import budget
from unmask.training.base_trainer import BaseTrainer
from unmask.training.budget import TimeBudget, in_shares
from unmask.training.checkpoint import last_checkpoint
from unmask.training.recipe import parse, read_recipe
from unmask.training.run import train


class Clock:
    """Seconds that go by as steps are made: ``cost(n)`` of step n; the run is killed at step ``stop``."""

    def __init__(self) -> None:
        self.time, self.steps, self.stop = 1000.0, 0, math.inf
        self.cost = lambda n: 1.0

    def step(self) -> None:
        self.time += self.cost(self.steps)
        self.steps += 1
        if self.steps >= self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made, real = Clock(), BaseTrainer.training_step

    def training_step(trainer: Any, *given: Any, **named: Any) -> Any:
        made.step()
        return real(trainer, *given, **named)

    monkeypatch.setattr(budget, "now", lambda: made.time)
    monkeypatch.setattr(BaseTrainer, "training_step", training_step)
    yield made


def run(folder: Path, *flags: str, probes: Any = None, **changed: Any) -> list[str]:
    """What a run of a minute says."""
    said: list[str] = []
    given = settings(write_texts(folder), folder / "run", max_steps=..., eval_steps=0.5, save_steps=0.5, minutes=1)
    train(parse({**given, **changed}, flags), probes, say=said.append)
    return said


def rates(folder: Path) -> list[float]:
    return [entry["learning_rate"] for entry in history(folder / "run") if "learning_rate" in entry]


def spent(folder: Path) -> dict[str, Any]:
    state = json.loads((Path(str(last_checkpoint(folder / "run"))) / "trainer_state.json").read_text())
    return dict(state["stateful_callbacks"]["TimeBudget"]["attributes"])


def test_a_minute_is_sixty_steps_of_a_second(tmp_path: Path, clock: Clock) -> None:
    said = run(tmp_path, lr_scheduler_type="linear", warmup_steps=0)
    assert clock.steps == 60 and steps_with(tmp_path / "run", "eval_loss") == [30, 60]
    # each step has the rate of the share that was spent when it began
    assert rates(tmp_path) == pytest.approx([0.01 * (1 - n / 60) for n in range(60)], abs=1e-7)
    about = [line for line in said if "minutes" in line]
    assert about[-2:] == ["1 minutes: about 60 steps of 1 s", "60 steps in 1 minutes"]


def test_the_rate_follows_the_time_where_speed_changes(tmp_path: Path, clock: Clock) -> None:
    clock.cost = lambda n: 1.0 if n < 30 else 3.0
    said = run(tmp_path, lr_scheduler_type="linear", warmup_steps=0.5, eval_steps=0.25)
    assert clock.steps == 40
    seconds = [*range(30), *range(30, 60, 3)]
    assert rates(tmp_path) == pytest.approx([0.01 * min(s / 30, 2 - s / 30) for s in seconds], abs=1e-7)
    assert steps_with(tmp_path / "run", "eval_loss") == [15, 30, 35, 40]
    # the number of steps is corrected
    assert sum("now about" in line for line in said) > 1 and said[-2].startswith("40 steps in 1 minutes")


def test_the_last_evaluation_is_within_the_time(tmp_path: Path, clock: Clock) -> None:
    def looked(prepared: Any) -> Any:
        def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
            clock.time += 10
            return {"generation": step}, []

        return [probe]

    run(tmp_path, probes=looked, lr_scheduler_type="linear", warmup_steps=0)
    assert clock.time == 1060 and clock.steps == 40
    assert rates(tmp_path)[-1] == pytest.approx(0.01 / 50)


def test_a_killed_run_has_the_rest_of_its_time_left(tmp_path: Path, clock: Clock) -> None:
    clock.cost = lambda n: 1.0 + n % 3
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole", save_steps=10, seed=3)
    whole, steps = rates(tmp_path / "whole"), clock.steps
    clock.steps, clock.stop = 0, 14
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, save_steps=10, seed=3)
    assert spent(tmp_path)["spent"] == sum(clock.cost(n) for n in range(10)) and not spent(tmp_path)["over"]
    clock.time += 1e6  # the time between two starts is nobody's
    clock.steps, clock.stop = 10, math.inf
    said = run(tmp_path, save_steps=10, seed=3)
    assert clock.steps == steps and rates(tmp_path) == whole
    assert any("training for 1 minutes, 0.317 of them are spent" in line for line in said)


@pytest.mark.parametrize("key", ["TimeBudget", "Budget"])
def test_go_on_reads_both_names_of_the_callback(tmp_path: Path, key: str) -> None:
    kept = {"spent": 19.0, "share": 0.3, "reserve": 0.0, "over": True}
    tree = {"global_step": 7, "stateful_callbacks": {key: {"attributes": kept}}}
    (tmp_path / "trainer_state.json").write_text(json.dumps(tree), encoding="utf-8")
    found = TimeBudget(1.0)
    assert found.go_on(tmp_path) == 7 and found.share == 0.3


def test_a_run_whose_time_is_over_trains_no_more(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    said = run(tmp_path)
    assert clock.steps == 60 and not any("minutes" in line for line in said)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_one_step_is_made_however_short_the_time(tmp_path: Path, clock: Clock) -> None:
    clock.cost = lambda n: 500.0
    run(tmp_path)
    assert clock.steps == 1 and steps_with(tmp_path / "run", "eval_loss") == [1]


def test_another_length_of_a_run_is_refused(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match=r"holds a run with minutes=1 and this recipe has minutes=2"):
        run(tmp_path, minutes=2)


def test_the_first_process_decides(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[Any] = []

    def broadcast(value: Any) -> Any:
        # the first process is twice as slow as this one
        if isinstance(value, tuple) and len(value) == 3:
            own.append(value)
            share = min(1.0, 2 * len(own) / 60)
            return share, share == 1, 30 - len(own)
        return value

    monkeypatch.setattr(distributed, "broadcast_object", broadcast)
    run(tmp_path, lr_scheduler_type="linear", warmup_steps=0)
    assert clock.steps == 30 and own[-1][:2] == (0.5, False)
    assert rates(tmp_path) == pytest.approx([0.01 * (1 - n / 30) for n in range(30)], abs=1e-7)


def test_metric_schedules_are_left_alone(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path, lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=0)
    assert clock.steps == 60 and set(rates(tmp_path)) == {0.01}


def test_stable_decay_counts_in_shares(tmp_path: Path, clock: Clock) -> None:
    kwargs = {"num_decay_steps": 0.5, "decay_type": "linear"}
    run(tmp_path, lr_scheduler_type="warmup_stable_decay", warmup_steps=0, lr_scheduler_kwargs=kwargs)
    assert rates(tmp_path) == pytest.approx([0.01 * min(1, 2 - n / 30) for n in range(60)], abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "flags", "words"),
    [
        ({"max_steps": 10}, [], "minutes=1 and max_steps=10 both say how long to train"),
        ({"num_train_epochs": 2}, [], "minutes=1 and num_train_epochs=2 both say how long to train"),
        ({}, ["--max_steps", "9", "--minutes", "2"], "minutes=2 and max_steps=9 both say how long to train"),
        ({"minutes": 0}, [], "minutes=0.* must be above 0"),
        ({"minutes": -3}, [], "minutes=-3.* must be above 0"),
        ({"minutes": float("nan")}, [], "minutes=nan must be above 0"),
        ({"warmup_steps": 100}, [], "warmup_steps=100 must be a share of the time, below 1.*and no max_steps"),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 50}},
            [],
            "num_decay_steps=50 must be a share of the time",
        ),
    ],
)
def test_what_does_not_go_with_minutes_is_refused(
    tmp_path: Path, changed: dict[str, Any], flags: list[str], words: str
) -> None:
    given = settings("texts.txt", tmp_path, max_steps=..., eval_steps=0.5, save_steps=0.5, minutes=1)
    with pytest.raises(UsageError, match=words):
        parse({**given, **changed}, flags)


@pytest.mark.parametrize("name", names())
def test_every_recipe_takes_minutes(name: str) -> None:
    recipe = read_recipe(find(name))
    t = parse(recipe, ["--minutes", "8"]).train
    shares = (t.warmup_steps, t.eval_steps, t.save_steps)
    assert t.minutes == 8 and all(share is not None and share < 1 for share in shares)
    for key, share in zip(("warmup_steps", "eval_steps", "save_steps"), shares, strict=True):
        if key in recipe and recipe[key] >= 1:
            assert share == pytest.approx(recipe[key] / recipe["max_steps"])


def test_a_flag_takes_the_place_of_the_recipes_length(tmp_path: Path) -> None:
    given = settings("texts.txt", tmp_path, max_steps=..., eval_steps=0.5, save_steps=0.5, minutes=1)
    t = parse(given, ["--max_steps", "9"]).train
    assert t.minutes is None and t.max_steps == 9
    assert parse(given, ["--num_train_epochs", "2"]).train.minutes is None


def test_shares_of_what_is_counted_in_steps() -> None:
    recipe = {"max_steps": 200, "eval_steps": 50, "warmup_steps": 20, "save_steps": 0.1}
    minutes = {"minutes": "3"}
    assert in_shares(recipe, minutes) == {**recipe, "eval_steps": 0.25, "warmup_steps": 0.1}
    # flags stay; a recipe with minutes of its own says what it means
    assert in_shares(recipe, minutes | {"eval_steps": "40"})["eval_steps"] == 50
    assert in_shares({"minutes": 3, "eval_steps": 50}, {}) == {"minutes": 3, "eval_steps": 50, "save_steps": 0.25}
    assert in_shares({"eval_strategy": "no"}, minutes) == {"eval_strategy": "no", "save_steps": 0.25}
    assert in_shares({"max_steps": 10, "eval_steps": 500}, minutes)["eval_steps"] < 1


@pytest.mark.parametrize(("save", "look"), [(0.0625, 0.25), (300 / 1100, 100 / 1100), (0.1, 40)])
def test_saving_need_not_be_a_multiple_of_evaluating(tmp_path: Path, save: float, look: float) -> None:
    given = settings("texts.txt", tmp_path, max_steps=..., eval_steps=look, save_steps=save, minutes=1)
    t = parse(given).train
    assert (t.save_steps, t.eval_steps, t.load_best_model_at_end) == (save, look, True)


def test_the_progress_bar_has_the_expected_length() -> None:
    class Bar:
        total = 10**9

    class Shown:
        training_bar = Bar()

    made = TimeBudget(1, [object(), Shown()])
    made.say = lambda _: None
    made._tell(60, 1.0)
    assert Shown.training_bar.total == 60
