"""Prices of budgets by closed form, by enumeration, and by the divergence of what a schedule writes."""

import itertools
import math

import pytest
import torch

from unmask.auditing.laws.chain import Chain
from unmask.auditing.laws.joint import Joint
from unmask.auditing.price import ChainPrices, JointPrices


@pytest.fixture(scope="module")
def chain():
    return Chain(vocab=5, length=7, seed=3)


def test_one_forward_pays_the_total_correlation(chain):
    far, near = chain.distance_entropy(None), chain.distance_entropy(1)
    price, schedule = ChainPrices(chain).schedule(1)
    assert price == pytest.approx((chain.length - 1) * (far - near)) and schedule == (tuple(range(7)),)


def test_a_chain_is_free_after_logarithmic_forwards(chain):
    prices = ChainPrices(chain)
    # 7 positions: the middle one, the middles of both halves, the rest
    price, schedule = prices.schedule(3)
    assert price == pytest.approx(0, abs=1e-12) and prices.price(schedule) == pytest.approx(0, abs=1e-12)
    assert prices.schedule(2)[0] > 0.01


def partitions(items, steps):
    """Every way to write all items in exactly ``steps`` forwards."""
    for assigned in itertools.product(range(steps), repeat=len(items)):
        if set(assigned) == set(range(steps)):
            yield tuple(tuple(i for i, t in zip(items, assigned, strict=True) if t == step) for step in range(steps))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_best_schedule_is_the_best_of_all(steps):
    law = Chain(vocab=4, length=5, seed=1)
    prices = ChainPrices(law)
    price, schedule = prices.schedule(steps)
    every = [prices.price(one) for k in range(1, steps + 1) for one in partitions(range(5), k)]
    assert price == pytest.approx(min(every), abs=1e-12) == pytest.approx(prices.price(schedule), abs=1e-12)


def test_the_chain_and_its_table_agree():
    law = Chain(vocab=3, length=4, seed=2)
    table = Joint(vocab=3, length=4, latents=0)
    table.p_ZX = law.log_prob(table.texts_XL).exp().repeat(2, 1)
    one, other = ChainPrices(law), JointPrices(table)
    for steps in (1, 2, 3, 4):
        assert one.schedule(steps)[0] == pytest.approx(other.schedule(steps)[0], abs=1e-9)
    for schedule in partitions(range(4), 2):
        assert one.price(schedule) == pytest.approx(other.price(schedule), abs=1e-9)


def test_a_price_is_the_divergence_of_what_is_written():
    law = Joint(vocab=3, length=3, latents=2, seed=5)
    prices = JointPrices(law)
    for schedule in (((0, 1, 2),), ((1,), (0, 2)), ((0, 2), (1,))):
        kl = []
        for z in range(law.latents):
            z_B = torch.full((len(law.texts_XL),), z)
            log_q = torch.zeros(len(law.texts_XL), dtype=torch.float64)
            seen = torch.full_like(law.texts_XL, law.mask_id)
            for step in schedule:
                logits = law.log_marginals(seen, z_B)
                for i in step:
                    log_q += logits[:, i].gather(1, law.texts_XL[:, i, None])[:, 0]
                seen[:, list(step)] = law.texts_XL[:, list(step)]
            p = law.p_ZX[z]
            kl.append(float((p * (p.log() - log_q)).sum()))
        assert prices.price(schedule) == pytest.approx(sum(kl) / len(kl), abs=1e-9)


def test_thirty_two_positions_take_six_forwards():
    prices = ChainPrices(Chain(vocab=8, length=32))
    found = [prices.schedule(t)[0] for t in range(1, 7)]
    assert all(a > b for a, b in itertools.pairwise(found)) and found[5] == pytest.approx(0, abs=1e-9)
    assert math.ceil(math.log2(33)) == 6
