"""The command line as a user meets it: help, versions, exit codes, one sentence for wrong use."""

import subprocess
import sys

import pytest

import unmask
from unmask.cli import main
from unmask.core.errors import UnmaskError


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_version_and_module_run():
    done = subprocess.run([sys.executable, "-m", "unmask", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == f"unmask {unmask.__version__}"


def test_help_does_not_wait_for_torch():
    code = (
        "import sys\nfrom unmask.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("train", "sample", "evaluate", "list", "demo"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "sgdd_verse"], "did you mean 'sgdd_verses'"),
        (["train", "demo", "--lerning_rate", "1"], "did you mean 'learning_rate'"),
        (["train", "demo", "--heads", "three"], "heads='three' must be a whole number"),
        (["train", "demo", "--heads"], "--heads needs a value"),
        (["sample", "nowhere"], "there is no model folder 'nowhere'"),
        (["evaluate", "nowhere"], "there is no model folder 'nowhere'"),
        (["list", "order"], "did you mean 'orders'"),
        (["sample", "nowhere", "--trace", "x.gif"], "must end in .html or .json"),
        (["sample"], "Missing argument"),
        (["smaple"], "No such command"),
    ],
)
def test_wrong_use_is_exit_2_and_one_sentence(capsys, words, said):
    code, _, err = run(capsys, *words)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_failures_are_exit_1(capsys, monkeypatch):
    from unmask import api

    def fail(*_, **__):
        raise UnmaskError("the disk is full")

    monkeypatch.setattr(api, "load", fail)
    assert run(capsys, "sample", "x") == (1, "", "unmask: the disk is full\n")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api, "load", full)
    code, _, err = run(capsys, "sample", "x")
    assert code == 1 and "No space left" in err


def test_list_names_every_leaf(capsys, monkeypatch):
    from unmask.registries import registries

    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "list")
    assert code == 0
    for registry in registries().values():
        assert all(name in out for name in registry.names())
