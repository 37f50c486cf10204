"""A run's budget of time (``minutes``): what is spent of it, and what follows from the share that is spent.

Where time says how long to train, nobody knows the number of steps: the learning rate follows the share of the time,
evaluations and checkpoints come at shares of it, and the last step is the one after which no other would fit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from unmask.core import distributed
from unmask.training.standin import TICKS, built

#: after how many steps of a start the number of steps is said
_MEASURED = 10
#: how far off a said number of steps is corrected
_OFF = 0.1


#: settings that count steps, and become shares of the time
_IN_STEPS = {"warmup_steps": None, "eval_steps": "eval_strategy", "save_steps": "save_strategy"}
#: of evaluations and checkpoints where no number of steps says it
_SHARE = 0.25


def in_shares(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings for a run that time ends: what it counts in steps is the same share of its length.

    Args:
        below: the recipe's settings, perhaps with the ``max_steps`` that the time takes the place of.
        above: the flags, which stay as they are.
    """
    out, total = dict(below), _number(below.get("max_steps"))
    for name, strategy in _IN_STEPS.items():
        if name in above or (strategy and str({**below, **above}.get(strategy, "steps")) != "steps"):
            continue
        steps = _number(below.get(name))
        if steps is None and strategy:
            out[name] = _SHARE
        elif steps is not None and steps >= 1 and total is not None and "minutes" in above:
            # one that is as long as the run: nothing before the last step, which is always looked at
            out[name] = min(steps / total, 1 - 1e-9)
    return out


def _number(value: Any) -> float | None:
    try:
        return float(value) if float(value) > 0 else None
    except (TypeError, ValueError):
        return None


def now() -> float:
    """Seconds of a monotonic clock."""
    return time.monotonic()


class TimeBudget(TrainerCallback, ExportableState):  # type: ignore[misc]
    """A callback that ends a run after a time, evaluations and checkpoints included; the clock of rank 0 decides.

    What is spent stands in each checkpoint's ``trainer_state.json``; a run that goes on has the rest left.

    Args:
        minutes: of the whole run.
        others: the trainer's callbacks, among them the progress bar.
    """

    def __init__(self, minutes: float, others: Sequence[Any] = ()) -> None:
        self.minutes, self.others = minutes, others
        #: where one-line reports go
        self.say: Callable[[str], None] = print
        #: share of the time that was spent when the last step ended, in [0, 1]
        self.share = self._before = 0.0
        # seconds of earlier starts; seconds kept for the last evaluation and checkpoint: the longest so far
        self._earlier, self._reserve = 0.0, 0.0
        self._began = self._ended = 0.0
        self._paused = self._first = 0.0
        self._steps, self._said, self._over, self._looked = 0, 0, False, False

    @property
    def spent(self) -> float:
        """Seconds, those of earlier starts included."""
        return self._earlier + now() - self._began

    @property
    def _room(self) -> float:
        """Seconds for steps, and evaluations before the last."""
        return max(60 * self.minutes - self._reserve, 1e-9)

    # -- kept in checkpoints ----------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        kept = {"spent": self.spent, "share": self.share, "reserve": self._reserve, "over": self._over}
        return {"args": {"minutes": self.minutes}, "attributes": kept}

    def go_on(self, checkpoint: str | Path) -> int | None:
        """The number of steps of a run whose time is over, else None; the time spent is read from the checkpoint.

        Returns:
            the number of steps of a run whose time is over, else None.
        """
        tree = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
        saved = tree["stateful_callbacks"]
        # checkpoints of 0.1.0 name the callback Budget
        kept = saved.get(type(self).__name__, saved.get("Budget"))["attributes"]
        self._earlier, self.share, self._reserve = kept["spent"], kept["share"], kept["reserve"]
        self._over = kept["over"]
        return int(tree["global_step"]) if self._over else None

    # -- what follows from the share --------------------------------------------------------------------------------
    def schedule(self, args: Any, optimizer: Optimizer) -> LambdaLR | None:
        """The learning-rate schedule over the share of the time; None for one that goes by a metric."""
        made = built(args, args.lr_scheduler_kwargs, strict=True)
        if not isinstance(made, LambdaLR):
            return None
        rate = made.lr_lambdas[0]
        return LambdaLR(optimizer, lambda _: rate(round(self.share * TICKS)))

    def _passed(self, every: float | None) -> bool:
        """Whether the last step went past a multiple of a share."""
        return every is not None and every < 1 and int(self.share / every) > int(self._before / every)

    # -- the run ----------------------------------------------------------------------------------------------------
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._ended = now()
        if not self._over:
            gone = f", {self._earlier / 60:.3g} of them are spent" if self._earlier else ""
            self.say(f"training for {self.minutes:g} minutes{gone}: how many steps that is, the first ones show")

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self._looked = True

    def on_save(self, *_: Any, **__: Any) -> None:
        self._looked = True

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._looked:
            pause, self._looked = now() - self._ended, False
            self._paused += pause
            self._reserve = max(self._reserve, pause)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._steps += 1
        training = now() - self._began - self._paused
        if self._steps == 1:
            # what is made once (compiled code, the data loader) is in the first step
            self._first = training
        each = training if self._steps == 1 else (training - self._first) / (self._steps - 1)
        left = self._room - self.spent
        share, self._over, steps = distributed.broadcast_object(
            (min(1.0, self.spent / self._room), left < each / 2, round(left / max(each, 1e-9)))
        )
        self._before, self.share = self.share, max(self.share, share)
        if self._over:
            # Trainer's own callbacks see in this that the step is the last one
            state.max_steps = state.global_step + 1
        else:
            self._tell(state.global_step + 1 + steps, each)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._ended = now()
        if self._over:
            return
        if args.logging_strategy == IntervalStrategy.STEPS and self._passed(args.logging_steps):
            control.should_log = True
        late = state.global_step >= args.eval_delay
        if args.eval_strategy == IntervalStrategy.STEPS and late and self._passed(args.eval_steps):
            control.should_evaluate = True
        if args.save_strategy == SaveStrategy.STEPS and self._passed(args.save_steps):
            control.should_save = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._steps:
            self.say(f"{state.global_step:,} steps in {self.spent / 60:.3g} minutes")

    def _tell(self, steps: int, each: float) -> None:
        """Say how many steps it will be, once it is measured and whenever it turns out otherwise."""
        for bar in (getattr(callback, "training_bar", None) for callback in self.others):
            if bar is not None:
                bar.total = steps
        if self._steps >= _MEASURED and abs(steps - self._said) > _OFF * self._said:
            what = "about" if not self._said else "now about"
            self.say(f"{self.minutes:g} minutes: {what} {steps:,} steps of {each:.3g} s")
            self._said = steps
