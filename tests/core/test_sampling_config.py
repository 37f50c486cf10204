"""One object holds every setting of a generation: what has no effect is refused, a folder may hold a plan."""

import json
from dataclasses import fields

import pytest

from unmask.core.errors import CheckpointError, UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.decoding.guidance import Guidance
from unmask.decoding.order import orders


def test_every_setting_has_its_help():
    assert all(f.metadata["help"].endswith(".") for f in fields(SamplingConfig))


def test_what_a_model_has_no_use_for_is_refused_by_name():
    config = SamplingConfig(order="margin", seed=3, batch_size=2, precision="fp32")
    assert config.only({"order"}, "a test") is config
    with pytest.raises(UsageError, match="order='margin' has no effect on a causal model, which writes left to right"):
        config.only({"top_k"}, "a causal model, which writes left to right")
    assert SamplingConfig(guidance=1).only((), "a test").changed() == {}  # 1 is the default, however it is written


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"length": True}, "length=True"),
        ({"calls": 1.5}, "calls=1.5"),
        ({"seed": "one"}, "seed='one'"),
        ({"ordre": "margin"}, "did you mean 'order'"),
    ],
)
def test_wrong_values_and_names_are_one_sentence(wrong, says):
    with pytest.raises(UsageError, match=says):
        SamplingConfig.of(wrong)


def test_a_default_plan_survives_the_file_and_transformers(tmp_path):
    from transformers import GenerationConfig

    GenerationConfig(repetition_penalty=1.3, eos_token_id=7).save_pretrained(tmp_path)
    plan = SamplingConfig(
        order="margin:noise=gumbel,coefficient=0.5", steps=32, guidance=1.5, seed=5, precision="bf16", batch_size=3
    )
    plan.save(tmp_path)
    kept = SamplingConfig(order="margin:noise=gumbel,coefficient=0.5", steps=32, guidance=1.5)
    assert SamplingConfig.load(tmp_path) == kept
    # transformers reads the file, keeps what it does not know, and writes it again
    theirs = GenerationConfig.from_pretrained(tmp_path)
    assert theirs.repetition_penalty == 1.3 and theirs.eos_token_id == 7
    theirs.save_pretrained(tmp_path / "again")
    assert SamplingConfig.load(tmp_path / "again") == kept
    assert json.loads((tmp_path / "again/generation_config.json").read_text())["repetition_penalty"] == 1.3


def test_leaves_and_guidance_become_plain_values(tmp_path):
    plan = SamplingConfig(order=orders.make("margin:noise=gumbel,coefficient=0.5"), guidance=Guidance(2.0), steps=None)
    tree = plan.to_dict()
    assert (
        tree["order"] == "margin:noise=gumbel,coefficient=0.5"
        and tree["steps"] is None
        and tree["guidance"]["gamma"] == 2.0
    )
    assert json.loads(json.dumps(tree)) == tree


def test_a_folder_without_a_plan_has_the_defaults(tmp_path):
    assert SamplingConfig.load(tmp_path) == SamplingConfig()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    assert SamplingConfig.load(tmp_path) == SamplingConfig()
    for text in ("{", "[]", '{"unmask": {"ordr": "margin"}}', '{"unmask": {"batch_size": 0}}', '{"unmask": 3}'):
        (tmp_path / "generation_config.json").write_text(text)
        with pytest.raises(CheckpointError, match="generation_config.json"):
            SamplingConfig.load(tmp_path)


def test_what_differs_from_another_config():
    own = SamplingConfig(order="random", temperature=0.7)
    asked = SamplingConfig.of({"temperature": None, "steps": 8, "seed": 5, "guidance": Guidance(2.0)}, own)
    assert asked.beside(own) == {"temperature": None, "steps": 8, "guidance": {"gamma": 2.0, "kind": "auto"}}
    assert own.beside(own) == {}
