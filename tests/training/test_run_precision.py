"""A run's precision is chosen once, said, written into card and checkpoint, and kept wherever it goes on."""

import json

import pytest
import torch

from tiny_training import generation, history, run, settings, write_texts
from unmask.core.errors import UsageError
from unmask.models.text_model import load_native
from unmask.training.recipe import parse
from unmask.training.run import train

AUTO = {"bf16": ..., "precision": "auto"}


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("data"))


def stop_at(step):
    def probe(net, now):
        if now == step:
            raise Stop
        return {"generation": 0.0}, []

    return lambda prepared: [probe]


def test_auto_is_said_and_stands_in_card_and_checkpoint(texts, tmp_path):
    said = []
    train(parse(settings(texts, tmp_path, **AUTO)), say=said.append)
    assert "precision fp32 (as asked)" in said  # the tests' UNMASK_PRECISION
    assert load_native(tmp_path).card.recipe["precision"] == "fp32"
    state = json.loads((tmp_path / "checkpoint-4/trainer_state.json").read_text())
    assert state["stateful_callbacks"]["KeptPrecision"]["args"] == {"precision": "fp32"}


def test_a_resumed_run_keeps_its_precision_on_another_machine(texts, tmp_path, monkeypatch):
    run(texts, tmp_path / "whole", **AUTO)
    with pytest.raises(Stop):
        run(texts, tmp_path / "cut", stop_at(4), **AUTO)
    monkeypatch.setenv("UNMASK_PRECISION", "bf16")  # where bf16 is the faster one
    said = []
    train(parse(settings(texts, tmp_path / "cut", **AUTO)), say=said.append)
    assert "precision fp32 (the run's own)" in said
    losses = [[h["loss"] for h in history(tmp_path / name) if "loss" in h] for name in ("whole", "cut")]
    assert losses[0] == losses[1]


def test_bf16_differs_from_fp32_and_is_what_trains(texts, tmp_path, monkeypatch):
    """The setting reaches the products: the two differ by bf16's rounding, and no more."""
    found = {}
    for word in ("fp32", "bf16"):
        seen = []
        linear = torch.nn.functional.linear

        def watch(x, *args, seen=seen, linear=linear, **kwargs):
            y = linear(x, *args, **kwargs)
            seen.append(y.dtype)
            return y

        monkeypatch.setattr(torch.nn.functional, "linear", watch)
        run(texts, tmp_path / word, generation(float), bf16=..., precision=word)
        monkeypatch.undo()
        found[word] = [h["loss"] for h in history(tmp_path / word) if "loss" in h]
        assert (torch.bfloat16 in seen) == (word == "bf16")
    assert found["fp32"] != found["bf16"] and found["bf16"] == pytest.approx(found["fp32"], rel=0.02)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bf16": True, "precision": "fp32"}, "bf16=True does not go with precision='fp32'"),
        ({"bf16": False, "precision": "bf16"}, "bf16=False does not go with precision='bf16'"),
        ({"bf16": ..., "precision": "fp8"}, "precision='fp8' must be 'auto', 'fp32' or 'bf16'"),
    ],
)
def test_two_words_for_one_thing_must_agree(texts, tmp_path, given, says):
    with pytest.raises(UsageError, match=says):
        parse(settings(texts, tmp_path, **given))


def test_the_old_words_and_the_launchers_still_count(texts, tmp_path, monkeypatch):
    assert parse(settings(texts, tmp_path, bf16=True)).train.precision == "bf16"
    assert parse(settings(texts, tmp_path, bf16=True), ["--precision", "fp32"]).train.precision == "fp32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert parse(settings(texts, tmp_path, **AUTO)).train.precision == "bf16"
    with pytest.raises(UsageError, match="mixed_precision='bf16' of the launcher does not go with"):
        parse(settings(texts, tmp_path, bf16=..., precision="fp32"))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UsageError, match="must be 'no' or 'bf16'"):
        parse(settings(texts, tmp_path, **AUTO))
