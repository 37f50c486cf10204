"""The causal baseline: cells written one after the other, in a fixed or in the solver's order (arXiv 2409.10502).

A board is a row of 2 L tokens: position, value, position, value, ..., givens first. The model is transformers' GPT-2.
In raster order positions follow from those before; in solver order the model must also say which cell comes next, as
the baseline of arXiv 2502.06768 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.core.errors import UsageError
from unmask.data.puzzles import MASK, Puzzle, PuzzleBatch
from unmask.families.puzzle.solving import Solved

ORDERS = ("raster", "solver")


@dataclass(frozen=True)
class CausalShape:
    """Size of the GPT-2."""

    dim: int = 128
    layers: int = 6
    heads: int = 4


class CausalSolver(nn.Module):
    """GPT-2 over positions and values.

    Args:
        puzzle: gives lengths and values.
        shape: size.
        order: ``raster`` (givens, then the rest from left to right) or ``solver`` (by the batch's ranks).
        seed: of the random weights.

    Raises:
        UsageError: another order.
    """

    def __init__(self, puzzle: Puzzle, shape: CausalShape, order: str, seed: int) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        if order not in ORDERS:
            raise UsageError(f"order={order!r} must be one of {', '.join(ORDERS)}")
        torch.manual_seed(seed)
        self.puzzle, self.order = puzzle, order
        config = GPT2Config(
            vocab_size=puzzle.vocab_size + puzzle.length,
            n_positions=2 * puzzle.length,
            n_embd=shape.dim,
            n_layer=shape.layers,
            n_head=shape.heads,
            # GPT-2's own gelu_new in one kernel: an eighth less of a training step on one core
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.net = GPT2LMHeadModel(config)

    @property
    def blocks(self) -> nn.ModuleList:
        """What torch.compile is worth on."""
        return self.net.transformer.h  # type: ignore[no-any-return]

    def order_BL(self, batch: PuzzleBatch) -> Tensor:
        """Positions in the order in which they are written.

        Raises:
            UsageError: solver order without ranks.
        """
        if self.order == "solver":
            if batch.rank_BL is None:
                raise UsageError("the solver order needs boards with ranks: build them with order=true")
            return batch.fill_order_BL
        return (~batch.given_BL).long().argsort(dim=1, stable=True)

    def rows(self, batch: PuzzleBatch) -> tuple[Tensor, Tensor]:
        """Tokens [B, 2L] and whether each is scored [B, 2L]: nothing of a given is."""
        order_BL = self.order_BL(batch)
        value_BL = batch.answer_BL.gather(1, order_BL)
        token_BT = torch.stack([order_BL + self.puzzle.vocab_size, value_BL], dim=2).flatten(1)
        scored_BL = ~batch.given_BL.gather(1, order_BL)
        return token_BT, scored_BL.repeat_interleave(2, dim=1)

    def loss(self, batch: PuzzleBatch) -> Tensor:
        """Mean cross-entropy of the tokens that are scored, nats."""
        token_BT, scored_BT = self.rows(batch)
        logits_BTV = self.net(input_ids=token_BT).logits[:, :-1]
        at = scored_BT[:, 1:]
        return F.cross_entropy(logits_BTV[at].float(), token_BT[:, 1:][at])

    @torch.no_grad()
    def solve(self, batch: PuzzleBatch, device: str | torch.device = "cpu") -> Solved:
        """Write the most probable next cell and value, never a filled cell; boards with equally many givens at once."""
        self.to(device).eval()
        x_BL = batch.question_BL.clone()
        forwards_B = torch.zeros(len(batch), dtype=torch.int64)
        count_B = batch.given_BL.sum(1)
        for count in count_B.unique().tolist():
            rows = (count_B == count).nonzero()[:, 0]
            x_BL[rows] = self._same(batch[rows], int(count), device)
            # in raster order the next position is known and read with the value before it
            forwards_B[rows] = (1 if self.order == "raster" else 2) * (self.puzzle.length - int(count))
        return Solved(x_BL, self.puzzle.correct(x_BL, batch), forwards_B)

    def _same(self, batch: PuzzleBatch, count: int, device: str | torch.device) -> Tensor:
        V, L = self.puzzle.vocab_size, self.puzzle.length
        given = PuzzleBatch(batch.question_BL, batch.given_BL)
        order_BL = (~batch.given_BL).long().argsort(dim=1, stable=True)
        if count == 0:
            raise UsageError("the causal solver needs at least one given to start from")
        token_BT = torch.stack([order_BL + V, given.answer_BL.gather(1, order_BL)], dim=2).flatten(1)[:, : 2 * count]
        token_BT, x_BL = token_BT.to(device), batch.question_BL.clone().to(device)
        order_BL = order_BL.to(device)
        cache, fed = None, token_BT
        for k in range(count, L):
            if self.order == "raster":
                place_B = order_BL[:, k]
                fed = torch.cat([fed, place_B[:, None] + V], dim=1)
            else:
                out = self.net(input_ids=fed, past_key_values=cache, use_cache=True)
                place_B = out.logits[:, -1, V:].masked_fill(x_BL != MASK, float("-inf")).argmax(1)
                cache, fed = out.past_key_values, place_B[:, None] + V
            out = self.net(input_ids=fed, past_key_values=cache, use_cache=True)
            value_B = out.logits[:, -1, MASK + 1 : V].argmax(1) + MASK + 1
            x_BL.scatter_(1, place_B[:, None], value_B[:, None])
            cache, fed = out.past_key_values, value_B[:, None]
        return x_BL.cpu()
