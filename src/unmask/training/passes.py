"""When to log, evaluate and save, counted in passes over the rows.

Trainer's own epoch is one walk through the sampler, which here is the whole run (:mod:`unmask.training.shuffle`).
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from unmask.core.errors import UsageError
from unmask.training.shuffle import StepsByTokens


class EvenSteps:
    """Steps that all have as many rows.

    Args:
        rows: in the data set.
        step_rows: of an optimiser step, all processes together.
    """

    def __init__(self, rows: int, step_rows: int) -> None:
        self.rows, self.step_rows = rows, step_rows

    def drawn(self, step: int) -> int:
        """Rows of the first ``step`` steps."""
        return step * self.step_rows

    def of(self, passes: float) -> int:
        """How many steps are nearest to that many passes over the rows, one at least."""
        return max(1, round(passes * self.rows / self.step_rows))


Steps = EvenSteps | StepsByTokens


def completed(step: int, steps: Steps) -> int:
    """The pass whose end is nearest to the end of a step, if no other step's end is nearer; else 0."""
    nearest = round(steps.drawn(step) / steps.rows)
    return nearest if nearest and steps.of(nearest) == step else 0


class Passes(TrainerCallback):  # type: ignore[misc]
    """Honours the strategy ``epoch``, and intervals that were changed before a run went on.

    Args:
        steps: how many rows they have.
    """

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Trainer goes on with the intervals of the checkpoint, whatever the settings say by now
        state.compute_steps(args, state.max_steps)
        if args.minutes is not None:
            return
        all_of_it = state.max_steps
        if args.eval_strategy == IntervalStrategy.EPOCH:
            all_of_it = self.steps.drawn(all_of_it) / self.steps.rows
        if args.eval_strategy != IntervalStrategy.NO:
            check_delay(args.eval_delay, all_of_it, args.eval_strategy)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        done = completed(state.global_step, self.steps)
        last = state.global_step >= state.max_steps
        if not (done or last):
            return
        if args.logging_strategy == IntervalStrategy.EPOCH:
            control.should_log = True
        if args.eval_strategy == IntervalStrategy.EPOCH and done and done >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == SaveStrategy.EPOCH:
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # the run's end: all of it was done at the last step's
        control.should_log = control.should_evaluate = control.should_save = False


def check_delay(delay: float, length: float, strategy: Any) -> None:
    """Refuse to wait with the first evaluation until the run is over.

    Args:
        delay: ``eval_delay``.
        length: of the run, in what ``delay`` counts.
        strategy: ``eval_strategy``.

    Raises:
        UsageError: no evaluation would be left.
    """
    if delay > length + 0.5:
        unit = "epochs" if strategy == IntervalStrategy.EPOCH else "steps"
        raise UsageError(
            f"eval_delay={delay:g} leaves no evaluation in a run of {length:g} {unit}: lower it, or eval_strategy=no "
            "with load_best_model_at_end=false"
        )
