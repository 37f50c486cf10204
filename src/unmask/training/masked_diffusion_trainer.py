"""Training masked diffusion with our objective, and noise that no split of the batch changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.random import Stream, generator, uniform
from unmask.diffusion.objective import TokenLosses, token_losses
from unmask.diffusion.process import MaskedBatch, MaskingProcess
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.training.arguments import ModelArguments
from unmask.training.base_trainer import BaseTrainer, Probe, last_checkpoint
from unmask.training.scores import RATIO_EDGES, RATIO_NAMES, held_out_scores

__all__ = ["MaskedDiffusionTrainer", "Probe", "last_checkpoint"]


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

    # -- one step ---------------------------------------------------------------------------------------------------
    def weigh(self, batch: Mapping[str, Tensor], rows: tuple[int, int]) -> Tensor:
        """What the cross-entropies are divided by under the weighting, and what the KL is: the text's tokens."""
        tokens = batch["length"].sum()
        masked = tokens
        if self.args.weighting == "maskgit":
            masked_BL = self._corrupt(batch["input_ids"], rows).masked_BL
            weight_BL = self._token_weight(batch)
            masked = masked_BL.sum() if weight_BL is None else weight_BL[masked_BL].sum()
        return torch.stack([masked.double(), tokens.double()])

    def _corrupt(self, ids_BL: Tensor, rows: tuple[int, int]) -> MaskedBatch:
        noise = generator(self.args.seed, self.state.global_step, Stream.CORRUPT)
        return self.law.corrupt(ids_BL, self._net.mask_id, noise, part=rows)

    def _bottleneck_noise(self, rows: tuple[int, int], size: int) -> Tensor | None:
        """These rows' part [b, C] of the noise that is drawn for the whole step."""
        width = self._net.config.bottleneck
        if not width:
            return None
        named = generator(self.args.seed, self.state.global_step, Stream.BOTTLENECK)
        return torch.randn(rows[1], width, generator=named)[rows[0] : rows[0] + size].to(self.args.device)

    def _token_weight(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        if self.args.pad_weight == 1:
            return None
        place_L = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
        return torch.where(place_L >= batch["length"][:, None], self.args.pad_weight, 1.0)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, Any]:
        ids_BL = inputs["input_ids"]
        part, step = self.part, self.state.global_step
        corruption = self._corrupt(ids_BL, part.rows)
        cond = None
        if "latent" in inputs:
            row_B = torch.arange(len(ids_BL)) + part.rows[0]
            drop_B = uniform(self.args.seed, step, row_B, Stream.DROP_CONDITION) < self.args.condition_dropout
            cond = replace(Condition.of(inputs["latent"]), noise_BC=self._bottleneck_noise(part.rows, len(ids_BL)))
            cond = cond.drop(drop_B.to(ids_BL.device))

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
                token_weight_BL=self._token_weight(inputs),
                carry=carry,
            )

        losses: TokenLosses = model(run=run)
        of_ce, of_kl = part.share_K.tolist()
        loss = losses.loss * of_ce
        if losses.kl_BZ is not None:
            # free bits a dimension (1606.04934), then nats a token like the cross-entropy (1612.00410)
            kl_Z = losses.kl_BZ.mean(0)
            kl = kl_Z.clamp(min=self.args.free_bits).sum() / inputs["length"].float().mean()
            loss = loss + self.args.vib_beta * of_kl * kl
            self._kl += torch.tensor([float(kl_Z.detach().sum()), 1.0], dtype=torch.float64)
        edges = torch.tensor(RATIO_EDGES, device=ids_BL.device)
        self._sums += torch.stack(losses.before(inputs["length"]).by_fraction(edges)).cpu()
        return (loss, losses) if return_outputs else loss

    def since_last_log(self) -> dict[str, float]:
        """Loss and accuracy by mask ratio, and the bottleneck's KL."""
        figures: dict[str, float] = {}
        for name, ce, hits, count in zip(RATIO_NAMES, *self.over_processes(self._sums).tolist(), strict=True):
            if count:
                figures[f"loss_{name}"], figures[f"accuracy_{name}"] = ce / count, hits / count
        kl, batches = self.over_processes(self._kl).tolist()
        if batches:
            figures["kl_nats"] = kl / batches
        self._sums.zero_()
        self._kl.zero_()
        return figures

    @staticmethod
    def figures(model: ModelArguments, task: str) -> list[str]:
        """Names of what every evaluation of a run with these settings reports."""
        names = ["generation", "loss", "nelbo"]
        for ratio in RATIO_NAMES[:-1]:
            names += [f"loss_{ratio}", f"accuracy_{ratio}"]
        names.append("loss_r100")
        if task != "unconditional":
            names += ["loss_r100_null", "loss_r100_shuffled", "d_null", "d_shuf"]
            if model.bottleneck or model.start_from:
                names.append("kl_nats")
        return names

    def held_out(self, net: MaskedDiffusionModel) -> dict[str, float]:
        """Held-out losses by mask ratio, with true, null and shuffled latents."""
        metrics = held_out_scores(net, self.eval_dataset, self.data_collator, self.law, self.args)
        return {"generation": -metrics["loss_r100"], **metrics}
