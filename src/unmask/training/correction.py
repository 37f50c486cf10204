"""Training a corrector: the decoder's weights, the hypotheses of each step, and their rounds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.random import Stream, uniform
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.text_model import TextModel
from unmask.training.drafts import Drafter, Drafts
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer


def corrector_of(net: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """A corrector with a decoder's weights, that writes as the decoder does where it has no hypothesis.

    Raises:
        UsageError: a decoder whose conditioning leaves no place for one.
    """
    if net.corrects:
        return net
    config = copy.deepcopy(net.config)
    made = MaskedDiffusionModel(type(config)(**{**config.to_dict(), "corrector": True}))
    state = net.state_dict()
    if made.bag is not None and net.bag is not None:
        # what it reads off the difference comes with training
        grown = torch.zeros_like(made.bag.to_words.weight)
        grown[:, : net.bag.to_words.in_features] = net.bag.to_words.weight.detach()
        state["bag.to_words.weight"] = grown
    left = made.load_state_dict(state, strict=False)
    assert all(name.startswith("hypothesis.") for name in left.missing_keys) and not left.unexpected_keys
    return made.train(net.training)


class CorrectionTrainer(MaskedDiffusionTrainer):
    """Trains a corrector on rows that say which they are (``row``), beside hypotheses written in rounds.

    Args:
        written_by: the corrector with its tokenizer and encoder.
        decoder, drafts: see :class:`unmask.training.drafts.Drafter`.
        others: see :class:`MaskedDiffusionTrainer`.
    """

    def __init__(self, *, written_by: TextModel, decoder: TextModel, drafts: int, **others: Any) -> None:
        super().__init__(**others)
        self.drafter = Drafter(written_by, decoder, self.train_dataset, drafts, self.args.seed)
        self.drafts: Drafts | None = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        self._draft()
        return super().get_batch_samples(*args, **kwargs)

    def _draft(self) -> None:
        """Write the hypotheses of the round that the step at hand belongs to, where they are not there yet."""
        rounds = self.args.draft_rounds
        due = min(rounds - 1, self.state.global_step * rounds // max(self.args.max_steps, 1))
        if self.drafts is not None and self.drafts.round >= due:
            return
        net = self._net
        was_training = net.training
        net.eval()
        with torch.no_grad(), self.accelerator.autocast():
            if self.drafts is None:
                self.drafts = self.drafter.first()
            while self.drafts.round < due:
                if self.ema is None:
                    self.drafts = self.drafter.next(self.drafts, net)
                    continue
                with self.ema.applied(net):
                    self.drafts = self.drafter.next(self.drafts, net)
        net.train(was_training)

    def condition(self, inputs: Mapping[str, Tensor]) -> Condition | None:
        """The rows' vectors and hypotheses; some go without one, so that the model still writes from a vector alone."""
        cond = super().condition(inputs)
        if cond is None or self.drafts is None:
            return cond
        row_B, place_B = inputs["row"].cpu(), torch.arange(len(inputs["row"])) + self.part.rows[0]
        ids_BL = self.drafts.ids_NL[row_B].long()
        drawn_B = uniform(self.args.seed, self.state.global_step, place_B, Stream.DROP_HYPOTHESIS)
        pad = int(self._net.pad_id or 0)
        ids_BL = ids_BL.masked_fill((drawn_B < self.args.without_hypothesis)[:, None], pad)
        # as wide as the longest of them
        ids_BL = ids_BL[:, : max(1, int((ids_BL != pad).sum(1).max()))]
        device = cond.latent_BZ.device
        return cond.about(ids_BL.to(device), self.drafts.vectors_NZ[row_B].to(device))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.drafts is not None:
            self.drafts.save(str(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.drafts = Drafts.load(resume_from_checkpoint)
