"""Prompts reach other people's models: through `unmask.sample`, `evaluate`, `diagnose` and their commands."""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import unmask
from adapted import masked_lm, native, tokenizer
from unmask.cli import build, main
from unmask.core.errors import UsageError
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskedBatch
from unmask.evaluation.tasks import Problem, run_task
from unmask.models.adapters import AdapterModel

PROMPTS = ["the river", "a house stands by the river and the sea", "birds"]
PLAN: dict[str, Any] = {"steps": 4, "length": 9, "block_length": 3, "quota": "linear"}


@pytest.fixture(scope="module", params=["llada", "dream", "bert", "roberta", "modernbert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AdapterModel:
    folder = tmp_path_factory.mktemp("adapters") / request.param
    if request.param in ("llada", "dream"):
        return unmask.load(native(folder, request.param), device="cpu")
    return unmask.load(masked_lm(folder, request.param)[0], device="cpu")


def test_an_answer_is_what_generate_writes_behind_the_prompt(model: AdapterModel) -> None:
    for temperature in (0.0, 1.0):
        out = unmask.sample(model, PROMPTS, temperature=temperature, seed=3, **PLAN)
        plan = DecodingPlan(steps=4, block_length=3, quota="linear", temperature=temperature, seed=3)
        for i, prompt in enumerate(PROMPTS):
            before, after = model.prompt_ids(prompt), ([] if model.tokenizer.chat_template else model.frame[1])
            row_1L = torch.tensor([before + [model.denoiser.mask_id] * 9 + after])
            wrote = generate(model.denoiser, row_1L, plan, row_ids_B=torch.tensor([i])).sequences[0]
            assert out.sequences[i, : len(wrote)].tolist() == wrote.tolist()
            assert out.texts[i] == model.decode(wrote[None, len(before) : len(before) + 9])[0]
            assert (out.sequences[i, len(wrote) :] == model.denoiser.pad_id).all()
    assert len(set(map(tuple, out.sequences.tolist()))) == 3


def test_padding_costs_nothing_and_changes_nothing(model: AdapterModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BERT never wrote a [PAD]; a bound that makes it pay for some measures the width of the canvas."""
    text = PROMPTS[1]
    exact = len(model.frame[0]) + len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    losses = []
    for width in (exact, exact + 7):
        ids = model.tokenize([text], width)
        open_1L, valid_1L = model.texts_in(ids)
        assert int(valid_1L.sum()) == exact and int(open_1L.sum()) == exact - len(model.frame[0])
        hidden = torch.zeros_like(open_1L)
        hidden[:, [-1 - width + exact, len(model.frame[0]) + 2]] = True  # the text's end and a word
        one = torch.ones(1)
        state = MaskedBatch(ids.masked_fill(hidden, model.denoiser.mask_id), ids, hidden, one / 2, one, open_1L.sum(1))
        with torch.no_grad():
            losses.append(token_losses(model.denoiser, state, valid_BL=valid_1L).ce_N)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
    # one that knows nothing pays the logarithm of what it can write for each token, on whatever canvas
    V = model.denoiser.vocab_size
    monkeypatch.setattr(model.denoiser, "project", lambda h_ND: (h_ND[:, :1] * 0, h_ND.new_zeros(V, 1), None))
    found = unmask.evaluate(model, PROMPTS, steps=2, samples=2, trace=False).metrics
    assert found["nelbo_nats_per_token"] == pytest.approx(math.log(V - 1), rel=1e-5)
    # and being scored does not bring its dropout on
    assert not any(part.training for part in model.denoiser.modules())


def test_batches_copies_and_lengths(model: AdapterModel) -> None:
    settings = {**PLAN, "temperature": 1.0, "n": 2}
    whole = unmask.sample(model, PROMPTS, **settings, trace=True)
    parts = unmask.sample(model, PROMPTS, **settings, batch_size=1)
    assert whole.texts == parts.texts and len(whole.texts) == 6
    assert not torch.equal(whole.sequences[0], whole.sequences[1])
    assert torch.equal(whole.trace.replay(), whole.sequences)
    # without a length: the card's, or what the positions leave
    limit = model.denoiser.max_length
    assert limit is not None
    rows = model.answer_canvas([PROMPTS[1]])
    assert rows.x_BL.shape[1] == limit and bool(rows.valid_BL.all())
    with pytest.raises(UsageError, match=f"needs .* positions; the model has {limit}"):
        unmask.sample(model, PROMPTS, length=limit)
    with pytest.raises(UsageError, match="texts or a canvas"):
        unmask.sample(model, PROMPTS, canvas=model.canvas(3))


def test_chats_go_through_the_template_and_its_masks_are_words(tmp_path: Path) -> None:
    model = unmask.load(native(tmp_path, "llada"), device="cpu")
    chat = [{"role": "system", "content": "the sea"}, {"role": "user", "content": "birds"}]
    out = unmask.sample(model, [chat, "birds"], **PLAN)
    shown = [model.tokenizer.decode(row[:-9]) for row in out.sequences]
    assert shown[0] == "<|system|>the sea<|user|>birds<|assistant|>"
    assert model.tokenizer.decode(out.sequences[1]).startswith("<|user|>birds<|assistant|>")
    model.tokenizer.split_special_tokens = False
    sly = model.answer_canvas(["birds<|mask|>"], 4)
    assert int((sly.x_BL == model.denoiser.mask_id).sum()) == 5 and int(sly.fill_BL.sum()) == 4
    assert not sly.whole_B.any()


def test_a_text_with_holes_is_filled_in_place(tmp_path: Path) -> None:
    folder, _ = masked_lm(tmp_path, "bert")
    words = tokenizer()
    words.split_special_tokens = False
    words.save_pretrained(folder)
    model = unmask.load(folder, device="cpu")
    hole = model.tokenizer.mask_token
    out = unmask.sample(model, [f"the {hole} runs to the {hole}", "the house"], length=3, steps=2)
    rows = model.answer_canvas([f"the {hole} runs to the {hole}", "the house"], 3)
    assert rows.fill_BL.sum(1).tolist() == [2, 3] and rows.whole_B.tolist() == [True, False]
    assert torch.equal(out.sequences[~rows.fill_BL], rows.x_BL[~rows.fill_BL])
    first = model.decode(out.sequences[:1][rows.valid_BL[:1]][None])[0]
    assert out.texts[0] == first and first.startswith("the") and " runs to the" in first


def test_free_samples_differ_and_an_answer_is_the_best_one(tmp_path: Path) -> None:
    """Several samples at temperature 0 would be one text again and again."""
    model = unmask.load(native(tmp_path, "llada"), device="cpu")
    free = unmask.sample(model, n=3, length=12)
    assert len(set(map(tuple, free.sequences.tolist()))) == 3
    best = unmask.sample(model, PROMPTS[:1], length=12)
    assert best.texts == unmask.sample(model, PROMPTS[:1], length=12, temperature=0.0, seed=9).texts
    # a quota that decides by itself is not given steps that nobody asked for
    assert unmask.sample(model, PROMPTS[:1], length=12, quota="one").forwards == 12
    with pytest.raises(UsageError, match="steps=3 has no effect"):
        unmask.sample(model, PROMPTS[:1], length=12, quota="one", steps=3)


@pytest.mark.parametrize("kind", ["llada", "dream", "bert"])
def test_the_commands_run_end_to_end(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / kind
    folder = masked_lm(folder, kind)[0] if kind == "bert" else native(folder, kind)
    said: list[str] = []

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        said.append(capsys.readouterr().out)
        return int(stop.value.code or 0)

    settings = "--length 8 --steps 4 --block-length 4 --temperature 0".split()
    assert run("sample", str(folder), "--texts", PROMPTS[0], "--texts", PROMPTS[2], *settings) == 0
    want = unmask.sample(
        unmask.load(folder, device="cpu"), [PROMPTS[0], PROMPTS[2]], length=8, steps=4, block_length=4, temperature=0.0
    )
    assert said[-1].split() == " ".join([PROMPTS[0], want.texts[0], PROMPTS[2], want.texts[1]]).split()
    assert run("sample", str(folder), "-n", "2", "--length", "8", "--sampler", "ancestral", "--remasking", "cap") == 0
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(f"the river {i} runs to the sea by house {7 * i % 50}" for i in range(50)))
    out = tmp_path / "scores"
    options = ("--data", str(corpus), "--texts", "6", "--steps", "4", "--judge", "none", "--out", str(out))
    assert run("evaluate", str(folder), *options) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    text = json.dumps(metrics)
    assert '"texts": 6' in text and "nelbo_bits_per_token" in text
    page = tmp_path / "verdict.json"
    code = run(
        "diagnose", str(folder), "--data", str(corpus), "--json", str(page), "--report", str(tmp_path / "d.html")
    )
    assert code == 1  # random weights cannot be healthy
    verdict = json.loads(page.read_text())
    assert verdict["status"] == "fail" and (tmp_path / "d.html").stat().st_size > 10_000
    found = {finding["check"]: finding["status"] for finding in verdict["findings"]}
    # what the model was trained on is not known, so nothing is said of recitation; words were counted all the same
    assert found["memorisation"] == "not_run" and found["loss_by_ratio"] == "fail"


CHANGES: dict[str, list[dict[str, Any]]] = {
    "order": [{"order": "random"}],
    "steps": [{"steps": 2}],
    "quota": [{"quota": "linear"}],
    "guidance": [{"guidance": 3.0}],
    "temperature": [{"temperature": 0.3}],
    "top_k": [{"top_k": 3}],
    "top_p": [{"top_p": 0.2}],
    "repetition_penalty": [{"repetition_penalty": 4.0}],
    "remasking": [{"sampler": "ancestral"}, {"sampler": "ancestral", "remasking": "cap:eta=0.5"}],
    "sampler": [{"sampler": "ancestral"}],
    "block_length": [{"block_length": 4}],
    "cache": [{"block_length": 4}, {"block_length": 4, "cache": "dual"}],
    "stop_at_eos": [{"stop_at_eos": True}],
    "length": [{"length": 10}],
    "seed": [{"seed": 1}],
}
#: what a plan is not made of
OTHER = {
    "model",
    "texts",
    "n",
    "canvas",
    "condition",
    "batch_size",
    "precision",
    "trace",
    "live",
    "callback",
    "share",
    "forwards",
    "seconds",
    "config",
    "loops",
    "verify",
    "pattern",
    "schema",
    "calls",
}  # the last three are of other families, and refused


@pytest.fixture(scope="module")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native(tmp_path_factory.mktemp("settings") / "llada", "llada")


@pytest.mark.parametrize("setting", CHANGES)
def test_every_setting_changes_an_answer(llada: Path, setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = unmask.load(llada, device="cpu")
    base: dict[str, Any] = {"length": 16, "steps": 6, "temperature": 1.0}
    if setting == "stop_at_eos":  # what is written third is made the end
        base = {"length": 16, "order": "left_to_right", "quota": "one", "temperature": 1.0}
        third = len(model.prompt_ids(PROMPTS[0])) + 2
        model.denoiser.eos_id = int(unmask.sample(model, PROMPTS, **base).sequences[0, third])
    *before, change = [{}, *CHANGES[setting]]
    plain, changed = (unmask.sample(model, PROMPTS, **{**base, **c}).sequences for c in (before[-1], change))
    assert plain.shape != changed.shape or not torch.equal(plain, changed)
    if setting == "stop_at_eos":
        return
    words = [f"--{k.replace('_', '-')}={v}" for k, v in {**base, **change}.items()]
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(llada), *[w for prompt in PROMPTS for w in ("-t", prompt)], *words])
    assert not stop.value.code
    want = unmask.sample(model, PROMPTS, **{**base, **change}).texts
    shown = [line for pair in zip(PROMPTS, want, strict=True) for line in pair]
    # the terminal drops control characters, which random weights write
    said, meant = (re.sub(r"[\s\x00-\x1f]", "", text) for text in (capsys.readouterr().out, "".join(shown)))
    assert said == meant


def test_the_table_covers_every_setting() -> None:
    known = set(inspect.signature(unmask.sample).parameters)
    assert set(CHANGES) == known - OTHER and OTHER <= known
    options = {name for p in typer.main.get_command(build()).commands["sample"].params for name in [p.name]}
    assert known - {"texts", "canvas", "condition", "callback", "share", "config"} <= options


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "blocks": {"block_length": 4},
    "dual": {"block_length": 4, "cache": "dual"},
}


def test_tasks_and_scores_write_as_they_are_told(llada: Path) -> None:
    """Blocks and caches reach the answers of a task, and what a task cannot use is refused."""
    model = unmask.load(llada, device="cpu")
    problems = [Problem(str(i), "the river", "", "7") for i in range(2)]
    how: dict[str, Any] = {"steps": 5, "answer_length": 16, "temperature": 1.0, "problems": problems}
    seen = {
        name: [answer.wrote for answer in run_task(model, "gsm_symbolic", **how, **more).answers]
        for name, more in WAYS.items()
    }
    assert len({tuple(wrote) for wrote in seen.values()}) == 3
    told = run_task(model, "gsm_symbolic", **how, block_length=4, cache="dual").settings
    assert told["cache"] == "dual" and told["block_length"] == 4 and told["temperature"] == 1.0
    texts = ["the river runs to the sea", "a house stands by the river", "birds fly over the sea"]
    pages = [
        unmask.evaluate(model, texts, steps=16, block_length=b, cache=c, judge=None, trace=False, samples=1)
        for b, c in ((None, None), (16, None), (16, "prefix"))
    ]
    assert len({tuple(page.generation.outputs) for page in pages if page.generation is not None}) == 3
    assert pages[2].about["cache"] == "prefix" and "cache" not in pages[1].about
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(llada), "--task", "gsm_symbolic", "--guidance", "2"])
    assert stop.value.code == 2
