"""Distances of exact draws, of schedules with a known price, and of texts that are too likely."""

import pytest
import torch

from unmask.auditing.distance import Ruler, even_random, write_fixed
from unmask.auditing.laws.chain import Chain
from unmask.auditing.laws.joint import Joint
from unmask.auditing.price import ChainPrices


@pytest.fixture(scope="module")
def chain():
    return Chain(vocab=16, length=16)


@pytest.fixture(scope="module")
def ruler(chain):
    return Ruler(chain, 256)


def test_exact_draws_are_at_no_distance(chain, ruler):
    found = [ruler(chain.exact(256, 9_000 + i)).sigmas for i in range(20)]
    assert max(found) < 4.5 and sum(s > 2 for s in found) <= 5


def test_a_free_schedule_follows_the_law(chain, ruler):
    price, schedule = ChainPrices(chain).schedule(5)
    assert price == pytest.approx(0, abs=1e-9)
    assert ruler(write_fixed(chain, 256, schedule, seed=3)).sigmas < 4.5


def test_one_forward_is_far_from_the_law(chain, ruler):
    found = ruler(write_fixed(chain, 256, (tuple(range(16)),), seed=3))
    assert found.log_p < -10 * found.log_p_error and found.pairs > 10 * found.pairs_error


def test_dearer_schedules_lie_farther(chain, ruler):
    prices, found = ChainPrices(chain), []
    for steps in (1, 2, 3):
        price, schedule = prices.schedule(steps)
        found.append((price, ruler(write_fixed(chain, 256, schedule, seed=4)).pairs))
    assert found[0][0] > found[1][0] > found[2][0] and found[0][1] > found[1][1] > found[2][1]


def test_too_likely_texts_are_seen(chain, ruler):
    draw = torch.Generator().manual_seed(0)
    ids_BL = torch.empty(256, 16, dtype=torch.long)
    ids_BL[:, 0] = torch.randint(16, (256,), generator=draw)
    for i in range(1, 16):
        ids_BL[:, i] = chain.step_VV[ids_BL[:, i - 1]].argmax(1)
    found = ruler(ids_BL)
    assert found.log_p > 10 * found.log_p_error and found.sigmas > 10


def test_texts_of_a_vector_are_measured_by_its_law():
    law = Joint(vocab=4, length=5, latents=3)
    z_B = torch.arange(510) % 3
    ruler = Ruler(law, 510, z_B)
    assert ruler(law.exact(510, 77, z_B)).sigmas < 4.5
    assert ruler(law.exact(510, 77, (z_B + 1) % 3)).sigmas > 10


def test_random_schedules_are_even_and_complete():
    make = even_random(10, 4, seed=0)
    assert make(0) != make(1) and make(0) == even_random(10, 4, seed=0)(0)
    assert sorted(i for step in make(5) for i in step) == list(range(10))
    assert {len(step) for step in make(5)} == {2, 3}
