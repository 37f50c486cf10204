"""A plain sampler, and the same with one fault each: written before the checks that find them."""

from __future__ import annotations

import torch


def sample(
    model,
    x,
    steps,
    temperature,
    mask_id,
    *,
    quota="row",
    ties="random",
    heat=1.0,
    stale=False,
    stop=0,
    touch=False,
    keep_drawn=False,
    extra=0,
):
    """Confidence order with noise to break ties; temperature 0 takes the most probable value."""
    x = x.clone()
    before = None
    start = (x == mask_id).sum(1)
    for step in range(steps - stop):
        fresh = model(x).logits.double()
        logits, before = (before if stale and before is not None else fresh), fresh
        for _ in range(extra):
            model(x)
        masked = x == mask_id
        p = logits.softmax(-1)
        if temperature == 0:
            values = logits.argmax(-1)
        else:
            hot = (logits / (temperature * heat)).softmax(-1)
            values = torch.multinomial(hot.flatten(0, 1), 1).view(x.shape)
        surest = p.gather(-1, values[..., None])[..., 0] if keep_drawn else p.amax(-1)
        if ties == "random":
            surest = surest + 1e-9 * torch.rand(surest.shape, dtype=torch.float64)
        else:
            surest = surest - 1e-9 * torch.arange(x.shape[1])
        surest = surest.masked_fill(~masked, -1)
        left = masked.sum(1)
        many = -(-left // (steps - step)) if step < steps - 1 else left
        if quota == "batch":
            many = (start.double().mean() / steps).ceil().long().expand(len(x)).minimum(left)
            many = left if step == steps - 1 else many
        rank = surest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        write = masked & (rank < many[:, None])
        x = torch.where(write, values, x)
        if touch:
            x[:, 0] = values[:, 1]
    return x


def faulty(**fault):
    def run(model, x, steps, temperature, mask_id):
        return sample(model, x, steps, temperature, mask_id, **fault)

    return run
