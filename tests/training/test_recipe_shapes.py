"""Recipes and flags as people write them: what is meant is taken, or named in one sentence."""

import codecs

import pytest

from unmask import recipes
from unmask.core.errors import UsageError
from unmask.training.names import _CALLED
from unmask.training.recipe import parse, read_recipe

BASE = dict(data="no_such_corpus.txt", task="unconditional", conditioning="none", output_dir="runs/x")
FLAT = "task: unconditional\nconditioning: none\noutput_dir: runs/x\n"


def made(*flags, **given):
    return parse({**BASE, **given}, flags).train


def read(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode(encoding))
    return read_recipe(file)


# -- YAML -----------------------------------------------------------------------------------------------------------
def test_numbers_with_an_exponent_are_numbers(tmp_path):
    tree = read(tmp_path, "learning_rate: 3e-4\nmax_steps: 2E+2\ntilt: 2.5e0\ndata: 1e-3.txt\n")
    assert tree == {"learning_rate": 3e-4, "max_steps": 200.0, "tilt": 2.5, "data": "1e-3.txt"}
    assert made(**{**tree, "data": "x"}).max_steps == 200


def test_exponents_inside_mappings(tmp_path):
    tree = read(tmp_path, "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 2e-5}\n")
    assert made(**tree).lr_scheduler_kwargs == {"min_lr": 2e-5}
    # also where somebody's own reader left a text
    kwargs = {"min_lr": "2e-5", "num_cycles": "0.5"}
    assert made(lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs=kwargs).lr_scheduler_kwargs == {
        "min_lr": 2e-5,
        "num_cycles": 0.5,
    }


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, b""])
def test_a_mark_at_the_start_of_a_recipe(tmp_path, mark):
    (tmp_path / "r.yaml").write_bytes(mark + b"dim: 16\nlayers: 1\n")
    assert read_recipe(tmp_path / "r.yaml") == {"dim": 16, "layers": 1}


def test_a_recipe_in_utf_16(tmp_path):
    assert read(tmp_path, "dim: 16\n", "utf-16") == {"dim": 16}


def test_a_setting_that_stands_twice(tmp_path):
    with pytest.raises(UsageError, match="is not YAML: max_steps stands twice"):
        read(tmp_path, "max_steps: 10\ndim: 8\nmax_steps: 20\n")


def test_a_folder_of_recipes(tmp_path):
    (tmp_path / "one.yaml").write_text(FLAT)
    with pytest.raises(UsageError, match="is a folder: name one recipe in it, such as one.yaml"):
        recipes.find(tmp_path)


def test_a_nested_recipe():
    with pytest.raises(UsageError, match="^optimisation holds a mapping: settings stand side by side"):
        parse({**BASE, "optimisation": {"learning_rate": 1e-3}})
    with pytest.raises(UsageError, match="^data must be a single value, got .*: settings stand side by side"):
        parse({**BASE, "data": {"data": "x.txt"}})


def test_null_is_no_value_where_there_may_be_none(tmp_path):
    tree = read(tmp_path, "save_total_limit: null\ncolumn: ~\n")
    assert made(**tree).save_total_limit is None  # not the default 2
    assert made("--save_total_limit", "none").save_total_limit is None
    with pytest.raises(UsageError, match="max_grad_norm needs a value, got None"):
        made(max_grad_norm=None)


def test_mappings_come_as_yaml_or_json():
    wanted = {"use_reentrant": False}
    assert (
        made(gradient_checkpointing=True, gradient_checkpointing_kwargs=wanted).gradient_checkpointing_kwargs == wanted
    )
    flags = ("--gradient_checkpointing", "--gradient_checkpointing_kwargs", '{"use_reentrant": false}')
    assert made(*flags).gradient_checkpointing_kwargs == wanted
    assert made(accelerator_config={"non_blocking": True}).accelerator_config.non_blocking is True
    assert made(optim="sgd").optim_args is None
    for wrong, said in (("{min_lr", "is not a JSON mapping"), ("min_lr=1", "must be a mapping"), ([1], "single value")):
        with pytest.raises(UsageError, match=f"lr_scheduler_kwargs.*{said}"):
            made(lr_scheduler_kwargs=wrong)
    with pytest.raises(UsageError, match="lr_scheduler_kwargs must have names on its left sides"):
        made(lr_scheduler_kwargs={1: 2})


def test_lists_only_where_there_are_several():
    with pytest.raises(UsageError, match=r"data must be a single value, got \['a.txt', 'b.txt'\]"):
        made(data=["a.txt", "b.txt"])


# -- flags ----------------------------------------------------------------------------------------------------------
def test_switches_need_no_value():
    assert made("--bf16", "--max_steps", "7", bf16=False).bf16 is True
    assert made("--no_bf16", "--logging-first-step").bf16 is False
    with pytest.raises(UsageError, match="--max_steps needs a value"):
        made("--max_steps", "--bf16")
    with pytest.raises(UsageError, match="no setting is called 'no_max_steps'"):
        made("--no_max_steps")


@pytest.mark.parametrize(
    ("word", "meant"), [("-o", "output_dir"), ("-lr", "learning_rate"), ("-e", "num_train_epochs")]
)
def test_short_flags_name_the_long_one(word, meant):
    with pytest.raises(UsageError, match=f"^'{word}' is not a flag: did you mean --{meant}"):
        made(word, "3")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr", "learning_rate"),
        ("epochs", "num_train_epochs"),
        ("batch_size", "per_device_train_batch_size"),
        ("bs", "per_device_train_batch_size"),
        ("steps", "max_steps"),
        ("wd", "weight_decay"),
        ("warmup", "warmup_steps"),
        ("grad_accum", "gradient_accumulation_steps"),
        ("grad-clip", "max_grad_norm"),
        ("d_model", "dim"),
        ("Learning_Rate", "learning_rate"),
        ("max_stepz", "max_steps"),
    ],
)
def test_usual_names_lead_to_the_setting(word, meant):
    with pytest.raises(UsageError, match=f"no setting is called .*: did you mean '{meant}'"):
        made(f"--{word}", "3")
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        parse({**BASE, word.replace("-", "_"): 3})


def test_a_usual_name_of_something_refused():
    with pytest.raises(
        UsageError, match="no setting is called 'label_smoothing': label_smoothing_factor cannot be honoured"
    ):
        made("--label_smoothing", "0.1")


def test_usual_names_lead_to_settings_that_exist():
    from unmask.training.arguments import DataArguments, ModelArguments, TrainArguments, field_names

    known = field_names(ModelArguments, DataArguments, TrainArguments)
    assert not _CALLED.keys() - {*known, "precision"}
    assert not {alias for aliases in _CALLED.values() for alias in aliases.split()} & {*known}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max_steps", "many"], "^max_steps='many' must be a whole number$"),
        (["--max_steps", "1.5"], "^max_steps='1.5' must be a whole number$"),
        (["--learning_rate", "fast"], "^learning_rate='fast' must be a number$"),
        (["--optim", "sgdd"], "^optim='sgdd' is no choice: did you mean 'sgd'"),
        (["--optim", "muon"], "^optim='muon' is no choice: write optimizer=muon$"),
        (["--save_steps", "0"], "^save_steps=0.0 must be above 0$"),
        (["--num_train_epochs", "-1"], "^num_train_epochs=-1.0 must be above 0$"),
    ],
)
def test_values_of_another_kind(flags, said):
    with pytest.raises(UsageError, match=said):
        made(*flags)


def test_whole_numbers_may_be_written_with_an_exponent():
    assert made("--max_steps", "1e2").max_steps == 100 and made(max_steps=30.0).max_steps == 30


def test_no_file_beside_the_program_adds_settings(tmp_path, monkeypatch):
    """transformers' parser would read <program>.args."""
    (tmp_path / "unmask.args").write_text("--seed 7")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "unmask.py")])
    assert made().seed == 42


# -- who wins -------------------------------------------------------------------------------------------------------
def test_epochs_or_steps():
    assert made().max_steps == 1000
    assert made(num_train_epochs=2).max_steps == -1 and made(num_train_epochs=2).num_train_epochs == 2
    with pytest.raises(UsageError, match="max_steps=50 and num_train_epochs=2 both say how long to train"):
        made(max_steps=50, num_train_epochs=2)
    with pytest.raises(UsageError, match="both say how long to train"):
        made("--max_steps", "50", "--num_train_epochs", "2")
    assert made(max_steps=-1).num_train_epochs == 3 and made(max_steps=-1, num_train_epochs=2).num_train_epochs == 2
    for steps in (0, -5):
        with pytest.raises(UsageError, match=f"max_steps={steps} must be at least 1, or -1"):
            made(max_steps=steps)


def test_a_flag_answers_the_question_of_the_recipe():
    assert made("--num_train_epochs", "2", max_steps=50).max_steps == -1
    assert made("--max_steps", "50", num_train_epochs=2).max_steps == 50
    assert made("--optim", "sgd", optimizer="muon", muon_lr=0.5).optimizer == "adamw"
    assert made("--optimizer", "muon", optim="sgd").optimizer == "muon"
    kept = dict(lr_scheduler_type="polynomial", lr_scheduler_kwargs={"power": 2.0})
    assert made("--lr_scheduler_type", "linear", **kept).lr_scheduler_kwargs is None
    assert made("--lr_scheduler_type", "polynomial", **kept).lr_scheduler_kwargs == {"power": 2.0}
    best = dict(metric_for_best_model="generation", greater_is_better=True)
    assert made("--metric_for_best_model", "nelbo", **best).greater_is_better is False
    workers = dict(dataloader_num_workers=2, dataloader_prefetch_factor=3, dataloader_persistent_workers=True)
    assert made("--dataloader_num_workers", "0", **workers).dataloader_prefetch_factor is None
