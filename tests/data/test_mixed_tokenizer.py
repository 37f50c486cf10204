import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unmask.core.errors import CheckpointError, UsageError
from unmask.data.tidal.mixed_tokenizer import BOB, EOB, EOS, FILE, FIRST_CHARACTER, FIRST_TOKEN, PAD, MixedTokenizer
from unmask.data.tokenizer import train_bpe

CORPUS = ["Math Equation 12345 + 678 = 13023", "the quick brown fox, the lazy dog 42", "das Größte 你好 🙂"] * 5
BPE = train_bpe(CORPUS, 320).backend_tokenizer
KINDS = ("word", "number", "tokens:1", "tokens:3")

texts = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40)
# combining marks, zero-width joiners, right-to-left, mixed scripts, white space, the specials' own names
hard = st.lists(
    st.sampled_from(["e\u0301", "👩‍👩‍👧", "你好", "שלום", " ", "\n", "123", "-7", "a", "<eos>", "🇩🇪", "\u0308"]),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(texts | hard.map("".join))
@example("e\u0301" * 30)
@example("x" * 200)
@example(" \n\t ")
def test_blocks_partition_a_text_and_each_comes_back(text):
    for kind in KINDS:
        for reverse in (True, False):
            tokenizer = MixedTokenizer(BPE, blocks=kind, reverse=reverse, max_block=7)
            blocks = tokenizer.split(text)
            assert "".join(blocks) == text
            assert all(0 < len(b.encode()) <= 7 for b in blocks)
            assert [tokenizer.decode_block(tokenizer.encode_block(b)) for b in blocks] == blocks


@settings(max_examples=100, deadline=None)
@given(texts | hard.map("".join), texts | hard.map("".join))
def test_tokens_and_a_block_decode_as_one_text(prefix, block):
    tokenizer = MixedTokenizer(BPE, max_block=10_000)
    ids = tokenizer.encode(prefix) + tokenizer.encode_block(block)
    assert tokenizer.decode([*ids, EOS, *tokenizer.encode("after the end")]) == prefix + block
    assert min(tokenizer.encode(prefix), default=FIRST_TOKEN) >= FIRST_TOKEN
    assert max(ids, default=0) < len(tokenizer)


def test_block_is_last_character_first():
    tokenizer = MixedTokenizer(BPE)
    ids = tokenizer.encode_block("Equation")
    assert [tokenizer.name(i) for i in ids] == ["<bob>", *"noitauqE", "<eob>"]
    assert (ids[0], ids[-1]) == (BOB, EOB)
    forward = MixedTokenizer(BPE, reverse=False).encode_block("Equation")
    assert forward[1:-1] == ids[1:-1][::-1]


def test_multi_byte_characters_are_put_in_order_first():
    tokenizer = MixedTokenizer(BPE)
    ids = tokenizer.encode_block("你")
    wrong = bytes(i - FIRST_CHARACTER for i in ids[1:-1]).decode("utf-8", errors="replace")[::-1]
    assert "\ufffd" in wrong
    assert tokenizer.decode_block(ids) == "你"


def test_numbers_are_whole_whatever_the_tokens():
    tokenizer = MixedTokenizer(BPE, blocks="number")
    assert tokenizer.split("12345 + 7 = 12352") == ["12345", " +", " 7", " =", " 12352"]
    assert tokenizer.split("3 - 10 = -7.") == ["3", " -", " 10", " =", " -7", "."]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), max_size=5), st.text(max_size=12))
def test_split_digits_are_single_tokens_and_come_back(numbers, text):
    tokenizer = MixedTokenizer.train(["12345 + 12345 = 24690"] * 9, 400, split_digits=True)
    said = text.join(map(str, numbers))
    assert tokenizer.decode(tokenizer.encode(said)) == said
    assert all(sum(c.isdigit() for c in token) <= 1 for token in tokenizer.bpe.encode("98 + 12345").tokens)


def test_words_and_groups_of_tokens():
    assert MixedTokenizer(BPE).split("the quick,  fox\n") == ["the", " quick,", "  fox", "\n"]
    by_token = MixedTokenizer(BPE, blocks="tokens:2")
    text = "the quick brown fox"
    pieces = [by_token.bpe.decode([i - FIRST_TOKEN for i in by_token.encode(text)[k : k + 2]]) for k in range(0, 99, 2)]
    assert by_token.split(text) == [p for p in pieces if p]


def test_text_that_names_a_special_is_spelled():
    tokenizer = MixedTokenizer(BPE)
    assert tokenizer.decode(tokenizer.encode("<pad><eos>")) == "<pad><eos>"
    bare = tokenizer.bpe.token_to_id("<eos>")
    assert FIRST_TOKEN + bare not in tokenizer.encode("<eos>")


def test_bytes_that_are_no_utf8_are_marked():
    assert MixedTokenizer(BPE).decode_block([FIRST_CHARACTER + 0xFF, PAD]) == "\ufffd"


def test_saved_and_loaded_as_one(tmp_path):
    tokenizer = MixedTokenizer(BPE, blocks="number", reverse=False, max_block=9)
    tokenizer.save_pretrained(tmp_path)
    again = MixedTokenizer.from_pretrained(tmp_path)
    text = "Größte 你好 12 🙂 <eos>"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.split(text) == tokenizer.split(text)
    assert (again.identity, len(again)) == (tokenizer.identity, len(tokenizer))
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    assert again.identity != MixedTokenizer(BPE, blocks="number", reverse=True, max_block=9).identity


@pytest.mark.parametrize("text", ["", "{}", '{"format": 9}', json.dumps({"format": 1, "bpe": {"model": 3}})])
def test_damaged_file_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read"):
        MixedTokenizer.from_pretrained(tmp_path)


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(UsageError, match="'words'.*did you mean 'word'"):
        MixedTokenizer(BPE, blocks="words")
    with pytest.raises(UsageError, match="k >= 1"):
        MixedTokenizer(BPE, blocks="tokens:0")
    with pytest.raises(UsageError, match="max_block=3"):
        MixedTokenizer(BPE, max_block=3)
    with pytest.raises(UsageError, match="tokenizer.json"):
        MixedTokenizer.from_file(tmp_path / "none.json")
    train_bpe(CORPUS, 300).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert MixedTokenizer.from_file(tmp_path / "tokenizer.json").decode_block([]) == ""


def test_a_file_that_cuts_and_pads_its_rows_does_neither_here(tmp_path):
    """Encoders ship such files: 128 ids for every text."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_str(BPE.to_str())
    bpe.enable_truncation(8)
    bpe.enable_padding(length=8)
    bpe.save(str(tmp_path / "tokenizer.json"))
    tokenizer = MixedTokenizer.from_file(tmp_path / "tokenizer.json")
    for text in ("a", "the quick brown fox " * 9):
        assert tokenizer.encode(text) == MixedTokenizer(BPE).encode(text)
    assert tokenizer.decode(tokenizer.encode("the quick brown fox " * 9)) == "the quick brown fox " * 9
