"""Every field of transformers' TrainingArguments is honoured or refused: nobody's setting is dropped in silence."""

import dataclasses
from pathlib import Path

import pytest

from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.training import settings as table
from unmask.training.arguments import TrainArguments
from unmask.training.recipe import parse
from unmask.training.shapes import Kinds

#: no such corpus: what is refused is refused before anybody looks for it
BASE = dict(data="no_such_corpus.txt", task="unconditional", conditioning="none", output_dir="runs/x")
KINDS = Kinds(TrainArguments)
#: values where the type does not say which ones there are
VALUES = {"hub_strategy": "end", "train_sampling_strategy": "sequential", "length_column_name": "size"}


def another(name):
    """A value of a setting's kind that is not its default."""
    if name in VALUES:
        return VALUES[name]
    default = table.default_of(next(f for f in dataclasses.fields(TrainArguments) if f.name == name))
    if KINDS.switch(name):
        return not default
    parts = KINDS.parts(name)
    if any(kind in parts for kind in (int, float)):
        return (default or 0) + 3
    return "something"


def test_every_field_is_classified_once():
    assert not table.fields().keys() - table.HONOURED.keys() - table.REFUSED.keys()
    assert not table.HONOURED.keys() & table.REFUSED.keys()
    assert not table.GONE.keys() & (table.HONOURED.keys() | table.REFUSED.keys())


@pytest.mark.parametrize("name", sorted(table.REFUSED.keys() & table.fields().keys()))
def test_refused_settings_say_why(name):
    why = table.REFUSED[name]
    for given, flags in (({name: another(name)}, ()), ({}, [f"--{name}", str(another(name))])):
        with pytest.raises(UsageError, match=f"^{name}.* cannot be honoured: ") as refused:
            parse({**BASE, **given}, flags)
        assert str(refused.value).endswith(why) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", sorted(table.REFUSED.keys() & table.fields().keys() - {"do_train", "do_eval", "do_predict"})
)
def test_refused_settings_may_stand_at_their_default(name):
    default = table.default_of(next(f for f in dataclasses.fields(TrainArguments) if f.name == name))
    parse({**BASE, name: default})


@pytest.mark.parametrize("name", ["do_train", "do_eval", "do_predict"])
def test_switches_of_scripts_are_refused_in_both_positions(name):
    for value in (True, False, "false"):
        with pytest.raises(UsageError, match=f"{name}={value!r} cannot be honoured"):
            parse({**BASE, name: value})


def test_python_refuses_as_the_command_line_does():
    with pytest.raises(UsageError, match=r"label_smoothing_factor=0\.2 cannot be honoured"):
        TrainArguments(output_dir="x", label_smoothing_factor=0.2)


def test_a_field_that_nobody_looked_at_is_refused(monkeypatch):
    others = {name: what for name, what in table.HONOURED.items() if name != "logging_first_step"}
    monkeypatch.setattr(table, "HONOURED", others)
    parse(BASE)
    with pytest.raises(UsageError, match="logging_first_step=True cannot be honoured: .* does not know it yet"):
        parse({**BASE, "logging_first_step": True})


@pytest.mark.parametrize("name", sorted(table.GONE))
def test_names_of_earlier_versions_say_what_is_written_today(name):
    with pytest.raises(UsageError, match=f"^{name} is no setting here: ") as refused:
        parse(BASE, [f"--{name}", "1"])
    assert str(refused.value).endswith(table.GONE[name])


def test_names_of_other_versions_than_the_installed(monkeypatch):
    monkeypatch.setitem(table.HONOURED, "came_later", "")
    monkeypatch.setitem(table.REFUSED, "was_dropped", "write something else")
    with pytest.raises(UsageError, match="came_later needs another transformers than the"):
        parse({**BASE, "came_later": 1})
    with pytest.raises(UsageError, match="was_dropped is no setting here: write something else"):
        parse({**BASE, "was_dropped": 1})


def test_tokens_are_not_repeated():
    with pytest.raises(UsageError, match="^hub_token cannot be honoured") as refused:
        parse({**BASE, "hub_token": "hf_secret"})
    assert "secret" not in str(refused.value)


def test_the_command_line_ends_with_2_and_makes_no_folder(tmp_path, capsys):
    words = ["train", "mdm_verses", "--output_dir", str(tmp_path / "run"), "--neftune_noise_alpha", "5"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and not (tmp_path / "run").exists()
    assert capsys.readouterr().err.startswith("unmask: neftune_noise_alpha='5' cannot be honoured")


def test_the_page_is_the_table():
    page = Path(__file__).parents[2] / "docs" / "training_settings.md"
    assert page.read_text(encoding="utf-8") == table.page(), (
        "python -m unmask.training.settings > docs/training_settings.md"
    )
