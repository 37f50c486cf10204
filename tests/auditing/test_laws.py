"""Exact laws against enumeration, and as denoisers."""

import itertools

import pytest
import torch

import unmask.auditing.laws.chain as chain
import unmask.auditing.laws.hidden_chain as hidden
import unmask.auditing.laws.joint as joint

LAWS = {
    "chain": lambda: chain.Chain(vocab=3, length=4, seed=1),
    "hidden_chain": lambda: hidden.HiddenChain(vocab=3, states=2, length=4, seed=1),
    "joint": lambda: joint.Joint(vocab=3, length=4, latents=0, seed=1),
}


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]()


def every_text(law):
    return torch.tensor(list(itertools.product(range(law.mask_id), repeat=law.length)))


def test_probabilities_sum_to_one(law):
    assert law.log_prob(every_text(law)).exp().sum() == pytest.approx(1)


def test_conditionals_are_those_of_the_enumeration(law):
    texts, p = every_text(law), law.log_prob(every_text(law)).exp()
    for state in itertools.product(range(law.vocab_size), repeat=law.length):
        x_BL = torch.tensor([state])
        fits = ((x_BL == texts) | (x_BL == law.mask_id)).all(1)
        found = law.log_marginals(x_BL)[0].exp()
        for i in range(law.length):
            wanted = torch.zeros(law.mask_id, dtype=torch.float64)
            wanted.index_add_(0, texts[fits, i], p[fits])
            assert torch.allclose(found[i], wanted / wanted.sum(), atol=1e-10)


def test_draws_follow_the_law(law):
    texts, p = every_text(law), law.log_prob(every_text(law)).exp()
    drawn = law.exact(20_000, seed=0)
    count = (drawn[:, None] == texts).all(-1).double().sum(0)
    chi = ((count - 20_000 * p) ** 2 / (20_000 * p)).sum()
    assert chi < len(p) + 6 * (2 * len(p)) ** 0.5
    assert law.entropy == pytest.approx(float(-(p * p.log()).sum()), abs=0.02)


def test_a_law_is_a_denoiser(law):
    x_BL = law.exact(5, seed=1)
    x_BL[:, ::2] = law.mask_id
    at_BL = x_BL == law.mask_id
    logits = law.logits(x_BL, at_BL)
    assert logits.shape == (int(at_BL.sum()), law.vocab_size) and torch.isneginf(logits[:, law.mask_id]).all()
    assert torch.allclose(logits[:, :-1].double(), law.log_marginals(x_BL)[at_BL], atol=1e-6)


def test_vectors_choose_the_law():
    law = joint.Joint(vocab=3, length=3, latents=2, seed=1)
    masked = torch.full((3, 3), law.mask_id)
    cond = law.condition(torch.tensor([0, 1, 1]))
    found = law.logits(masked, masked == law.mask_id, cond).view(3, 3, -1)
    free = law.logits(masked, masked == law.mask_id, None).view(3, 3, -1)
    assert torch.equal(found[1], found[2]) and not torch.allclose(found[0], found[1])
    mean = (found[0].softmax(-1) + found[1].softmax(-1)) / 2
    assert torch.allclose(free[0].softmax(-1), mean, atol=1e-6)
