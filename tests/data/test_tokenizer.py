"""Tokens and canvases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from unmask.core.errors import UsageError
from unmask.data.corpora import verses
from unmask.data.tokenizer import decode, encode_fixed, from_encoder, train_bpe

TEXTS = list(verses("web").values())[:3000]
BPE = train_bpe(TEXTS, 1024)
HARD = [
    "<mask> and <eos> or <pad>",
    "héllo 😀👩‍👩‍👧\u200d x\n\ty",
    "  two  spaces ",
    "n't ' s .",
    "<|endoftext|>[MASK]</s>",
    "字\x00",
]


def test_size_and_specials():
    assert len(BPE) == BPE.vocab_size == 1024
    assert (BPE.pad_token_id, BPE.eos_token_id, BPE.mask_token_id) == (0, 1, 2)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_the_round_trip(text):
    canvas = encode_fixed(BPE, [text], 400)
    assert decode(BPE, canvas.ids) == [text]
    assert canvas.over_long == 0


def test_specials_never_come_from_text(tmp_path):
    BPE.save_pretrained(tmp_path)
    for tokenizer in (BPE, AutoTokenizer.from_pretrained(tmp_path)):
        canvas = encode_fixed(tokenizer, HARD, 128)
        inside = np.arange(128) < canvas.lengths[:, None] - 1
        assert not np.isin(canvas.ids[inside], [0, 1, 2]).any()
        assert decode(tokenizer, canvas.ids) == HARD


def test_training_twice_gives_the_same_tokenizer():
    again = train_bpe(iter(TEXTS), 1024)
    assert again.get_vocab() == BPE.get_vocab()
    assert encode_fixed(again, TEXTS[:50], 64).ids.tolist() == encode_fixed(BPE, TEXTS[:50], 64).ids.tolist()


def test_a_canvas_is_tokens_then_one_eos_then_padding():
    canvas = encode_fixed(BPE, TEXTS[:200], 64, over_long="drop")
    assert canvas.ids.dtype == np.int32
    for ids, length, row in zip(canvas.ids, canvas.lengths, canvas.rows, strict=True):
        tokens = BPE(TEXTS[row], add_special_tokens=False)["input_ids"]
        assert ids.tolist() == [*tokens, 1] + [0] * (64 - length) and length == len(tokens) + 1


def test_the_longest_text_that_fits_keeps_its_eos():
    n = len(BPE(TEXTS[0], add_special_tokens=False)["input_ids"])
    fits = encode_fixed(BPE, [TEXTS[0]], n + 1)
    assert fits.over_long == 0 and fits.ids[0, -1] == 1
    cut = encode_fixed(BPE, [TEXTS[0]], n)
    assert cut.over_long == 1 and 1 not in cut.ids[0] and cut.lengths[0] == n
    assert TEXTS[0].startswith(decode(BPE, cut.ids)[0])


def test_drop_and_truncate_count_the_same():
    dropped = encode_fixed(BPE, TEXTS, 32, over_long="drop")
    cut = encode_fixed(BPE, TEXTS, 32)
    assert dropped.over_long == cut.over_long > 0
    assert len(dropped) == len(TEXTS) - dropped.over_long and len(cut) == len(TEXTS)
    assert decode(BPE, dropped.ids) == [TEXTS[i] for i in dropped.rows]
    np.testing.assert_array_equal(cut.ids[dropped.rows], dropped.ids)


def test_ids_on_disk_equal_ids_in_memory(tmp_path):
    on_disk = encode_fixed(BPE, TEXTS, 40, over_long="drop", spill=tmp_path / "ids.npy")
    assert isinstance(on_disk.ids, np.memmap)
    np.testing.assert_array_equal(on_disk.ids, encode_fixed(BPE, TEXTS, 40, over_long="drop").ids)


def test_decoding_stops_at_the_first_eos_and_skips_specials():
    a, b = (BPE(word, add_special_tokens=False)["input_ids"] for word in ("one", " two"))
    assert decode(BPE, [[*a, 1, *b, 1], [2, *a, 0, *b], [1, *a], []]) == ["one", "one two", "", ""]


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match="at least 259"):
        train_bpe(TEXTS, 100)
    with pytest.raises(UsageError, match="'drop' or 'truncate'"):
        encode_fixed(BPE, TEXTS, 32, over_long="cut")
    with pytest.raises(UsageError, match="at least 2"):
        encode_fixed(BPE, TEXTS, 1)
    with pytest.raises(UsageError, match="folder or a hub id"):
        from_encoder("no-such-tokenizer-here")


def test_bert_ends_with_sep():
    from unmask.models.encoders import SentenceEncoder

    own = SentenceEncoder.load("minilm").tokenizer
    before = own("[MASK]", add_special_tokens=False)["input_ids"]
    bert = from_encoder(own)
    assert bert.eos_token_id == bert.sep_token_id == 102 and len(bert) == 30_522
    canvas = encode_fixed(bert, ["the [MASK] of [SEP]"], 16)
    assert (canvas.ids == 102).sum() == 1 and bert.mask_token_id not in canvas.ids
    assert own("[MASK]", add_special_tokens=False)["input_ids"] == before == [103], "the encoder's own is untouched"


def test_missing_mask_and_padding_are_added_behind():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, "b": 1, "</s>": 2}
    gpt = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, [])), eos_token="</s>")
    ready = from_encoder(gpt)
    assert {ready.pad_token_id, ready.mask_token_id} == {3, 4} and ready.eos_token_id == 2 and len(ready) == 5
    assert gpt.mask_token is None
