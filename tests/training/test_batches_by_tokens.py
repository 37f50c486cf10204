"""``max_tokens``: steps of as many tokens as fit, the same for a seed however they are split."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_training import history, settings, steps_with, write_texts
from unmask.core.errors import UsageError
from unmask.data.canvas import padded_width
from unmask.training.passes import completed
from unmask.training.recipe import parse
from unmask.training.run import train
from unmask.training.shuffle import BatchesOfSteps, ShuffledRows, StepsByTokens

LENGTHS = np.random.default_rng(0).integers(1, 41, 3000)
WIDTH = partial(padded_width, longest=40)


def by_tokens(tokens=640, parts=1, rows=3000, seed=3):
    return StepsByTokens(ShuffledRows(rows, 0, seed), LENGTHS[:rows], tokens, parts, WIDTH)


def positions(rows_N):
    return len(rows_N) * WIDTH(int(LENGTHS[rows_N.numpy()].max()))


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_no_batch_holds_more_than_its_tokens(parts):
    steps = by_tokens(parts=parts)
    batches = [part for step in range(60) for part in steps.at(step)]
    assert max(positions(part) for part in batches) <= 640
    # and few of them hold much less
    assert np.mean([positions(part) for part in batches]) > 0.75 * 640
    sizes = [len(part) for part in batches]
    assert max(sizes) > 2 * min(sizes)


def test_every_row_has_its_turn_before_any_comes_again():
    steps = by_tokens()
    seen = torch.cat([steps.at(step).flatten() for step in range(steps.of(2))])
    plain = ShuffledRows(3000, 6000, 3)
    whole = len(seen) // steps.window * steps.window
    assert sorted(seen[:whole].tolist()) == sorted(list(plain)[:whole]) and whole > 3000


def test_short_and_long_steps_take_turns():
    longest = [int(LENGTHS[by_tokens().at(step)[0].numpy()].max()) for step in range(40)]
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.5 and len(set(longest)) > 4


def test_a_step_is_found_again_from_its_number():
    steps, other = by_tokens(), by_tokens()
    walked = [steps.at(step) for step in range(130)]
    for step in (129, 3, 70):
        assert torch.equal(other.at(step), walked[step])
    assert other.drawn(130) == sum(part.numel() for part in walked)


def test_usual_splits_share_a_step():
    """Of 640 tokens whole, or in 2, 4 or 8 parts; each process has its own of them."""
    for parts in (2, 4, 8):
        split, whole = by_tokens(640 // parts, parts), by_tokens()
        for step in range(20):
            assert torch.equal(split.at(step).flatten(), whole.at(step).flatten())
    split = by_tokens(160, 4)
    mine = [list(BatchesOfSteps(split, 10, 2, 2, me)) for me in (0, 1)]
    assert len(mine[0]) == len(mine[1]) == 20
    for step in range(10):
        order = [mine[me][2 * step + micro] for micro in (0, 1) for me in (0, 1)]
        assert sum(order, []) == split.at(step).flatten().tolist()


def test_passes_are_counted_in_rows():
    steps = by_tokens()
    ends = [completed(step, steps) for step in range(1, 3 * steps.of(1))]
    assert [end for end in ends if end][:2] == [1, 2]
    for passes in (0.5, 1, 2):
        found = steps.of(passes)
        off = [abs(steps.drawn(n) - passes * 3000) for n in (found - 1, found, found + 1)]
        assert min(off) == off[1]


def test_few_rows_are_one_step():
    steps = by_tokens(rows=5)
    assert sorted(steps.at(0).flatten().tolist()) == [0, 1, 2, 3, 4] and steps.of(1) == 1
    assert by_tokens(rows=2, parts=4).at(0).shape == (4, 1)


def tiny(folder: Path, name: str, **changed):
    lines = folder / "texts.txt"
    if not lines.exists():
        words = "light darkness water earth heaven day night".split()
        draw = np.random.default_rng(1)
        lines.write_text("\n".join(" ".join(draw.choice(words, draw.integers(1, 9))) for _ in range(200)))
    given = dict(length_model=True, max_tokens=128, per_device_train_batch_size=...)
    return parse(settings(lines, folder / name, **{**given, **changed}))


def test_a_run_that_goes_on_sees_the_same_rows(tmp_path):
    whole = train(tiny(tmp_path, "whole", max_steps=6, save_steps=3, eval_steps=3), say=lambda _: None)

    def stop(prepared):
        def probe(net, step):
            if step == 6:
                raise KeyboardInterrupt
            return {}, []

        return [probe]

    with pytest.raises(KeyboardInterrupt):
        train(tiny(tmp_path, "cut", max_steps=6, save_steps=3, eval_steps=3), stop, say=lambda _: None)
    # how a step is split may change between starts
    again = tiny(tmp_path, "cut", max_steps=6, save_steps=3, eval_steps=3, max_tokens=64, gradient_accumulation_steps=2)
    cut = train(again, say=lambda _: None)
    for a, b in zip(whole.denoiser.parameters(), cut.denoiser.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    other = tiny(tmp_path, "cut", max_steps=6, save_steps=3, eval_steps=3, max_tokens=256)
    with pytest.raises(UsageError, match="rows a step=of 128 tokens, in multiples of 8"):
        train(other, say=lambda _: None)


def test_epochs_are_evaluated_at_their_ends(tmp_path):
    said = []
    by_epoch = dict(eval_strategy="epoch", save_strategy="epoch", eval_steps=..., save_steps=..., max_steps=...)
    recipe = tiny(tmp_path, "run", num_train_epochs=2, **by_epoch)
    train(recipe, say=said.append)
    looked = steps_with(tmp_path / "run", "eval_loss")
    assert len(looked) == 2 and looked[1] == recipe.train.max_steps
    assert history(tmp_path / "run")[-1]["epoch"] == pytest.approx(2, abs=0.1)
    assert any(f"{recipe.train.max_steps} steps" in line for line in said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"length_model": False}, r"max_tokens=128 has no effect: it needs rows of unequal lengths"),
        ({"per_device_train_batch_size": 8}, r"max_tokens=128 and per_device_train_batch_size=8 both say"),
        ({"max_tokens": 7}, r"max_tokens=7 must be at least length=\d+, one row"),
    ],
)
def test_what_does_not_go_with_it(tmp_path, changed, said):
    write_texts(tmp_path)
    with pytest.raises(UsageError, match=said):
        tiny(tmp_path, "run", **changed)


def test_a_flag_answers_the_recipe():
    base = settings("verses", "run", length_model=True, per_device_train_batch_size=16)
    found = parse(base, ["--max_tokens", "512"])
    assert found.train.max_tokens == 512
    base = settings("verses", "run", length_model=True, max_tokens=512, per_device_train_batch_size=...)
    assert parse(base, ["--per_device_train_batch_size", "16"]).train.max_tokens is None
