import itertools
import math

import pytest
import torch

from oracles import JointDenoiser, toy_joint
from unmask.core.random import generator
from unmask.diffusion.linear_ce import linear_cross_entropy
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskedBatch, MaskingProcess


def exact_nelbo(model: JointDenoiser, row: torch.Tensor) -> float:
    """E over every order of the sum of conditional losses, by enumerating all masks: sum_n (1/n) E_{|S|=n} sum CE."""
    L, total = model.length, 0.0
    for n in range(1, L + 1):
        sums = []
        for hidden in itertools.combinations(range(L), n):
            x = row.clone()[None]
            x[0, list(hidden)] = model.mask_id
            p = model.marginals(x)[0]
            sums.append(-sum(float(p[i, row[i]].log()) for i in hidden))
        total += sum(sums) / len(sums) / n
    return total


def test_exact_denoiser_bound_is_tight_for_every_text():
    """With exact conditionals each order telescopes to log p(x), so the bound is an equality, text by text."""
    model = JointDenoiser(toy_joint())
    for row in model.support():
        assert exact_nelbo(model, row) == pytest.approx(-float(model.log_prob(row[None])), abs=1e-9)


def test_wrong_denoiser_bound_is_above():
    """A denoiser that ignores context pays the total correlation: above -log p in the mean, never below."""
    joint = toy_joint()
    true = JointDenoiser(joint)
    product = torch.einsum("a,b,c->abc", joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1)))
    model = JointDenoiser(product)
    rows, weight = true.support(), true.joint.flatten()
    bound = sum(float(w) * exact_nelbo(model, r) for r, w in zip(rows, weight, strict=True))
    entropy = -float((weight * weight.log()).sum())
    marginals = [true.joint.sum(d) for d in ((1, 2), (0, 2), (0, 1))]
    total_correlation = sum(-float((m * m.log()).sum()) for m in marginals) - entropy
    assert bound == pytest.approx(entropy + total_correlation, abs=1e-9)
    assert bound > entropy + 0.01


@pytest.mark.parametrize(
    "law", [MaskingProcess("count"), MaskingProcess("time", "cosine"), MaskingProcess("count", time_power=2.0)]
)
def test_estimators_agree_with_enumeration(law):
    model = JointDenoiser(toy_joint(2))
    row = model.support()[5]
    ids = row.repeat(3000, 1)
    found = token_losses(model, law.corrupt(ids, model.mask_id, generator(0)), weighting="nelbo")
    per_row = found.row_nelbo()
    assert float(per_row.mean()) == pytest.approx(
        exact_nelbo(model, row), abs=4 * float(per_row.std()) / len(per_row) ** 0.5
    )


def test_views_by_hand():
    model = JointDenoiser(toy_joint(1))
    clean = torch.tensor([[0, 1, 2], [2, 2, 0]])
    masked = torch.tensor([[True, False, True], [True, True, True]])
    c = MaskedBatch(
        clean.masked_fill(masked, model.mask_id),
        clean,
        masked,
        torch.tensor([2 / 3, 1.0]),
        torch.tensor([1.5, 1.0]),
        torch.tensor([3, 3]),
    )
    found = token_losses(model, c)
    p = model.marginals(c.x_BL)
    want = torch.stack([-p[b, i, clean[b, i]].log() for b in range(2) for i in range(3) if masked[b, i]])
    torch.testing.assert_close(found.ce_N, want)
    torch.testing.assert_close(found.mean(), want.mean())
    sums = torch.stack([want[:2].sum(), want[2:].sum()])
    torch.testing.assert_close(found.row_nelbo(), sums * torch.tensor([1.5, 1.0]))
    torch.testing.assert_close(found.llada(), (sums / torch.tensor([2 / 3, 1.0])).sum() / 6)
    ce, hits, count = found.by_fraction(torch.tensor([0.5, 0.999, 1.0]))
    torch.testing.assert_close(ce, torch.stack([torch.zeros(()), *sums]).double())
    assert count.tolist() == [0, 2, 3] and hits.sum() == found.hit_N.sum()


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
@pytest.mark.parametrize("bias", [True, False])
def test_chunked_cross_entropy_equals_the_plain_form(chunk, bias):
    torch.manual_seed(0)
    x = torch.randn(13, 6, requires_grad=True)
    w = torch.randn(20, 6, requires_grad=True)
    b = torch.randn(20, requires_grad=True) if bias else None
    target, weight = torch.randint(1, 20, (13,)), torch.rand(13)
    inputs = [v for v in (x, w, b) if v is not None]
    total, ce, hit = linear_cross_entropy(x, w, b, target, weight, forbid=0, chunk_numbers=chunk)
    mine = torch.autograd.grad(3.0 * total, inputs)
    logits = torch.nn.functional.linear(x, w, b)
    logits = torch.cat([torch.full((13, 1), float("-inf")), logits[:, 1:]], 1)
    plain = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(ce, plain.detach())
    assert torch.equal(hit, logits.argmax(-1) == target)
    for a, e in zip(mine, torch.autograd.grad(3.0 * (plain * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(a, e)
    assert mine[1][0].abs().max() == 0  # the mask id gets no mass, so its row of the head gets no gradient


def test_chunked_cross_entropy_memory_is_one_chunk():
    """No allocation is larger than a chunk of logits or the head itself: [N, V] never exists."""
    N, V, D, chunk = 512, 4000, 8, 64_000
    biggest = 0
    real = torch.Tensor.__matmul__

    def spy(self, other):
        nonlocal biggest
        out = real(self, other)
        biggest = max(biggest, out.numel())
        return out

    x, w = torch.randn(N, D, requires_grad=True), torch.randn(V, D, requires_grad=True)
    torch.Tensor.__matmul__ = spy
    try:
        linear_cross_entropy(x, w, None, torch.randint(0, V, (N,)), torch.ones(N), chunk_numbers=chunk)[0].backward()
    finally:
        torch.Tensor.__matmul__ = real
    assert 0 < biggest <= max(chunk, V * D)


def test_bf16_autocast_keeps_the_loss_close():
    torch.manual_seed(1)
    x, w = torch.randn(64, 32), torch.randn(300, 32) * 0.2
    target = torch.randint(0, 300, (64,))
    exact = linear_cross_entropy(x, w, None, target, torch.ones(64))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = linear_cross_entropy(x, w, None, target, torch.ones(64))[1]
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, atol=0.05, rtol=0.02)


def test_token_weights_change_the_trained_loss_only():
    model = JointDenoiser(toy_joint(3))
    ids = torch.tensor([[0, 1, 2]] * 8)
    c = MaskingProcess("count").corrupt(ids, model.mask_id, generator(0))
    plain = token_losses(model, c)
    light = token_losses(model, c, token_weight_BL=torch.tensor([1.0, 1.0, 0.0]).expand(8, 3))
    torch.testing.assert_close(plain.ce_N, light.ce_N)
    kept = plain.ce_N[plain.col_N < 2]
    assert float(light.loss) == pytest.approx(float(kept.mean()))
    assert math.isclose(float(plain.loss), float(plain.mean()), rel_tol=1e-6)


def test_before_leaves_out_padding_and_nothing_else():
    model = JointDenoiser(toy_joint(3))
    ids = torch.tensor([[0, 1, 2], [2, 0, 1]])
    found = token_losses(model, MaskingProcess("time").corrupt(ids, model.mask_id, generator(4)))
    text = found.before(torch.tensor([2, 3]))
    keep = [i for i, (r, c) in enumerate(zip(found.row_N, found.col_N, strict=True)) if c < (2, 3)[int(r)]]
    assert text.ce_N.tolist() == found.ce_N[keep].tolist() and len(text.row_N) == len(keep)
