"""Every command reads a user's texts through the one reader."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from unmask.cli import kv, main
from unmask.cli.puzzle import _text
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.data.puzzles.puzzle import PUZZLES
from unmask.training.recipe import read_recipe

BOARD = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
PAGE_BREAKS = "tell me\x0c a story\u2028of old"


@pytest.fixture
def stderr(capsys):
    """Run a command that must be refused, and return its one sentence."""

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        said = capsys.readouterr().err.strip().split("\n")[-1]
        assert stop.value.code == 2 and said.startswith("unmask: ")
        return said

    return run


def commands(path):
    """Each command with a file as its text; none gets as far as its model."""
    return {
        "sample": ("sample", "no_model", "--file", path),
        "kv": ("kv", "no_model", "--text", path),
        "puzzle": ("puzzle", "sudoku", path),
    }


KV = pytest.param("kv", marks=pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is missing"))


@pytest.mark.parametrize("command", ["sample", KV, "puzzle"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("la forêt\nprès\nd'été".encode("latin-1"), "cannot be read as UTF-8 (byte 0xea is not)"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\0\1\2" * 99, "is not text"),
    ],
)
def test_no_command_reads_what_is_no_text(stderr, tmp_path, command, content, says):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    assert says in stderr(*commands(path)[command])


@pytest.mark.parametrize("command", ["sample", KV])
def test_commands_ask_for_a_column_and_refuse_a_wrong_one(stderr, tmp_path, command):
    path = tmp_path / "x.jsonl"
    path.write_text('{"title": "a b", "body": "c d"}\n')
    words = commands(path)[command]
    assert "column= one of title, body" in stderr(*words)
    assert "no column 'bodi': did you mean 'body'?" in stderr(*words, "--column", "bodi")


def test_a_column_without_a_file_is_refused(stderr):
    assert "--column x has no effect without --file" in stderr("sample", "no_model", "--column", "x")
    with pytest.raises(UsageError, match="--column x goes with a file as --text"):
        kv.read_text("story", "x")


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_board_is_read_in_every_encoding(tmp_path, codec, end):
    path = tmp_path / "board.txt"
    path.write_bytes(end.join(BOARD[i : i + 9] for i in range(0, 81, 9)).encode(codec))
    given = PUZZLES.make("sudoku").read(_text(str(path))).given_BL
    assert int(given.sum()) == sum(sign != "." for sign in BOARD)


def test_boards_and_clues_as_texts_may_have_any_line_end():
    rows = [BOARD[i : i + 9] for i in range(0, 81, 9)]
    drawn = "\r".join([*rows[:3], "---+---+---", *rows[3:]])
    assert int(PUZZLES.make("sudoku").read(drawn).given_BL.sum()) == 30
    clues = ["3x3", "A1 same H1", "A2 same H2", "B1 same H2", "B2 same H3", "C1 same H3", "C2 same H1"]
    zebra = PUZZLES.make("zebra")
    answers = [zebra.read(end.join(clues)).answer_BL.tolist() for end in (";", "\n", "\r\n", "\r")]
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_kv_prefers_a_file_to_a_name_and_that_to_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verses-kjv").mkdir()
    assert len(kv.read_text("verses-kjv")) > 100_000
    (tmp_path / "story").write_text(PAGE_BREAKS, encoding="utf-16")
    assert kv.read_text("story") == PAGE_BREAKS
    with pytest.raises(UsageError, match=r"there is no file 'gone\.txt'"):
        kv.read_text("gone.txt")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_recipe_is_read_in_every_encoding(tmp_path, codec):
    (tmp_path / "x.yaml").write_bytes("data: été.txt\r\nlength: 8\r\n".encode(codec))
    assert read_recipe(tmp_path / "x.yaml") == {"data": "été.txt", "length": 8}


def test_sample_passes_the_prompts_as_they_stand(tmp_path, monkeypatch, capsys):
    from unmask import api

    class Stop(Exception):
        pass

    def sample(model, texts, **settings):
        raise Stop(texts)

    monkeypatch.setattr(api, "load", lambda name: SimpleNamespace(config=SamplingConfig()))
    monkeypatch.setattr(api, "sample", sample)
    (tmp_path / "a.txt").write_bytes(f"\ufeff{PAGE_BREAKS}\r\n\r\nwhy \r\n".encode())
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": "p1", "prompt": p}) for p in (PAGE_BREAKS, "why ")))
    for file in ("a.txt", "a.jsonl"):
        with pytest.raises(Stop) as got:
            main(["sample", "x", "--file", str(tmp_path / file), "--text", "first"])
        assert got.value.args[0] == ["first", PAGE_BREAKS, "why "]
