"""What does not fit is refused in one sentence before any work: the run folder is not even made."""

import pytest

from unmask import api
from unmask.core.errors import UsageError
from unmask.models.denoiser import MaskedDiffusionConfig
from unmask.models.tidal import TidalConfig
from unmask.training.recipe import parse


def settings(tmp_path, **changed):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"text number {i} of many" for i in range(80)), encoding="utf-8")
    common = dict(
        data=str(path), task="unconditional", conditioning="none", vocab_size=290, length=16, dim=16, layers=1, heads=2,
        ffn_dim=16, validation=0.2, max_steps=1, eval_steps=1, save_steps=1, per_device_train_batch_size=4, bf16=False,
        report_to="none", disable_tqdm=True, probe_texts=0, eval_texts=4, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    return {**common, **changed}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"probe_texts": 2, "probe_order": "margn"}, "probe_order='margn'.*did you mean 'margin'"),
        ({"probe_texts": 2, "probe_steps": 0}, "probe_steps=0"),
        ({"probe_guidance": 3.0}, "probe_guidance=3.0 has no effect"),
        ({"weighting": "lada"}, "weighting='lada'"),
        ({"over_long": "cut"}, "over_long='cut'"),
        ({"crops": ["whole", "clause"]}, "crops='clause'.*did you mean 'clauses'"),
        ({"crops": "whole", "crop_min_words": 40}, "crop_min_words=40 and crop_max_words=32"),
        ({"crop_max_words": 20}, "crop_max_words=20 has no effect: it needs crops"),
        ({"near_duplicates": 1.0}, "near_duplicates=1.0"),
        ({"eval_texts": 0}, "eval_texts=0 must be at least 1"),
        ({"probe_texts": -1}, "probe_texts=-1 must be at least 0"),
        ({"learning_rate": -1}, "learning_rate=-1.0 must lie in"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must lie in"),
        ({"muon_lr": -1}, "muon_lr=-1.0 must lie in"),
        ({"weight_decay": -1}, "weight_decay=-1.0 must lie in"),
        ({"adam_beta1": 2}, "adam_beta1=2.0 must lie in"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0 must be at least 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers=-1 must be at least 0"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"report_to": "foo"}, "report_to='foo' is no logger"),
        ({"family": "tidal", "diagnose_every": 5}, "diagnose_every has no effect with family='tidal'"),
    ],
)
def test_refused_before_any_work(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said):
        api.train(parse(settings(tmp_path, **changed)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", [MaskedDiffusionConfig, TidalConfig])
@pytest.mark.parametrize(
    ("name", "value"), [("heads", 0), ("dim", 0), ("layers", 0), ("ffn_dim", -1), ("dropout", 2.0), ("dropout", -0.1)]
)
def test_shapes_that_no_network_has(config, name, value):
    with pytest.raises(UsageError, match=f"{name}={value}"):
        config(**{name: value})


def test_a_start_of_the_other_kind_is_refused(tmp_path, capsys):
    api.train(parse(settings(tmp_path)))
    changed = {"task": "reconstruction", "conditioning": "adaln", "start_from": str(tmp_path / "run")}
    with pytest.raises(UsageError, match="it takes no semantic vector"):
        api.train(parse(settings(tmp_path, **changed, output_dir=str(tmp_path / "next"))))


def test_crops_of_a_recipe_are_switched_off_by_a_flag(tmp_path):
    recipe = settings(tmp_path, crops=["whole", "clauses"], crop_max_words=12)
    assert parse(recipe).data.crops == "whole,clauses"
    assert parse(recipe, ["--crops", "none"]).data.crops == "none"
    assert parse(recipe, ["--crops", "sentences", "runs"]).data.crops == "sentences,runs"
