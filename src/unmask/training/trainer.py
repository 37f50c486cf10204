"""The Hugging Face Trainer with our objective, noise that no split of the batch changes, EMA and atomic checkpoints."""

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

from unmask.core.condition import Condition
from unmask.core.errors import UnmaskError
from unmask.core.random import Stream, generator, uniform
from unmask.diffusion.objective import TokenLosses, token_losses
from unmask.diffusion.process import MaskLaw
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.training.arguments import TrainArguments
from unmask.training.ema import Ema
from unmask.training.scores import RATIO_EDGES, RATIO_NAMES, held_out_scores

#: given the model in evaluation mode: scalars to log (``generation`` ranks the checkpoints) and lines to show
Probe = Callable[[MaskedDiffusionModel, int], tuple[dict[str, float], list[str]]]

STAGING = ".staging"


class DiffusionTrainer(Trainer):  # type: ignore[misc]
    """Trains a :class:`MaskedDiffusionModel` on ``input_ids [b, L]``, ``length [b]`` and perhaps ``latent [b, Z]``.

    Args:
        law: how positions are hidden.
        probes: what is computed and shown at each evaluation besides the held-out losses.
        args, train_dataset, eval_dataset, data_collator: as the Hugging Face Trainer's.
    """

    args: TrainArguments

    def __init__(self, *, law: MaskLaw, probes: list[Probe] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.law, self.probes = law, probes or []
        self.ema = Ema(self.model, self.args.ema) if self.args.ema else None
        self.skipped, self.skipped_in_a_row, self._micro = 0, 0, 0
        bins = len(RATIO_EDGES)
        self._sums = torch.zeros(3, bins, dtype=torch.float64)
        self._kl = torch.zeros(2, dtype=torch.float64)
        self._staged = False
        self._bad_batch: dict[str, Any] | None = None
        self._last_batch: dict[str, Any] = {}
        # the loss is a mean over this process's rows; Trainer must not divide by an item count it guesses
        self.model_accepts_loss_kwargs = False
        self.add_callback(_AfterStep(self))

    # -- one step ---------------------------------------------------------------------------------------------------
    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, Any]:
        ids_BL = inputs["input_ids"]
        B = len(ids_BL)
        # rows of the whole optimiser step, over processes and micro-batches: the noise is that batch's, this part taken
        world, micro = self.args.world_size, self._micro
        total = B * world * self.args.gradient_accumulation_steps
        first = B * (micro * world + self.args.process_index)
        self._micro = (micro + 1) % self.args.gradient_accumulation_steps
        step = self.state.global_step
        corruption = self.law.corrupt(
            ids_BL, self._net.mask_id, generator(self.args.seed, step, Stream.CORRUPT), part=(first, total)
        )
        cond = None
        if "latent" in inputs:
            row_B = torch.arange(first, first + B)
            drop_B = uniform(self.args.seed, step, row_B, Stream.DROP_CONDITION) < self.args.unconditional
            cond = Condition.of(inputs["latent"]).drop(drop_B.to(ids_BL.device))
        weight_BL = None
        if self.args.pad_weight != 1:
            place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
            is_pad_BL = place_L >= inputs["length"][:, None]
            weight_BL = torch.where(is_pad_BL, self.args.pad_weight, 1.0)

        def run(net: MaskedDiffusionModel) -> TokenLosses:
            carry = None
            twice = float(uniform(self.args.seed, step, Stream.TIME)) < self.args.self_conditioning_rate
            if net.wants_carry and twice:
                with torch.no_grad():
                    carry = net.body(corruption.x_BL, cond, corruption.fraction_B).carry
            return token_losses(
                net,
                corruption,
                cond,
                weighting=self.args.weighting,  # type: ignore[arg-type]
                tokens_B=inputs["length"],
                token_weight_BL=weight_BL,
                carry=carry,
            )

        losses: TokenLosses = model(run=run)
        loss = losses.loss
        if losses.kl_BZ is not None:
            # free bits a dimension (1606.04934), then nats a token like the cross-entropy (1612.00410)
            kl_Z = losses.kl_BZ.mean(0)
            loss = (
                loss + self.args.vib_beta * kl_Z.clamp(min=self.args.free_bits).sum() / inputs["length"].float().mean()
            )
            self._kl += torch.tensor([float(kl_Z.detach().sum()), 1.0], dtype=torch.float64)
        edges = torch.tensor(RATIO_EDGES, device=ids_BL.device)
        self._sums += torch.stack(losses.before(inputs["length"]).by_fraction(edges)).cpu()
        return (loss, losses) if return_outputs else loss

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
    def _net(self) -> MaskedDiffusionModel:
        return self.accelerator.unwrap_model(self.model)  # type: ignore[no-any-return]

    # -- logging ----------------------------------------------------------------------------------------------------
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            sums = self._sums
            if self.args.world_size > 1:
                sums = self.accelerator.reduce(sums.to(self.args.device), "sum").cpu()
            for name, ce, hits, count in zip(RATIO_NAMES, *sums.tolist(), strict=True):
                if count:
                    logs[f"loss_{name}"], logs[f"accuracy_{name}"] = ce / count, hits / count
            if self._kl[1]:
                logs["kl_nats"] = float(self._kl[0] / self._kl[1])
            if self.skipped:
                logs["skipped_batches"] = float(self.skipped)
            self._sums.zero_()
            self._kl.zero_()
        super().log(logs, start_time)

    # -- evaluation -------------------------------------------------------------------------------------------------
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Held-out losses by mask ratio, with true, null and shuffled latents, and what the probes say."""
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

    def _scores(self, net: MaskedDiffusionModel) -> tuple[dict[str, float], list[str]]:
        metrics = held_out_scores(net, self.eval_dataset, self.data_collator, self.law, self.args)
        lines: list[str] = []
        for probe in self.probes:
            scalars, said = probe(net, self.state.global_step)
            metrics.update(scalars)
            lines += said
        metrics.setdefault("generation", -metrics["loss_r100"])
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

    def __init__(self, trainer: DiffusionTrainer) -> None:
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
