"""``compile_blocks``: few graphs whatever the shapes, the same gradients, and the network is plain again afterwards."""

import pytest
import torch

from tiny_training import run, settings, write_texts
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.training import compiled
from unmask.training.compiled import SHAPES, compiled_blocks, unfit
from unmask.training.recipe import parse

MASK = 2


class Counting:
    """A compiler that changes nothing and counts what it is given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def net():
    torch._dynamo.reset()
    torch.manual_seed(0)
    made = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=30, dim=16, layers=3, heads=2, ffn_dim=32, conditioning="adaln", latent_dim=6, latent_tokens=2,
            max_position_embeddings=64, length_model=True, pad_token_id=0,
        )
    )  # fmt: skip
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    yield made
    torch._dynamo.reset()


def gradients(net, rows, width):
    """Of the states at some positions; how many there are changes with the seed."""
    g = torch.Generator().manual_seed(rows * width)
    x = torch.randint(3, 30, (rows, width), generator=g)
    at = torch.rand(x.shape, generator=g) < 0.4
    x[at] = MASK
    valid = torch.arange(width) < torch.randint(1, width + 1, (rows, 1), generator=g)
    net.zero_grad()
    h = net.body_at(x, at & valid, Condition.of(torch.randn(rows, 6, generator=g)), valid_BL=valid).h_BLD[at & valid]
    (h * torch.linspace(-1, 1, 16)).sum().backward()
    return [h.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


def test_few_shapes_are_compiled_and_gradients_stay(net):
    counting, widths = Counting(), (8, 16, 24, 32, 40, 48, 56, 64)
    plain = [gradients(net.train(), 4, width) for width in widths]
    with compiled_blocks(net, counting):
        before = counting.graphs
        for _ in range(2):  # other masked rows, the same shapes
            found = [gradients(net, 4, width) for width in widths]
            torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
        # one graph a shape serves all blocks
        assert counting.graphs - before == SHAPES < len(widths)
        net.eval()
        gradients(net, 3, 8)
        with torch.no_grad():
            net.train().body(torch.full((5, 8), MASK))
        assert counting.graphs - before == SHAPES
    assert all("forward" not in vars(block) for block in net.blocks)


def test_without_a_compiler_it_is_said_once(net, caplog):
    def fails(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    assert "no C++ compiler" in unfit(fails)
    with compiled_blocks(net, fails):
        assert all("forward" not in vars(block) for block in net.blocks)
    assert caplog.text.count("nothing can be compiled here") == 1


def test_a_run_trains_as_without_it(tmp_path, monkeypatch):
    counting, real = Counting(), compiled_blocks
    monkeypatch.setattr("unmask.training.masked_diffusion_trainer.compiled_blocks", lambda net: real(net, counting))
    texts = write_texts(tmp_path)
    runs = [run(texts, tmp_path / str(on), length_model=True, compile_blocks=on) for on in (False, True)]
    assert 1 < counting.graphs <= 1 + compiled.SHAPES
    for a, b in zip(*(model.denoiser.parameters() for model in runs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gradient_checkpointing": True}, "compile_blocks=True does not go with gradient_checkpointing"),
        ({"torch_compile": True}, "compile_blocks=True does not go with torch_compile"),
        ({"family": "tidal"}, "compile_blocks.* has no effect"),
    ],
)
def test_what_does_not_go_with_compiled_blocks(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said):
        parse(settings("texts.txt", tmp_path, compile_blocks=True, **changed))
