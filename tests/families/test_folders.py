"""What lies in a folder is said: a checkpoint of a run loads, parts of models are named as what they are."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import unmask
from tiny_training import generation, run, write_texts
from unmask.core.errors import CheckpointError, UsageError
from unmask.core.sampling_config import SamplingConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    run(write_texts(root), root / "run", generation(float), ema=0.5, probe_texts=0)
    return root / "run"


def test_a_checkpoint_of_a_run_is_its_average(trained):
    model = unmask.load(trained / "checkpoint-2", "cpu")
    average = load_file(str(trained / "checkpoint-2/ema.safetensors"))
    state = model.denoiser.state_dict()
    assert average and all(torch.equal(state[name], value) for name, value in average.items())
    last = load_file(str(trained / "checkpoint-2/model.safetensors"))
    assert any(not torch.equal(state[name], last[name]) for name in average)
    assert model.card == unmask.load(trained, "cpu").card
    assert unmask.sample(model, n=1, steps=4).texts


def test_a_finished_runs_checkpoint_is_its_model(trained):
    best = unmask.load(trained / "checkpoint-4", "cpu").denoiser.state_dict()
    assert all(torch.equal(v, best[k]) for k, v in unmask.load(trained, "cpu").denoiser.state_dict().items())


def test_an_unfinished_run_says_how_it_goes_on(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "cut")
    (tmp_path / "cut/unmask.json").unlink()
    for folder in (tmp_path / "cut", tmp_path / "cut/checkpoint-2"):
        with pytest.raises(CheckpointError, match="is a run that has not finished: start `unmask train` again"):
            unmask.load(folder, "cpu")


def test_parts_of_models_are_named_as_what_they_are(trained, tmp_path):
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(UsageError, match="is a LoRA adapter of 'someone/base', not a whole model: merge it"):
        unmask.load(lora, "cpu")
    pointer = tmp_path / "pointer"
    shutil.copytree(trained, pointer)
    (pointer / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(CheckpointError, match="model.safetensors in .* is a git-lfs pointer, .* `git lfs pull`"):
        unmask.load(pointer, "cpu")


def test_a_folders_default_plan_is_what_writes(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "planned")
    SamplingConfig(order="left_to_right", quota="one", steps=None, temperature=0.0).save(folder)
    model = unmask.load(folder, "cpu")
    out = unmask.sample(model, n=2)
    assert out.config.order == "left_to_right" and out.forwards == 10  # one token a step
    plain = unmask.load(trained, "cpu")
    asked = unmask.sample(plain, n=2, order="left_to_right", quota="one", steps=None, temperature=0.0)
    assert out.texts == asked.texts
    assert unmask.sample(model, n=2, quota="linear", steps=2).forwards == 2
    again = unmask.load(model.save(tmp_path / "again"), "cpu")
    assert again.config == model.config and again.config.changed()


def test_a_plan_that_the_model_has_no_use_for_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "planned")
    SamplingConfig(loops=2).save(folder)
    with pytest.raises(UsageError, match="loops=2 has no effect on a masked model"):
        unmask.sample(unmask.load(folder, "cpu"), n=1)
