"""The Hugging Face Trainer with checkpoints that are never half, and with the weights to be saved chosen at its end.

A checkpoint is written aside, then renamed: a folder named ``checkpoint-N`` is always whole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Trainer

from unmask.core.errors import CheckpointError, first_line
from unmask.models.hub import silenced
from unmask.models.weights import check_fit, read_weights
from unmask.training.arguments import TrainArguments
from unmask.training.checkpoint import STAGING, drop_old, publish
from unmask.training.ema import Ema, unsharded


class CheckpointedTrainer(Trainer):  # type: ignore[misc]
    """Base of the trainers: what it writes and reads back.

    Attributes:
        ema: the average of the weights, or None.
        shown: see :class:`unmask.training.base_trainer.BaseTrainer`.
    """

    args: TrainArguments
    ema: Ema | None = None
    shown: nn.Module | None = None
    _staged = False

    @property
    def _net(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, STAGING) if self._staged else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        run = Path(str(self.args.output_dir))
        staging, name = run / STAGING, f"checkpoint-{self.state.global_step}"
        if self.args.should_save and staging.exists():
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
        self._staged = True
        try:
            super()._save_checkpoint(model, trial)
            averages = None if self.ema is None else self.ema.full()
            if self.state.best_global_step:
                best = run / f"checkpoint-{self.state.best_global_step}"
                fresh = self.state.best_global_step == self.state.global_step
                self.state.best_model_checkpoint = str(best) if fresh or best.exists() else None
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                if self.ema is not None:
                    self.ema.save(staging / name, averages)
                self.state.save_to_json(str(staging / name / "trainer_state.json"))
                publish(run, name)
                drop_old(run, self.args.save_total_limit, self.state.best_model_checkpoint)
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch and safetensors say of a full disk that it is no OSError, and torch not even that it is full
            why = "the disk is full" if shutil.disk_usage(run).free < 2**20 else first_line(error)
            raise CheckpointError(
                f"{name} could not be written, {why}; the checkpoints before it in {str(run)!r} are whole"
            ) from error
        finally:
            self._staged = False
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not self.args.sharded:
            super().save_model(output_dir, _internal_call)
            return
        # beside torch's own shards, which only this kind of run reads: whole weights for whoever looks at a checkpoint
        state = {name: unsharded(v) for name, v in self._net.state_dict().items()}
        if self.args.should_save:
            self._save(output_dir, state)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # weights and configuration only: Trainer would add a pickle of the arguments
        folder = str(output_dir or self.args.output_dir)
        os.makedirs(folder, exist_ok=True)
        with silenced():
            self._net.save_pretrained(folder, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        # Trainer would load what fits and warn about the rest
        check_fit(self._net, read_weights(folder), folder)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema is not None:
            self.ema.load(folder)

    def best_weights(self) -> int:
        """Put the weights to be saved into the model, averaged where there is an average.

        Those of the best checkpoint, looked up in the run's folder as it is called now; the last ones where
        ``load_best_model_at_end`` is off or nothing was ranked.

        Returns:
            the step they are of.
        """
        net = self._net if self.shown is None else self.shown
        best = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.best_global_step}"
        if not (self.args.load_best_model_at_end and self.state.best_global_step and best.is_dir()):
            self._put(self._weights(), net)
            return self.state.global_step
        if self.ema is None:
            self._put(read_weights(best), net)
        else:
            self.ema.load(best)
            self._put(self._weights(), net)
        return self.state.best_global_step

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Trainer's ranking; a new best is saved at once, whatever ``save_steps`` says, or it would be lost."""
        better: bool = super()._determine_best_metric(metrics, trial)
        if better:
            # transformers before 5.20 remembers no step with save_strategy='best'
            self.state.best_global_step = self.state.global_step
            if self.args.load_best_model_at_end:
                self.control.should_save = True
        return better

    def _weights(self) -> dict[str, Tensor]:
        """What is evaluated and saved: the average where there is one; whole, whatever the sharding."""
        if self.ema is not None:
            return self.ema.full()
        return {name: unsharded(p.detach()) for name, p in self._net.named_parameters()}

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor], net: nn.Module) -> None:
        for name, p in net.named_parameters():
            if name in weights:
                p.copy_(weights[name])

    def _load_best_model(self) -> None:
        """Trainer's hook at the end; :meth:`best_weights` does it, with the average."""
        self.best_weights()
