"""The Hugging Face Trainer with an average of the weights, bad batches skipped, and checkpoints that are never half.

What is trained is a subclass's affair: it says what the loss is and what the held-out figures are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from unmask.core.errors import UnmaskError
from unmask.models.quiet import quiet
from unmask.training.arguments import TrainArguments
from unmask.training.ema import Ema

#: given the model in evaluation mode: scalars to log (``generation`` ranks the checkpoints) and lines to show
Probe = Callable[[Any, int], tuple[dict[str, float], list[str]]]

STAGING = ".staging"


class SteadyTrainer(Trainer):  # type: ignore[misc]
    """Base of the trainers. A subclass defines ``compute_loss``, :meth:`since_last_log` and :meth:`held_out`.

    Args:
        probes: what is computed and shown at each evaluation besides the held-out figures.
        args, train_dataset, eval_dataset, data_collator: as the Hugging Face Trainer's.
    """

    args: TrainArguments

    def __init__(self, *, probes: list[Probe] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probes = probes or []
        self.ema = Ema(self.model, self.args.ema) if self.args.ema else None
        self.skipped, self.skipped_in_a_row, self._micro = 0, 0, 0
        self._staged = False
        self._bad_batch: dict[str, Any] | None = None
        self._last_batch: dict[str, Any] = {}
        # the loss is a mean over this process's rows; Trainer must not divide by an item count it guesses
        self.model_accepts_loss_kwargs = False
        self.add_callback(_AfterStep(self))

    # -- what a subclass says ---------------------------------------------------------------------------------------
    def since_last_log(self) -> dict[str, float]:
        """Training figures since the last log line; what they were summed in is emptied."""
        raise NotImplementedError

    def held_out(self, net: Any) -> dict[str, float]:
        """Figures on the held-out data, and ``generation``, which ranks checkpoints where no probe gives it."""
        raise NotImplementedError

    def rows_of_step(self, batch: int) -> tuple[int, int]:
        """Index of this batch's first row among those of the optimiser step, and how many these are.

        Processes and micro-batches each take a part; noise drawn for the whole step does not depend on the split.
        """
        world, micro = self.args.world_size, self._micro
        self._micro = (micro + 1) % self.args.gradient_accumulation_steps
        first = batch * (micro * world + self.args.process_index)
        return first, batch * world * self.args.gradient_accumulation_steps

    def over_processes(self, sums: Tensor) -> Tensor:
        """Sums added up over the processes, on the CPU."""
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), "sum").cpu()
        return sums

    # -- one step ---------------------------------------------------------------------------------------------------
    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        bad = not bool(torch.isfinite(loss))
        if self.args.world_size > 1:
            # every process must take the same decision, or they wait for each other for ever
            bad = bool(self.accelerator.reduce(torch.tensor(float(bad), device=loss.device), "sum") > 0)
        self._last_batch = inputs
        if not bad:
            return loss
        self._bad_batch = inputs
        return torch.zeros_like(loss)

    def before_update(self) -> None:
        """Skip the update if the loss or a gradient was not finite; stop after ``bad_batches`` in a row.

        Raises:
            UnmaskError: naming the step and the file that holds the batch.
        """
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(torch.nn.utils.get_total_norm(grads))) if grads else True
        if finite and self._bad_batch is None:
            self.skipped_in_a_row = 0
            return
        # without a gradient the optimiser leaves a weight alone, momentum and decay included
        for p in self.model.parameters():
            p.grad = None
        self.skipped += 1
        self.skipped_in_a_row += 1
        from safetensors.torch import save_file

        batch = self._bad_batch or self._last_batch
        self._bad_batch = None
        where = Path(str(self.args.output_dir)) / f"bad_batch_step{self.state.global_step}.safetensors"
        save_file({k: v.detach().cpu().contiguous() for k, v in batch.items() if isinstance(v, Tensor)}, str(where))
        if self.skipped_in_a_row >= self.args.bad_batches:
            raise UnmaskError(
                f"loss or gradient was not finite {self.skipped_in_a_row} times in a row, last at step "
                f"{self.state.global_step}; that batch is in {where.name}: lower learning_rate or look at the data"
            )

    @property
    def _net(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    # -- logging ----------------------------------------------------------------------------------------------------
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(self.since_last_log())
            if self.skipped:
                logs["skipped_batches"] = float(self.skipped)
        super().log(logs, start_time)

    # -- evaluation -------------------------------------------------------------------------------------------------
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The held-out figures of the kind of model, and what the probes say."""
        net = self._net
        was_training = net.training
        net.eval()
        with torch.no_grad():
            if self.ema is not None:
                with self.ema.applied(net):
                    metrics, lines = self._scores(net)
            else:
                metrics, lines = self._scores(net)
        net.train(was_training)
        metrics = {f"eval_{k}": v for k, v in metrics.items()}
        self.log(dict(metrics))
        if self.is_world_process_zero() and lines:
            from tqdm import tqdm

            tqdm.write("\n".join(lines))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _scores(self, net: Any) -> tuple[dict[str, float], list[str]]:
        metrics = self.held_out(net)
        lines: list[str] = []
        for probe in self.probes:
            scalars, said = probe(net, self.state.global_step)
            metrics.update(scalars)
            lines += said
        return metrics, lines

    # -- optimiser --------------------------------------------------------------------------------------------------
    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.args.optimizer == "muon" and self.optimizer is None:
            from unmask.training.optimizer import muon_and_adamw

            self.optimizer: Any = muon_and_adamw(self._net, self.args)
        return super().create_optimizer(*args, **kwargs)  # type: ignore[no-any-return]

    # -- checkpoints: written aside, then renamed, so that a folder named checkpoint-N is always whole --------------
    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, STAGING) if self._staged else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        run = Path(str(self.args.output_dir))
        staging = run / STAGING
        name = f"checkpoint-{self.state.global_step}"
        if self.args.should_save and staging.exists():
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
        self._staged = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staged = False
        if not self.args.should_save:
            self.accelerator.wait_for_everyone()
            return
        if self.ema is not None:
            self.ema.save(staging / name)
        if self.state.best_global_step:
            best = run / f"checkpoint-{self.state.best_global_step}"
            fresh = self.state.best_global_step == self.state.global_step
            self.state.best_model_checkpoint = str(best) if fresh or best.exists() else None
        self.state.save_to_json(str(staging / name / "trainer_state.json"))
        _sync(staging / name)
        final = run / name
        if final.exists():
            shutil.rmtree(final)
        os.replace(staging / name, final)
        self._drop_old(run)
        self.accelerator.wait_for_everyone()

    def _drop_old(self, run: Path) -> None:
        found = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
        keep = {p.name for p in found[-(self.args.save_total_limit or len(found) or 1) :]}
        best = self.state.best_model_checkpoint
        for folder in found:
            if folder.name not in keep and (best is None or folder.name != Path(best).name):
                shutil.rmtree(folder)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # weights and configuration only: Trainer would add a pickle of the arguments
        folder = str(output_dir or self.args.output_dir)
        os.makedirs(folder, exist_ok=True)
        with quiet():
            self._net.save_pretrained(folder, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema is not None:
            self.ema.load(resume_from_checkpoint)

    def best_weights(self) -> None:
        """Put the weights to be saved into the model: the best checkpoint's, averaged where there is an average."""
        best = self.state.best_model_checkpoint
        if best and Path(best).is_dir():
            super()._load_best_model()
            if self.ema is not None:
                self.ema.load(best)
        if self.ema is not None:
            with torch.no_grad():
                named = dict(self._net.named_parameters())
                for name, mean in self.ema.average.items():
                    named[name].copy_(mean)

    def _load_best_model(self) -> None:
        """Trainer's hook at the end; :meth:`best_weights` does it, with the average."""
        self.best_weights()


class _AfterStep(TrainerCallback):  # type: ignore[misc]
    """Guards each update, and keeps the average in step with the optimiser."""

    def __init__(self, trainer: SteadyTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.before_update()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if self.trainer.ema is not None:
            self.trainer.ema.update(self.trainer._net)


def last_checkpoint(run: str | Path) -> str | None:
    """The newest checkpoint of a run folder; what a killed process left half-written does not count."""
    return get_last_checkpoint(str(run)) if Path(run).is_dir() else None


def _sync(folder: Path) -> None:
    """Make sure the bytes are on disk before the rename says they are."""
    for file in folder.iterdir():
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
