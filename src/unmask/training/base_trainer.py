"""The Hugging Face Trainer with an average of the weights, bad batches skipped, and checkpoints that are never half.

What is trained is a subclass's affair: it says what the loss is and what the held-out figures are. A step's loss is a
mean over the whole step: how its rows are split into processes and micro-batches changes rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import IntervalStrategy

from unmask.core import distributed
from unmask.core.errors import UnmaskError, UsageError
from unmask.core.random import Stream, hashed
from unmask.training.arguments import ACCELERATE_SHARDS, UNBOUNDED, TrainArguments
from unmask.training.budget import TimeBudget
from unmask.training.checkpoint import last_checkpoint
from unmask.training.checkpointed import CheckpointedTrainer
from unmask.training.ema import Ema, unsharded
from unmask.training.passes import EvenSteps, Passes, Steps
from unmask.training.shuffle import BatchesOfSteps, ShuffledRows, StepsByTokens

#: given the model in evaluation mode: scalars to log (``generation`` ranks the checkpoints) and lines to show
ProbeFunction = Callable[[Any, int], tuple[dict[str, float], list[str]]]

__all__ = ["Part", "ProbeFunction", "BaseTrainer", "last_checkpoint"]


#: torch 2.6 shards on GPUs alone: its stand-in for a stream lacks what FSDP calls
SHARDS_ON_CPUS = ACCELERATE_SHARDS and tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 7)


@dataclass(frozen=True)
class Part:
    """The share of an optimiser step that one process's micro-batch makes up.

    Attributes:
        rows: (first, total): where its rows stand among those of the step, for noise that is drawn for the whole step.
        share_K: by what the batch's own mean losses are multiplied so that the mean over processes and micro-batches is
            the mean over the step; one a divisor that :meth:`BaseTrainer.weigh` names.
    """

    rows: tuple[int, int]
    share_K: Tensor


class BaseTrainer(CheckpointedTrainer):
    """Base of the trainers. A subclass defines ``compute_loss``, :meth:`since_last_log` and :meth:`held_out`.

    Args:
        probes: what is computed and shown at each evaluation besides the held-out figures.
        shown: a second copy of the model, which evaluation and the probes look at and which the final weights are put
            into, where the trained one is sharded (FSDP) and cannot be looked at; the trained one itself when None.
        args, train_dataset, eval_dataset, data_collator: as the Hugging Face Trainer's.
    """

    args: TrainArguments

    def __init__(
        self, *, probes: list[ProbeFunction] | None = None, shown: nn.Module | None = None, **kwargs: Any
    ) -> None:
        if kwargs["args"].n_gpu > 1:
            # Trainer would spread one process over all GPUs (DataParallel), where every replica sees the whole batch;
            # several GPUs are for `torchrun` or `accelerate launch`
            kwargs["args"]._n_gpu = 1
        if kwargs["args"].ddp_find_unused_parameters is None:
            # Trainer's own default for its models: torch's search does not go with blocks that are computed again
            kwargs["args"].ddp_find_unused_parameters = not kwargs["args"].gradient_checkpointing
        super().__init__(**kwargs)
        self.probes, self.shown = probes or [], shown
        if self.args.sharded:
            # the embedding is the head too and must stay in the outermost unit; accelerate would make it one by itself
            self.model.get_input_embeddings = lambda: None
            self.model._no_split_modules = sorted({type(block).__name__ for block in self.model.blocks})
            if self.accelerator.state.fsdp_plugin.fsdp_version != 2:
                raise UsageError("FSDP must be of version 2: accelerate launch --fsdp_version 2, or the setting --fsdp")
        self.steps = self._steps()
        if self.args.max_steps <= 0:
            self.args.max_steps = self.steps.of(self.args.num_train_epochs)
        self.ema = Ema(self.model, self.args.ema) if self.args.ema else None
        self.skipped, self.skipped_in_a_row = 0, 0
        self._parts: list[Part] = []
        self._micro = 0
        self._bad_batch: dict[str, Any] | None = None
        self._last_batch: dict[str, Any] = {}
        # the loss is a mean over this process's rows; Trainer must not divide by an item count it guesses
        self.model_accepts_loss_kwargs = False
        minutes = self.args.minutes
        self.budget = None if minutes is None else TimeBudget(minutes, self.callback_handler.callbacks)
        if self.budget is not None:
            self.add_callback(self.budget)
        if self.pop_callback(PrinterCallback) is not None:
            self.add_callback(_Lines())
        self.add_callback(_AfterStep(self))
        self.add_callback(Passes(self.steps))

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if state.distributed_type != DistributedType.DEEPSPEED:
            # Trainer divides a micro-batch's loss by their number; accelerate's backward must not do it again, as it
            # does with transformers 5.2
            self.accelerator.gradient_accumulation_steps = 1
        if self.args.sharded and state.distributed_type == DistributedType.MULTI_CPU:
            if not SHARDS_ON_CPUS:
                raise UsageError(
                    f"torch {torch.__version__} cannot shard weights on CPUs: leave fsdp out, or take a newer"
                )
            # accelerate shards on GPUs alone and would quietly keep whole copies; torch can on CPUs as well
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**(self.args.fsdp_plugin_args or {}))
            # in both, or the next look at the state takes it back; a process that then believes in whole copies reads
            # nothing when it resumes, and the others wait for it
            state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    # -- what a subclass says ---------------------------------------------------------------------------------------
    def since_last_log(self) -> dict[str, float]:
        """Training figures since the last log line; what they were summed in is emptied."""
        raise NotImplementedError

    def held_out(self, net: Any) -> dict[str, float]:
        """Figures on the held-out data, and ``generation``, which ranks checkpoints where no probe gives it."""
        raise NotImplementedError

    def weigh(self, batch: Mapping[str, Tensor], rows: tuple[int, int]) -> Tensor:
        """By what this micro-batch's losses are divided, [K]; they add up over a step.

        Args:
            batch: what the collator made.
            rows: as :attr:`Part.rows`.
        """
        raise NotImplementedError

    @property
    def part(self) -> Part:
        """What the micro-batch at hand is of its step."""
        return self._parts[self._micro]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order(self.args.max_steps * self._step_rows)

    def _order(self, total: int = 0) -> ShuffledRows:
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return ShuffledRows(len(self.train_dataset), total, seed)

    @property
    def _step_rows(self) -> int:
        """Rows of each step, where they are counted."""
        return int(self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps)

    def _steps(self) -> Steps:
        """How many rows the steps have.

        Raises:
            UsageError: a bound on tokens, where all rows are equally long.
        """
        if self.args.max_tokens is not None:
            raise UsageError(
                f"max_tokens={self.args.max_tokens} has no effect: it needs rows of unequal lengths (length_model)"
            )
        return EvenSteps(len(self.train_dataset), self._step_rows)

    def get_train_dataloader(self) -> DataLoader[Any]:
        made = super().get_train_dataloader()
        if not isinstance(self.steps, StepsByTokens):
            return made  # type: ignore[no-any-return]
        args = self.args
        batches = BatchesOfSteps(
            self.steps, args.max_steps, args.gradient_accumulation_steps, args.world_size, args.process_index
        )
        kept = {
            name: getattr(made, name)
            for name in (
                "dataset",
                "collate_fn",
                "num_workers",
                "pin_memory",
                "persistent_workers",
                "prefetch_factor",
                "worker_init_fn",
                "multiprocessing_context",
            )
        }
        # every process draws its own batches: accelerate, which would deal out rows in even numbers, has none to deal
        return prepare_data_loader(
            DataLoader(batch_sampler=batches, **kept), args.device, num_processes=1, process_index=0, put_on_device=True
        )

    # -- one step ---------------------------------------------------------------------------------------------------
    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._parts, self._micro = self._split(batches), 0
        return batches, items

    def _split(self, batches: list[dict[str, Tensor]]) -> list[Part]:
        world, me, micros = self.args.world_size, self.args.process_index, len(batches)
        rows, weights = [], []
        for micro, batch in enumerate(batches):
            size = len(next(iter(batch.values())))
            rows.append((size * (micro * world + me), size * micros * world))
            weights.append(self.weigh(batch, rows[-1]).double().cpu())
        if not weights:
            return []
        total_K = self.over_processes(torch.stack(weights).sum(0)).clamp(min=1e-9)
        pieces = float(micros * world)
        return [
            Part(r, (w / total_K * pieces if pieces > 1 else torch.ones_like(w)))
            for r, w in zip(rows, weights, strict=True)
        ]

    def over_processes(self, sums: Tensor) -> Tensor:
        """Sums over all processes, on the CPU."""
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), "sum").cpu()
        return sums

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        # dropout that no other process or micro-batch shares, and that a resumed run draws again
        named = hashed(self.args.seed, self.state.global_step, self.part.rows[0], Stream.DROPOUT)
        torch.manual_seed(int(named) & (2**63 - 1))
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._micro += 1
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
        finite = bool(torch.isfinite(unsharded(torch.nn.utils.get_total_norm(grads)))) if grads else True
        if finite and self._bad_batch is None:
            self.skipped_in_a_row = 0
            return
        # without a gradient the optimiser leaves a weight alone, momentum and decay included
        for p in self.model.parameters():
            p.grad = None
        self.skipped += 1
        self.skipped_in_a_row += 1
        where = Path(str(self.args.output_dir)) / f"bad_batch_step{self.state.global_step}.safetensors"
        self._keep_batch(self._bad_batch or self._last_batch, where)
        self._bad_batch = None
        if self.skipped_in_a_row >= self.args.bad_batches:
            raise UnmaskError(
                f"loss or gradient was not finite {self.skipped_in_a_row} times in a row, last at step "
                f"{self.state.global_step}; that batch is in {where.name}: lower learning_rate or look at the data"
            )

    def _keep_batch(self, batch: dict[str, Any], where: Path) -> None:
        """Write a batch for inspection: the first process's arrays by their names, the others' with a number behind."""
        from safetensors.torch import save_file

        mine = {k: v.detach().cpu().contiguous() for k, v in batch.items() if isinstance(v, Tensor)}
        everyone = distributed.gather_object([mine])
        if self.is_world_process_zero():
            arrays = {f"{k}.{i}" if i else k: v for i, part in enumerate(everyone) for k, v in part.items()}
            save_file(arrays, str(where))

    # -- logging ----------------------------------------------------------------------------------------------------
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(self.since_last_log())
            if self.skipped:
                logs["skipped_batches"] = float(self.skipped)
        drawn = self.steps.drawn(self.state.global_step)
        if "train_samples_per_second" in logs:
            # Trainer divides the rows of the most steps that there could have been, each of the same number
            each = drawn / max(self.state.global_step, 1)
            logs["train_samples_per_second"] = logs["train_steps_per_second"] * each
        # Trainer counts its own single pass over the sampler; a reader wants passes over the data
        self.state.epoch = drawn / len(self.train_dataset)
        super().log(logs, start_time)

    # -- evaluation -------------------------------------------------------------------------------------------------
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The held-out figures of the kind of model, and what the probes say.

        Raises:
            UsageError: ``metric_for_best_model`` is not among them.
        """
        net = self._net if self.shown is None else self.shown
        was_training = net.training
        net.eval()
        with torch.no_grad():
            if self.shown is not None:
                self._put(self._weights(), self.shown)
                metrics, lines = self._scores(net)
            elif self.ema is not None:
                with self.ema.applied(net):
                    metrics, lines = self._scores(net)
            else:
                metrics, lines = self._scores(net)
        net.train(was_training)
        best = self.args.metric_for_best_model
        if best is not None and best.removeprefix("eval_") not in metrics:
            raise UsageError(f"metric_for_best_model={best!r} is no figure of this evaluation: {', '.join(metrics)}")
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

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.budget is not None and self.lr_scheduler is None:
            self.lr_scheduler: Any = self.budget.schedule(self.args, optimizer or self.optimizer)
            self._created_lr_scheduler = self.lr_scheduler is not None
        return super().create_scheduler(num_training_steps, optimizer)

    def train(self, resume_from_checkpoint: Any = None, **others: Any) -> Any:
        if self.budget is not None and resume_from_checkpoint:
            steps = self.budget.go_on(resume_from_checkpoint)
            if steps is not None:
                self.args.max_steps = steps
        return super().train(resume_from_checkpoint, **others)


class _Lines(TrainerCallback):  # type: ignore[misc]
    """A line for each entry of the log, with its step, where there is no progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if state.is_local_process_zero:
            of = "" if state.max_steps >= UNBOUNDED else f" of {state.max_steps:,}"
            figures = ", ".join(f"{name} {value:.4g}" for name, value in logs.items() if name != "total_flos")
            print(f"step {state.global_step:,}{of}: {figures}", flush=True)


class _AfterStep(TrainerCallback):  # type: ignore[misc]
    """Guards each update, and keeps the average in step with the optimiser."""

    def __init__(self, trainer: BaseTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.before_update()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.ema is not None:
            self.trainer.ema.update(self.trainer._net)
        # the last weights are ranked as well, wherever the run ends: else an earlier checkpoint would win unopposed
        if state.global_step >= state.max_steps and args.eval_strategy != IntervalStrategy.NO:
            control.should_evaluate = True
