import random

import pytest
import torch

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.random import Stream, generator, hashed, uniform
from unmask.core.sampling import categorical, gumbel, gumbel_argmax, restrict


def test_noise_does_not_depend_on_the_batch():
    rows = torch.arange(64)
    whole = uniform(7, rows, 3, Stream.VALUE)
    alone = torch.stack([uniform(7, int(r), 3, Stream.VALUE) for r in rows])
    assert torch.equal(whole, alone)
    shuffled = torch.randperm(64, generator=generator(0))
    assert torch.equal(uniform(7, rows[shuffled], 3, Stream.VALUE), whole[shuffled])


def test_every_name_matters():
    base = uniform(1, 2, 3, Stream.VALUE)
    others = [
        uniform(2, 2, 3, Stream.VALUE),
        uniform(1, 3, 3, Stream.VALUE),
        uniform(1, 3, 2, Stream.VALUE),
        uniform(1, 2, 3, Stream.ORDER),
        uniform(1, 2, 3),
    ]
    assert all(float(o) != float(base) for o in others) and len({float(o) for o in others}) == len(others)


def test_a_number_and_a_tensor_that_holds_it_are_one_name():
    draw = random.Random(0)
    for _ in range(200):
        names = [
            draw.choice((draw.randint(-(2**63), 2**63 - 1), draw.randint(0, 9))) for _ in range(draw.randint(1, 6))
        ]
        wrapped = [torch.tensor([n]) if draw.random() < 0.5 else n for n in names]
        seed = draw.randint(-(2**63), 2**63 - 1)
        assert hashed(seed, *names).item() == hashed(seed, *wrapped).item() == hashed(seed, *map(torch.tensor, names))
        # one number goes another way than several
        several = hashed(seed, *(torch.full((2, 1), n) for n in names))
        assert several.shape == (2, 1) and several[1].item() == hashed(seed, *names).item()
    # written down from the first release on: a seed must mean the same texts for ever
    assert hashed(7, 1, 2, Stream.VALUE).item() == 8474917297034931504


def test_uniforms_are_uniform_independent_and_inside():
    u = uniform(0, torch.arange(1000)[:, None], torch.arange(100))
    assert u.dtype == torch.float64 and 0 < float(u.min()) and float(u.max()) < 1
    counts = torch.histc(u.flatten().float(), 50, 0, 1)
    chi2 = float(((counts - 2000) ** 2 / 2000).sum())
    assert chi2 < 90  # 49 degrees of freedom: the 99.97th percentile
    flat = u - 0.5
    neighbours = [(flat[1:] * flat[:-1]).mean(), (flat[:, 1:] * flat[:, :-1]).mean()]
    assert all(abs(float(c)) < 0.0015 for c in neighbours)  # sd of the mean is 1/12/sqrt(1e5) = 0.00026


def test_hash_has_no_collisions_on_a_grid():
    h = hashed(3, torch.arange(400)[:, None], torch.arange(400))
    assert h.unique().numel() == 160_000


def test_categorical_matches_its_distribution():
    p = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3, 0.0], dtype=torch.float64)
    u = uniform(11, torch.arange(40_000))
    ids = categorical(p.log().expand(40_000, 6), u)
    share = torch.bincount(ids, minlength=6) / 40_000
    torch.testing.assert_close(share.double(), p, atol=0.01, rtol=0)
    assert share[[0, 3, 5]].sum() == 0
    edge = torch.tensor([2.0**-53, 1 - 2.0**-53], dtype=torch.float64)
    assert categorical(p.log().expand(2, 6), edge).tolist() == [1, 4]


def test_gumbel_max_matches_its_distribution():
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    ids = gumbel_argmax(p.log().expand(30_000, 3), 5, torch.arange(30_000))
    torch.testing.assert_close((torch.bincount(ids) / 30_000).double(), p, atol=0.01, rtol=0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [0, 3, 5])
def test_nothing_is_drawn_from_what_is_no_distribution(wrong, column):
    logits = torch.randn(4, 6, generator=generator(0))
    logits[2, column] = wrong
    rows = torch.arange(4)
    for bad in (logits, torch.full((4, 6), -torch.inf), restrict(logits, top_k=2), restrict(logits, top_p=0.9)):
        with pytest.raises(UnmaskError, match=r"NaN, \+inf or a row of -inf"):
            categorical(bad, uniform(0, rows))
        with pytest.raises(UnmaskError, match=r"NaN, \+inf or a row of -inf"):
            gumbel_argmax(bad, 0, rows)
    # no row at all is no error
    none = logits[:0]
    assert not len(categorical(none, uniform(0, rows[:0]))) and not len(gumbel_argmax(none, 0, rows[:0]))


def test_fp32_gumbel_is_refused_and_fp64_has_a_long_tail():
    with pytest.raises(UsageError, match="float64"):
        gumbel(torch.rand(3))
    assert float(gumbel(torch.tensor([1 - 2.0**-53], dtype=torch.float64))) > 30  # fp32 stops at 16.64


def test_restrict():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).log_softmax(-1)
    assert torch.isinf(restrict(logits, top_k=2)).tolist() == [[False, False, True, True]]
    # the nucleus holds the smallest set that reaches p: .644 alone, then .881
    assert torch.isinf(restrict(logits, top_p=0.6)).tolist() == [[False, True, True, True]]
    assert torch.isinf(restrict(logits, top_p=0.7)).tolist() == [[False, False, True, True]]
    torch.testing.assert_close(restrict(logits, temperature=2.0), logits / 2)
    for bad in (dict(temperature=-1), dict(top_k=0), dict(top_p=0.0), dict(top_p=1.5)):
        with pytest.raises(UsageError, match=next(iter(bad))):
            restrict(logits, **bad)
