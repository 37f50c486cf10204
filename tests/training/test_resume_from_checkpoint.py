"""resume_from_checkpoint goes on from that very checkpoint, exactly, or is refused before the corpus is read."""

import json
import shutil

import pytest
import torch

from tiny_training import generation, history, run, steps_with, write_texts
from unmask.core.errors import CheckpointError, UsageError
from unmask.models.text_model import load_native

BEST = generation(lambda step: -abs(step - 2))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def whole(texts, tmp_path_factory):
    """A run of six steps that was best at its second."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(texts, folder, BEST, max_steps=6, save_total_limit=5, ema=0.9)
    return folder


@pytest.fixture
def again(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "again")


def go_on(texts, folder, checkpoint, **changed):
    settings = dict(max_steps=6, save_total_limit=5, ema=0.9, resume_from_checkpoint=str(checkpoint))
    return run(texts, folder, BEST, **{**settings, **changed})


def weights(folder):
    return load_native(folder).denoiser.state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def losses(folder):
    return [(h["step"], h["loss"]) for h in history(folder) if "loss" in h]


def test_in_its_own_folder(texts, whole, again):
    (again / "checkpoint-6" / "model.safetensors").unlink()  # not even looked at
    go_on(texts, again, again / "checkpoint-4")
    assert losses(again) == losses(whole) and same(weights(whole), weights(again))
    assert json.loads((again / "checkpoint-6/checksums.json").read_text())


def test_in_another_folder_the_best_comes_along(texts, whole, tmp_path):
    go_on(texts, tmp_path / "new", whole / "checkpoint-4")
    assert losses(tmp_path / "new") == losses(whole) and same(weights(whole), weights(tmp_path / "new"))
    assert load_native(tmp_path / "new").card.scores["eval_generation"] == 0  # of step 2, which was not trained here
    assert {p.name for p in (tmp_path / "new").glob("checkpoint-*")} == {f"checkpoint-{k}" for k in (2, 4, 6)}


def test_a_start_that_was_stopped_may_be_repeated(texts, whole, tmp_path):
    go_on(texts, tmp_path / "new", whole / "checkpoint-4")
    go_on(texts, tmp_path / "new", whole / "checkpoint-4")
    assert same(weights(whole), weights(tmp_path / "new"))


def test_from_a_relative_path(texts, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(whole)
    go_on(texts, tmp_path / "new", "checkpoint-4/")
    assert same(weights(whole), weights(tmp_path / "new"))


def test_true_is_the_last_checkpoint(texts, whole, again):
    shutil.rmtree(again / "checkpoint-6")
    go_on(texts, again, True)
    assert losses(again) == losses(whole)
    fresh = go_on(texts, again.parent / "fresh", "true")
    assert fresh.card.scores and steps_with(again.parent / "fresh", "loss") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("checkpoint-5", "checkpoint-5' is no folder; beside it stand checkpoint-2, checkpoint-4, checkpoint-6"),
        (".", "is a run folder: name one of checkpoint-2, checkpoint-4, checkpoint-6 in it"),
        ("..", "holds no checkpoint that `unmask train` wrote"),
        ("nowhere/at_all", "at_all' is no folder$"),
    ],
)
def test_what_is_no_checkpoint(texts, whole, tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        go_on(texts, tmp_path / "new", whole / name, data="no_such_corpus.txt")
    assert not (tmp_path / "new").exists()


def test_a_damaged_one(texts, again, tmp_path):
    with open(again / "checkpoint-4" / "optimizer.pt", "r+b") as handle:
        handle.write(b"x")
    with pytest.raises(CheckpointError, match="is damaged: checkpoint-4/optimizer.pt is not what was written"):
        go_on(texts, tmp_path / "new", again / "checkpoint-4")


def test_of_another_recipe(texts, whole, tmp_path):
    with pytest.raises(
        UsageError, match="whole holds a run with dim=8 and this recipe has dim=16: .* start_from takes"
    ):
        go_on(texts, tmp_path / "new", whole / "checkpoint-4", dim=16)
    assert not (tmp_path / "new").exists()


def test_into_a_folder_with_checkpoints_of_its_own(texts, whole, again, tmp_path):
    with pytest.raises(UsageError, match="holds checkpoints of its own .*needs another output_dir"):
        go_on(texts, again, go_and_make(texts, tmp_path) / "checkpoint-4")


def go_and_make(texts, tmp_path):
    """The same recipe, trained elsewhere: a checkpoint's state names its own folder."""
    run(texts, tmp_path / "other", BEST, max_steps=6, save_total_limit=5, ema=0.9)
    return tmp_path / "other"


def test_one_that_stands_in_no_run(texts, whole, tmp_path):
    shutil.copytree(whole / "checkpoint-4", tmp_path / "alone" / "checkpoint-4")
    with pytest.raises(UsageError, match="stands in no run folder: .* holds no recipe.json"):
        go_on(texts, tmp_path / "new", tmp_path / "alone" / "checkpoint-4")


def test_contradictions_are_refused(texts, whole, tmp_path):
    with pytest.raises(UsageError, match="resume_from_checkpoint=False: leave it out, or --resume false"):
        go_on(texts, tmp_path / "new", False)
    with pytest.raises(UsageError, match="resume=False does not go with resume_from_checkpoint="):
        go_on(texts, tmp_path / "new", whole / "checkpoint-4", resume=False)


def test_values_that_are_equal_are_the_same_recipe(texts, again):
    """A flag's texts and a file's numbers; where it is and how it is shown are no part of it."""
    flags = ["--learning_rate", "1e-2", "--bf16", "False"]
    run(texts, again, BEST, flags, max_steps=6, save_total_limit="5", ema="9e-1", log_level="error")
