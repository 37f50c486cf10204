"""A training run from a recipe: what its family prepares, the trainer, and the finished folder."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.utils.import_utils import is_in_notebook

from unmask.core import distributed
from unmask.core.errors import CheckpointError
from unmask.core.family import families
from unmask.diffusion.process import MaskingProcess
from unmask.training.base_trainer import BaseTrainer, ProbeFunction
from unmask.training.claim import claim
from unmask.training.precision import resolve_precision
from unmask.training.recipe import Recipe


def train(
    recipe: Recipe,
    make_probes: Callable[[Any], list[ProbeFunction]] | None = None,
    say: Callable[[str], None] = print,
) -> Any:
    """The trained model of a recipe, resumed where an earlier start stopped, with its best weights saved.

    Args:
        recipe: the settings.
        make_probes: builds what is computed at each evaluation (generation metric, diagnosis) from what the family
            prepared (:class:`unmask.core.family.Prepared`).
        say: where one-line reports go.

    Returns:
        The saved model, network with tokenizer and card; its folder is ``output_dir``.

    Raises:
        UsageError, CheckpointError: settings that do not fit, or a run folder of another recipe.
    """
    t = recipe.train
    folder = Path(str(t.output_dir))
    if not distributed.is_main_process():
        say = _silent
    checkpoint = claim(folder, recipe, say)
    counted = t.max_steps <= 0
    prepared = families.training(recipe.model.family).prepare(recipe, say)
    net = prepared.model.denoiser
    positions = t.max_tokens or round(t.train_batch_size * (prepared.positions or recipe.model.length))
    # about half of the positions are masked, and the head runs on those
    head = None if prepared.head is None else (positions // 2, *prepared.head)
    kept = resolve_precision(t, net, positions, head, checkpoint, say)
    prepared.model.card.recipe["precision"] = t.precision
    if "disable_tqdm" not in recipe.given and not (sys.stderr.isatty() or is_in_notebook()):
        # a bar that nothing draws over is a line a step in a log
        t.disable_tqdm = True
    trainer = prepared.trainer(
        law=MaskingProcess(t.estimator, t.schedule, time_power=t.time_power, word_dropout=t.word_dropout),  # type: ignore[arg-type]
        probes=make_probes(prepared) if make_probes else [],
        # a sharded network cannot be looked at: the one that evaluation sees is a copy
        model=copy.deepcopy(net) if t.sharded else net,
        shown=net.to(t.device) if t.sharded else None,
        args=t,
        train_dataset=prepared.train,
        eval_dataset=prepared.validation,
        data_collator=prepared.collate,
    )
    if counted:
        passes = f"{t.num_train_epochs:g} {'pass' if t.num_train_epochs == 1 else 'passes'}"
        say(f"{passes} over {len(prepared.train):,} rows: {t.max_steps:,} steps")
    if trainer.budget is not None:
        trainer.budget.say = say
    trainer.add_callback(kept)
    if checkpoint:
        say(f"resuming from {checkpoint}")
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except OSError as error:
        raise CheckpointError(
            f"the run stopped: {error}; the last whole checkpoint in {folder} is untouched"
        ) from error
    step = trainer.best_weights()
    prepared.model.denoiser.eval()
    prepared.model.card.scores = _scores(trainer, step)
    if distributed.is_main_process():
        prepared.model.save(folder)
        say(f"saved {folder}")
    distributed.barrier()
    prepared.model.path = str(folder)
    return prepared.model


def _silent(_: str) -> None:
    """Only the first process speaks."""


def _scores(trainer: BaseTrainer, step: int) -> dict[str, float]:
    """The held-out figures of the weights of a step; none where that step was not evaluated."""
    for entry in reversed(trainer.state.log_history):
        if "eval_loss" in entry and entry.get("step") == step:
            return {k: float(v) for k, v in entry.items() if isinstance(v, (int, float)) and k.startswith("eval_")}
    return {}
