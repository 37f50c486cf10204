"""A setting that got another name is read under its old one: in recipes, flags, cards, and the folder of a run."""

import json
import logging
import shutil

import pytest

import unmask
from tiny_training import run, settings, write_texts
from unmask.core.errors import UsageError
from unmask.core.renamed import RENAMED, current
from unmask.diagnosis.native import masking_process_of
from unmask.families.puzzle.network import load as load_puzzle
from unmask.families.puzzle.network import shipped
from unmask.recipes import FOLDER
from unmask.training.arguments import DataArguments, ModelArguments, TrainArguments, field_names
from unmask.training.recipe import parse, read_recipe

CONDITIONAL = dict(data="x.txt", output_dir="runs/x", report_to="none")


def test_old_names_are_none_of_todays():
    known = field_names(ModelArguments, DataArguments, TrainArguments)
    assert not {*RENAMED} & {*known} and {*RENAMED.values()} <= {*known}


@pytest.mark.parametrize("old", RENAMED)
@pytest.mark.parametrize("way", ["recipe", "flag", "flag and value"])
def test_a_users_old_name_is_read_and_noted(old, way, caplog):
    given = {**CONDITIONAL, old: 0.7} if way == "recipe" else CONDITIONAL
    flags = {"recipe": [], "flag": [f"--{old}=0.7"], "flag and value": [f"--{old}", "0.7"]}[way]
    with caplog.at_level(logging.WARNING, "unmask"):
        found = parse(given, flags)
    assert getattr(found.train, RENAMED[old]) == 0.7 and old not in found.given
    notes = [record.getMessage() for record in caplog.records if record.name == "unmask"]
    assert notes == [f"{old} is called {RENAMED[old]} now: it is read as before"]


def test_todays_names_are_not_noted(caplog):
    with caplog.at_level(logging.WARNING, "unmask"):
        parse({**CONDITIONAL, "time_power": 3.0, "task": "reconstruction"}, ["--condition_dropout", "0.2"])
    assert not [record for record in caplog.records if record.name == "unmask"]


def test_a_flag_beats_the_old_name_in_a_recipe():
    assert parse({**CONDITIONAL, "tilt": 3.0}, ["--time_power", "4"]).train.time_power == 4.0


def test_both_names_at_once_are_refused():
    with pytest.raises(UsageError, match="tilt=2.0 and time_power=3.0 are one setting: leave tilt out"):
        parse({**CONDITIONAL, "tilt": 2.0, "time_power": 3.0})


def test_shipped_recipes_use_todays_names():
    for file in FOLDER.glob("*.yaml"):
        tree = read_recipe(file)
        assert current(tree) == tree, file.name


def test_a_run_goes_on_under_the_old_name_of_its_recipe(tmp_path):
    texts = write_texts(tmp_path)
    run(texts, tmp_path / "run", time_power=3.0)
    file = tmp_path / "run/recipe.json"
    tree = json.loads(file.read_text())
    assert tree["time_power"] == "3.0"
    old = {{"time_power": "tilt"}.get(k, k): v for k, v in tree.items()}
    file.write_text(json.dumps(old))
    run(texts, tmp_path / "run", tilt=3.0)
    file.write_text(json.dumps(old))
    with pytest.raises(UsageError, match="time_power=3.0 and this recipe has time_power=2.5"):
        run(texts, tmp_path / "run", time_power=2.5)
    assert parse(settings(texts, tmp_path / "run", tilt=3.0)).given["time_power"] == 3.0


def test_cards_of_before_are_read(tmp_path):
    run(write_texts(tmp_path), tmp_path / "run", time_power=3.0)
    folder = shutil.copytree(tmp_path / "run", tmp_path / "old")
    card = json.loads((folder / "unmask.json").read_text())
    card["recipe"]["tilt"] = card["recipe"].pop("time_power")
    (folder / "unmask.json").write_text(json.dumps(card))
    model = unmask.load(folder, "cpu")
    assert model.card.recipe["time_power"] == 3.0 and "tilt" not in model.card.recipe
    assert masking_process_of(model.card.recipe).time_power == masking_process_of({"tilt": "3.0"}).time_power == 3.0


def test_shipped_puzzles_of_before_are_read():
    folder = shipped("sudoku")
    assert "tilt" in json.loads((folder / "puzzle.json").read_text())["trained"]
    assert masking_process_of(load_puzzle(folder)[1].trained).time_power == 4.0
