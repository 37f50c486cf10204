import math

import pytest
import torch

from oracles import UniformDenoiser
from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess, antithetic_uniforms

LAWS = {
    "count": MaskingProcess("count"),
    "count tilted": MaskingProcess("count", time_power=2.0),
    "count plain": MaskingProcess("count", antithetic=False),
    "time linear": MaskingProcess("time", "linear"),
    "time cosine": MaskingProcess("time", "cosine"),
    "time log_linear": MaskingProcess("time", "log_linear"),
    "time polynomial": MaskingProcess("time", "polynomial"),
    "time tilted": MaskingProcess("time", "linear", time_power=2.0),
    "grid": MaskingProcess("grid", "sgdd"),
    "grid coarse tilted": MaskingProcess("grid", "sgdd:steps=20", time_power=2.0),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
def test_uniform_model_scores_log_v(law):
    """The closed form every bound must meet: a uniform model costs log V a token, whatever hides how much."""
    model = UniformDenoiser(vocab_size=17, mask_id=16)
    ids = torch.randint(0, 16, (4000, 12), generator=generator(1))
    found = token_losses(model, law.corrupt(ids, model.mask_id, generator(2)), weighting="nelbo")
    assert found.mean() == pytest.approx(math.log(16), abs=1e-5)
    per_row = found.row_nelbo() / 12
    error = float(per_row.std() / len(per_row) ** 0.5)
    # exact when the count is drawn and not tilted (no noise at all); else unbiased, within the estimator's own noise
    assert float(found.nelbo()) == pytest.approx(math.log(16), abs=max(1e-5, 4 * error))
    assert (found.weight_B > 0).all()


def test_count_law_is_exact_for_every_count():
    law = MaskingProcess("count", time_power=2.0)
    ids = torch.zeros(5000, 5, dtype=torch.long)
    c = law.corrupt(ids, 9, generator(0))
    n = c.masked_BL.sum(1)
    share = torch.bincount(n, minlength=6)[1:] / 5000
    want = torch.tensor([(k**2 - (k - 1) ** 2) / 25 for k in range(1, 6)])
    torch.testing.assert_close(share, want, atol=2e-3, rtol=0)  # antithetic: nearly deterministic
    # sum over n of p(n) * weight(n) * n = number of positions, so that weights count each token once
    torch.testing.assert_close(
        (want * n.unique() * torch.tensor([float(c.weight_B[n == k][0]) for k in n.unique()])).sum(),
        torch.tensor(5.0),
        atol=1e-4,
        rtol=0,
    )


def test_llada_form_equals_nelbo_under_the_uniform_law():
    model = UniformDenoiser()
    ids = torch.randint(0, 10, (64, 9), generator=generator(3))
    found = token_losses(model, MaskingProcess("count").corrupt(ids, model.mask_id, generator(4)))
    torch.testing.assert_close(found.llada(), found.nelbo())


def test_only_open_positions_are_hidden_and_none_is_no_row():
    ids = torch.arange(40).reshape(4, 10)
    open_BL = torch.zeros_like(ids, dtype=torch.bool)
    open_BL[:, 3:6] = True
    c = MaskingProcess("count").corrupt(ids, 99, generator(0), open_BL)
    assert not (c.masked_BL & ~open_BL).any() and c.masked_BL.any(1).all()
    assert torch.equal(c.x_BL[~c.masked_BL], ids[~c.masked_BL])
    open_BL[2] = False
    with pytest.raises(UsageError, match="row 2"):
        MaskingProcess().corrupt(ids, 99, generator(0), open_BL)


def test_a_part_is_that_part_of_the_whole_batch():
    ids = torch.randint(0, 9, (8, 6), generator=generator(5))
    for law in (MaskingProcess("count"), MaskingProcess("time", "cosine"), MaskingProcess("count", word_dropout=0.3)):
        whole = law.corrupt(ids, 9, generator(6))
        half = law.corrupt(ids[4:], 9, generator(6), part=(4, 8))
        assert torch.equal(whole.x_BL[4:], half.x_BL)
        torch.testing.assert_close(whole.weight_B[4:], half.weight_B, equal_nan=True)


def test_word_dropout_masks_more_and_bounds_nothing():
    model = UniformDenoiser()
    ids = torch.randint(0, 10, (512, 20), generator=generator(7))
    plain = MaskingProcess("time").corrupt(ids, model.mask_id, generator(8))
    dropped = MaskingProcess("time", word_dropout=0.5).corrupt(ids, model.mask_id, generator(8))
    assert (dropped.masked_BL >= plain.masked_BL).all()
    more = dropped.masked_BL.float().mean() - plain.masked_BL.float().mean()
    assert float(more) == pytest.approx(0.25, abs=0.02)
    found = token_losses(model, dropped)
    assert len(found.ce_N) == int(dropped.masked_BL.sum())
    with pytest.raises(UsageError, match="no bound"):
        found.nelbo()
    with pytest.raises(UsageError, match="no bound"):
        token_losses(model, dropped, weighting="nelbo")


def test_antithetic_times_fill_the_unit_interval_evenly():
    u = antithetic_uniforms(100, True, generator(9)).sort().values
    torch.testing.assert_close(u.diff(), torch.full((99,), 0.01, dtype=torch.float64), atol=1e-9, rtol=0)


def test_wrong_laws_are_refused():
    with pytest.raises(UsageError, match="no grid"):
        MaskingProcess("grid", "linear")
    with pytest.raises(UsageError, match="time_power"):
        MaskingProcess(time_power=0)
    with pytest.raises(UsageError, match="estimator='n'"):
        MaskingProcess("n")  # type: ignore[arg-type]
