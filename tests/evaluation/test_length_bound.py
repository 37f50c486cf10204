"""The bound of a model of lengths: -log p(n) and the bound of n tokens, against closed forms and enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import UniformDenoiser
from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.core.errors import UsageError
from unmask.evaluation.latent_use import latent_use
from unmask.evaluation.likelihood import bound
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

PAD = 0


class LengthAndWords(UniformDenoiser):
    """Lengths by a table, and each token by another table whatever stands beside it: the bound is tight."""

    models_length, pad_id = True, PAD

    def __init__(self, length_L, word_V):
        super().__init__(vocab_size=len(word_V) + 2, mask_id=len(word_V) + 1, width=1)
        self.length_L, self.word_V = torch.tensor(length_L), torch.tensor([1e-30, *word_V, 1e-30])

    def length_log_probs(self, cond, rows):
        return self.length_L.log().expand(rows, -1)

    def body(self, x_BL, cond=None, t_B=None, *, valid_BL=None, carry=None):
        assert valid_BL is not None and not bool((x_BL[valid_BL] == PAD).any())
        return Body(torch.zeros(*x_BL.shape, 1))

    def project(self, h_ND):
        return h_ND, torch.zeros(self.vocab_size, 1), self.word_V.log()


def padded(rows, width):
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def test_all_texts_together_have_probability_one():
    model = LengthAndWords([0.5, 0.2, 0.3], [1 / 3] * 3)
    texts = [row for n in (1, 2, 3) for row in itertools.product((1, 2, 3), repeat=n)]
    found = bound(model, padded(texts, 3), samples=2)
    assert np.exp(-found.nelbo_N).sum() == pytest.approx(1.0, abs=1e-6)
    assert found.length_nats_N == pytest.approx([-math.log([0.5, 0.2, 0.3][len(t) - 1]) for t in texts], abs=1e-6)
    assert found.tokens_N.tolist() == [len(t) for t in texts]


def test_length_and_words_add_up():
    """A text of one word again and again costs the same under every corruption."""
    model = LengthAndWords([0.5, 0.2, 0.3], [0.6, 0.3, 0.1])
    found = bound(model, padded([[1], [2, 2], [3, 3, 3]], 4), samples=3)
    expected = [-math.log(0.5 * 0.6), -math.log(0.2 * 0.3**2), -math.log(0.3 * 0.1**3)]
    assert found.nelbo_N == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def uniform():
    """A network that knows nothing: all words and all lengths alike."""
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=13, max_position_embeddings=7, dim=16, layers=1, heads=2, ffn_dim=16, length_model=True,
        conditioning="adaln", latent_dim=3, latent_tokens=1,
    )  # fmt: skip
    net = MaskedDiffusionModel(config)
    torch.nn.init.zeros_(net.embed.weight)
    return net


@pytest.mark.parametrize("width", [7, 5])
def test_a_uniform_network_scores_its_logarithms(uniform, width):
    """log V' a token, of the V' ids that are no mask and no layout, and log L for the length."""
    rows = [[3], [4, 5, 6], [7, 7, 7, 7, 7]]
    cond = Condition.of(torch.randn(3, 3))
    found = bound(uniform, padded(rows, width), cond, samples=3)
    expected = [len(row) * math.log(10) + math.log(7) for row in rows]
    assert found.nelbo_N == pytest.approx(expected, rel=1e-5)
    assert found.padding.count_NK.sum() == 0


def test_neighbours_and_padding_change_no_bound(uniform):
    torch.manual_seed(1)
    net = MaskedDiffusionModel(uniform.config)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    rows, vectors = [[3, 9], [4, 5, 6, 8, 12, 3], [7]], torch.randn(3, 3)
    together = bound(net, padded(rows, 7), Condition.of(vectors), samples=4, batch_size=6)
    first = bound(net, padded(rows[:1], 2), Condition.of(vectors[:1]), samples=4)
    assert together.nelbo_N[0] == pytest.approx(first.nelbo_N[0], rel=1e-5)
    use = latent_use(net, padded(rows, 7), vectors, samples=4)
    assert use.true.nelbo_N == pytest.approx(together.nelbo_N, rel=1e-5)
    assert use.false["null"].length_nats_N[0] != pytest.approx(use.true.length_nats_N[0], rel=1e-3)


def test_where_tokens_are_given_so_is_their_number(uniform):
    ids = padded([[4, 5, 6, 7], [4, 5, 6, 7]], 7)
    open_NL = torch.tensor([[False, False, True, True] + [True] * 3, [True] * 7])
    found = bound(uniform, ids, samples=2, open_NL=open_NL)
    assert found.length_nats_N == pytest.approx([0.0, math.log(7)])
    assert found.nelbo_N == pytest.approx([2 * math.log(10), 4 * math.log(10) + math.log(7)], rel=1e-5)


def test_longer_texts_than_the_model_knows_are_refused():
    model = LengthAndWords([0.5, 0.5], [0.6, 0.4])
    with pytest.raises(UsageError, match="lengths of 1 to 2"):
        bound(model, padded([[1, 2, 1]], 3), samples=1)
