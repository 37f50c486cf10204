"""The contract between models and everything that uses one.

Shapes: B batch, L length, N gathered rows, V vocabulary, D width, Z latent (docs/notation.md).

A denoiser is asked for logits *only at the rows that are wanted*. The output head is most of the cost at a large
vocabulary, so the contract is cut in two: :meth:`Denoiser.body` gives hidden states for all positions,
:meth:`Denoiser.head` gives logits for the rows that were gathered. ``logits`` is the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition


@dataclass
class Body:
    """The result of one forward pass through the body.

    Attributes:
        h_BLD: hidden states; row-major gathering by a mask gives the rows for the head.
        carry: what the model wants to get on the next call (self-conditioning, caches); never kept in the module.
        kl_BZ: KL of the bottleneck to its prior in nats, a dimension, where the model has one.
        earlier_BLD: states after each loop but the last, where training asks them for answers too (deep supervision).
    """

    h_BLD: Tensor
    carry: Any = None
    kl_BZ: Tensor | None = None
    earlier_BLD: tuple[Tensor, ...] = ()


class Denoiser:
    """Base of everything that predicts masked tokens. Native models and adapters derive from it.

    Attributes:
        vocab_size: V, the mask id included.
        mask_id: the id of a masked position; it never gets probability.
        pad_id, eos_id: ids or None.
        max_length: longest canvas the positions allow, or None.
        conditional: True if ``cond`` changes the answer.
        wants_carry: True if handing ``Body.carry`` back changes the answer (self-conditioning).
        corrects: True if the hypotheses of ``cond`` change the answer.
        models_length: True if :meth:`length_log_probs` answers: a text of n tokens is a canvas of n positions, and
            neither EOS nor PAD is ever written.
    """

    vocab_size: int
    mask_id: int
    pad_id: int | None = None
    eos_id: int | None = None
    max_length: int | None = None
    conditional: bool = False
    wants_carry: bool = False
    corrects: bool = False
    models_length: bool = False

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        """Hidden states [B, L, D] of every position.

        Args:
            x_BL: token ids, masked positions holding ``mask_id``.
            cond: semantic vectors; None means unconditional for every row.
            t_B: masked fraction in [0, 1] of what is to be written (1 = all masked); models without a time embedding
                ignore it. It is a *fraction*, not a schedule's time, so it means the same in training and sampling.
            valid_BL: False where a position does not exist (padding of ragged batches); None means all exist.
            carry: what the previous call returned, or None.
        """
        raise NotImplementedError

    def body_at(
        self,
        x_BL: Tensor,
        at_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        """Hidden states of which only those at ``at_BL`` are valid: :meth:`body` at a lower cost.

        A model may leave out what no reader needs, such as the last layer's feed-forward elsewhere. This one runs all.
        """
        return self.body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)

    def length_log_probs(self, cond: Condition | None, rows: int) -> Tensor | None:
        """Log probabilities [rows, L] of n = 1..L tokens, nats; None for a model that writes its own EOS and PAD.

        A model that answers is shown a canvas of n positions for a text of n tokens: it never writes an end.

        Args:
            cond: semantic vectors, one a row; rows without one, and all where it is None, get the prior.
            rows: how many.
        """
        return None

    def posterior(self, latents_NZ: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and log variance [N, C] of the bottleneck's posterior; None for a model without a bottleneck.

        Args:
            latents_NZ: semantic vectors.
        """
        return None

    def ragged_canvas(self, length_B: Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
        """All-masked rows of these lengths on one canvas [B, L], padding behind them, and what exists of it [B, L].

        Args:
            length_B: positions of each row.
            width: L; the longest row's length when None.
        """
        width = int(length_B.max()) if width is None else width
        valid_BL = torch.arange(width, device=length_B.device) < length_B[:, None]
        return torch.where(valid_BL, self.mask_id, self.pad_id or 0), valid_BL

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The head's input features, its weight [V, D'] and its bias [V] or None: ``features @ weight.T + bias``.

        Training uses this to compute the loss in chunks without ever holding [N, V].
        """
        raise NotImplementedError

    def head(self, h_ND: Tensor) -> Tensor:
        """Logits [N, V] for gathered rows; ``mask_id`` gets ``-inf``."""
        features_ND, weight_VD, bias_V = self.project(h_ND)
        logits_NV = torch.nn.functional.linear(features_ND, weight_VD, bias_V)
        return self.forbid(logits_NV)

    def forbid(self, logits_NV: Tensor) -> Tensor:
        """The logits with the mask id at ``-inf``, so that it is never predicted (in place where that is safe)."""
        if logits_NV.requires_grad:
            column_V = torch.arange(logits_NV.shape[-1], device=logits_NV.device) == self.mask_id
            return logits_NV.masked_fill(column_V, float("-inf"))
        logits_NV[:, self.mask_id] = float("-inf")
        return logits_NV

    def logits(
        self,
        x_BL: Tensor,
        at_BL: Tensor | None = None,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Tensor:
        """Logits at the rows where ``at_BL`` is True, row-major; all masked positions when it is None.

        Returns:
            logits_NV, N = ``at_BL.sum()``; the mask id has ``-inf``.
        """
        at_BL = (x_BL == self.mask_id) if at_BL is None else at_BL
        out = self.body_at(x_BL, at_BL, cond, t_B, valid_BL=valid_BL, carry=carry)
        return self.head(out.h_BLD[at_BL])
