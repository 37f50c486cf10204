"""`unmask kv` as it is typed."""

import json
from string import printable

import pytest
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from tiny_causal import make
from tiny_reader import PROSE
from unmask.cli import kv as command
from unmask.core.errors import MissingExtra, UsageError

pytest.importorskip("kvpress")


@pytest.fixture
def app():
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return app


@pytest.fixture
def model(tmp_path):
    words = ["<unk>", *printable[:90]]  # a token a character
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    folder = tmp_path / "model"
    make("llama").save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(folder)
    return folder


def run(app, *words):
    return CliRunner().invoke(app, ["kv", *map(str, words)], catch_exceptions=True)


def test_the_command_measures_and_writes(app, model, tmp_path):
    (tmp_path / "prose.txt").write_text(PROSE)
    small = ["--context", 100, "--continuation", 40, "--windows", 4, "--needles", 0, "--long", 0, "--repeats", 0]
    done = run(app, model, "--press", "knorm", "--keep", "1", ".5", "--tokens", "30", *small, "--write", 4,
               "--text", tmp_path / "prose.txt", "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output + repr(done.exception)
    tree = json.loads((tmp_path / "out" / "kv.json").read_text())
    assert [(a["press"], a["budget"]) for a in tree["arms"] if not a["control"]] == [
        ("full", "1"),
        ("knorm", "0.5"),
        ("knorm", "30 tokens"),
    ]
    said = done.output.replace("\n", "")  # a long path is folded
    assert "knorm" in said and "random_sinks" in said and "kv.html" in said
    assert tree["environment"]["model"] == "model" and str(tmp_path) not in json.dumps(tree)


def test_several_values_behind_one_flag():
    seen = {}

    class Stop(command._ManyValues.__mro__[1]):
        def parse_args(self, context, args):
            seen["args"] = args
            return args

    parse = command._ManyValues.parse_args
    both = type("Both", (command._ManyValues, Stop), {"parse_args": parse})
    words = ["--keep", "1", ".9", ".5", "--press", "knorm", "--tokens", "64", "128", "gpt2", "--rolling"]
    parse(both.__new__(both), None, words)
    assert seen["args"] == [
        "--keep", "1", "--keep", ".9", "--keep", ".5", "--press", "knorm", "--tokens", "64", "--tokens", "128", "gpt2",
        "--rolling",
    ]  # fmt: skip
    # a first value that is no number stays with its option, which says what is wrong with it
    for words in (["--keep", "50%", "--rolling"], ["--keep", "-0.5"], ["gpt2", "--keep"], ["--keep", "--rolling"]):
        parse(both.__new__(both), None, words)
        assert seen["args"] == words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--press", "knrm"], "did you mean 'knorm'"),
        (["--keep", "1.5"], "keep=1.5"),
        (["--keep", "half"], "keep='half'"),
        (["--chunk", "0"], "chunk=0"),
        (["--compression-ratio", "1"], "compression_ratio=1"),
        (["--rolling", "--interval", "0"], "interval=0"),
        (["--text", "sory"], "did you mean 'story'"),
        (["--out", __file__], "is a file"),
        (["--repeats", "-1"], "repeats=-1"),
        (["--batch", "1", "0"], "batch=0"),
        (["--timed-context", "0"], "timed_context=0"),
    ],
)
def test_wrong_use_is_said_before_a_model_is_loaded(app, monkeypatch, words, says):
    from unmask.models import causal

    monkeypatch.setattr(causal, "load_causal", lambda *a, **k: pytest.fail("a model was loaded"))
    done = run(app, *words)
    assert isinstance(done.exception, UsageError) and says in str(done.exception)


def test_a_device_that_does_not_exist_is_one_sentence(app, model):
    done = run(app, model, "--device", "gpu")
    assert isinstance(done.exception, UsageError) and "device='gpu' is not one: write cpu" in str(done.exception)


def test_without_kvpress_the_command_says_what_to_install(app, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "kvpress" else real(name, *a))
    done = run(app)
    assert isinstance(done.exception, MissingExtra) and 'pip install "unmask[kv]"' in str(done.exception)


def test_texts_that_ship():
    story = command.read_text("story")
    assert len(story) > 20_000 and "Gutenberg" not in story and "\n" not in story
    assert len(command.read_text("verses-kjv")) > 100_000
