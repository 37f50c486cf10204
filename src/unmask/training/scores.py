"""Held-out losses while training: small, seeded, the same texts and masks at every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.random import Stream, generator
from unmask.data.canvas import text_positions
from unmask.data.text import evenly
from unmask.diffusion.bag_loss import bag_figures, bag_losses
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskedBatch, MaskingProcess
from unmask.models.denoiser import MaskedDiffusionModel, special_ids
from unmask.training.arguments import TrainArguments

#: upper edges of the mask-ratio bins; the fully masked state stands by itself
RATIO_EDGES = (0.25, 0.5, 0.75, 0.999, 1.0)
RATIO_NAMES = ("r25", "r50", "r75", "r99", "r100")


def held_out_scores(
    net: MaskedDiffusionModel,
    dataset: Any,
    collate: Callable[[list[Any]], dict[str, Tensor]],
    law: MaskingProcess,
    args: TrainArguments,
    batch_size: int = 64,
) -> dict[str, float]:
    """Losses in nats a text token (EOS in, PAD out) on ``eval_texts`` rows spread over a dataset.

    Returns:
        ``loss`` (mean over hidden tokens, their number uniform whatever the training law: comparable between runs),
        ``nelbo`` (nats a token given the condition, unbiased), ``kl_nats`` (of a bottleneck, nats a text),
        ``length_nats`` (of a model of lengths, nats a text; in the NELBO),
        ``loss_r25`` to ``loss_r100``, and for a conditional model ``loss_r100_null``, ``loss_r100_shuffled`` and the
        differences ``d_null``, ``d_shuf`` at r = 1: near zero means that the latent is ignored. With a bag of words
        ``bag_loss`` (nats a distinct token) and ``bag_recall30`` (share of a text's distinct tokens in its top 30).
    """
    device = next(net.parameters()).device
    chosen = evenly(len(dataset), args.eval_texts)
    rows = len(chosen)
    batch = collate([dataset[i] for i in chosen])
    ids_NL, length_N = batch["input_ids"], batch["length"]
    latent_NZ = batch.get("latent")
    shuffled = None if latent_NZ is None else latent_NZ.roll(1, 0)
    bound = MaskingProcess("count", antithetic=law.antithetic)
    sums = torch.zeros(3, len(RATIO_EDGES), dtype=torch.float64)
    nelbo, kl, bottleneck = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), False
    bag = torch.zeros(4, dtype=torch.float64)
    lengths: list[Tensor] = []
    full: dict[str, list[Tensor]] = {"true": [], "null": [], "shuffled": []}
    for start in range(0, rows, batch_size):
        part = slice(start, min(start + batch_size, rows))
        ids, length = ids_NL[part].to(device), length_N[part].to(device)
        cond = None if latent_NZ is None else Condition.of(latent_NZ[part].to(device))
        noise = generator(args.seed, start, Stream.CORRUPT)
        valid, width = None, ids.shape[1]
        if net.models_length:
            # texts alone, in a canvas as wide as the longest of these; the noise is that of the widest
            ids = ids[:, : int(length.max())]
            valid, width = text_positions(ids, length), net.config.max_position_embeddings
        hidden = bound.corrupt(ids, net.mask_id, noise, valid, width=width)
        found = token_losses(net, hidden, cond, tokens_B=length, valid_BL=valid)
        nelbo += found.row_nelbo().sum().double().cpu()
        if found.kl_BZ is not None:
            kl += found.kl_BZ.detach().sum().double().cpu()
            bottleneck = True
        sums += torch.stack(found.before(length).by_fraction(torch.tensor(RATIO_EDGES, device=device))).cpu()
        if found.length_nats_B is not None:
            lengths.append(found.length_nats_B.detach())
        if net.bag is not None and cond is not None:
            bag += bag_losses(net.bag_logits(cond), ids, length, special_ids(net)).sums(cond.present_B).double().cpu()
        everything = _all_hidden(ids, net.mask_id, valid)
        full["true"].append(_text_ce(net, everything, cond, length, valid))
        if cond is not None and shuffled is not None:
            full["null"].append(_text_ce(net, everything, cond.nulled(), length, valid))
            other = Condition.of(shuffled[part].to(device))
            full["shuffled"].append(_text_ce(net, everything, other, length, valid))
    ce, hits, count = sums
    scores = {"loss": float(ce.sum() / count.sum()), "nelbo": float(nelbo / length_N.sum())}
    if bottleneck:
        scores["kl_nats"] = float(kl / rows)
    if lengths:
        scores["length_nats"] = float(torch.cat(lengths).mean())
    scores |= bag_figures(bag)
    for i, name in enumerate(RATIO_NAMES[:-1]):
        if count[i]:
            scores[f"loss_{name}"], scores[f"accuracy_{name}"] = float(ce[i] / count[i]), float(hits[i] / count[i])
    at_one = {k: float(torch.cat(v).mean()) for k, v in full.items() if v}
    scores["loss_r100"] = at_one["true"]
    if "null" in at_one:
        scores["loss_r100_null"], scores["loss_r100_shuffled"] = at_one["null"], at_one["shuffled"]
        scores["d_null"] = at_one["null"] - at_one["true"]
        scores["d_shuf"] = at_one["shuffled"] - at_one["true"]
    return scores


def _all_hidden(ids_BL: Tensor, mask_id: int, valid_BL: Tensor | None) -> MaskedBatch:
    ones_B = torch.ones(len(ids_BL), device=ids_BL.device)
    everywhere = torch.ones_like(ids_BL, dtype=torch.bool) if valid_BL is None else valid_BL
    open_B = everywhere.sum(1)
    return MaskedBatch(ids_BL.masked_fill(everywhere, mask_id), ids_BL, everywhere, ones_B, ones_B, open_B)


def _text_ce(
    net: MaskedDiffusionModel,
    corruption: MaskedBatch,
    cond: Condition | None,
    length_B: Tensor,
    valid_BL: Tensor | None,
) -> Tensor:
    return token_losses(net, corruption, cond, valid_BL=valid_BL).before(length_B).ce_N
