"""A name is a folder or a hub id, and results about a model never stand in the way of the model."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

import unmask
from adapted import masked_lm, native
from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.data.hub import local_folder, may_be_id, results_place
from unmask.data.tokenizer import train_bpe
from unmask.models.causal import load_causal
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.encoders import encoder_folder
from unmask.models.hub import find
from unmask.models.text_model import TextModel, TextModelCard

LINES = [f"the river {i} runs to the sea by the house and birds fly" for i in range(12)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub of our own, and an empty folder to work in."""
    place = tmp_path / "hub"
    place.mkdir()
    for module in ("huggingface_hub.constants", "huggingface_hub._snapshot_download", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.HF_HUB_CACHE", str(place), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(place), raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return place


def online(cache: Path, name: str, folder: Path) -> Path:
    """A folder as the hub's cache has it after one run with a network."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    shutil.copytree(folder, repository / "snapshots" / "abc123")
    return repository / "snapshots" / "abc123"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_results_of_a_hub_id_do_not_hide_it(cache: Path, tmp_path: Path) -> None:
    snapshot = online(cache, "someone/tiny", masked_lm(tmp_path / "made", "bert")[0])
    before = files(snapshot)
    Path("texts.txt").write_text("\n".join(LINES))
    words = ("--data", "texts.txt", "--texts", 4, "--steps", 2, "--judge", "none")
    assert run("evaluate", "someone/tiny", *words) == 0
    assert run("diagnose", "someone/tiny", "--data", "texts.txt", "--check", "batch_invariance") == 0
    folder, page = "evaluation--someone--tiny", "diagnosis--someone--tiny.html"
    assert files(Path(".")) == {"texts.txt", page, f"{folder}/metrics.json", f"{folder}/report.html"}
    assert files(snapshot) == before and not may_be_id(folder)
    assert run("evaluate", "someone/tiny", *words) == 0


def test_a_folder_without_a_model_hides_no_hub_id(cache: Path, tmp_path: Path) -> None:
    online(cache, "someone/tiny", masked_lm(tmp_path / "made", "bert")[0])
    online(cache, "someone/judge", made_causal(tmp_path / "judge"))
    for name in ("someone/tiny", "someone/judge"):
        Path(name, "evaluation").mkdir(parents=True)  # what earlier versions left
        Path(name, "evaluation", "metrics.json").write_text("{}")
    assert unmask.load("someone/tiny", device="cpu").path == "someone/tiny"
    for judge in (unmask.load("someone/judge", device="cpu"), load_causal("someone/judge")):
        assert judge.name == "someone/judge" and judge.identity.startswith("someone/judge commit=abc123")
    assert encoder_folder("someone/tiny") == cache / "models--someone--tiny" / "snapshots" / "abc123"


def made_causal(folder: Path) -> Path:
    words = train_bpe(LINES, 280)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_of_a_folder_and_an_id_the_folder_is_taken(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    online(cache, "someone/tiny", masked_lm(tmp_path / "made", "bert")[0])
    native(Path("someone/tiny"), "llada")
    with caplog.at_level(logging.WARNING, "unmask"):
        model = unmask.load("someone/tiny", device="cpu")
    assert type(model.denoiser).__name__ == "LladaDenoiser"
    assert "'someone/tiny' is a folder here and a model in the hub's cache: the folder is taken" in caplog.text
    caplog.clear()
    unmask.load(str(tmp_path / "made"), device="cpu")
    assert not caplog.text


def test_a_name_that_is_nothing_is_one_sentence(cache: Path, tmp_path: Path) -> None:
    Path("someone/none").mkdir(parents=True)
    Path("weights.gguf").write_bytes(b"GGUF")
    for name, said in (
        ("someone/none", "holds no model .no config.json, no unmask.json., and no hub id"),
        ("someone/else", "there is no model folder 'someone/else', and no hub id"),
        ("./nowhere", "there is no model folder './nowhere': give a run folder"),
        ("weights.gguf", "'weights.gguf' is a GGUF file"),
    ):
        for call in (find, unmask.load, load_causal):
            with pytest.raises(UsageError, match=None if call is load_causal else said) as caught:
                call(name)
            assert "\n" not in str(caught.value) and name in str(caught.value)
    with pytest.raises(UsageError, match="not a finished unmask model folder"):
        unmask.load(tmp_path / "hub")


def ours(folder: Path) -> Path:
    words = train_bpe(LINES, 280)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(vocab_size=len(words), max_position_embeddings=64, dim=16, layers=1, heads=2, ffn_dim=16)
    )
    return TextModel(net, words, TextModelCard(length=64)).save(folder)


def test_a_model_of_ours_loads_from_the_hub_too(cache: Path, tmp_path: Path) -> None:
    snapshot = online(cache, "someone/ours", ours(tmp_path / "run"))
    model = unmask.load("someone/ours", device="cpu")
    assert isinstance(model, TextModel) and model.path == "someone/ours"
    assert results_place("someone/ours", "evaluation") == Path("evaluation--someone--ours")
    # nor is its snapshot written into, whatever it holds
    assert results_place(snapshot, "evaluation") == Path("evaluation--someone--ours")


def test_results_go_into_run_folders_of_ours_alone(cache: Path, tmp_path: Path) -> None:
    run_folder, theirs = ours(tmp_path / "run"), masked_lm(tmp_path / "theirs", "bert")[0]
    assert results_place(run_folder, "evaluation") == run_folder / "evaluation"
    assert results_place(run_folder, "diagnosis", ".html") == run_folder / "diagnosis.html"
    assert results_place(theirs, "evaluation") == Path("evaluation--theirs")
    assert results_place(None, "diagnosis", ".html") == Path("diagnosis.html")
    assert results_place("gpt2", "evaluation") == Path("evaluation--gpt2")


def test_a_run_folder_that_is_read_only_is_left_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ours(tmp_path / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    assert results_place(folder, "evaluation") == Path("evaluation--run")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("gpt2", True),
        ("a/b", True),
        ("a/b.c-d_e", True),
        ("a--b", False),
        ("a/b/c", False),
        ("./a", False),
        ("", False),
    ],
)
def test_may_be_id_knows_the_form_of_an_id(name: str, right: bool) -> None:
    assert may_be_id(name) is right


def test_local_folder_needs_a_file_of_a_model(cache: Path) -> None:
    Path("plain").mkdir()
    assert local_folder("plain") is None and local_folder("./plain") == Path("plain")
    Path("plain", "config.json").write_text(json.dumps({}))
    assert local_folder("plain") == Path("plain")


def test_lm_eval_takes_what_unmask_load_gives(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from unmask.evaluation.lm_eval_model import UnmaskLM

    loaded: Any = load_causal(made_causal(tmp_path / "judge"))
    with pytest.raises(UsageError, match="not a CausalModel"):
        UnmaskLM(loaded)
    assert UnmaskLM(ours(tmp_path / "run")).model.limit == 64


def test_a_snapshot_without_a_tokenizer_is_refused(cache: Path, tmp_path: Path) -> None:
    masked, judge = masked_lm(tmp_path / "made", "bert")[0], made_causal(tmp_path / "judge")
    for name, folder in (("someone/tiny", masked), ("someone/judge", judge)):
        for file in folder.glob("*token*"):
            file.unlink()
        online(cache, name, folder)
    for call in (unmask.load, load_causal):
        with pytest.raises(UsageError, match="'someone/judge' holds no tokenizer"):
            call("someone/judge")
    with pytest.raises(UsageError, match="'someone/tiny' holds no tokenizer"):
        unmask.load("someone/tiny", device="cpu")
