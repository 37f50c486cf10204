"""The subject of a TidalTransformer that fills its block in any order.

The row is the block alone, end and padding included; what stands before it is the condition (see
:mod:`unmask.diagnosis.tidal`), so every question about a masked model is asked of the block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.data.tidal.mixed_tokenizer import BOB, PAD
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.native import NativeSubject, RowSource, masking_process_of, quietly
from unmask.diagnosis.subject import Batch
from unmask.diagnosis.tidal_rows import RowText
from unmask.diagnosis.wrapper import Through
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, load_tidal


class BlockDenoiser(Through):
    """A denoiser of the block whose condition is the prefix: its ids, -1 behind them."""

    def __init__(self, inner: TidalModel) -> None:
        super().__init__(inner)
        self.net = inner
        self.vocab_size, self.max_length = inner.config.outputs, None
        self.conditional = True

    def parameters(self) -> Iterator[Tensor]:
        return self.net.parameters()

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        latent_BP = torch.full((len(x_BL), 0), -1.0) if cond is None else cond.latent_BZ.clone()
        if cond is not None:
            latent_BP[~cond.present_B] = -1.0
        real_BP = latent_BP >= 0
        # prefixes end where the block begins: padding goes to the left
        order_BP = real_BP.long().argsort(dim=1, stable=True)
        ids_BP = latent_BP.gather(1, order_BP).long().clamp(min=PAD, max=self.net.config.vocab_size - 1)
        bob_B1 = torch.full_like(x_BL[:, :1], BOB)
        ids = torch.cat([ids_BP.to(x_BL.device), bob_B1, x_BL], 1)
        there = torch.ones_like(x_BL, dtype=torch.bool) if valid_BL is None else valid_BL
        valid = torch.cat([real_BP.gather(1, order_BP).to(x_BL.device), bob_B1 > 0, there], 1)
        return Body(self.net.body(ids, valid_BL=valid).h_BLD[:, -x_BL.shape[1] :])


class TidalMaskedSubject(NativeSubject):
    """A tidal model with ``attention="masked"``.

    Args:
        model: the network with its tokenizer and card.
        held_out, train: rows from :func:`unmask.diagnosis.tidal.block_rows`.
        name: what to call it.
        plan: see :class:`NativeSubject`.
    """

    rows_are_texts = False

    def __init__(
        self,
        model: TidalTextModel,
        held_out: RowSource,
        train: RowSource | None,
        *,
        name: str,
        plan: DecodingPlan | None = None,
    ) -> None:
        super().__init__(
            BlockDenoiser(model.denoiser),
            _behind_bob(held_out),
            None if train is None else _behind_bob(train),
            tokenizer=RowText(model),
            law=masking_process_of(model.card.recipe),
            plan=plan,
            name=name,
            path=model.path,
        )
        self.net = model.denoiser
        # a prefix is no semantic vector: there is no null to train, and guidance is not offered
        self.conditional = False
        self.settings.pop("guidance", None)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    def reloaded(self) -> dict[str, Tensor]:
        if self.path is not None:
            return dict(load_tidal(self.path, self.net.device).denoiser.state_dict())
        with tempfile.TemporaryDirectory() as folder, quietly():
            self.net.save_pretrained(folder)
            return dict(TidalModel.from_pretrained(folder).state_dict())


def _behind_bob(rows: RowSource) -> RowSource:
    def cut(n: int) -> Batch:
        batch = rows(n)
        return Batch(batch.ids_BL[:, 1:], batch.cond, texts=batch.texts)

    return cut
