"""How many tokens a text has: what the head says, and what a model with one never writes."""

import math

import pytest
import torch

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.length import LengthHead
from unmask.models.weights import load_weights

V, L, Z = 11, 6, 5


def net(**changed):
    torch.manual_seed(0)
    shape = dict(vocab_size=V, max_position_embeddings=L, dim=16, layers=1, heads=2, ffn_dim=16, length_model=True)
    return MaskedDiffusionModel(MaskedDiffusionConfig(**{**shape, **changed})).eval()


def with_latent(**changed):
    return net(conditioning="adaln", latent_dim=Z, latent_tokens=1, **changed)


def test_a_fresh_head_prefers_no_length():
    for model, cond in ((net(), None), (with_latent(), Condition.of(torch.randn(3, Z)))):
        log_p = model.length_log_probs(cond, 3)
        torch.testing.assert_close(log_p, torch.full((3, L), -math.log(L)))


def test_a_fitted_head_starts_at_the_counted_lengths():
    model = with_latent()
    model.lengths.fit(torch.tensor([2, 2, 2, 5]))
    expected = (torch.tensor([1, 4, 1, 1, 2, 1]) / 10).expand(3, L)
    for cond in (None, Condition.of(torch.randn(3, Z)), Condition.null(3, Z)):
        torch.testing.assert_close(model.length_log_probs(cond, 3).exp(), expected)
    for wrong in ([], [0, 1], [L + 1]):
        with pytest.raises(UsageError, match="1 to 6 tokens"):
            model.lengths.fit(torch.tensor(wrong))


@pytest.mark.parametrize("bottleneck", [0, 3])
def test_each_row_has_its_own_length_law(bottleneck):
    model = with_latent(bottleneck=bottleneck)
    torch.nn.init.normal_(model.lengths.of_code[-1].weight)
    torch.nn.init.normal_(model.lengths.prior_L)
    latent = torch.randn(4, Z)
    together = model.length_log_probs(Condition.of(latent).drop(torch.tensor([False, True, False, False])), 4)
    torch.testing.assert_close(together[1], model.length_log_probs(None, 1)[0])
    torch.testing.assert_close(together[2:3], model.length_log_probs(Condition.of(latent[2:3]), 1))
    assert not torch.allclose(together[2], together[3])
    torch.testing.assert_close(together.exp().sum(1), torch.ones(4))
    with pytest.raises(UsageError, match="latents of width 2"):
        model.length_log_probs(Condition.of(torch.randn(1, 2)), 1)


def test_layout_tokens_have_no_probability():
    model = net()
    torch.nn.init.normal_(model.head_bias, std=30)
    x = torch.full((2, 4), model.mask_id)
    for logits in (model.logits(x), 3 * model.logits(x)[:, [0, 1]] - 2 * model.logits(x)[:, [0, 1]]):
        assert torch.isfinite(logits[:, :2]).all()
    p = model.logits(x).softmax(-1)
    assert bool((p[:, [0, 1, 2]] == 0).all())
    assert model.eos_id is None and model.pad_id == 0


def test_models_without_lengths_stay_as_they_were(tmp_path):
    old = net(length_model=False)
    assert old.length_log_probs(None, 2) is None and not old.models_length and old.eos_id == 1
    assert not any(name.startswith("lengths") for name in old.state_dict())
    settings = old.config.to_dict()
    settings.pop("length_model")
    assert not MaskedDiffusionConfig.from_dict(settings).length_model


def test_the_head_is_saved_with_the_model(tmp_path):
    model = with_latent()
    model.lengths.fit(torch.tensor([1, 3, 3]))
    torch.nn.init.normal_(model.lengths.of_code[-1].weight)
    model.save_pretrained(tmp_path)
    cond = Condition.of(torch.randn(2, Z))
    loaded = load_weights(tmp_path, MaskedDiffusionModel)
    torch.testing.assert_close(loaded.length_log_probs(cond, 2), model.length_log_probs(cond, 2))


def test_a_padding_id_is_needed():
    with pytest.raises(UsageError, match="pad_token_id"):
        MaskedDiffusionConfig(length_model=True, pad_token_id=None)


def test_time_is_the_masked_share_of_what_exists():
    """A canvas of three masks of four tokens, alone and padded to six, is the same moment."""
    model = net(time_embedding=True)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.tensor([[2, 2, 2, 7]])
    wide = torch.tensor([[2, 2, 2, 7, 0, 0]])
    valid = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(model.logits(wide, valid_BL=valid), model.logits(x))


def test_probabilities_are_fp32_under_autocast():
    head = LengthHead(L, 4, 8)
    head.start()
    with torch.autocast("cpu", torch.bfloat16):
        log_p = head(2, torch.randn(2, 4), torch.ones(2, dtype=torch.bool))
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p, torch.full((2, L), -math.log(L)))
