"""Healthy subjects that are unusual but right, and must not be blamed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from unmask.core.condition import Condition
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.record import Record
from unmask.diagnosis.subject import Batch, Generated, NotProvided, Split, State, Subject, Wrapped
from zoo.contract import ZooSubject
from zoo.own.by_hand import by_hand
from zoo.own.kept import Recipe
from zoo.own.loop import CausalLoop, Loop
from zoo.own.ours import system


class Mute(Wrapped):
    """Tells nothing that it need not tell: no steps, no record, no weights."""

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        out = self.inner.generate(batch, seed, **settings)
        return Generated(out.ids_BL, None, out.temperature, out.guidance, out.any_order)

    def record(self) -> Record:
        raise NotProvided("a record: this system keeps none")

    def weights(self) -> dict[str, torch.Tensor]:
        raise NotProvided("weights()")


class Reordered(Wrapped):
    """Answers rows of a batch in its own order, longest first, and puts them back: no fault."""

    def predict(self, state: State) -> torch.Tensor:
        row_B = state.at_BL.sum(1).argsort(descending=True)
        parts = [self.inner.predict(State(*_row(state, int(row)))) for row in row_B]
        back = [parts[int(i)] for i in row_B.argsort()]
        return torch.cat(back)


def _row(state: State, row: int) -> tuple[Any, ...]:
    part = slice(row, row + 1)
    cond = None if state.cond is None else state.cond[part]
    t_B = None if state.t_B is None else state.t_B[part]
    valid_BL = None if state.valid_BL is None else state.valid_BL[part]
    return state.x_BL[part], state.at_BL[part], cond, t_B, valid_BL


class Offset(Wrapped):
    """Logits with another constant added to each row, which no law of softmax sees."""

    def predict(self, state: State) -> torch.Tensor:
        logits_NV = self.inner.predict(state)
        return logits_NV + 5 * state.at_BL.nonzero()[:, 1:].float().sin()


class Rescaled(Wrapped):
    """Vectors that this system keeps in another unit, scaled back where they are read: no fault."""

    def data(self, n: int, split: Split = "held_out") -> Batch:
        batch = self.inner.data(n, split)
        assert batch.cond is not None
        return Batch(batch.ids_BL, Condition(batch.cond.latent_BZ * 4 / 4, batch.cond.present_B), texts=batch.texts)


def halved(subject: Any) -> Any:
    """Weights in bf16, answered in fp32 sums where torch does so."""
    net = copy.deepcopy(subject.network).to(torch.bfloat16)
    return subject.with_network(net)


def decoupled(subject: Any) -> Any:
    """The weights of the network's tables doubled and halved again by a later norm: the same function, bit by bit."""
    net = copy.deepcopy(subject.network)
    for w in net.parameters():
        w.data.mul_(2).div_(2)
    return subject.with_network(net)


def controls() -> list[ZooSubject]:
    """Every control."""

    def control(name: str, why: str, make: Callable[[], Subject], *has: Any) -> ZooSubject:
        return ZooSubject(f"control: {name}", frozenset(has), make, why)

    def planned(what: str, name: str, why: str, recipe: Recipe | None = None, **plan: Any) -> ZooSubject:
        recipe = recipe or Recipe()

        def make() -> Subject:
            return system(what, recipe, plan=DecodingPlan(**plan))

        return control(f"{what}, {name}", why, make, "masked")

    def hand(name: str, why: str, vector: bool, around: Callable[[Any], Subject]) -> ZooSubject:
        return control(f"by hand, {name}", why, lambda: around(by_hand(vector, Recipe())), "masked")

    lengths = Recipe(lengths=True)
    return [
        planned("sgdd", "top-k", "top-k 20, and said", order="random", top_k=20),
        planned("sgdd", "guided", "guidance 1.5, rightly done", order="random", guidance=1.5),
        planned("sgdd", "gumbel", "drawn by Gumbel's maximum", order="random", draw="gumbel"),
        planned(
            "sgdd", "margin", "the surest first, one at a time, at temperature .8", order="margin", temperature=0.8
        ),
        planned("sgdd", "first hitting", "times drawn, one token each", sampler="first_hitting"),
        planned("plain", "top-p", "top-p .95, and said", order="random", top_p=0.95),
        planned("plain", "left to right", "left to right, and said", order="left_to_right"),
        planned("plain", "cool", "temperature .8, and said", order="random", temperature=0.8),
        planned("plain", "few steps", "half of the steps, well shared out", order="random", quota="cosine", steps=16),
        planned("plain", "blocks", "blocks of 8, and said", order="random", block_length=8),
        planned("plain", "entropy", "lowest entropy first", order="entropy", temperature=0.9),
        planned("sgdd", "lengths", "draws its length, half of the steps", lengths, order="random", steps=16),
        control("sgdd, bf16", "weights in bf16", lambda: halved(system("sgdd", Recipe())), "masked"),
        control(
            "causal, top-k", "top-k 20, and said", lambda: system("causal", Recipe(), limits={"top_k": 20}), "causal"
        ),
        control("causal, cool", "temperature .8", lambda: system("causal", Recipe(), temperature=0.8), "causal"),
        control("causal, loop", "written by another loop", lambda: CausalLoop(system("causal", Recipe())), "causal"),
        control(
            "causal, cached",
            "written through its cache",
            lambda: CausalLoop(system("causal", Recipe()), True),
            "causal",
        ),
        control(
            "by hand, longer canvas",
            "a third of the canvas is padding more",
            lambda: by_hand(False, Recipe(canvas=32)),
            "masked",
        ),
        control("by hand, other seed", "another seed of training", lambda: by_hand(True, Recipe(seed=1)), "masked"),
        hand("loop", "written by another loop", True, Loop),
        hand("guided", "guidance 1.5, rightly done", True, lambda s: Loop(s, guidance=1.5)),
        hand("few steps", "a third of the steps, evenly shared out", True, lambda s: Loop(s, steps=8)),
        hand("top-k", "top-k 10, and said", False, lambda s: Loop(s, top_k=10)),
        hand("left to right", "left to right, and said", False, lambda s: Loop(s, order="left_to_right")),
        hand("cool", "temperature .8, and said", False, lambda s: Loop(s, temperature=0.8)),
        hand("mute", "tells neither steps nor weights nor record", False, Mute),
        hand("rows in its own order", "the batch is sorted and put back", False, Reordered),
        hand("offset", "a constant on each row of logits", True, Offset),
        hand("rescaled", "vectors kept in another unit", True, Rescaled),
        hand("weights written again", "the same weights, copied", False, decoupled),
    ]
