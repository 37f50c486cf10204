"""Faults of what is loaded: the network that answers is not the one that was trained, on every path alike.

The record is training's, so it was made before. Nothing else in the subject can tell.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.core.errors import UsageError
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.wrapper import Through
from unmask.models.denoiser import MaskedDiffusionModel
from zoo.contract import ZooFault
from zoo.own.loop import system_of

LATENT = frozenset({"masked", "latent"})


def changed(subject: Subject, change: Callable[[Any], Any]) -> Subject:
    """The subject around a copy of its network that went through ``change``, which may give another one back."""
    system = system_of(subject)
    net = copy.deepcopy(system.network)
    with torch.no_grad():
        other = change(net)
    return system.with_network(net if other is None else other)  # type: ignore[no-any-return]


def blocks(net: Any) -> list[nn.Module]:
    """The layers of any network of the zoo."""
    found = getattr(net, "blocks", None) or getattr(net, "layers", None)
    return list(found if found is not None else net.model.layers)


def reinitialised(net: Any, strength: float) -> None:
    """The middle layer's weights are drawn anew (half way there at half strength)."""
    noise = torch.Generator().manual_seed(1)
    for w in blocks(net)[len(blocks(net)) // 2].parameters():
        fresh = torch.randn(w.shape, generator=noise) * (w.std() if w.ndim > 1 else 0.0)
        w.lerp_(fresh, strength)


def last_lost(net: Any, strength: float) -> None:
    """The last layer's feed-forward weights are 0, as if they had not been in the file."""
    for name, w in blocks(net)[-1].named_parameters():
        if w.ndim > 1 and not any(part in name for part in ("attn", "attention", "q_", "k_", "v_", "o_")):
            w.mul_(1 - strength)


def rounded(net: Any, strength: float) -> None:
    """Weights rounded to 2 or 3 bits by a quantisation that nobody asked for."""
    levels = 2 ** (2 if strength == 1 else 3) - 1
    for w in net.parameters():
        if w.ndim > 1:
            scale = w.abs().max() / (levels / 2)
            w.copy_((w / scale).round() * scale)


def older(net: Any, strength: float) -> None:
    """Weights of an average that began at the first step and hardly moved on."""
    noise = torch.Generator().manual_seed(2)
    for w in net.parameters():
        if w.ndim > 1:
            w.lerp_(torch.randn(w.shape, generator=noise) * w.std(), 0.4 * strength)


def exchanged(net: Any) -> None:
    """Two layers stand in each other's place."""
    first, last = blocks(net)[0], blocks(net)[-1]
    kept = copy.deepcopy(first.state_dict())
    first.load_state_dict(last.state_dict())
    last.load_state_dict(kept)


def ids_moved(net: Any) -> None:
    """The ids of the loaded table stand in another order: new words were put in front of the old ones."""
    table = next(m for m in net.modules() if isinstance(m, nn.Embedding) and m.weight.shape[0] > 60)
    table.weight.copy_(torch.cat([table.weight[:3], table.weight[3:].roll(5, 0)]))


def unwhitened(net: Any, strength: float) -> None:
    """The whitening of the vector is the identity again (half way back at half strength)."""
    latent = getattr(net, "latent", None)
    if latent is None:
        raise UsageError("this fault is one of our models with a vector: no other network of the zoo whitens")
    latent.whiten.mean_Z.mul_(1 - strength)
    latent.whiten.map_ZZ.lerp_(torch.eye(len(latent.whiten.mean_Z)), strength)


def place_late(net: Any) -> None:
    """Absolute places begin at 1 where training began at 0."""
    place = getattr(net, "place", None) if not isinstance(net, MaskedDiffusionModel) else net.position
    if place is None:
        raise UsageError("this network learned no absolute places")
    place.copy_(place.roll(-1, 0))


def other_base(net: Any, strength: float) -> Any:
    """Rotary angles of another base than training's (10,000): 20, or 300 at half strength."""
    base = 20.0 if strength == 1 else 300.0
    if hasattr(net, "model") and hasattr(net.model, "rotary_emb"):
        rope = net.model.rotary_emb
        width = 2 * len(rope.inv_freq)
        rope.inv_freq.copy_(base ** (-torch.arange(0, width, 2).float() / width))
        return None
    if not isinstance(net, MaskedDiffusionModel) or not net.config.rope:
        raise UsageError("this network has no rotary positions")
    return _OtherBase(net, base)


class _Asked(Through):
    """A native network that is asked otherwise, with the parameters of the network itself."""

    def parameters(self) -> Any:
        """Those of the network."""
        return self.inner.parameters()  # type: ignore[attr-defined]


class _OtherBase(_Asked):
    """A native network whose module reads another table of angles while it answers."""

    def __init__(self, inner: MaskedDiffusionModel, base: float) -> None:
        super().__init__(inner)
        self.base = base

    def body(self, x_BL: Tensor, cond: Condition | None = None, t_B: Tensor | None = None, **more: Any) -> Body:
        """The network's, with these angles."""
        from unmask.models import denoiser, layers

        def rotary(length: int, width: int, device: torch.device, base: float = self.base) -> tuple[Tensor, Tensor]:
            return layers.rotary(length, width, device, base)

        kept = denoiser.rotary
        denoiser.rotary = rotary
        try:
            return super().body(x_BL, cond, t_B, **more)
        finally:
            denoiser.rotary = kept


class _Time(_Asked):
    """A native network that is told another time."""

    def __init__(self, inner: Any, strength: float) -> None:
        super().__init__(inner)
        self.strength = strength

    def body(self, x_BL: Tensor, cond: Condition | None = None, t_B: Tensor | None = None, **more: Any) -> Body:
        """The network's at a time between the true one and none."""
        return super().body(x_BL, cond, None if t_B is None else t_B * (1 - self.strength), **more)


def untimed(net: Any, strength: float) -> Any:
    """The time that reaches the network is 0 (half of it at half strength)."""
    if not isinstance(net, MaskedDiffusionModel) or not net.config.time_embedding:
        raise UsageError("this network takes no time")
    return _Time(net, strength)


def left_in_training(net: Any, strength: float) -> None:
    """Dropout stays on: features are dropped at random on every path that infers."""
    rate = 0.3 * strength

    def drop(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (nn.functional.dropout(output[0], rate), *output[1:])
        return nn.functional.dropout(output, rate)

    for layer in blocks(net)[:-1]:
        layer.register_forward_hook(drop)


def nearsighted(net: Any) -> None:
    """Attention reaches the two neighbours on each side alone (of torch's own layers)."""
    layers = [m for m in net.modules() if isinstance(m, nn.TransformerEncoderLayer)]
    if not layers:
        raise UsageError("this fault is planted into torch's own layers")

    def near(self: nn.TransformerEncoderLayer, h: Tensor, *others: Any, **more: Any) -> Tensor:
        n = torch.arange(h.shape[1])
        far = ((n[:, None] - n).abs() > 2) & (n > 0)  # the vector, in front, stays in sight
        return nn.TransformerEncoderLayer.forward(self, h, src_mask=far.masked_fill(n[:, None] == 0, False))

    for layer in layers:
        layer.forward = types.MethodType(near, layer)  # type: ignore[method-assign]


def faults() -> list[ZooFault]:
    """Every fault of this file."""

    def loaded(name: str, repair: str, change: Any, graded: bool = True, needs: Any = frozenset()) -> ZooFault:
        def plant(subject: Subject, strength: float) -> Subject:
            return changed(subject, (lambda net: change(net, strength)) if graded else change)

        return ZooFault(name, "loading", repair, plant, needs, graded)

    return [
        loaded("whitening_lost", "condition.scale", unwhitened, needs=LATENT),
        loaded("other_rotary_base", "network.positions", other_base),
        loaded("places_start_at_1", "network.positions", place_late, False, frozenset({"masked"})),
        loaded("one_layer_drawn_anew", "weights.loaded", reinitialised),
        loaded("feed_forward_lost", "weights.loaded", last_lost),
        loaded("rounded_weights", "weights.loaded", rounded),
        loaded("older_weights", "weights.loaded", older),
        loaded("layers_exchanged", "weights.loaded", exchanged, False),
        loaded("ids_moved", "tokenizer", ids_moved, False),
        loaded("time_lost", "network.time", untimed, needs=frozenset({"masked"})),
        loaded("dropout_stays_on", "network.mode", left_in_training),
        loaded("nearsighted", "network.attention", nearsighted, False, frozenset({"masked"})),
    ]
