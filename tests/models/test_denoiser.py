"""Contracts of the native denoiser, over its conditionings and options."""

import inspect
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GenerationConfig

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.initial import start_embeddings
from unmask.models.layers import rotary
from unmask.models.tidal import TidalConfig

KINDS = {
    "plain": {},
    "time": dict(time_embedding=True),
    "adaln": dict(conditioning="adaln", latent_dim=6, latent_tokens=3, time_embedding=True),
    "adaln no prefix": dict(conditioning="adaln", latent_dim=6),
    "cross": dict(conditioning="cross", latent_dim=6, latent_tokens=2),
    "vib": dict(conditioning="adaln", latent_dim=6, latent_tokens=2, bottleneck=4),
    "self-conditioned": dict(self_conditioning=True, conditioning="adaln", latent_dim=6),
    "bag": dict(conditioning="adaln", latent_dim=6, latent_tokens=2, bag_of_words=5),
    "bag, loops": dict(conditioning="adaln", latent_dim=6, bag_of_words=3, loops=2, deep_supervision=True),
    "bag, cross, vib, self-conditioned": dict(
        conditioning="cross", latent_dim=6, latent_tokens=2, bottleneck=4, bag_of_words=5, self_conditioning=True
    ),
    "relations, looped": dict(relations=2, loops=2, rope=False),
    "loops that see the input again": dict(loops=3, input_injection=True, deep_supervision=True),
    "gated": dict(gated=True),
}
MASK, V, L = 2, 23, 8


def build(kind: str) -> MaskedDiffusionModel:
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=V, max_position_embeddings=L, dim=16, layers=2, heads=2, ffn_dim=24, **KINDS[kind]
    )
    net = MaskedDiffusionModel(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3)  # away from the zero gates, so that every path counts
    if config.relations:
        net.set_relations((torch.rand(2, L, L) > 0.5).float())
    return net


def batch(net: MaskedDiffusionModel, rows: int = 5):
    x = torch.randint(3, V, (rows, L), generator=generator(1))
    x[:, ::2] = MASK
    z = torch.randn(rows, 6, generator=generator(2))
    return x, Condition.of(z) if net.conditional else None


@pytest.fixture(params=KINDS, ids=str)
def net(request):
    return build(request.param)


def test_rows_asked_for_are_the_rows_of_the_whole(net):
    x, cond = batch(net)
    everything = net.logits(x, torch.ones_like(x, dtype=torch.bool), cond).view(*x.shape, V)
    at = torch.rand(x.shape, generator=generator(3)) < 0.4
    torch.testing.assert_close(net.logits(x, at, cond), everything[at])
    torch.testing.assert_close(net.logits(x, None, cond), everything[x == MASK])


def test_the_last_layer_runs_where_it_is_read(net):
    x, cond = batch(net)
    at = torch.rand(x.shape, generator=generator(3)) < 0.3
    found = {}
    for name, states in {"whole": lambda: net.body(x, cond), "cut": lambda: net.body_at(x, at, cond)}.items():
        net.zero_grad()
        with FlopCounterMode(display=False) as counter:
            rows = states().h_BLD[at]
        (rows * torch.linspace(-1, 1, rows.shape[1])).sum().backward()
        grads = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        found[name] = (rows.detach(), grads, counter.get_total_flops())
    torch.testing.assert_close(found["cut"][0], found["whole"][0])
    torch.testing.assert_close(found["cut"][1], found["whole"][1], rtol=1e-4, atol=1e-4)
    needs_all = net.recall is not None or net.config.conditioning == "cross"
    assert (found["cut"][2] < found["whole"][2]) != needs_all


def test_gradient_checkpointing_gives_the_same_gradients(net):
    x, cond = batch(net)
    at = torch.rand(x.shape, generator=generator(3)) < 0.3
    found = []
    for on in (False, True):
        if on:
            net.gradient_checkpointing_enable()
        net.zero_grad()
        kept = {}
        note = partial(weighed, kept)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            rows = net.body_at(x, at, cond).h_BLD[at]
        (rows * torch.linspace(-1, 1, rows.shape[1])).sum().backward()
        grads = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        found.append((rows.detach(), grads, sum(kept.values())))
    torch.testing.assert_close(found[1][:2], found[0][:2])
    assert found[1][2] < 0.6 * found[0][2], "what lies inside a layer is not kept"
    net.gradient_checkpointing_disable()


def weighed(kept, tensor):
    kept[tensor.data_ptr()] = tensor.nbytes
    return tensor


def test_mask_id_never_gets_mass(net):
    x, cond = batch(net)
    assert (net.logits(x, cond=cond).softmax(-1)[:, MASK] == 0).all()


def test_batch_and_padding_change_nothing(net):
    x, cond = batch(net)
    at = torch.ones_like(x, dtype=torch.bool)
    t = torch.full((5,), 0.5)
    whole = net.logits(x, at, cond, t).view(5, L, V)
    for b in range(5):
        one = net.logits(x[b : b + 1], at[:1], None if cond is None else cond[b : b + 1], t[:1])
        torch.testing.assert_close(one, whole[b])
    short = x[:, : L - 3]
    alone = net.logits(short, at[:, : L - 3], cond, t)
    valid = torch.ones_like(at)
    valid[:, L - 3 :] = False
    padded = net.logits(x, valid, cond, t, valid_BL=valid)
    torch.testing.assert_close(padded, alone)


def test_save_and_load_are_identical(net, tmp_path):
    x, cond = batch(net)
    before = net.logits(x, cond=cond)
    net.save_pretrained(tmp_path)
    again = MaskedDiffusionModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again.logits(x, cond=cond), before)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_all_masked_canvas_is_position_aware(net):
    x, cond = batch(net)
    logits = net.logits(torch.full_like(x, MASK), None, cond).view(5, L, V)
    assert (logits[:, 0, 3:] - logits[:, 1, 3:]).abs().max() > 1e-3


def test_rope_alone_cannot_tell_masked_positions():
    """Lesson 2 of the SGDD case: without absolute positions every position gets identical logits."""
    config = MaskedDiffusionConfig(
        vocab_size=V,
        max_position_embeddings=L,
        dim=16,
        layers=2,
        heads=2,
        ffn_dim=24,
        absolute=False,
        conditioning="cross",
        latent_dim=6,
        latent_tokens=1,
    )
    net = MaskedDiffusionModel(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3)
    logits = net.logits(torch.full((2, L), MASK), None, Condition.of(torch.randn(2, 6))).view(2, L, V)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["adaln", "adaln no prefix", "cross", "vib", "bag"])
def test_condition_null_and_rows(kind):
    net = build(kind)
    x, cond = batch(net)
    other = Condition.of(cond.latent_BZ.roll(1, 0))
    assert not torch.allclose(net.logits(x, cond=cond)[:, 3:], net.logits(x, cond=other)[:, 3:])
    # unconditional rows do not depend on the vector they carry, and None means the same
    torch.testing.assert_close(net.logits(x, cond=cond.nulled()), net.logits(x, cond=other.nulled()))
    torch.testing.assert_close(net.logits(x, cond=cond.nulled()), net.logits(x))
    mixed = cond.drop(torch.tensor([True, False, True, False, False]))
    rows = net.logits(x, torch.ones_like(x, dtype=torch.bool), mixed).view(5, L, V)
    whole = net.logits(x, torch.ones_like(x, dtype=torch.bool), cond).view(5, L, V)
    null = net.logits(x, torch.ones_like(x, dtype=torch.bool)).view(5, L, V)
    torch.testing.assert_close(rows[1], whole[1])
    torch.testing.assert_close(rows[0], null[0])


def test_null_condition_gets_gradient_of_dropped_rows():
    net = build("adaln")
    x, cond = batch(net)
    c = MaskingProcess().corrupt(x.clamp(min=3), MASK, generator(0))
    token_losses(net, c, cond).loss.backward()
    assert net.latent.null_steer.grad is None or net.latent.null_steer.grad.abs().max() == 0
    net.zero_grad()
    token_losses(net, c, cond.drop(torch.tensor([True] + [False] * 4))).loss.backward()
    assert net.latent.null_steer.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["vib", "bag, cross, vib, self-conditioned"])
def test_bottleneck_kl_is_the_closed_form(kind):
    net = build(kind)
    x, cond = batch(net)
    out = net.body(x, cond.drop(torch.tensor([False, True, False, False, False])))
    mu, logvar = net.latent.bottleneck.posterior(net.latent.whiten(cond.latent_BZ))
    q = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    want = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(out.kl_BZ[0], want[0])
    assert out.kl_BZ[1].abs().max() == 0
    # nothing passes around it: with mu and its noise silenced the vector no longer matters
    with torch.no_grad():
        net.latent.bottleneck.mu.weight.zero_()
    other = Condition.of(cond.latent_BZ.roll(1, 0))
    torch.testing.assert_close(net.logits(x, cond=cond), net.logits(x, cond=other))


def test_whitening_gives_unit_covariance():
    net = build("adaln")
    mix = torch.randn(6, 6, generator=generator(5))
    z = torch.randn(4000, 6, generator=generator(6)) @ mix + 3.0
    net.latent.whiten.fit(z, shrink=0.0)
    white = net.latent.whiten(z)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.T @ white / 3999, torch.eye(6), atol=1e-3, rtol=0)


def test_self_conditioning_acts_through_the_carry_alone():
    net = build("self-conditioned")
    x, cond = batch(net)
    first = net.body(x, cond)
    again = net.body(x, cond, carry=first.carry)
    assert not torch.allclose(first.h_BLD, again.h_BLD)
    torch.testing.assert_close(net.body(x, cond).h_BLD, first.h_BLD)


def test_relations_reach_the_logits_and_get_gradient():
    net = build("relations, looped")
    x, _ = batch(net)
    before = net.logits(x)
    after = net.body(x, relations_RLL=torch.zeros(2, L, L))
    assert not torch.allclose(before[:, 3:], net.head(after.h_BLD[x == MASK])[:, 3:])
    token_losses(net, MaskingProcess().corrupt(x.clamp(min=3), MASK, generator(0))).loss.backward()
    assert net.blocks[0].attn.relation.grad.abs().max() > 0


def test_deep_supervision_is_the_mean_loss_of_every_loop():
    net = build("loops that see the input again")
    clean = torch.randint(3, V, (6, L), generator=generator(3))
    corruption = MaskingProcess().corrupt(clean, MASK, generator(4))
    fewer = []
    for loops in (1, 2, 3):
        net.config.loops = loops
        fewer.append(token_losses(net, corruption))
    deep = token_losses(net.train(), corruption)
    torch.testing.assert_close(deep.loss, sum(f.loss for f in fewer) / 3)
    torch.testing.assert_close(deep.ce_N, fewer[-1].ce_N)
    net.config.deep_supervision = False
    torch.testing.assert_close(token_losses(net, corruption).loss, fewer[-1].loss)


def test_input_injection_adds_the_embedded_canvas():
    net = build("loops that see the input again")
    x, _ = batch(net)
    start = net.embed(x) + net.position[:L]
    turn = rotary(L, 8, x.device)
    state = start
    for loop in range(3):
        state = state if loop == 0 else state + start
        for block in net.blocks:
            state = block(state, turn, None, None, None, None)
    torch.testing.assert_close(net.body(x).h_BLD, net.norm(state))


def test_embeddings_start_from_an_encoder():
    net = build("plain")
    words = torch.randn(V, 40, generator=generator(7))
    words[MASK] = float("nan")
    kept = net.embed.weight[MASK].clone()
    start_embeddings(net.embed, net.config.dim, words)
    torch.testing.assert_close(net.embed.weight[MASK], kept)
    mine = net.embed.weight.detach()[3:]
    centred = words[3:] - words[torch.arange(V) != MASK].mean(0)
    both = torch.stack([(mine @ mine.T).flatten(), (centred @ centred.T).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.7  # 16 of 40 directions keep most of the inner products
    bag = build("bag")
    table = bag.bag_table_VW.detach().clone()
    start_embeddings(bag.embed, bag.config.dim, words)
    assert torch.equal(bag.bag_table_VW, table) and torch.equal(bag.embed.weight[3:, :16], mine)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(conditioning="film"), "conditioning='film'"),
        (dict(conditioning="adaln"), "latent_dim"),
        (dict(conditioning="cross", latent_dim=4), "latent_tokens"),
        (dict(dim=30, heads=4), "multiple of heads"),
        (dict(mask_token_id=99), "mask_token_id=99"),
        (dict(bag_of_words=4), "bag_of_words=4 must be"),
        (dict(bag_of_words=-1, conditioning="adaln", latent_dim=4), "bag_of_words=-1 must be"),
    ],
)
def test_wrong_settings_are_named(settings, said):
    with pytest.raises(UsageError, match=said):
        MaskedDiffusionConfig(**{"vocab_size": V, **settings})


def test_too_long_and_wrong_latents_are_refused():
    net = build("adaln")
    with pytest.raises(UsageError, match="longer than the model's 8"):
        net.body(torch.full((1, 9), MASK))
    with pytest.raises(UsageError, match="width 5"):
        net.body(torch.full((1, 4), MASK), Condition.of(torch.zeros(1, 5)))


@pytest.mark.parametrize("kind", ["adaln", "adaln no prefix", "cross", "vib", "bag"])
def test_bf16_weights_answer_as_fp32_ones_to_bf16_rounding(kind):
    net = build(kind)
    x, cond = batch(net)
    exact = net.logits(x, cond=cond)
    seen = exact.isfinite()
    rounded = net.bfloat16().logits(x, cond=cond).float()
    assert (rounded[seen] - exact[seen]).std() < 0.1 * exact[seen].std()


def test_configs_hold_no_setting_of_generate():
    """transformers 5.23 refuses to save such a config, and the checkpoint with it; folders of before are still read."""
    for config in (MaskedDiffusionConfig(), TidalConfig()):
        own = set(inspect.signature(type(config)).parameters)
        assert own & GenerationConfig().to_dict().keys() == {"pad_token_id", "eos_token_id"} & own
        old = config.to_dict()
        old["max_length"] = old.pop("max_position_embeddings") + 5
        assert type(config).from_dict(old).max_position_embeddings == config.max_position_embeddings + 5


def test_latents_that_are_all_one_are_refused():
    """Their covariance has no mean eigenvalue: the map would be NaN, found out when the first text is written."""
    from unmask.models.latent import Whitening

    for rows in (1, 5):
        with pytest.raises(UsageError, match=f"all {rows} training latents are one vector"):
            Whitening(4).fit(torch.ones(rows, 4))
