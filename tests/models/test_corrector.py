"""A corrector: the decoder where it has no hypothesis, and what changes when it has one."""

from dataclasses import fields

import pytest
import torch

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.models.corrector import HypothesisInput
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard
from unmask.training.correction import corrector_of

MASK, PAD, V, L, Z = 2, 0, 23, 8, 6
KINDS = {
    "prefix": {"latent_tokens": 3},
    "no prefix": {},
    "bag": {"latent_tokens": 2, "bag_of_words": 5},
    "bag, vib": {"latent_tokens": 2, "bag_of_words": 5, "bottleneck": 4},
    "lengths, time": {"latent_tokens": 2, "length_model": True, "time_embedding": True},
    "carry": {"latent_tokens": 2, "self_conditioning": True},
    "loops, no rope": {"loops": 2, "rope": False},
}


def decoder(kind):
    torch.manual_seed(0)
    sizes = dict(vocab_size=V, max_position_embeddings=L, dim=16, layers=2, heads=2, ffn_dim=24)
    net = MaskedDiffusionModel(MaskedDiffusionConfig(**sizes, conditioning="adaln", latent_dim=Z, **KINDS[kind]))
    return random_weights(net.eval())


def random_weights(net):
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3)
    return net


def batch(rows=4):
    x = torch.randint(3, V, (rows, L), generator=generator(1))
    x[:, ::2] = MASK
    z, z_h = (torch.randn(rows, Z, generator=generator(seed)) for seed in (2, 3))
    hypothesis = torch.randint(3, V, (rows, 5), generator=generator(4))
    hypothesis[1, 3:] = PAD
    return x, Condition.of(z), hypothesis, z_h


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return request.param


def test_without_a_hypothesis_it_is_the_decoder(kind):
    net = decoder(kind)
    made = corrector_of(net)
    x, cond, hypothesis, z_h = batch()
    assert made.corrects and not net.corrects and not made.training
    torch.testing.assert_close(made.logits(x, cond=cond), net.logits(x, cond=cond))
    # also a row beside others that have one, and rows without a vector
    hypothesis[2] = PAD
    told = cond.about(hypothesis, z_h)
    everywhere = torch.ones_like(x, dtype=torch.bool)
    mine, plain = (n.logits(x, everywhere, c).view(4, L, V) for n, c in ((made, told), (net, cond)))
    torch.testing.assert_close(mine[2], plain[2])
    assert not torch.allclose(mine[0], plain[0], atol=1e-3)
    torch.testing.assert_close(made.logits(x, cond=told.nulled()), net.logits(x, cond=cond.nulled()))
    assert corrector_of(made) is made


def test_hypothesis_and_its_vector_each_change_the_answer(kind):
    net = random_weights(corrector_of(decoder(kind)))
    x, cond, hypothesis, z_h = batch()
    before = net.logits(x, cond=cond.about(hypothesis, z_h))
    other = hypothesis.clone()
    other[0, 1] = 3 + (other[0, 1] - 2) % 20
    for told in (cond.about(other, z_h), cond.about(hypothesis, z_h * torch.tensor([[2.0], [1], [1], [1]]))):
        changed = (net.logits(x, cond=told) - before)[:, 3:].abs().view(4, L // 2, -1).amax((1, 2))
        assert changed[0] > 1e-3 and (changed[1:] < 1e-4).all()
    # the order of its words as well
    assert not torch.allclose(net.logits(x, cond=cond.about(hypothesis.flip(1), z_h))[:, 3:], before[:, 3:], atol=1e-3)


def test_padding_behind_a_hypothesis_changes_nothing(kind):
    net = random_weights(corrector_of(decoder(kind)))
    x, cond, hypothesis, z_h = batch()
    wide = torch.nn.functional.pad(hypothesis, (0, 3), value=PAD)
    torch.testing.assert_close(
        net.logits(x, cond=cond.about(wide, z_h)), net.logits(x, cond=cond.about(hypothesis, z_h))
    )


def test_rows_asked_for_and_gradients(kind):
    net = random_weights(corrector_of(decoder(kind))).train()
    x, cond, hypothesis, z_h = batch()
    told, at = cond.about(hypothesis, z_h), x == MASK
    rows = net.body_at(x, at, told).h_BLD[at]
    if net.config.bottleneck == 0:
        torch.testing.assert_close(rows, net.body(x, told).h_BLD[at])
    loss = (rows * torch.linspace(-1, 1, rows.shape[1])).sum()
    loss.backward()
    # a plain sum of a row that ends in a norm would have no gradient to look at
    assert {n: float(p.grad.abs().max()) > 0 for n, p in net.hypothesis.named_parameters()} == dict.fromkeys(
        dict(net.hypothesis.named_parameters()), True
    )


def test_it_is_saved_with_its_parts_and_not_exported(tmp_path):
    from unmask.data.tokenizer import train_bpe
    from unmask.models.export import export

    net = random_weights(corrector_of(decoder("bag")))
    x, cond, hypothesis, z_h = batch()
    net.save_pretrained(tmp_path / "net")
    again = MaskedDiffusionModel.from_pretrained(tmp_path / "net").eval()
    told = cond.about(hypothesis, z_h)
    assert torch.equal(again.logits(x, cond=told), net.logits(x, cond=told))
    model = TextModel(net, train_bpe(["a river"], 260), TextModelCard(length=L))
    with pytest.raises(UsageError, match="a corrector has no export"):
        export(model, tmp_path / "out")


def test_refused_in_one_sentence():
    x, cond, hypothesis, z_h = batch()
    with pytest.raises(UsageError, match="no corrector"):
        decoder("prefix").logits(x, cond=cond.about(hypothesis, z_h))
    net = corrector_of(decoder("prefix"))
    with pytest.raises(UsageError, match="a hypothesis of 9 tokens is longer than the model's 8"):
        net.logits(x, cond=cond.about(torch.full((4, 9), 5), z_h))
    with pytest.raises(UsageError, match="remembers no keys"):
        net.cached_body(x, cond)
    with pytest.raises(UsageError, match="corrector=True needs conditioning='adaln'"):
        MaskedDiffusionConfig(corrector=True)
    with pytest.raises(UsageError, match="both or neither"):
        Condition(cond.latent_BZ, cond.present_B, hypothesis_BL=hypothesis)
    with pytest.raises(UsageError, match="hypotheses need ids"):
        cond.about(hypothesis[:2], z_h)
    with pytest.raises(UsageError, match="cannot be joined"):
        cond.cat(cond.about(hypothesis, z_h))


def test_conditions_keep_their_hypotheses():
    _, cond, hypothesis, z_h = batch()
    told = cond.about(hypothesis, z_h)
    for changed, row in ((told[1:3], 1), (told.repeat(2)[2:], 1), (told.cat(told)[5:], 1), (told.to("cpu")[1:], 1)):
        held = {f.name: getattr(changed, f.name) for f in fields(changed)}
        assert all(held[name] is None or torch.equal(held[name][0], getattr(told, name)[row]) for name in held)
        assert held["hypothesis_BL"] is not None
    assert told.drop(torch.tensor([True, False, False, False])).hypothesis_BL is hypothesis


def test_a_difference_enters_as_direction_and_size():
    gap = torch.randn(3, 50, generator=generator(5))
    both = HypothesisInput.features(torch.cat([gap, 1e-2 * gap]), torch.tensor([True] * 5 + [False]))
    torch.testing.assert_close(both[:2, :50], both[3:5, :50], rtol=0.2, atol=0.0)
    torch.testing.assert_close(both[:2, 50] - both[3:5, 50], torch.full((2,), 100.0).log(), atol=0.2, rtol=0)
    assert (both[5] == 0).all()
    assert HypothesisInput.features(torch.zeros(1, 50), torch.tensor([True]))[0, :50].abs().max() == 0
