import itertools

import pytest
import torch
from transformers import AutoModel

import unmask.models.auto  # noqa: F401
from unmask.core.errors import UsageError
from unmask.data.tidal.mixed_tokenizer import BOB, EOB, MASK, PAD
from unmask.data.tidal.samples import Segment, layout, pack
from unmask.models.tidal import ATTENTION, POSITIONS, TidalConfig, TidalModel
from unmask.models.tidal_attention import Places, alibi, allowed, slopes

EVERY = list(itertools.product(ATTENTION, POSITIONS))
A, B, C, D = 265, 266, 267, 268  # tokens
X, Y, Z = 100, 101, 102  # characters


def model(attention="tidal", positions="alibi", seed=0, **settings):
    torch.manual_seed(seed)
    config = TidalConfig(
        vocab_size=300, attention=attention, positions=positions, dim=32, layers=2, heads=4, ffn_dim=48, **settings
    )
    net = TidalModel(config).eval()
    # weights far from their small start, so that a leak would show
    for p in net.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return net


def places(batch):
    return Places(batch["segment"], batch["token"], batch["character"])


def read(net, segments):
    batch = layout(segments)
    return net.read(batch["input_ids"], places(batch))[0], batch


def test_who_sees_whom():
    batch = layout([[Segment([A, B, C], [(3, [BOB, X, EOB])])]])
    at = places(batch)
    tokens_see_all = [[1, 1, 1, 0, 0, 0]] * 3
    block_causal = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert allowed(at, at, "tidal")[0].int().tolist() == tokens_see_all + block_causal
    assert allowed(at, at, "masked")[0].int().tolist() == tokens_see_all + [[1] * 6] * 3
    assert allowed(at, at, "causal")[0].int().tolist() == torch.ones(6, 6).tril().int().tolist()


@pytest.mark.parametrize("mode", ATTENTION)
def test_gradient_is_zero_exactly_where_attention_forbids(mode):
    net = model(mode)
    batch = layout([[Segment([A, B, C], [(3, [BOB, X, EOB])]), Segment([A, D], [(2, [BOB, Y])])], [Segment([A])]])
    inner = net.embed(batch["input_ids"]).detach().requires_grad_()
    net.embed.forward = lambda ids: inner
    h_BLD, _ = net.read(batch["input_ids"], places(batch))
    # paths through two layers reach whatever is reached in two hops; the rules are transitive, so one hop says it all
    sees = allowed(places(batch), places(batch), mode)
    for b, i in batch["segment"].nonzero().tolist():
        (grad,) = torch.autograd.grad(h_BLD[b, i].square().sum(), inner, retain_graph=True)
        assert torch.equal(grad[b].abs().sum(-1) > 0, sees[b, i])
        assert not grad[1 - b].any()


@pytest.mark.parametrize(("mode", "positions"), EVERY)
def test_packed_rows_give_what_each_gives_alone(mode, positions):
    net = model(mode, positions)
    segments = [
        Segment([A, B, C], [(3, [BOB, X, Y, EOB])]),
        Segment([], [(0, [BOB, Z])]),
        Segment([D] * 5, [(5, [BOB, Y, EOB])]),
    ]
    packed, _ = read(net, pack(segments, 17))
    padded, _ = read(net, [[s] for s in segments])
    start = 0
    for row, segment in enumerate(segments):
        alone, _ = read(net, [[segment]])
        torch.testing.assert_close(packed[0, start : start + len(segment)], alone[0])
        torch.testing.assert_close(padded[row, : len(segment)], alone[0])
        start += len(segment)


@pytest.mark.parametrize("positions", POSITIONS)
def test_many_blocks_on_one_causal_segment_are_read_as_if_alone(positions):
    net = model("causal", positions)
    blocks = [(0, [BOB, X]), (2, [BOB, Y, Z]), (4, [BOB, X, EOB])]
    together, _ = read(net, [[Segment([A, B, C, D], blocks)]])
    start = 4
    for seen, ids in blocks:
        alone, _ = read(net, [[Segment([A, B, C, D][:seen], [(seen, ids)])]])
        torch.testing.assert_close(together[0, start : start + len(ids)], alone[0, seen:])
        start += len(ids)


@pytest.mark.parametrize("positions", POSITIONS)
def test_prefix_in_another_order_gives_other_logits(positions):
    net = model("tidal", positions)
    first, _ = read(net, [[Segment([A, B, C], [(3, [BOB])])]])
    second, _ = read(net, [[Segment([B, A, C], [(3, [BOB])])]])
    assert (first[0, 3] - second[0, 3]).abs().max() > 1e-3
    # the second character is told from the first by its offset alone
    same, _ = read(net, [[Segment([A], [(1, [BOB, X, X])])]])
    assert (same[0, 2] - same[0, 3]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_of_an_all_masked_block_are_told_apart(positions):
    """One id everywhere: without offsets of its own such a model writes the same letter at each place."""
    logits = model("masked", positions).logits(torch.tensor([[A, B, BOB] + [MASK] * 5]))
    gaps = torch.cdist(logits[:, 3:].softmax(-1), logits[:, 3:].softmax(-1)) + torch.eye(5)
    assert gaps.min() > 1e-2


def test_masked_canvas_tells_left_from_right():
    net = model("masked")
    canvas = torch.tensor([[A, BOB, X, MASK, Y], [A, BOB, Y, MASK, X]])
    logits = net.logits(canvas)
    assert logits.shape == (2, 261) and torch.isinf(logits[:, MASK]).all()
    assert (logits[0] - logits[1])[3:].abs().max() > 1e-3


def test_alibi_is_never_positive():
    short = places(layout([[Segment([A] * 3, [(3, [BOB, X])])]]))
    long = places(layout([[Segment([A] * 3, [(3, [BOB] + [X] * 20)])]]))
    bias = alibi(long, long, 4)
    assert bias.max() == 0 and (bias.diagonal(dim1=-2, dim2=-1) == 0).all()
    torch.testing.assert_close(bias[:, :, :5, :5], alibi(short, short, 4), rtol=0, atol=0)
    # inside a block the step is the same everywhere, and farther characters never weigh more
    row = bias[0, 0, -1, 3:]
    assert (row[1:] - row[:-1] == slopes(4)[0]).all()
    # an offset adds nothing to the distance to a token
    assert (bias[0, :, 3:, 2] == bias[0, :, 3:4, 2]).all()


def test_slopes_are_the_papers():
    torch.testing.assert_close(slopes(8), torch.tensor([2.0**-k for k in range(1, 9)]))


@pytest.mark.parametrize(("mode", "positions"), [e for e in EVERY if e[0] != "masked"])
def test_future_characters_change_nothing_before_them(mode, positions):
    net = model(mode, positions)
    short, _ = read(net, [[Segment([A, B], [(2, [BOB, X])])]])
    long, _ = read(net, [[Segment([A, B], [(2, [BOB, X, Y, Z, EOB])])]])
    torch.testing.assert_close(long[:, :4], short)


@pytest.mark.parametrize(("mode", "positions"), [e for e in EVERY if e[0] != "masked"])
def test_writing_with_a_cache_gives_the_logits_of_one_reading(mode, positions):
    net = model(mode, positions)
    prefixes, characters = [[A, B, C], [], [D]], [[X, Y, Z], [Z, Z, X], [Y, X, EOB]]
    found = []
    logits, writing = net.begin(prefixes)
    found.append(logits)
    for i in range(3):
        logits, writing = net.step(torch.tensor([c[i] for c in characters]), writing)
        found.append(logits)
    for b, (prefix, chars) in enumerate(zip(prefixes, characters, strict=True)):
        h_BLD, _ = read(net, [[Segment(prefix, [(len(prefix), [BOB, *chars])])]])
        wanted = net.head(h_BLD[0, len(prefix) :])
        wanted[:, [PAD, BOB]] = float("-inf")
        torch.testing.assert_close(torch.stack([f[b] for f in found]), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mode", "positions"), [e for e in EVERY if e[0] != "masked"])
def test_cached_prefix_is_used_again_where_tokens_are_unchanged(mode, positions):
    net = model(mode, positions)
    _, writing = net.begin([[A, B, C], [A, B], [D, D, D, D]])
    for ids in ([X, Y, Z], [Y, EOB, X]):
        _, writing = net.step(torch.tensor(ids), writing)
    # appended; re-tokenised from the second token on; the same
    new = [[A, B, C, D], [A, C, C, A], [D, D, D, D]]
    cached, writing = net.begin(new, writing)
    assert writing.reused == ([3, 1, 4] if mode == "causal" else [0, 0, 4])
    fresh, other = net.begin(new)
    torch.testing.assert_close(cached, fresh, rtol=1e-4, atol=1e-4)
    after, _ = net.step(torch.tensor([X, Y, Z]), writing)
    torch.testing.assert_close(after, net.step(torch.tensor([X, Y, Z]), other)[0], rtol=1e-4, atol=1e-4)


def test_specials_that_cannot_be_written_have_no_mass():
    logits, _ = model().begin([[A]])
    assert torch.isinf(logits[0, [PAD, MASK, BOB]]).all() and torch.isfinite(logits[0, EOB:]).all()


@pytest.mark.parametrize(("mode", "positions"), EVERY)
def test_saved_and_loaded_is_identical(tmp_path, mode, positions):
    net = model(mode, positions)
    net.save_pretrained(tmp_path)
    theirs, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True, local_files_only=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.tensor([[A, B, BOB, X, MASK]])
    for again in (TidalModel.from_pretrained(tmp_path), theirs.eval()):
        assert torch.equal(again(ids)["logits"], net(ids)["logits"])


def test_places_are_read_from_the_ids():
    segments = [[Segment([A, B, C], [(3, [BOB, X])])], [Segment([D], [(1, [BOB, Y, Z])])]]
    batch = layout(segments)
    found = Places.of_ids(batch["input_ids"], BOB, batch["segment"] > 0)
    for mine, wanted in zip(found.all(), places(batch).all(), strict=True):
        there = batch["segment"] > 0
        assert torch.equal(mine[there], wanted[there])
    left = torch.tensor([[PAD, PAD, D, BOB, Y]])
    moved = Places.of_ids(left, BOB, left != PAD)
    assert moved.token[0, 2:].tolist() == [0, 1, 1] and moved.character[0].tolist() == [-1, -1, -1, 0, 1]


@pytest.mark.parametrize("mode", ATTENTION)
def test_attention_weights_are_those_that_are_used(mode):
    net = model(mode)
    ids = torch.tensor([[A, B, BOB, X, Y]])
    weights = net.attention_weights(ids)
    assert weights.shape == (2, 1, 4, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 4, 5))
    at = Places.of_ids(ids, BOB)
    assert not weights[:, :, :, ~allowed(at, at, mode)[0]].any()
    # the first layer's values times the weights are what the layer gives on
    attn, x = net.blocks[0].attn, net.embed(ids)
    x = net.blocks[0].norm1(x if net.offset is None else x + net.offset(at.character + 1))
    v = attn.qkv(x).view(1, 5, 3, 4, 8)[:, :, 2].transpose(1, 2)
    y = attn.out((weights[0] @ v).transpose(1, 2).reshape(1, 5, 32))
    bias = alibi(at, at, 4).masked_fill(~allowed(at, at, mode)[:, None], -1e9)
    torch.testing.assert_close(y, attn(x, None, bias)[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attention": "tide"}, "attention='tide'"),
        ({"positions": "sine"}, "positions='sine'"),
        ({"dim": 30}, "dim=30"),
        ({"dim": 24, "positions": "rope"}, "divisible by 4"),
        ({"outputs": 4}, "outputs=4"),
        ({"outputs": 4096}, "outputs=4096"),
    ],
)
def test_wrong_settings_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        TidalConfig(**settings)


def test_places_that_learned_positions_lack_are_refused():
    net = model(positions="learned", max_position_embeddings=4, max_block=4)
    with pytest.raises(UsageError, match="end at token 4, the input goes to 6"):
        net(torch.tensor([[A] * 6 + [BOB]]))
    with pytest.raises(UsageError, match="offsets end at 5, the input goes to 6"):
        net(torch.tensor([[A, BOB] + [X] * 6]))
