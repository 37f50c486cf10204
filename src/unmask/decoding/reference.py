"""The public samplers' own random stream, token for token: for parity, not for speed.

The public samplers draw fp64 uniforms for every position and every id from torch's global generator, [B, L, V] a step,
and run the head everywhere. Under the same ``torch.manual_seed`` this module gives the same tokens (golden vectors:
``benchmarks/golden_parity.py``). The default path of :func:`unmask.decoding.sampler.generate` draws only what it needs
and gives other tokens of the same law.

One difference is kept: the mask id never gets probability here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError, did_you_mean
from unmask.core.sampling import restrict
from unmask.decoding.loop import SamplerOutput
from unmask.decoding.order import NoisyOrder, orders
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.quota import quotas
from unmask.decoding.quotas.threshold import ThresholdQuota
from unmask.decoding.rule import samplers

Style = Literal["llada", "fast_dllm", "dllm", "dream"]
STYLES = ("llada", "fast_dllm", "dllm", "dream")
#: Dream's last time before 0
EPS = 1e-3


@torch.no_grad()
def generate_reference(
    denoiser: Denoiser,
    x_BL: Tensor,
    plan: DecodingPlan,
    style: Style = "llada",
    *,
    cond: Condition | None = None,
    valid_BL: Tensor | None = None,
) -> SamplerOutput:
    """Write the masked positions as a public sampler would, from torch's global generator.

    Args:
        denoiser: the model; Dream's shift of the logits is the adapter's business, not the sampler's.
        x_BL: prompts, then mask ids.
        plan: ``llada``, ``fast_dllm`` and ``dllm`` take order ``drawn_prob`` (low_confidence) or ``random``, quota
            ``linear`` (``fast_dllm`` also ``threshold``), steps, block_length, temperature and prompt guidance;
            ``dream`` takes sampler ``ancestral`` (origin) or orders ``drawn_prob`` (maskgit_plus), ``margin``
            (topk_margin) and ``entropy``, their Gumbel coefficient as ``alg_temp``, steps, temperature, top_k, top_p.
        style: whose stream.
        cond, valid_BL: as for ``generate``.

    Raises:
        UsageError: a setting that this sampler does not know, or rows that it would damage.
    """
    if style not in STYLES:
        raise UsageError(f"no reference sampler is called {style!r}: {did_you_mean(str(style), STYLES)}")
    _check(plan, style)
    run = _Reference(denoiser, plan, cond, valid_BL, x_BL == denoiser.mask_id)
    out_BL = run.dream(x_BL.clone()) if style == "dream" else run.blocks(x_BL.clone(), style)
    forwards_B = torch.full((len(x_BL),), run.forwards)
    return SamplerOutput(out_BL, None, run.forwards, forwards_B, run.forwards * x_BL.numel(), plan)


@dataclass
class _Reference:
    denoiser: Denoiser
    plan: DecodingPlan
    cond: Condition | None
    valid_BL: Tensor | None
    fill_BL: Tensor
    forwards: int = 0

    def logits(self, x_BL: Tensor) -> Tensor:
        """[B, L, V], guided by hiding the prompt where the plan asks for it."""
        self.forwards += 1
        gamma, d = self.plan.guide.gamma, self.denoiser
        if gamma == 1:
            return self._plain(x_BL, self.cond, self.valid_BL)
        given_BL = ~self.fill_BL if self.valid_BL is None else ~self.fill_BL & self.valid_BL
        both_BL = torch.cat([x_BL, x_BL.masked_fill(given_BL, d.mask_id)])
        cond = None if self.cond is None else self.cond.cat(self.cond)
        with_BLV, without_BLV = self._plain(
            both_BL, cond, None if self.valid_BL is None else self.valid_BL.repeat(2, 1)
        ).chunk(2)
        mixed_BLV = without_BLV + gamma * (with_BLV - without_BLV)
        mixed_BLV[..., d.mask_id] = float("-inf")
        return mixed_BLV

    def _plain(self, x_BL: Tensor, cond: Condition | None, valid_BL: Tensor | None) -> Tensor:
        every_BL = torch.ones_like(x_BL, dtype=torch.bool)
        t_B = (x_BL == self.denoiser.mask_id).float().mean(1)
        return self.denoiser.logits(x_BL, every_BL, cond, t_B, valid_BL=valid_BL).view(*x_BL.shape, -1)

    # -- LLaDA, Fast-dLLM, dllm -------------------------------------------------------------------------------------
    def blocks(self, x_BL: Tensor, style: Style) -> Tensor:
        plan, mask_id = self.plan, self.denoiser.mask_id
        rank_BL = self.fill_BL.long().cumsum(1) - 1
        length = int(self.fill_BL.sum(1).max())
        width = plan.block_length or length
        count = -(-length // width)
        steps = plan.steps or length
        if style != "dllm" and (length % width or steps % count):
            raise UsageError(
                f"{style} needs length {length} divisible by block {width} and steps {steps} by {count} blocks"
            )
        low = orders.name_of(plan.order_leaf) == "drawn_prob"
        limit = plan.quota_leaf.least if isinstance(plan.quota_leaf, ThresholdQuota) else None
        for block in range(count):
            inside_BL = self.fill_BL & (rank_BL // width == block)
            share_BS = (_rounded if style == "dllm" else _even)(inside_BL.sum(1), -(-steps // count))
            step = 0
            while step < share_BS.shape[1] or limit is not None:
                if style == "fast_dllm" and not bool((inside_BL & (x_BL == mask_id)).any()):
                    break
                logits_BLV = self.logits(x_BL)
                value_BL = _gumbel(logits_BLV, plan.temperature).argmax(-1)
                wide_BLV = logits_BLV.double() if style == "fast_dllm" else logits_BLV
                if low:
                    score_BL = wide_BLV.softmax(-1).gather(-1, value_BL[..., None])[..., 0]
                else:
                    score_BL = torch.rand(x_BL.shape, device=x_BL.device)
                open_BL = (x_BL == mask_id) & inside_BL
                score_BL = score_BL.masked_fill(~open_BL, float("-inf"))
                for row in range(len(x_BL)):
                    amount = int(open_BL[row].sum()) if limit is not None else int(share_BS[row, step])
                    best = score_BL[row].topk(amount).indices
                    if limit is not None:
                        best = best[(score_BL[row, best] >= limit) | (torch.arange(amount, device=best.device) == 0)]
                    x_BL[row, best] = value_BL[row, best]
                step += 1
        return x_BL

    # -- Dream ------------------------------------------------------------------------------------------------------
    def dream(self, x_BL: Tensor) -> Tensor:
        plan, mask_id = self.plan, self.denoiser.mask_id
        hidden_B = self.fill_BL.sum(1)
        if int(hidden_B.min()) != int(hidden_B.max()):
            raise UsageError("dream shares one number over the batch: rows must mask equally many positions")
        steps = plan.steps or int(hidden_B.max())
        times = torch.linspace(1, EPS, steps + 1, device=x_BL.device)
        for step in range(steps):
            open_BL = x_BL == mask_id
            logits_NV = self.logits(x_BL)[open_BL]
            last = step == steps - 1
            gone = 1 - times[step + 1] / times[step]
            if samplers.name_of(plan.sampler_leaf) == "ancestral":
                shown_N = torch.rand(len(logits_NV), device=x_BL.device) < (1 if last else gone)
                value_N = torch.full_like(x_BL[open_BL], mask_id)
                value_N[shown_N] = self._draw(logits_NV[shown_N])[0]
                x_BL[open_BL] = value_N
                continue
            value_N, score_N = self._draw(logits_NV)
            mean = open_BL.sum() / len(x_BL)
            amount = int(mean) if last else int(mean * gone)
            if amount == 0:
                continue
            score_BL = torch.full(x_BL.shape, float("-inf"), dtype=logits_NV.dtype, device=x_BL.device)
            score_BL[open_BL] = score_N.to(score_BL.dtype)
            heat = getattr(plan.order_leaf, "coefficient", 0.0)
            if heat:
                chosen_BK = torch.multinomial((score_BL / heat).softmax(-1), num_samples=amount)
            else:
                chosen_BK = score_BL.topk(amount).indices
            new_BL = x_BL.clone()
            new_BL[open_BL] = value_N
            x_BL.scatter_(1, chosen_BK, new_BL.gather(1, chosen_BK))
        return x_BL

    def _draw(self, logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Values and Dream's confidence, both under temperature, top-p and then top-k."""
        plan = self.plan
        logits_NV = restrict(logits_NV, temperature=plan.temperature, top_p=plan.top_p)
        p_NV = restrict(logits_NV, top_k=plan.top_k).softmax(-1)
        score_N, value_N = p_NV.max(-1)
        if plan.temperature > 0 and len(p_NV):
            value_N = torch.multinomial(p_NV, 1, replacement=True)[:, 0]
            score_N = p_NV.gather(1, value_N[:, None])[:, 0]
        name = orders.name_of(plan.order_leaf)
        if name == "margin":
            two_N2 = p_NV.topk(2, dim=-1).values
            score_N = two_N2[:, 0] - two_N2[:, 1]
        elif name == "entropy":
            score_N = (p_NV * (p_NV + 1e-10).log()).sum(-1)
        return value_N, score_N


def _gumbel(logits_BLV: Tensor, temperature: float) -> Tensor:
    """The field's Gumbel trick in probability space: exp(l) / (-log u)^T, fp64."""
    if temperature == 0:
        return logits_BLV
    noise_BLV = torch.rand_like(logits_BLV, dtype=torch.float64)
    return logits_BLV.double().exp() / (-noise_BLV.log()) ** temperature


def _even(size_B: Tensor, steps: int) -> Tensor:
    """LLaDA's share [B, steps]: the same each step, what is left over at the start."""
    step_S = torch.arange(steps, device=size_B.device)
    return size_B[:, None] // steps + (step_S < (size_B % steps)[:, None])


def _rounded(size_B: Tensor, steps: int) -> Tensor:
    """dllm's share on a linear schedule: what is left / steps left, rounded half to even; empty steps are left out."""
    rows = []
    for left in size_B.tolist():
        share = []
        for step in range(steps, 0, -1):
            # in fp32 by way of 1 - alpha: halves must round as they do there
            late, early = (1 - (1 - torch.tensor(time / steps)) for time in (step, step - 1))
            now = min(left, round(left * (1 - float(early / late))))
            share += [now] if now else []
            left -= now
        rows.append(torch.tensor(share, dtype=torch.int64))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(size_B.device)


def _check(plan: DecodingPlan, style: Style) -> None:
    """Refuse what the sampler does not know: an ignored setting would make parity a lie."""
    sampler = samplers.name_of(plan.sampler_leaf)
    known = {"temperature", "steps", "sampler", "order", "quota", "seed"}
    known |= {"top_k", "top_p"} if style == "dream" else {"block_length", "guidance"}
    for name, value in plan.to_dict().items():
        if name not in known:
            raise UsageError(f"{name}={value!r} is unknown to the {style} sampler: leave it out of a reference run")
    if style == "fast_dllm" and plan.guide.active:
        raise UsageError("the fast_dllm sampler has no guidance: leave it at 1 in a reference run")
    if sampler == "ancestral" and style == "dream":
        return
    order, quota = orders.name_of(plan.order_leaf), quotas.name_of(plan.quota_leaf)
    allowed = ("drawn_prob", "margin", "entropy") if style == "dream" else ("drawn_prob", "random")
    if sampler != "maskgit" or getattr(plan.sampler_leaf, "rerank", False) or order not in allowed:
        raise UsageError(f"the {style} sampler knows the orders {', '.join(allowed)}, not {order!r} under {sampler!r}")
    leaf = plan.order_leaf
    noisy = isinstance(leaf, NoisyOrder) and leaf.noise != "none"
    if noisy and (style != "dream" or leaf.noise != "gumbel" or leaf.annealed):  # type: ignore[attr-defined]
        raise UsageError(f"the {style} sampler does not know the noise of order {orders.spec_of(leaf)!r}")
    if quota != "linear" and not (quota == "threshold" and style == "fast_dllm"):
        raise UsageError(f"the {style} sampler does not know quota {quota!r}: use 'linear'")
