"""A mask word of another model is named, never quietly continued behind."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import unmask
from adapted import masked_lm, native, tokenizer
from unmask.core.errors import UsageError
from unmask.models.adapters import AdapterModel
from unmask.models.mask_words import foreign_mask, layout_ids, mask_word

FOREIGN = [
    "[MASK]", "<mask>", "<|mask|>", "<|mdm_mask|>", "<MASK>", "[mask]", "[Mask]", "{mask}", "<|MASK|>", "<extra_id_0>",
    "[ MASK ]", "<mask_1>",
]  # fmt: skip


def spelled(folder: Path, word: str) -> AdapterModel:
    """A BERT whose mask word this is."""
    place, _ = masked_lm(folder, "bert")
    words = tokenizer()
    words.add_special_tokens({"mask_token": word})
    words.split_special_tokens = False
    # the vocabulary keeps its size: the new word takes the place of the old one
    text = (place / "tokenizer.json").read_text().replace('"<mask>"', f'"{word}"')
    (place / "tokenizer.json").write_text(text)
    config = (place / "tokenizer_config.json").read_text().replace('"<mask>"', f'"{word}"')
    (place / "tokenizer_config.json").write_text(
        config.replace('"split_special_tokens": true', '"split_special_tokens": false')
    )
    return unmask.load(place, device="cpu")


@pytest.mark.parametrize("own", ["[MASK]", "<mask>", "<|mask|>"])
def test_another_models_mask_word_is_refused(tmp_path: Path, own: str) -> None:
    model = spelled(tmp_path, own)
    assert model.tokenizer.mask_token == own == mask_word(model.tokenizer, model.denoiser.mask_id)
    for word in FOREIGN:
        if word == own:
            rows = model.answer_canvas([f"the {word} runs"], 4)
            assert int(rows.fill_BL.sum()) == 1 and rows.whole_B.tolist() == [True]
            continue
        for prompts in ([f"the {word} runs"], ["the river", f"the {own} and the {word}"]):
            with pytest.raises(UsageError) as caught:
                unmask.sample(model, prompts, steps=1)
            assert str(caught.value) == f"{word!r} in a prompt is not this model's mask word: write {own!r}"


@pytest.mark.parametrize("text", ["masks and [unmasked] words", "a mask", "<masked>", "x < mask and y > z", "[0]", ""])
def test_words_that_only_look_like_masks_are_words(text: str) -> None:
    assert foreign_mask(text, "[MASK]") is None


def test_a_tokenizer_that_spells_its_mask_says_so(tmp_path: Path) -> None:
    model = unmask.load(masked_lm(tmp_path, "bert")[0], device="cpu")
    assert model.tokenizer.split_special_tokens
    with pytest.raises(UsageError, match="'<mask>' in a prompt would not be filled in"):
        unmask.sample(model, ["the <mask> runs"], steps=1)


def test_a_chats_mask_words_are_words_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = unmask.load(native(tmp_path, "llada"), device="cpu")
    for word in ("[MASK]", "<|mask|>"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "unmask"):
            rows = model.answer_canvas([f"what does {word} mean"], 5)
        assert f"{word!r} in a prompt is not filled in" in caplog.text and int(rows.fill_BL.sum()) == 5
    caplog.clear()
    model.answer_canvas(["what does it mean"], 5)
    assert not caplog.text


def test_a_mask_without_a_word_is_refused_with_a_way(tmp_path: Path) -> None:
    model = unmask.load(native(tmp_path, "llada"), device="cpu")
    model.tokenizer.chat_template = None
    model.denoiser.mask_id = 380  # beyond the tokenizer, within the embedding
    model.tokenizer.mask_token = None
    assert mask_word(model.tokenizer, 380) is None
    with pytest.raises(UsageError, match="it has no word for its mask, so give ids as canvas="):
        model.answer_canvas(["the [MASK]"], 4)


def test_layout_ids_are_no_unknown_word() -> None:
    words = tokenizer()
    assert layout_ids(words) == {words.pad_token_id, words.eos_token_id, words.mask_token_id}
    words.unk_token = words.pad_token
    assert words.pad_token_id not in layout_ids(words) and 99 in layout_ids(words, 99, None)
