"""Corrections as a search asks for them: named noise, several a row, a canvas of each row's own length."""

import pytest
import torch

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.decoding.corrections import corrections
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

V, L, Z, PAD, MASK = 23, 8, 6, 0, 2


def build(**more):
    torch.manual_seed(0)
    sizes = dict(vocab_size=V, max_position_embeddings=L, dim=16, layers=2, heads=2, ffn_dim=24)
    settings = {**sizes, "conditioning": "adaln", "latent_dim": Z, "corrector": True, "latent_tokens": 2, **more}
    net = MaskedDiffusionModel(MaskedDiffusionConfig(**settings)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3)
    return net


def told(rows=5):
    z, z_h = (torch.randn(rows, Z, generator=generator(seed)) for seed in (2, 3))
    return z, z_h, torch.randint(3, V, (rows, 5), generator=generator(4))


@pytest.mark.parametrize("more", [{}, {"length_model": True}])
def test_a_row_has_the_same_texts_alone_and_in_a_batch(more):
    net = build(**more)
    z, z_h, ids = told()
    whole = corrections(net, z, z_h, ids, 3, seed=7)
    assert whole.shape[:2] == (5, 3) and not (whole == MASK).any()
    assert len({tuple(text.tolist()) for text in whole.flatten(0, 1)}) > 12
    for row in (0, 3):
        one = slice(row, row + 1)
        alone = corrections(net, z[one], z_h[one], ids[one], 3, seed=7, row_ids_B=torch.tensor([row]))[0]
        width = min(alone.shape[1], whole.shape[2])
        assert torch.equal(alone[:, :width], whole[row][:, :width])
        assert (whole[row][:, width:] == PAD).all() and (alone[:, width:] == PAD).all()
    # the first is what is written where one is asked for
    first = corrections(net, z, z_h, ids, seed=7)
    assert torch.equal(first[:, 0], whole[:, 0, : first.shape[2]])
    other = corrections(net, z, z_h, ids, 3, seed=8)
    assert other.shape != whole.shape or not torch.equal(other, whole)


def test_what_is_told_is_heard_and_lengths_are_honoured():
    net = build(length_model=True)
    z, z_h, ids = told()
    plain = corrections(net, z, z_h, ids, temperature=0.0, length=6)
    assert plain.shape == (5, 1, 6)
    assert not torch.equal(corrections(net, z, z_h, ids.flip(1), temperature=0.0, length=6), plain)
    assert not torch.equal(corrections(net, z, -z_h, ids, temperature=0.0, length=6), plain)
    assert torch.equal(corrections(net, z, z_h, ids, temperature=0.0, length=6, order="margin"), plain)
    drawn = corrections(net, z, z_h, ids, 20, temperature=1.0)
    assert len({int((text != PAD).sum()) for text in drawn.flatten(0, 1)}) > 2


def test_refused_in_one_sentence():
    z, z_h, ids = told()
    with pytest.raises(UsageError, match="no corrector"):
        corrections(build(corrector=False), z, z_h, ids)
    with pytest.raises(UsageError, match="n=2 must be"):
        corrections(build(), z, z_h, ids, 2, temperature=0.0)
    with pytest.raises(UsageError, match="hypotheses need"):
        corrections(build(), z, z_h[:2], ids)
