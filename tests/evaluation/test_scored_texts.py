"""Which texts of other people's models are scored: the canvas, what is left out, and that it is said everywhere."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

import unmask
from adapted import masked_lm, native, tokenizer
from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.data.tokenizer import train_bpe
from unmask.evaluation.likelihood import bound
from unmask.evaluation.scored import WIDEST, rows_at_once, scored_texts
from unmask.models.adapters import AdapterModel
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard

SHORT = ["the river runs to the sea", "a house stands by the river", "birds fly over the house"]


def bert(folder: Path, positions: int) -> Path:
    words = tokenizer()
    words.split_special_tokens = False
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    net = BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=positions, pad_token_id=0, **shape))
    net.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"), 300)


@pytest.fixture(scope="module")
def model(folder: Path) -> AdapterModel:
    return unmask.load(folder, device="cpu")


def text_of(model: TextModel, tokens: int) -> str:
    """A text of exactly so many tokens."""
    text = "a" * tokens
    while len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) < tokens:
        text += "a"
    assert len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) == tokens
    return text


def test_the_canvas_is_what_the_longest_text_needs(model: AdapterModel) -> None:
    extra = len(model.frame[0]) + 1
    for tokens, width in ((20, 128), (200, 200 + extra), (300 - extra, 300)):
        found = scored_texts(model, [*SHORT, text_of(model, tokens)])
        assert found.length == width and len(found.references) == 4 and not found.left_out.count
    found = scored_texts(model, [*SHORT, text_of(model, 301 - extra)])
    assert found.length == 300 and len(found.references) == 3 and found.left_out.too_long == 1
    assert found.notes == ("1 of 4 texts is left out: 1 longer than the canvas of 300 tokens.",)
    # and a text that just fits is scored with its end
    ids = model.tokenize([text_of(model, 300 - extra)], 300)
    assert ids[0, -1] == model.denoiser.eos_id


def test_a_length_is_heeded_up_to_the_positions(model: AdapterModel) -> None:
    texts = [*SHORT, text_of(model, 100)]
    found = scored_texts(model, texts, length=50)
    assert found.length == 50 and found.left_out.too_long == 1
    assert "longer than the canvas of 50 tokens (a length of up to 300 is possible)" in str(found.left_out)
    assert scored_texts(model, texts, length=250).length == 250
    for wrong in (301, 1, 0, -3):
        with pytest.raises(UsageError, match=f"length={wrong} must lie in 2..300"):
            scored_texts(model, texts, length=wrong)
    with pytest.raises(UsageError, match="no text can be scored: 1 of 1 texts is left out: 1 longer"):
        scored_texts(model, [text_of(model, 100)], length=50)


def test_no_canvas_is_wider_than_wanted_unasked(tmp_path: Path) -> None:
    model = unmask.load(bert(tmp_path, 1500), device="cpu")
    texts = [*SHORT, text_of(model, 1200)]
    assert scored_texts(model, texts).length == WIDEST and scored_texts(model, texts).left_out.too_long == 1
    assert scored_texts(model, texts, length=1500).left_out.count == 0
    assert [rows_at_once(n) for n in (10, 128, 256, 1024, 100_000)] == [64, 64, 32, 8, 1]


def test_a_bound_does_not_depend_on_the_canvas(model: AdapterModel) -> None:
    """Texts beside it choose the canvas, and so would change a text's score."""
    found = []
    for width in (40, 128, 300):
        ids = model.tokenize(SHORT, width)
        open_NL, valid_NL = model.texts_in(ids)
        found.append(bound(model.denoiser, ids, open_NL=open_NL, valid_NL=valid_NL, samples=4, seed=1).nelbo_N)
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] == pytest.approx(found[2], rel=1e-5)


def test_texts_with_masks_and_layout_tokens_are_counted(model: AdapterModel) -> None:
    mask, end = model.tokenizer.mask_token, model.tokenizer.eos_token
    found = scored_texts(model, [*SHORT, f"the {mask} runs", f"one {end} two", f"{end}{mask}"])
    assert found.references == SHORT
    assert (found.left_out.mask_word, found.left_out.special, found.left_out.looked_at) == (2, 1, 6)
    assert found.notes == (
        f"3 of 6 texts are left out: 2 with the mask word {mask!r} in them, 1 with a special token ({end!r}) in them.",
    )
    alone = unmask.evaluate(model, SHORT, steps=2, samples=2, trace=False).metrics
    among = unmask.evaluate(model, [*SHORT, f"the {mask} runs"], steps=2, samples=2, trace=False).metrics
    assert among["texts_left_out_mask_word"] == 1
    assert among["nelbo_nats_per_token"] == alone["nelbo_nats_per_token"]


def test_evaluate_says_what_was_left_out_everywhere(
    folder: Path,
    model: AdapterModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    data = tmp_path / "texts.txt"
    data.write_text("\n".join([*SHORT, f"the {model.tokenizer.mask_token} runs", text_of(model, 400)]))
    words = ["evaluate", str(folder), "--data", str(data), "--steps", "2", "--judge", "none", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--length", "60"])
    assert not stop.value.code
    said = (
        "2 of 5 texts are left out: 1 longer than the canvas of 60 tokens (a length of up to 300 is possible), 1 with"
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown and "Padding is neither scored nor counted" in shown and "padding loss" not in shown
    tree = json.loads((tmp_path / "metrics.json").read_text())
    assert said in tree["notes"][0] and tree["about"]["length"] == "60"
    assert {k: v for k, v in tree["metrics"].items() if k.startswith("texts")} == {
        "texts": 3, "texts_looked_at": 5, "texts_left_out_too_long": 1, "texts_left_out_mask_word": 1,
        "texts_left_out_special_token": 0,
    }  # fmt: skip
    assert said in (tmp_path / "report.html").read_text()
    with pytest.raises(SystemExit) as stop:
        main([*words, "--length", "900"])
    assert stop.value.code == 2 and "length=900 must lie in 2..300" in capsys.readouterr().err


def test_diagnose_says_what_was_left_out_everywhere(
    folder: Path, model: AdapterModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = model.tokenizer.mask_token
    data = tmp_path / "texts.txt"
    data.write_text("\n".join([*SHORT, f"the {mask} runs", text_of(model, 100)]))
    page, tree = tmp_path / "d.html", tmp_path / "d.json"
    words = ["diagnose", str(folder), "--data", str(data), "--report", str(page), "--json", str(tree)]
    with pytest.raises(SystemExit):
        main([*words, "--length", "60"])
    said = "2 of 5 texts are left out: 1 longer than the canvas of 60 tokens"
    assert said in " ".join(capsys.readouterr().out.split()) and said in page.read_text()
    verdict = json.loads(tree.read_text())
    assert said in verdict["notes"][0]
    # no check is blamed for the mask word
    failed = {f["check"] for f in verdict["findings"] if "training_view" in f["measured"] or "nan" in f["measured"]}
    assert not failed
    with pytest.raises(UsageError, match="no effect on a NativeSubject"):
        unmask.diagnose(subject(model), length=9)


def subject(model: AdapterModel) -> Any:
    from unmask.diagnosis.native import NativeSubject

    return NativeSubject.of(model, SHORT)


def test_a_model_of_ours_pays_for_its_padding_and_says_so() -> None:
    words = train_bpe(SHORT, 280)
    config = MaskedDiffusionConfig(
        vocab_size=len(words), max_position_embeddings=64, dim=16, layers=1, heads=2, ffn_dim=16
    )
    model = TextModel(MaskedDiffusionModel(config).eval(), words, TextModelCard(length=32))
    texts = [*SHORT, "birds " * 40, "the <mask> runs"]  # its tokenizer spells the word
    found = unmask.evaluate(model, texts, steps=2, samples=2, trace=False)
    assert found.metrics["texts"] == 4 and found.metrics["texts_left_out_too_long"] == 1
    assert found.about["length"] == "32"
    console = Console(record=True, width=200, file=io.StringIO())
    for table in found.tables():
        console.print(table)
    shown = " ".join(console.export_text().split())
    assert "Padding is scored but not counted as tokens" in shown and "padding loss" in shown
    assert "1 of 5 texts is left out: 1 longer than the canvas of 32 tokens (a length of up to 64 is possible)" in shown
    assert unmask.evaluate(model, texts, length=64, steps=2, samples=2, trace=False).about["length"] == "64"
    verdict = unmask.diagnose(model, texts, only=["batch_invariance"])
    assert "1 longer than the canvas of 32 tokens" in verdict.notes[0]


@pytest.mark.parametrize("kind", ["llada", "dream", "roberta"])
def test_other_families_are_scored_up_to_their_positions(tmp_path: Path, kind: str) -> None:
    model = unmask.load(masked_lm(tmp_path, kind)[0] if kind == "roberta" else native(tmp_path, kind), device="cpu")
    limit = model.denoiser.max_length
    found = unmask.evaluate(model, [*SHORT, "the sea " * 200], steps=2, samples=2, trace=False)
    assert found.about["length"] == str(limit) and found.metrics["texts_left_out_too_long"] == 1
    assert math.isfinite(found.metrics["nelbo_nats_per_token"])


def test_unknown_tokens_are_reported_or_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "river", "runs", "to", "sea"]
    BertForMaskedLM(
        BertConfig(
            vocab_size=len(names), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    ).save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "vocab.txt").write_text("\n".join(names))
    model = unmask.load(tmp_path / "m", device="cpu")
    assert isinstance(model.tokenizer, PreTrainedTokenizerFast)
    texts = ["the river runs to the sea", "the sea runs to the zebra"]
    found = unmask.evaluate(model, texts, steps=2, samples=1, trace=False)
    assert found.metrics["unknown_tokens_share"] == pytest.approx(1 / 12)
    assert found.notes == ("8.3 % of the tokens are unknown ([UNK]) to the tokenizer.",)
    assert unmask.diagnose(model, texts, only=["batch_invariance"]).notes == found.notes
    unmask.sample(model, ["the zebra runs"], steps=1, length=2)
    assert "prompts: 33.3 % of the tokens are unknown ([UNK])" in caplog.text
    foreign = ["\u0e2a\u0e27\u0e31\u0e2a", "\u0e14\u0e35 \u0e04\u0e23\u0e31\u0e1a"]
    for call in (unmask.evaluate, unmask.diagnose, unmask.sample):
        with pytest.raises(UsageError, match="100 % of the tokens are unknown .* it is not this model's, or the"):
            call(model, foreign)
