"""Every registered order, quota, sampler and remasker, with every one of its examples, keeps the same promises."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from decoding_toy import MASK, CachingNet, TinyNet, canvas
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import Stream
from unmask.core.registry import Leaf, Registry
from unmask.decoding import DecodingPlan, Order, Trace, generate
from unmask.decoding.cache import caches
from unmask.decoding.order import orders
from unmask.decoding.quota import quotas
from unmask.decoding.remask import remaskers
from unmask.decoding.rule import samplers

BASE: dict[str, dict[str, Any]] = {
    "order": {"quota": "linear", "steps": 5},
    "quota": {"order": "top_prob"},
    "sampler": {"seed": 3},
    "remasking": {"sampler": "ancestral", "steps": 8},
    "cache": {"quota": "linear", "block_length": 6, "order": "top_prob"},
}
#: how sure the toy network is: adaptive quotas see nothing in a flat one
SHARP = {"order": 1.5, "quota": 8.0, "sampler": 1.5, "remasking": 1.5, "cache": 1.5}
REGISTRIES: dict[str, Registry[Any]] = {
    "order": orders,
    "quota": quotas,
    "sampler": samplers,
    "remasking": remaskers,
    "cache": caches,
}


def net_for(plan: DecodingPlan, sharp: float = 3.0) -> TinyNet:
    return (TinyNet if plan.cache is None else CachingNet)(sharp=sharp)


def plan_with(field: str, leaf: Leaf) -> DecodingPlan:
    settings = {**BASE[field], field: leaf}
    uses_steps = field == "quota" and leaf.uses_steps  # type: ignore[attr-defined]
    if uses_steps or (field == "sampler" and "steps" in leaf.uses):  # type: ignore[attr-defined]
        settings["steps"] = 5
    if field == "sampler" and "order" in leaf.uses:  # type: ignore[attr-defined]
        settings["order"] = "top_prob:noise=gumbel,coefficient=1.0"
    return DecodingPlan(**settings)


CASES = [
    pytest.param(plan_with(field, leaf), id=f"{field}-{registry.spec_of(leaf)}")
    for field, registry in REGISTRIES.items()
    for name in registry
    for leaf in registry.get(name).examples()
]
BLOCKS = [
    pytest.param(dataclasses.replace(p.values[0], block_length=4), id=f"{p.id}-blocks")  # type: ignore[type-var]
    for p in CASES
]


@pytest.mark.parametrize("plan", [*CASES, *BLOCKS])
def test_promises(plan: DecodingPlan, tmp_path: Path) -> None:
    net, x_BL = net_for(plan), canvas(rows=5)
    out = generate(net, x_BL, plan, trace="full")
    given_BL = x_BL != MASK
    assert torch.equal(out.sequences[given_BL], x_BL[given_BL]), "a given token changed"
    assert not (out.sequences == MASK).any(), "a mask was left"
    assert torch.equal(generate(net, x_BL, plan, trace=None).sequences, out.sequences), "the seed does not reproduce"
    other = generate(net, x_BL, dataclasses.replace(plan, seed=plan.seed + 1))
    assert not torch.equal(other.sequences, out.sequences), "the seed changes nothing"
    for row in (4, 0, 2):
        alone = generate(net, x_BL[row : row + 1], plan, row_ids_B=torch.tensor([row]))
        assert torch.equal(alone.sequences[0], out.sequences[row]), f"row {row} alone differs from the batch"
        assert int(alone.forwards) == int(out.forwards_B[row])
    # forwards as declared: those counted, at most one a position or a step, and no row in a pass it does not need
    net.calls.clear()
    again = generate(net, x_BL, plan)
    assert sum(net.calls) == int(again.forwards_B.sum())
    if plan.cache is None:  # a step refreshes some rows and not others, in two calls
        assert again.forwards == len(net.calls) and again.body_rows == sum(net.calls) * x_BL.shape[1]
    else:
        assert again.body_rows < sum(net.calls) * x_BL.shape[1]
    assert again.forwards == int(again.forwards_B.max())
    hidden_B = (x_BL == MASK).sum(1)
    limit_B = hidden_B if plan.remasking is None else torch.full_like(hidden_B, plan.steps or 0)
    if plan.steps is not None and plan.block_length is None:
        limit_B = limit_B.clamp(max=plan.steps)
    assert (again.forwards_B <= limit_B).all()
    # the trace
    trace = out.trace
    assert trace is not None and torch.equal(trace.replay(), out.sequences)
    assert torch.equal(trace.replay(0), x_BL)
    write = trace.events["kind"] == 0
    p, margin = trace.events["probability"][write], trace.events["margin"][write]
    assert ((p > 0) & (p <= 1)).all() and ((margin >= 0) & (margin <= 1)).all()
    best = trace.events["rank"][write] == 0
    assert (trace.events["probability"][write][~best] <= 0.5).all()
    path = trace.save(tmp_path / "trace.json")
    loaded = Trace.load(path)
    assert torch.equal(loaded.replay(), out.sequences) and loaded.plan == trace.plan
    for name in trace.events.columns:
        assert torch.equal(torch.nan_to_num(loaded.events[name]), torch.nan_to_num(trace.events[name])), name


@pytest.mark.parametrize(
    ("plan", "forwards"),
    [
        (DecodingPlan(quota="one"), 9),
        (DecodingPlan(quota="linear", steps=4), 4),
        (DecodingPlan(quota="linear", steps=50), 9),
        (DecodingPlan(quota="linear"), 9),
        (DecodingPlan(quota="cosine", steps=3), 3),
        (DecodingPlan(sampler="first_hitting"), 9),
        (DecodingPlan(quota="linear", steps=4, block_length=4), 4),
        (DecodingPlan(quota="linear", steps=1, block_length=4), 3),
        (DecodingPlan(quota="threshold:least=1.0"), 9),
        (DecodingPlan(quota="entropy_bound:nats=0"), 9),
        (DecodingPlan(quota="entropy_bound:nats=1000.0"), 1),
        (DecodingPlan(quota="factor:factor=1000.0"), 1),
        (DecodingPlan(quota="factor:factor=1e-9"), 9),
    ],
)
def test_forwards_are_what_the_plan_says(plan: DecodingPlan, forwards: int) -> None:
    """12 positions, 3 given: 9 to write."""
    assert generate(TinyNet(), canvas(rows=1), plan).forwards == forwards


@pytest.mark.parametrize("field", list(REGISTRIES))
def test_every_setting_of_every_leaf_changes_something(field: str) -> None:
    """An ignored setting fails here, and so does one that no example covers."""
    net, x_BL = (CachingNet if field == "cache" else TinyNet)(sharp=SHARP[field]), canvas(rows=6, length=20)

    def events(leaf: Leaf) -> list[Any]:
        found = generate(net, x_BL, plan_with(field, leaf)).trace
        assert found is not None
        return [found.events[c].tolist() for c in ("row", "step", "position", "value")]

    registry = REGISTRIES[field]
    for name in registry:
        cls = registry.get(name)
        default, *others = cls.examples()
        base = events(default)
        covered = set()
        for leaf in others:
            changed = [f.name for f in dataclasses.fields(cls) if getattr(leaf, f.name) != getattr(default, f.name)]
            covered.update(changed)
            assert events(leaf) != base, f"{field} {registry.spec_of(leaf)} changes nothing"
        assert covered == {f.name for f in dataclasses.fields(cls)}, f"{field} {name}: examples miss a setting"
    noisy = [c for c in (registry.get(n) for n in registry) if field == "order" and c.examples()[0] != c.examples()[-1]]
    for cls in noisy:
        *_, still, annealed = (events(e) for e in cls.examples())
        assert still != annealed, f"{cls.__name__}: annealed changes nothing"


@pytest.mark.parametrize("field", list(REGISTRIES))
def test_leaves_of_one_kind_differ(field: str) -> None:
    net, x_BL = (CachingNet if field == "cache" else TinyNet)(sharp=SHARP[field]), canvas(rows=6, length=20)
    seen: dict[str, str] = {}
    for name in REGISTRIES[field]:
        trace = generate(net, x_BL, plan_with(field, REGISTRIES[field].get(name).examples()[0])).trace
        assert trace is not None
        key = str([trace.events[c].tolist() for c in ("row", "step", "position", "value")])
        if field == "sampler":  # first_hitting is maskgit's random order one at a time, with a clock
            key += name
        assert key not in seen, f"{name} does what {seen[key]} does"
        seen[key] = name


PLANS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"steps": 5}, {"order": "entropy"}),
    ({"steps": 5}, {"quota": "linear"}),
    ({}, {"steps": 3}),
    ({}, {"temperature": 0.3}),
    ({}, {"temperature": 0.0}),
    ({}, {"top_k": 2}),
    ({}, {"top_p": 0.3}),
    ({}, {"repetition_penalty": 2.0}),
    ({}, {"guidance": 3.0}),
    ({"sampler": "ancestral", "steps": 8}, {"remasking": "rescale:eta=0.5"}),
    ({}, {"block_length": 2}),
    ({"block_length": 4}, {"cache": "dual"}),
    ({}, {"sampler": "ancestral"}),
    ({}, {"seed": 1}),
    ({}, {"draw": "gumbel"}),
    ({"order": "left_to_right", "quota": "one", "seed": 4}, {"stop_at_eos": True}),
]


@pytest.mark.parametrize(("base", "change"), PLANS, ids=lambda d: ",".join(f"{k}={v}" for k, v in d.items()))
def test_every_setting_of_the_plan_changes_the_output(base: dict[str, Any], change: dict[str, Any]) -> None:
    net, x_BL = CachingNet(sharp=1.5) if "cache" in change else TinyNet(sharp=1.5), canvas(rows=8, length=20)
    plain = generate(net, x_BL, DecodingPlan(**base)).sequences
    changed = generate(net, x_BL, DecodingPlan(**{**base, **change})).sequences
    assert not torch.equal(plain, changed)


def test_the_table_above_covers_the_plan() -> None:
    assert {k for _, change in PLANS for k in change} == {f.name for f in dataclasses.fields(DecodingPlan)}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"order": "margn"}, "did you mean 'margin'"),
        ({"order": "margin:nois=1"}, "did you mean 'noise'"),
        ({"order": "margin:coefficient=0.5"}, "no effect with noise='none'"),
        ({"order": "margin:noise=gumbel"}, "coefficient above 0"),
        ({"order": "random", "sampler": "ancestral"}, "order='random' has no effect with sampler 'ancestral'"),
        ({"steps": 4, "sampler": "first_hitting"}, "steps=4 has no effect"),
        ({"steps": 4, "quota": "one"}, "steps=4 has no effect with quota 'one'"),
        ({"remasking": "cap"}, "samplers that use it: ancestral"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": 0, "top_k": 5}, "top_k=5 has no effect at temperature=0"),
        ({"temperature": 0, "draw": "gumbel"}, "draw='gumbel' has no effect"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"draw": "fp32"}, "draw='fp32'"),
        ({"block_length": 0}, "block_length=0"),
        ({"cache": "duel"}, "did you mean 'dual'"),
        ({"cache": "dual:refresh=-1"}, "refresh=-1"),
        ({"repetition_penalty": 0}, "repetition_penalty=0"),
        ({"guidance": -0.5}, "gamma=-0.5"),
        ({"sampler": "ancestral", "remasking": "cap:eta=2.0"}, "eta=2.0"),
        ({"sampler": "ancestral", "remasking": "loop:t_on=0.01"}, "t_on=0.01"),
        ({"sampler": "ancestral", "remasking": "cap", "stop_at_eos": True}, "masked again"),
        ({"quota": "threshold:least=0.0"}, "least=0.0"),
        ({"quota": "factor:factor=0.0"}, "factor=0.0"),
        ({"quota": "entropy_bound:nats=-1.0"}, "nats=-1.0"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_a_plan_refuses_what_it_cannot_do(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match="(?s).*") as error:
        DecodingPlan(**settings)
    assert word in str(error.value) and "\n" not in str(error.value)


def test_a_plan_goes_to_plain_values_and_back() -> None:
    plan = DecodingPlan(order=orders.make("margin:noise=gumbel,coefficient=0.5"), steps=7, guidance=2.5)
    assert DecodingPlan(**plan.to_dict()).order_leaf == plan.order_leaf
    assert plan.to_dict() == {"order": "margin:noise=gumbel,coefficient=0.5", "steps": 7, "guidance": 2.5}


def test_an_order_from_outside_the_package_works_everywhere() -> None:
    @dataclass(frozen=True)
    class EvenFirst(Order):
        """Even places first."""

        def score(self, candidates: Any) -> torch.Tensor:
            return -(candidates.place_N % 2).double()

    orders.register(EvenFirst, name="even_first")
    try:
        trace = generate(TinyNet(), canvas(rows=2), DecodingPlan(order="even_first", quota="one")).trace
        assert trace is not None
        for row in range(2):
            parity = trace.events["position"][trace.events["row"] == row] % 2
            assert parity.tolist() == sorted(parity.tolist())
            # ties inside a parity are broken by noise, not from left to right
            even = trace.events["position"][(trace.events["row"] == row) & (trace.events["position"] % 2 == 0)].tolist()
            assert even != sorted(even)
    finally:
        orders.unregister("even_first")
    assert "even_first" not in orders


def test_orders_that_look_at_no_logits_cost_no_head_on_others() -> None:
    """One row of the head a written position, where a confidence order needs all that are hidden."""
    x_BL = canvas(rows=1)
    blind = generate(TinyNet(), x_BL, DecodingPlan(order="random", quota="one"), trace=None)
    seeing = generate(TinyNet(), x_BL, DecodingPlan(order="margin", quota="one"), trace=None)
    assert (blind.head_rows, seeing.head_rows) == (9, 9 * 10 // 2)


def test_streams_do_not_share_noise() -> None:
    assert len({int(s) for s in Stream}) == len(Stream)


def test_condition_and_carry_leave_with_their_rows() -> None:
    """Rows finish at different steps; what belongs to them goes with them."""
    x_BL = canvas(rows=4)
    x_BL[0, 3:] = 5
    x_BL[0, 7] = MASK
    cond = Condition.of(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))
    net = TinyNet(conditional=True, wants_carry=True)
    for settings in ({"quota": "one"}, {"quota": "one", "guidance": 2.0}, {"sampler": "ancestral", "steps": 6}):
        batch = generate(net, x_BL, DecodingPlan(**settings), cond=cond)
        for row in range(4):
            one = slice(row, row + 1)
            ids = torch.tensor([row])
            alone = generate(net, x_BL[one], DecodingPlan(**settings), cond=cond[one], row_ids_B=ids)
            assert torch.equal(alone.sequences[0], batch.sequences[row]), (settings, row)
    forgetful = TinyNet(conditional=True, wants_carry=False)
    plain = generate(forgetful, x_BL, DecodingPlan(quota="one"), cond=cond).sequences
    assert not torch.equal(plain, generate(net, x_BL, DecodingPlan(quota="one"), cond=cond).sequences)
