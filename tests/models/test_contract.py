"""The contract of a denoiser, over everything that derives from it: rows asked for, batch, padding, mask id, saving."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from adapted import masked_lm, native
from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.random import generator
from unmask.data.puzzles import MASK as HOLE
from unmask.data.puzzles import PUZZLES
from unmask.data.tidal.mixed_tokenizer import BOB
from unmask.data.tidal.mixed_tokenizer import MASK as CHARACTER
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape
from unmask.families.puzzle.network import load as load_puzzle
from unmask.families.puzzle.network import save as save_puzzle
from unmask.families.puzzle.subject import CellDenoiser, rows_of
from unmask.models.adapters import load_adapter
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.tidal import TidalConfig, TidalModel

B, L = 4, 10


@dataclass
class Case:
    """A denoiser with rows that it may be shown.

    Attributes:
        net: in evaluation mode, weights away from their start.
        x_BL: ids, every other one hidden.
        at_BL: where logits are wanted; the hidden ones.
        cond: semantic vectors, or None.
        again: gives the same denoiser, saved and loaded (other people's: loaded once more).
        fixed: a canvas of another length is none.
        width: ids that it may write; all that it reads when None.
    """

    net: Any
    x_BL: torch.Tensor
    at_BL: torch.Tensor
    again: Any
    cond: Condition | None = None
    fixed: bool = False
    width: int | None = None

    @property
    def ids(self):
        return self.width or self.net.vocab_size


def _spread(net):
    with torch.no_grad():
        for p in net.parameters():
            p += 0.2 * torch.randn(p.shape, generator=generator(7)).to(p)
    return net.eval()


def _rows(low, high, mask):
    x_BL = torch.randint(low, high, (B, L), generator=generator(1))
    x_BL[:, ::2] = mask
    return x_BL, x_BL == mask


def _own(folder, **settings):
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=23, max_position_embeddings=L, dim=16, layers=2, heads=2, ffn_dim=24, **settings
    )
    net = _spread(MaskedDiffusionModel(config))
    x_BL, at_BL = _rows(3, 23, net.mask_id)
    cond = Condition.of(torch.randn(B, 6, generator=generator(2))) if net.conditional else None

    def again():
        net.save_pretrained(folder)
        return MaskedDiffusionModel.from_pretrained(folder).eval()

    return Case(net, x_BL, at_BL, again, cond)


def _tidal(folder, positions):
    torch.manual_seed(0)
    config = TidalConfig(
        vocab_size=300, attention="masked", positions=positions, dim=32, layers=2, heads=4, ffn_dim=48, max_length=L
    )
    net = _spread(TidalModel(config))
    x_BL = torch.randint(265, 300, (B, L), generator=generator(1))
    x_BL[:, 4], x_BL[:, 5:] = BOB, torch.randint(97, 120, (B, 5), generator=generator(2))
    x_BL[:, 5::2] = CHARACTER
    assert net.mask_id == CHARACTER

    def again():
        net.save_pretrained(folder)
        return TidalModel.from_pretrained(folder).eval()

    return Case(net, x_BL, x_BL == CHARACTER, again, width=config.outputs)


def _adapted(folder, kind):
    made = native(folder, kind) if kind in ("llada", "dream") else masked_lm(folder, kind)[0]
    net = load_adapter(made).denoiser
    x_BL, at_BL = _rows(5, 250, net.mask_id)
    return Case(net, x_BL, at_BL, lambda: load_adapter(made).denoiser)


def _puzzle(folder, spec):
    import numpy as np

    puzzle = PUZZLES.make(spec)
    net = _spread(PuzzleDenoiser.fresh(puzzle, Shape(dim=16, layers=2, heads=2, ffn_dim=32, loops=1), 0))
    x_BL = puzzle.sample(B, np.random.default_rng(0)).question_BL

    def again():
        save_puzzle(net, PuzzleCard(spec, "unknown"), folder)
        return load_puzzle(folder)[0]

    return Case(net, x_BL, x_BL == HOLE, again, fixed=True)


def _cells(folder, spec):
    import numpy as np

    inner = _puzzle(folder, spec)
    batch = rows_of(PUZZLES.make(spec).sample(B, np.random.default_rng(0)), 4)
    x_BK = batch.ids_BL.clone()
    x_BK[:, ::2] = HOLE
    return Case(
        CellDenoiser(inner.net), x_BK, x_BK == HOLE, lambda: CellDenoiser(inner.again()), batch.cond, fixed=True
    )


CASES = {
    "native": _own,
    "native conditional": lambda f: _own(f, conditioning="adaln", latent_dim=6, latent_tokens=3, time_embedding=True),
    "native cross": lambda f: _own(f, conditioning="cross", latent_dim=6, latent_tokens=2),
    "native looped": lambda f: _own(f, loops=2, input_injection=True, gated=True, rope=False),
    "tidal alibi": lambda f: _tidal(f, "alibi"),
    "tidal rope": lambda f: _tidal(f, "rope"),
    "llada": lambda f: _adapted(f, "llada"),
    "dream": lambda f: _adapted(f, "dream"),
    "bert": lambda f: _adapted(f, "bert"),
    "roberta": lambda f: _adapted(f, "roberta"),
    "modernbert": lambda f: _adapted(f, "modernbert"),
    "sudoku": lambda f: _puzzle(f, "sudoku:size=4,fewest=5,most=6"),
    "zebra items": lambda f: _puzzle(f, "zebra_items:largest=3"),
    "cells of a sudoku": lambda f: _cells(f, "sudoku:size=4,fewest=5,most=6"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    with torch.no_grad():
        yield CASES[request.param](tmp_path_factory.mktemp("denoiser"))


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_asked_for_are_those_of_the_whole(case):
    everywhere_BL = torch.ones_like(case.at_BL)
    whole = case.net.logits(case.x_BL, everywhere_BL, case.cond).view(*case.x_BL.shape, -1)
    assert whole.shape[-1] == case.ids and isinstance(case.net, Denoiser)
    close(case.net.logits(case.x_BL, case.at_BL, case.cond), whole[case.at_BL])
    close(case.net.logits(case.x_BL, None, case.cond), whole[case.x_BL == case.net.mask_id])
    assert case.net.logits(case.x_BL, ~everywhere_BL, case.cond).shape == (0, case.ids)


@torch.no_grad()
def test_a_row_alone_is_the_row_in_a_batch(case):
    whole = case.net.logits(case.x_BL, case.at_BL, case.cond)
    row_N = case.at_BL.nonzero()[:, 0]
    for b in range(len(case.x_BL)):
        cond = None if case.cond is None else case.cond[b : b + 1]
        close(case.net.logits(case.x_BL[b : b + 1], case.at_BL[b : b + 1], cond), whole[row_N == b])
    turned = None if case.cond is None else case.cond[torch.arange(len(case.x_BL)).flip(0)]
    back = case.net.logits(case.x_BL.flip(0), case.at_BL.flip(0), turned)
    close(back, torch.cat([whole[row_N == b] for b in reversed(range(len(case.x_BL)))]))


@torch.no_grad()
def test_what_stands_in_padding_changes_nothing(case):
    if isinstance(case.net, CellDenoiser):
        pytest.skip("a board has no padding")
    valid_BL = torch.ones_like(case.at_BL)
    valid_BL[:, -3:] = False
    at_BL = case.at_BL & valid_BL
    other_BL = case.x_BL.clone()
    other_BL[:, -3:] = case.x_BL[:, -4:-3] if case.fixed else other_BL[:, -6:-3]
    one, other = (
        case.net.logits(x_BL, at_BL, case.cond, torch.full((len(x_BL),), 0.5), valid_BL=valid_BL)
        for x_BL in (case.x_BL, other_BL)
    )
    close(one, other)
    if not case.fixed:
        short = case.net.logits(case.x_BL[:, :-3], at_BL[:, :-3], case.cond, torch.full((len(case.x_BL),), 0.5))
        close(one, short)


@torch.no_grad()
def test_the_mask_id_gets_no_probability(case):
    p_NV = case.net.logits(case.x_BL, case.at_BL, case.cond).softmax(-1)
    assert (p_NV[:, case.net.mask_id] == 0).all() and p_NV.isfinite().all()
    close(p_NV.sum(-1), torch.ones(len(p_NV)))


@torch.no_grad()
def test_the_mask_id_is_what_hides(case):
    # another id there is another input, and the answers elsewhere follow
    shown_BL = case.x_BL.clone()
    rows, columns = case.at_BL.nonzero(as_tuple=True)
    first = torch.tensor([int(columns[rows == b][0]) for b in range(len(case.x_BL))])
    target = case.x_BL[~case.at_BL][0] if not case.fixed else torch.tensor(1)
    shown_BL[torch.arange(len(first)), first] = target
    at_BL = case.at_BL.clone()
    at_BL[torch.arange(len(first)), first] = False
    hidden, shown = (case.net.logits(x, at_BL, case.cond).log_softmax(-1) for x in (case.x_BL, shown_BL))
    assert (hidden - shown)[hidden.isfinite()].abs().max() > 1e-4


@torch.no_grad()
def test_saved_and_loaded_is_identical(case):
    again = case.again()
    assert type(again) is type(case.net)
    assert (again.vocab_size, again.mask_id, again.pad_id, again.eos_id, again.max_length) == (
        case.net.vocab_size, case.net.mask_id, case.net.pad_id, case.net.eos_id, case.net.max_length,
    )  # fmt: skip
    before, after = (net.logits(case.x_BL, case.at_BL, case.cond) for net in (case.net, again))
    assert torch.equal(before, after)


# -- causal models keep what of this applies ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    from unmask.models.causal import load_causal

    folder = tmp_path_factory.mktemp("causal")
    torch.manual_seed(0)
    net = GPT2LMHeadModel(GPT2Config(vocab_size=280, n_positions=32, n_embd=16, n_layer=2, n_head=2))
    _spread(net).save_pretrained(folder)
    from unmask.data.tokenizer import train_bpe

    train_bpe(["the river runs to the sea"], 280).save_pretrained(folder)
    return load_causal(folder), folder


@torch.no_grad()
def test_causal_rows_batch_padding_and_loading(causal):
    from unmask.models.causal import load_causal

    model, folder = causal
    ids_BL = torch.randint(5, 260, (B, L), generator=generator(1))
    whole = model.model(input_ids=ids_BL).logits
    for b in range(B):
        close(model.model(input_ids=ids_BL[b : b + 1]).logits[0], whole[b])
    padded = torch.cat([ids_BL, torch.full((B, 3), 5)], 1)
    valid = torch.arange(L + 3).expand(B, -1) < L
    close(model.model(input_ids=padded, attention_mask=valid.long()).logits[:, :L], whole)
    assert torch.equal(load_causal(folder).model(input_ids=ids_BL).logits, whole)
    assert load_causal(folder).identity == model.identity
