"""Training masked diffusion with our objective, and noise that no split of the batch changes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.random import Stream, generator, uniform
from unmask.data.canvas import padded_width, text_positions
from unmask.diffusion.bag_loss import BagLosses, bag_figures, bag_losses, tokens_held
from unmask.diffusion.objective import TokenLosses, token_losses
from unmask.diffusion.process import MaskedBatch, MaskingProcess
from unmask.models.denoiser import MaskedDiffusionModel, special_ids
from unmask.training.arguments import ModelArguments
from unmask.training.base_trainer import BaseTrainer, ProbeFunction, last_checkpoint
from unmask.training.compiled import compiled_blocks
from unmask.training.passes import Steps
from unmask.training.scores import RATIO_EDGES, RATIO_NAMES, held_out_scores
from unmask.training.shuffle import RowsByLength, StepsByTokens

__all__ = ["MaskedDiffusionTrainer", "ProbeFunction", "last_checkpoint"]


class MaskedDiffusionTrainer(BaseTrainer):
    """Trains a :class:`MaskedDiffusionModel` on ``input_ids [b, L]``, ``length [b]`` and perhaps ``latent [b, Z]``.

    Args:
        law: how positions are hidden.
        others: see :class:`BaseTrainer`.
    """

    def __init__(self, *, law: MaskingProcess, **others: Any) -> None:
        super().__init__(**others)
        self.law = law
        self._sums = torch.zeros(3, len(RATIO_EDGES), dtype=torch.float64)
        self._kl = torch.zeros(2, dtype=torch.float64)
        # nats, distinct tokens, sum of recalls, texts
        self._bag = torch.zeros(4, dtype=torch.float64)
        self._lengths = torch.zeros(2, dtype=torch.float64)

    def _steps(self) -> Steps:
        if self.args.max_tokens is None or not self._net.models_length:
            return super()._steps()
        width = partial(padded_width, longest=self._net.config.max_position_embeddings)
        parts = self.args.world_size * self.args.gradient_accumulation_steps
        return StepsByTokens(self._order(), self.train_dataset.lengths, self.args.max_tokens, parts, width)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        order = super()._get_train_sampler(train_dataset)
        if not self._net.models_length:
            return order
        return RowsByLength(order, self.train_dataset.lengths, self._step_rows)

    def train(self, *given: Any, **named: Any) -> Any:
        with compiled_blocks(self._net) if self.args.compile_blocks else nullcontext():
            return super().train(*given, **named)

    # -- one step ---------------------------------------------------------------------------------------------------
    def weigh(self, batch: Mapping[str, Tensor], rows: tuple[int, int]) -> Tensor:
        """What the losses of masked tokens (under the weighting), KL and lengths, and the bag of words are divided by.

        KL and lengths by the texts' tokens, the bag of words by the distinct ones of the rows that have a vector.
        """
        tokens = batch["length"].sum()
        masked = tokens
        if self.args.weighting == "maskgit":
            masked_BL = self._corrupt(batch, rows).masked_BL
            weight_BL = self._token_weight(batch)
            masked = masked_BL.sum() if weight_BL is None else weight_BL[masked_BL].sum()
        distinct = torch.zeros(())
        if self._net.bag is not None:
            held_BV = tokens_held(batch["input_ids"], batch["length"], special_ids(self._net), self._net.vocab_size)
            distinct = held_BV[~self._dropped(rows, len(held_BV)).to(held_BV.device)].sum()
        return torch.stack([masked.double(), tokens.double(), distinct.double()])

    def _dropped(self, rows: tuple[int, int], size: int) -> Tensor:
        """Which of these rows are trained without their vector."""
        row_B = torch.arange(size) + rows[0]
        step = self.state.global_step
        return uniform(self.args.seed, step, row_B, Stream.DROP_CONDITION) < self.args.condition_dropout

    def _corrupt(self, batch: Mapping[str, Tensor], rows: tuple[int, int]) -> MaskedBatch:
        noise = generator(self.args.seed, self.state.global_step, Stream.CORRUPT)
        valid_BL = self._valid(batch)
        width = None if valid_BL is None else self._net.config.max_position_embeddings
        return self.law.corrupt(batch["input_ids"], self._net.mask_id, noise, valid_BL, part=rows, width=width)

    def _valid(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """The positions that exist [b, L]; None where the padding is written like tokens."""
        return text_positions(batch["input_ids"], batch["length"]) if self._net.models_length else None

    def _bottleneck_noise(self, rows: tuple[int, int], size: int) -> Tensor | None:
        """These rows' part [b, C] of the noise that is drawn for the whole step."""
        width = self._net.config.bottleneck
        if not width:
            return None
        named = generator(self.args.seed, self.state.global_step, Stream.BOTTLENECK)
        return torch.randn(rows[1], width, generator=named)[rows[0] : rows[0] + size].to(self.args.device)

    def _noisy(self, latent_BZ: Tensor, rows: tuple[int, int]) -> Tensor:
        """The vectors with ``latent_noise`` on them: these rows' part of what is drawn for the whole step."""
        sigma, (B, Z) = self.args.latent_noise, latent_BZ.shape
        if not sigma:
            return latent_BZ
        named = generator(self.args.seed, self.state.global_step, Stream.LATENT_NOISE)
        noise_BZ = torch.randn(rows[1], Z, generator=named)[rows[0] : rows[0] + B].to(latent_BZ)
        return latent_BZ + noise_BZ * (sigma * latent_BZ.norm(dim=1, keepdim=True) / Z**0.5)

    def _token_weight(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        if self.args.pad_weight == 1 or self._net.models_length:
            return None
        place_L = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
        return torch.where(place_L >= batch["length"][:, None], self.args.pad_weight, 1.0)

    def condition(self, inputs: Mapping[str, Tensor]) -> Condition | None:
        """The condition that a batch is trained under; None without latents."""
        if "latent" not in inputs:
            return None
        latent_BZ, rows = inputs["latent"], self.part.rows
        noise_BC = self._bottleneck_noise(rows, len(latent_BZ))
        cond = replace(Condition.of(self._noisy(latent_BZ, rows)), noise_BC=noise_BC)
        return cond.drop(self._dropped(rows, len(latent_BZ)).to(latent_BZ.device))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, Any]:
        ids_BL = inputs["input_ids"]
        part, step = self.part, self.state.global_step
        corruption, valid_BL = self._corrupt(inputs, part.rows), self._valid(inputs)
        cond = self.condition(inputs)

        def run(net: MaskedDiffusionModel) -> tuple[TokenLosses, BagLosses | None]:
            carry = None
            twice = float(uniform(self.args.seed, step, Stream.TIME)) < self.args.self_conditioning_rate
            if net.wants_carry and twice:
                with torch.no_grad():
                    carry = net.body(corruption.x_BL, cond, corruption.fraction_B, valid_BL=valid_BL).carry
            losses = token_losses(
                net,
                corruption,
                cond,
                weighting=self.args.weighting,  # type: ignore[arg-type]
                tokens_B=inputs["length"],
                token_weight_BL=self._token_weight(inputs),
                valid_BL=valid_BL,
                carry=carry,
            )
            bag = None
            if net.bag is not None and cond is not None:
                bag = bag_losses(net.bag_logits(cond), ids_BL, inputs["length"], special_ids(net))
            return losses, bag

        losses, bag = model(run=run)
        of_ce, of_kl, of_bag = part.share_K.tolist()
        loss = losses.loss * of_ce
        if losses.kl_BZ is not None:
            # free bits a dimension (1606.04934), then nats a token like the cross-entropy (1612.00410)
            kl_Z = losses.kl_BZ.mean(0)
            kl = kl_Z.clamp(min=self.args.free_bits).sum() / inputs["length"].float().mean()
            loss = loss + self.args.vib_beta * of_kl * kl
            self._kl += torch.tensor([float(kl_Z.detach().sum()), 1.0], dtype=torch.float64)
        if bag is not None and cond is not None:
            sums_K = bag.sums(cond.present_B)
            loss = loss + self.args.bag_weight * of_bag * sums_K[0] / sums_K[1].clamp(min=1)
            self._bag += sums_K.detach().double().cpu()
        if losses.length_nats_B is not None:
            loss = loss + of_kl * losses.length_nats_B.sum() / inputs["length"].sum()
            self._lengths += torch.tensor([float(losses.length_nats_B.detach().sum()), float(len(ids_BL))]).double()
        edges = torch.tensor(RATIO_EDGES, device=ids_BL.device)
        self._sums += torch.stack(losses.before(inputs["length"]).by_fraction(edges)).cpu()
        return (loss, losses) if return_outputs else loss

    def since_last_log(self) -> dict[str, float]:
        """Loss and accuracy by mask ratio, the bottleneck's KL, nats of a length, and what the bag of words knows."""
        figures: dict[str, float] = {}
        for name, ce, hits, count in zip(RATIO_NAMES, *self.over_processes(self._sums).tolist(), strict=True):
            if count:
                figures[f"loss_{name}"], figures[f"accuracy_{name}"] = ce / count, hits / count
        kl, batches = self.over_processes(self._kl).tolist()
        if batches:
            figures["kl_nats"] = kl / batches
        figures |= bag_figures(self.over_processes(self._bag))
        nats, texts = self.over_processes(self._lengths).tolist()
        if texts:
            figures["length_nats"] = nats / texts
        for sums in (self._sums, self._kl, self._bag, self._lengths):
            sums.zero_()
        return figures

    @staticmethod
    def figures(model: ModelArguments, task: str) -> list[str]:
        """Names of what every evaluation of a run with these settings reports."""
        names = ["generation", "loss", "nelbo"]
        for ratio in RATIO_NAMES[:-1]:
            names += [f"loss_{ratio}", f"accuracy_{ratio}"]
        names.append("loss_r100")
        if model.length_model or model.start_from:
            names.append("length_nats")
        if task != "unconditional":
            names += ["loss_r100_null", "loss_r100_shuffled", "d_null", "d_shuf"]
            if model.bottleneck or model.start_from:
                names.append("kl_nats")
            if task == "correction":
                names += ["cosine_draft", "cosine_corrected"]
            if model.bag_of_words or model.start_from:
                names += ["bag_loss", "bag_recall30"]
        return names

    def held_out(self, net: MaskedDiffusionModel) -> dict[str, float]:
        """Held-out losses by mask ratio, with true, null and shuffled latents."""
        metrics = held_out_scores(net, self.eval_dataset, self.data_collator, self.law, self.args)
        return {"generation": -metrics["loss_r100"], **metrics}
