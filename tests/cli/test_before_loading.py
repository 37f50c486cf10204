"""What is wrong with flags and data is said before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.cli import main

TEXT = '{"body": "the river runs"}\n{"body": "to the sea"}\n'


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def load(*args: object, **named: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("unmask.api.load", load)
    (tmp_path / "good.txt").write_text("the river runs\nto the sea\n")
    (tmp_path / "rows.jsonl").write_text(TEXT)
    (tmp_path / "blank.txt").write_text("\n \n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--data missing.txt", "there is no file missing.txt"),
        ("--data blank.txt", "holds no"),
        ("--data rows.jsonl --column text", "text"),
        ("--data verses --column text", "verses has no column"),
        ("--data good.txt --order margni", "did you mean 'margin'"),
        ("--data good.txt --steps some", "steps='some' must be a whole number"),
        ("--data good.txt --temperature 0 --top-k 3", "top_k=3 has no effect at temperature=0"),
        ("--data good.txt --sampler ancestral --order margin", "has no effect with sampler 'ancestral'"),
    ],
)
def test_bad_input_is_said_first(
    never: Path, command: str, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "a_model", *words.split()])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("evaluate m --texts 0", "texts=0 must be at least 1"),
        ("evaluate m --task gsm_symbolic --order margni", "did you mean 'margin'"),
        ("diagnose m --check maskmass", "did you mean 'mask_mass'"),
        ("diagnose m --budget quik", "did you mean 'quick'"),
        ("diagnose m --save-plan", "--save-plan has no effect without --budget full"),
        ("diagnose m --save-plan --budget full --check order", "--save-plan has no effect"),
        ("diagnose m --save-plan --budget full", "save the model first"),
    ],
)
def test_flags_of_one_command_are_said_first(
    never: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_good_input_reaches_the_model(never: Path) -> None:
    for words in ("--data good.txt --steps none", "--data rows.jsonl --column body", "--data verses", "--steps 4"):
        with pytest.raises(AssertionError, match="a model was loaded"):
            main(["diagnose", "m", *words.split()])
