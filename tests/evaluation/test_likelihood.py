"""The bound against enumeration, closed forms and its own invariances."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import JointDenoiser, UniformDenoiser, toy_joint
from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.core.errors import UsageError
from unmask.diffusion.process import MaskingProcess
from unmask.evaluation.likelihood import EDGES, bound
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel


class TemperedJoint(JointDenoiser):
    """Conditionals of a joint, flattened: no joint has them, so the orders of writing disagree."""

    def project(self, h_ND):
        features, weight, bias = super().project(h_ND)
        return 0.4 * features, weight, bias

    def chain(self, row, order):
        """log p of writing ``row`` in this order, one token at a time."""
        x = torch.full((1, self.length), self.mask_id)
        total = 0.0
        for place in order:
            at = torch.zeros(1, self.length, dtype=torch.bool)
            at[0, place] = True
            features, weight, _ = self.project(self.body(x).h_BLD[at])
            logits = self.forbid(features @ weight.T)
            total += float(logits.log_softmax(-1)[0, row[place]])
            x[0, place] = row[place]
        return total


def enumerated_nelbo(model, row):
    """Exact NELBO: every mask of every size, each size weighing the same."""
    L = model.length
    total = 0.0
    for n in range(1, L + 1):
        masks = list(itertools.combinations(range(L), n))
        for hidden in masks:
            x = row.clone()[None]
            at = torch.zeros(1, L, dtype=torch.bool)
            at[0, list(hidden)] = True
            x[at] = model.mask_id
            features, weight, _ = model.project(model.body(x).h_BLD[at])
            log_p = model.forbid(features @ weight.T).log_softmax(-1)
            total -= float(log_p.gather(1, row[at[0]][:, None]).sum()) / n / len(masks)
    return total


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=13,
        max_position_embeddings=12,
        dim=16,
        layers=1,
        heads=2,
        ffn_dim=32,
        conditioning="adaln",
        latent_dim=5,
    )
    model = MaskedDiffusionModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def texts(n=6, length=12, seed=0):
    """Ids 3..12, EOS 1, PAD 0."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 13, (n, length), generator=g)
    for row, end in enumerate(torch.randint(2, length, (n,), generator=g).tolist()):
        ids[row, end] = 1
        ids[row, end + 1 :] = 0
    return ids


@pytest.mark.parametrize(
    "law",
    [
        MaskingProcess("count"),
        MaskingProcess("count", time_power=2.0),
        MaskingProcess("time", time_power=2.0),
        MaskingProcess("grid", "sgdd"),
    ],
)
def test_uniform_model_scores_log_v(law):
    model = UniformDenoiser(vocab_size=11, mask_id=10)
    ids = torch.randint(0, 10, (4, 16), generator=torch.Generator().manual_seed(0))
    found = bound(model, ids, law=law, samples=256)
    exact = law.estimator == "count" and law.time_power == 1.0
    # with exactly n hidden and n uniform every single corruption gives log V; otherwise on average
    assert found.nats_per_token().value == pytest.approx(math.log(10), rel=1e-6 if exact else 0.08)
    for interval in found.text.loss():
        assert math.isnan(interval.value) or interval.value == pytest.approx(math.log(10), rel=1e-6)
    assert found.masked_nats_per_token().value == pytest.approx(math.log(10), rel=1e-6)


def test_units():
    found = bound(UniformDenoiser(vocab_size=17, mask_id=16), torch.zeros(3, 4, dtype=torch.long))
    assert found.bits_per_token().value == pytest.approx(4.0)
    assert found.perplexity_bound().value == pytest.approx(16.0)


def test_true_conditionals_meet_log_p_and_wrong_ones_stay_above():
    joint = toy_joint()
    true, bent = JointDenoiser(joint), TemperedJoint(joint)
    slack = []
    for row in true.support():
        assert enumerated_nelbo(true, row) == pytest.approx(-float(true.log_prob(row[None])), abs=1e-9)
        chains = [bent.chain(row.tolist(), order) for order in itertools.permutations(range(3))]
        log_p = float(torch.tensor(chains).logsumexp(0)) - math.log(6)
        nelbo = enumerated_nelbo(bent, row)
        assert nelbo >= -log_p - 1e-9
        assert nelbo == pytest.approx(-sum(chains) / 6, abs=1e-5), "the NELBO is the mean over orders"
        slack.append(nelbo + log_p)
    assert min(slack) > 1e-4, "orders that disagree leave a gap"


def test_sampling_finds_the_enumerated_bound():
    model = TemperedJoint(toy_joint())
    rows = model.support()[[0, 7, 13, 26]]
    found = bound(model, rows, samples=3000, batch_size=1000)
    exact = np.array([enumerated_nelbo(model, row) for row in rows])
    np.testing.assert_allclose(found.nelbo_N, exact, rtol=0.03)
    assert found.tokens_N.tolist() == [3, 3, 3, 3]


def test_batch_size_and_company_change_nothing(tiny):
    ids, latents = texts(), torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    whole = bound(tiny, ids, Condition.of(latents), samples=5, batch_size=64)
    for batch_size in (1, 7):
        other = bound(tiny, ids, Condition.of(latents), samples=5, batch_size=batch_size)
        np.testing.assert_allclose(other.nelbo_N, whole.nelbo_N, rtol=1e-5)
        np.testing.assert_allclose(other.text.nats_NK, whole.text.nats_NK, rtol=1e-5, atol=1e-5)
    fewer = bound(tiny, ids[:2], Condition.of(latents[:2]), samples=5)
    np.testing.assert_allclose(fewer.nelbo_N, whole.nelbo_N[:2], rtol=1e-5)
    reseeded = bound(tiny, ids, Condition.of(latents), samples=5, seed=1)
    assert not np.allclose(reseeded.nelbo_N, whole.nelbo_N)


def test_fully_masked_bin_is_exact_and_alone(tiny):
    ids, cond = texts(), Condition.of(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)))
    found = bound(tiny, ids, cond, samples=30)
    canvas = torch.full_like(ids, tiny.mask_id)
    with torch.no_grad():
        log_p = tiny.logits(canvas, None, cond, torch.ones(6)).log_softmax(-1).view(6, 12, -1)
    nats = -log_p.gather(2, ids[..., None])[..., 0].double().numpy()
    is_text = (ids != 0).numpy()
    np.testing.assert_allclose(found.text.nats_NK[:, -1], (nats * is_text).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found.padding.nats_NK[:, -1], (nats * ~is_text).sum(1), rtol=1e-5, atol=1e-6)
    assert found.text.count_NK[:, -1].tolist() == is_text.sum(1).tolist(), "once a text, however often r = 1 was drawn"
    hits = (log_p.argmax(-1) == ids).numpy() & is_text
    assert found.text.hits_NK[:, -1].tolist() == hits.sum(1).tolist()
    assert found.tokens_N.tolist() == is_text.sum(1).tolist()


class Rising(UniformDenoiser):
    """Knows the id 0 at 3r nats: the more is hidden, the dearer."""

    def __init__(self):
        super().__init__(vocab_size=3, mask_id=2)

    def body(self, x_BL, cond=None, t_B=None, *, valid_BL=None, carry=None):
        # two ids, so that ce = log(1 + exp(-h))
        return Body(-torch.expm1(3 * t_B.double()).log()[:, None, None].expand(*x_BL.shape, 1))

    def project(self, h_ND):
        return h_ND, torch.tensor([[1.0], [0.0], [0.0]], dtype=h_ND.dtype), None


@pytest.mark.parametrize("length", [1, 2, 8, 32])
def test_the_masked_mean_counts_fully_masked_samples(length):
    """n = 1..L equally often, n tokens at 3n/L nats each: 3 sum(n^2) / (L sum(n)) = (2L + 1) / L."""
    found = bound(Rising(), torch.zeros(2, length, dtype=torch.long), samples=2 * length, batch_size=7)
    assert found.masked_nats_per_token().value == pytest.approx((2 * length + 1) / length, rel=1e-5)
    assert found.masked_count_N.tolist() == [length * (length + 1)] * 2
    assert found.nats_per_token().value == pytest.approx(3 * (length + 1) / (2 * length), rel=1e-5)
    assert found.text.loss()[-1].value == pytest.approx(3.0, rel=1e-5)


def test_the_mean_over_hidden_tokens_leaves_padding_out():
    model = Rising()
    model.pad_id = 1
    ids = torch.tensor([[0, 0, 0, 1]])
    found = bound(model, ids, samples=4)
    # each n once, of which three quarters stand in the text on average, and all three where everything is hidden
    seen = found.text.count_NK[0, :-1].sum()
    assert found.masked_count_N[0] == seen + 3
    assert found.masked_nats_N[0] == pytest.approx(found.text.nats_NK[0, :-1].sum() + 9, rel=1e-5)


def test_padding_is_scored_but_not_counted(tiny):
    # a uniform model over a canvas of 12 with a text of 4 tokens pays 12 log V for 4 tokens
    model = UniformDenoiser(vocab_size=11, mask_id=10)
    model.pad_id, model.eos_id = 0, 1
    ids = torch.tensor([[5, 6, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0]])
    found = bound(model, ids)
    assert found.nelbo_N[0] == pytest.approx(12 * math.log(10), rel=1e-6)
    assert found.nats_per_token().value == pytest.approx(3 * math.log(10), rel=1e-6)


def test_closed_positions_are_neither_hidden_nor_scored():
    model = JointDenoiser(toy_joint())
    row = model.support()[[11]]
    open_NL = torch.tensor([[False, True, True]])
    found = bound(model, row, samples=4000, open_NL=open_NL, batch_size=1000)
    log_p = model.joint[tuple(row[0])] / model.joint[int(row[0, 0])].sum()
    assert found.nelbo_N[0] == pytest.approx(-math.log(float(log_p)), rel=0.03)
    assert found.tokens_N.tolist() == [2]


def test_model_comes_back_in_the_mode_it_was_in(tiny):
    tiny.train()
    bound(tiny, texts(), samples=1)
    assert tiny.training
    tiny.eval()


def test_labels_name_each_bin():
    profile = bound(UniformDenoiser(), torch.zeros(2, 5, dtype=torch.long)).text
    assert len(profile.labels()) == len(profile.middles()) == len(EDGES)
    assert profile.labels()[0] == "0-0.1" and profile.labels()[-2:] == ["0.9-1", "1"]
    assert profile.middles()[4] == pytest.approx(0.45)


def test_wrong_use_is_named(tiny):
    with pytest.raises(UsageError, match="word_dropout=0.3"):
        bound(tiny, texts(), law=MaskingProcess(word_dropout=0.3))
    with pytest.raises(UsageError, match="text 1 holds the mask id 2"):
        bound(tiny, torch.tensor([[5, 1], [2, 1]]))
    with pytest.raises(UsageError, match="3 conditions do not pair up with 6"):
        bound(tiny, texts(), Condition.of(torch.zeros(3, 5)))
    with pytest.raises(UsageError, match="samples=0"):
        bound(tiny, texts(), samples=0)
    with pytest.raises(UsageError, match=r"\(0, 4\)"):
        bound(tiny, torch.zeros(0, 4, dtype=torch.long))


def test_an_absurd_bound_is_infinite_and_not_an_error():
    from unmask.metrics.perplexity import exp, perplexity

    assert exp(1.0) == pytest.approx(math.e) and exp(800.0) == math.inf
    assert perplexity([[800.0, 810.0], [805.0]]).value == math.inf
