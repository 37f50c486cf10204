"""The bag of words: closed forms of what it adds to the logits, of its loss, and where it must add nothing."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.decoding import packed_lm_head
from unmask.decoding.guidance import guide
from unmask.diffusion.bag_loss import bag_figures, bag_losses, tokens_held
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models.bag_of_words import BagOfWords
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel, special_ids

MASK, V, L, Z, W = 2, 23, 8, 6, 5


def build(**changed) -> MaskedDiffusionModel:
    torch.manual_seed(0)
    settings = dict(conditioning="adaln", latent_dim=Z, latent_tokens=2, bag_of_words=W)
    settings |= dict(vocab_size=V, max_position_embeddings=L, dim=16, layers=2, heads=2, ffn_dim=24)
    return MaskedDiffusionModel(MaskedDiffusionConfig(**{**settings, **changed})).eval()


def random_weights(net):
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3)
    return net


def plain_of(net):
    """The same network without its bag of words."""
    plain = build(**{**net.config.to_dict(), "bag_of_words": 0})
    held = {k: v for k, v in net.state_dict().items() if not k.startswith("bag.")}
    plain.load_state_dict({**held, "embed.weight": held["embed.weight"][:, :16]})
    return plain


def batch(rows=5):
    x = torch.randint(3, V, (rows, L), generator=generator(1))
    x[:, ::2] = MASK
    return x, Condition.of(torch.randn(rows, Z, generator=generator(2)))


def test_without_it_a_model_is_as_before():
    net = build(bag_of_words=0)
    assert net.bag is None and net.embed.weight.shape == (V, 16)
    assert not [name for name in net.state_dict() if "bag" in name]
    old = {k: v for k, v in net.config.to_dict().items() if k != "bag_of_words"}
    assert MaskedDiffusionConfig.from_dict(old).bag_of_words == 0
    with pytest.raises(UsageError, match="no bag of words"):
        net.bag_logits(batch()[1])


def test_a_fresh_one_starts_as_the_plain_model():
    net = build()
    x, cond = batch()
    assert torch.equal(net.logits(x, cond=cond), plain_of(net).logits(x, cond=cond))
    torch.testing.assert_close(torch.nn.functional.softplus(net.bag.gate.bias), torch.ones(W))


@pytest.mark.parametrize("more", [{}, {"conditioning": "cross"}, {"bottleneck": 3}, {"self_conditioning": True}])
def test_it_adds_gated_evidence_to_the_plain_logits(more):
    net = random_weights(build(**more))
    x, cond = batch()
    plain = plain_of(net)
    h = plain.body(x, cond).h_BLD
    words = net.latent.code(cond)[0] @ net.bag.to_words.weight.T
    gate = (1 + (h @ net.bag.gate.weight.T + net.bag.gate.bias).exp()).log()
    wanted = h @ plain.embed.weight.T + plain.head_bias + (gate * words[:, None]) @ net.embed.weight[:, 16:].T
    wanted[..., MASK] = float("-inf")
    torch.testing.assert_close(net.logits(x, cond=cond), wanted[x == MASK])
    assert not torch.allclose(wanted[x == MASK][:, 3:], plain.logits(x, cond=cond)[:, 3:], atol=1e-2)


def test_closed_gates_and_rows_without_a_vector_get_nothing():
    net = random_weights(build())
    x, cond = batch()
    drop = torch.tensor([True, False, True, False, False])
    some, plain = net.body(x, cond.drop(drop)).h_BLD, plain_of(net)
    assert (some[drop][..., 16:] == 0).all() and (some[~drop][..., 16:] != 0).all()
    torch.testing.assert_close(net.logits(x, cond=cond.nulled()), plain.logits(x, cond=cond.nulled()))
    with torch.no_grad():
        net.bag.gate.weight.zero_()
        net.bag.gate.bias.fill_(-1e4)
    torch.testing.assert_close(net.logits(x, cond=cond), plain.logits(x, cond=cond))


def test_the_carry_is_the_plain_state():
    net = random_weights(build(self_conditioning=True))
    x, cond = batch()
    out = net.body(x, cond)
    assert torch.equal(out.carry, out.h_BLD[..., :16])
    assert not torch.allclose(net.body(x, cond, carry=out.carry).h_BLD, out.h_BLD)


def test_chunked_cross_entropy_is_the_dense_one():
    net = random_weights(build()).double()
    x, cond = batch()
    cond = Condition.of(cond.latent_BZ.double())
    clean = torch.randint(3, V, (5, L), generator=generator(3))
    corruption = MaskingProcess().corrupt(clean, MASK, generator(4))
    found = []
    for dense in (False, True):
        net.zero_grad()
        if dense:
            logits = net.logits(corruption.x_BL, corruption.masked_BL, cond, corruption.fraction_B)
            loss = cross_entropy(logits, clean[corruption.masked_BL])
        else:
            loss = token_losses(net, corruption, cond).loss
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in net.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-8)
    assert found[0][1]["embed.weight"][:, 16:].abs().max() > 0 and found[0][1]["bag.gate.weight"].abs().max() > 0


@torch.no_grad()
def test_a_remembered_body_is_the_body():
    net = random_weights(build(latent_tokens=0))  # those are not run again
    x, cond = batch()
    states, memory = net.cached_body(x, cond)
    torch.testing.assert_close(states, net.body(x, cond).h_BLD)
    changed = x.clone()
    changed[:, 0] = 7
    again, _ = net.cached_body(changed, cond, at_BL=torch.ones_like(x, dtype=torch.bool), memory=memory)
    torch.testing.assert_close(again, net.body(changed, cond).h_BLD)
    # one position alone: its evidence goes by its own new state, the others stay as they are
    kept, at = again.clone(), torch.zeros_like(x, dtype=torch.bool)
    at[:, 4] = True
    x[:, 4] = 9
    alone, _ = net.cached_body(x, cond, at_BL=at, memory=memory)
    assert torch.equal(alone[~at], kept[~at]) and not torch.allclose(alone[at], kept[at])
    words = net.bag(net.latent.code(cond)[0], cond.present_B)
    torch.testing.assert_close(alone, net.bag.beside(alone[..., :16], words))


@pytest.mark.parametrize("calls", [1, 100])
def test_the_packed_head_and_guidance_over_it(monkeypatch, calls):
    monkeypatch.setattr(packed_lm_head, "FEWEST", 1)
    net = random_weights(build())
    x, cond = batch()
    with torch.no_grad():
        at = x == MASK
        h, other = net.body(x, cond).h_BLD[at], net.body(x, cond.nulled()).h_BLD[at]
        head = packed_lm_head.PackedLMHead(net, calls)
        for _ in range(2):
            torch.testing.assert_close(head(h), net.head(h))
            mixed, rows = head.guided(h, other, 2.0)
            wanted = guide(net.head(h), net.head(other), 2.0)
            torch.testing.assert_close(mixed.softmax(-1), wanted.softmax(-1))
            assert rows == len(h)


# -- the loss ---------------------------------------------------------------------------------------------------------
def test_which_tokens_are_held():
    ids = torch.tensor([[5, 6, 5, 1, 0, 0], [1, 0, 0, 0, 0, 0], [4, 9, 9, 9, 3, 1]])
    held = tokens_held(ids, torch.tensor([4, 1, 6]), [0, 1, 2], 10)
    assert [row.nonzero()[:, 0].tolist() for row in held] == [[5, 6], [], [3, 4, 9]]
    # what stands behind the text's end is not of it
    assert tokens_held(ids, torch.tensor([2, 1, 1]), [0, 1, 2], 10).sum(1).tolist() == [2, 0, 1]


def test_nats_and_recall_are_the_closed_form():
    ids, length = torch.tensor([[5, 6, 1, 0], [1, 0, 0, 0], [4, 4, 4, 1]]), torch.tensor([3, 1, 4])
    logits = torch.randn(3, 40, generator=generator(5)) - 1
    logits[:, MASK] = 50.0  # the likeliest, and no word
    found = bag_losses(logits, ids, length, [0, 1, 2])
    p = logits.sigmoid()[:, 3:]
    held = torch.zeros(3, 37)
    held[0, [2, 3]], held[2, 1] = 1.0, 1.0
    torch.testing.assert_close(found.nats_B, -(held * p.log() + (1 - held) * (1 - p).log()).sum(1))
    assert found.distinct_B.tolist() == [2, 0, 1]
    order = logits[:, 3:].argsort(1, descending=True)[:, :30] + 3
    wanted = [len({5, 6} & set(order[0].tolist())) / 2, len({4} & set(order[2].tolist()))]
    assert found.recall_B[[0, 2]].tolist() == wanted and math.isnan(found.recall_B[1])
    # rows without words, or without a vector, count for nothing
    sums = found.sums(torch.tensor([True, True, False]))
    torch.testing.assert_close(
        sums, torch.stack([found.nats_B[0], torch.tensor(2.0), found.recall_B[0], torch.ones(())])
    )
    assert bag_figures(sums)["bag_loss"] == pytest.approx(float(found.nats_B[0]) / 2)
    assert bag_figures(torch.zeros(4)) == {}


def test_the_prior_is_the_smoothed_log_odds_of_the_shares():
    bag = BagOfWords(4, 3, 8, 3)
    bag.fit_prior(torch.tensor([0.0, 0.25, 1.0]), 100)
    wanted = [math.log(0.5 / 100.5), math.log(25.5 / 75.5), math.log(100.5 / 0.5)]
    assert bag.prior_V.tolist() == pytest.approx(wanted, rel=1e-6)


def test_it_learns_the_log_odds_given_the_vector():
    """Four kinds of vectors, each with its own chances of the tokens: the optimum is known."""
    net = build(latent_dim=4, bag_of_words=4)
    g = generator(7)
    chance = 0.2 + 0.6 * torch.rand(4, V, generator=g)
    kind = torch.arange(4).repeat_interleave(200)
    held = torch.rand(800, V, generator=g) < chance[kind]
    ids = torch.where(held, torch.arange(V), 0)
    share = torch.stack([held[kind == k].double().mean(0) for k in range(4)])[:, 3:]
    cond = Condition.of(torch.eye(4)[kind])
    trained = [net.embed.weight, *net.bag.parameters()]
    before = {n: p.detach().clone() for n, p in net.named_parameters() if n.startswith("blocks")}
    optimiser = torch.optim.LBFGS(trained, max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = bag_losses(net.bag_logits(cond), ids, torch.full((800,), V), special_ids(net)).nats_B.mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = net.bag_logits(Condition.of(torch.eye(4)))[:, 3:].sigmoid().double()
    torch.testing.assert_close(found, share, atol=0.01, rtol=0)
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters() if n in before)
    # and the same evidence moves the denoiser's logits: by log odds over the prior's, at gates of one
    x = torch.full((4, L), MASK)
    at_one = net.logits(x, cond=Condition.of(torch.eye(4))).view(4, L, V)[:, 0, 3:]
    plain = plain_of(net).logits(x, cond=Condition.of(torch.eye(4))).view(4, L, V)[:, 0, 3:]
    evidence = net.bag_logits(Condition.of(torch.eye(4)))[:, 3:] - net.bag.prior_V[3:]
    torch.testing.assert_close(at_one - plain, evidence, atol=1e-4, rtol=1e-4)


def test_rows_without_a_vector_get_the_prior():
    net = random_weights(build())
    logits = net.bag_logits(batch()[1].nulled())
    torch.testing.assert_close(logits, net.bag.prior_V.expand(5, V))
