"""A command that needs a causal model is not given a masked one, and the other way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import unmask
from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.data.tokenizer import train_bpe
from unmask.evaluation.tasks import Problem, run_task
from unmask.models.causal import CausalModel
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard

TEXTS = ["the river runs to the sea", "a house stands by the river", "birds fly over the house"]
SHAPE: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("kinds")
    words = train_bpe([*TEXTS, "0 1 2 3 4 5 6 7 8 9"], 280)
    shape = SHAPE | {"vocab_size": len(words)}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**shape)).save_pretrained(place / "bert")
    LlamaForCausalLM(LlamaConfig(**shape, eos_token_id=1, initializer_range=0.4)).save_pretrained(place / "llama")
    T5ForConditionalGeneration(
        T5Config(vocab_size=len(words), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).save_pretrained(place / "t5")
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(vocab_size=len(words), max_position_embeddings=32, dim=16, layers=1, heads=2, ffn_dim=16)
    )
    TextModel(net, words, TextModelCard(length=32)).save(place / "ours")
    sdar = place / "sdar"
    sdar.mkdir()
    (sdar / "config.json").write_text(
        json.dumps(
            {"model_type": "sdar", "architectures": ["SDARForCausalLM"], "auto_map": {"AutoModelForCausalLM": "m.X"}}
        )
    )
    for name in ("bert", "llama", "t5", "sdar"):
        words.save_pretrained(place / name)
    return {folder.name: folder for folder in place.iterdir()}


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0), capsys.readouterr().err


SAID = {
    "bert": "is a masked language model (BertForMaskedLM), not a causal one",
    "ours": "is a masked diffusion model of unmask's own, not a causal one",
    "t5": "is an encoder-decoder (T5ForConditionalGeneration)",
    "sdar": "is a diffusion model with code of its own (SDARForCausalLM), which unmask does not run",
}


@pytest.mark.parametrize("kind", SAID)
def test_kv_and_judges_are_causal_models(
    folders: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "texts.txt"
    data.write_text("\n".join(TEXTS))
    words = ["evaluate", folders["ours"], "--data", data, "--steps", 2, "--out", tmp_path, "--judge", folders[kind]]
    for command in (["kv", folders[kind], "--context", 16, "--continuation", 4, "--out", tmp_path / "kv"], words):
        code, said = run(capsys, *command)
        assert code == 2 and SAID[kind] in said and said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["texts.txt"]


@pytest.mark.parametrize("kind", ["t5", "sdar"])
def test_what_is_neither_is_named(folders: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sample", "evaluate", "diagnose"):
        code, said = run(capsys, command, folders[kind])
        assert code == 2 and SAID[kind] in said and said.count("\n") == 1


def questions() -> list[Problem]:
    return [Problem(str(i), f"the river {i}", "", "7") for i in range(3)]


def test_a_causal_model_answers_a_task(folders: dict[str, Path]) -> None:
    model = unmask.load(folders["llama"], device="cpu")
    assert isinstance(model, CausalModel)
    found = run_task(model, "gsm_symbolic", problems=questions(), answer_length=6)
    want = unmask.sample(model, [problem.before for problem in questions()], length=6).texts
    assert [answer.wrote for answer in found.answers] == want and found.fitted == 3
    assert found.settings == {"temperature": 0.0, "seed": 0, "count": 3, "answer_length": 6}
    # right where the number is
    told = [Problem("x", "the river 0", "", next((c for c in want[0] if c.isdigit()), "7"))]
    assert run_task(model, "gsm_symbolic", problems=told, answer_length=6).fitted == 1
    drawn = run_task(model, "gsm_symbolic", problems=questions(), answer_length=6, temperature=1.0, seed=4)
    later = run_task(model, "gsm_symbolic", problems=questions(), answer_length=6, temperature=1.0, seed=5)
    assert [a.wrote for a in drawn.answers] != [a.wrote for a in later.answers]
    # a problem that does not fit is left out and not wrong
    long = Problem("long", "the river " * 60, "", "7")
    assert [a.right for a in run_task(model, "gsm_symbolic", problems=[long], answer_length=6).answers] == [None]


def test_a_causal_model_refuses_what_it_cannot_do(folders: dict[str, Path]) -> None:
    model = unmask.load(folders["llama"], device="cpu")
    hole = Problem("h", "def f():\n", "\n    return x\n", "    x = 1", head="", tail="")
    with pytest.raises(UsageError, match="holes to fill, and a causal model .llama. does not see"):
        run_task(model, "humaneval_single", problems=[hole])
    for setting in ({"order": "margin"}, {"steps": 4}, {"block_length": 4}, {"cache": "dual"}):
        with pytest.raises(UsageError, match=f"{next(iter(setting))}=.* has no effect on a causal model"):
            run_task(model, "gsm_symbolic", problems=questions(), **setting)
    with pytest.raises(UsageError, match="not for a str"):
        run_task("llama", "gsm_symbolic", problems=questions())  # type: ignore[arg-type]


def test_the_task_command_takes_a_causal_model(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmask.evaluation.tasks.load_task", lambda name, count, seed: [Problem("q", "one", "", "1")])
    monkeypatch.setattr("unmask.evaluation.tasks.run_task", short(run_task))
    code, _ = run(capsys, "evaluate", folders["llama"], "--task", "gsm_symbolic", "--out", tmp_path)
    assert code == 0 and json.loads((tmp_path / "gsm_symbolic.json").read_text())["fitted"] == 1
    for option in (["--steps", "16"], ["--order", "margin"], ["--block-length", "8"]):
        code, said = run(capsys, "evaluate", folders["llama"], "--task", "gsm_symbolic", *option)
        assert code == 2 and "has no effect on a causal model" in said
    code, said = run(capsys, "evaluate", folders["llama"], "--task", "gsm_symbolic", "--length", 9)
    assert code == 2 and "--length 9 has no effect with --task" in said


def short(call: Any) -> Any:
    return lambda *a, **k: call(*a, **k, answer_length=4)


def test_a_causal_diagnosis_has_rows_of_a_length(folders: dict[str, Path]) -> None:
    model = unmask.load(folders["llama"], device="cpu")
    texts = TEXTS * 20
    tokens = sum(len(model.encode(text + "\n", start=False)) for text in texts)
    verdict = unmask.diagnose(model, texts, length=32, only=["batch_invariance"])
    assert verdict.notes == (f"The last {tokens % 32} tokens of the texts are left out: they fill no row of 32.",)
    for wrong in (65, 7, 0):
        with pytest.raises(UsageError, match=f"length={wrong} must lie in 8..64"):
            unmask.diagnose(model, texts, length=wrong)


def test_kv_reports_unknown_tokens(folders: dict[str, Path]) -> None:
    pytest.importorskip("kvpress")
    from unmask.kvcache.bench import Settings, bench

    model = unmask.load(folders["llama"], device="cpu")
    model.tokenizer.unk_token = "a"  # a letter that the text below has
    share = model.tokenizer("a house by the sea " * 40, add_special_tokens=False)["input_ids"].count(
        model.tokenizer.unk_token_id
    )
    assert share
    small = Settings(
        press="knorm", budgets=("1",), context=40, continuation=8, windows=2, needles=0, long=0, write=0, repeats=0
    )
    result = bench(model, "a house by the sea " * 40, small)
    assert any("% of the tokens are unknown (a) to the tokenizer of llama" in note for note in result.notes)
    model.tokenizer.unk_token = "e"
    with pytest.raises(UsageError, match="of the tokens are unknown"):
        bench(model, "e" * 400, small)
