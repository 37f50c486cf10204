import pytest
import torch

from unmask.core.errors import UsageError
from unmask.data.tidal.arithmetic import LARGEST, arithmetic
from unmask.data.tidal.mixed_tokenizer import BOB, EOB, EOS, PAD, MixedTokenizer
from unmask.data.tidal.samples import (
    IGNORE,
    Segment,
    block_sample,
    fixed_block,
    layout,
    pack,
    plain_sample,
    text_row,
)

TOKENIZER = MixedTokenizer.train(["Math Equation", "12345 + 678 = 13023 fox"] * 4, 300, blocks="number", max_block=12)


def test_sample_is_prefix_bob_reversed_block_eob():
    sample = block_sample(TOKENIZER, "1 + 22 =", " 23")
    (seen, ids), prefix = sample.blocks[0], TOKENIZER.encode("1 + 22 =")
    assert sample.tokens == prefix and seen == len(prefix)
    assert [TOKENIZER.name(i) for i in ids] == ["<bob>", "3", "2", "␣", "<eob>"]


def test_every_drawn_position_is_trained_and_nothing_else():
    batch = layout([[block_sample(TOKENIZER, "1 + 22 =", " 23")]])
    ids, target = batch["input_ids"][0].tolist(), batch["target"][0].tolist()
    bob = ids.index(BOB)
    # the position of <bob> is trained on the first character: the source left it out and drew it uniformly
    assert target[bob] == ids[bob + 1]
    assert target[bob : len(ids) - 1] == ids[bob + 1 :]
    assert all(t == IGNORE for t in target[:bob]) and target[-1] == IGNORE
    assert ids[-1] == EOB


def test_positions_on_two_axes():
    batch = layout([[block_sample(TOKENIZER, "1 + 22 =", " 23")], [block_sample(TOKENIZER, "", "", last=True)]])
    n = len(TOKENIZER.encode("1 + 22 ="))
    assert batch["token"][0].tolist() == [*range(n)] + [n] * 5
    assert batch["character"][0].tolist() == [-1] * n + [0, 1, 2, 3, 4]
    assert batch["input_ids"][1].tolist() == [BOB, EOS] + [PAD] * (n + 3)
    assert batch["segment"].tolist() == [[1] * (n + 5), [1, 1] + [0] * (n + 3)]
    assert batch["target"][1].tolist() == [EOS] + [IGNORE] * (n + 4)
    assert all(v.dtype == torch.int64 for v in batch.values())


def test_truncation_drops_the_oldest_tokens_and_moves_the_block():
    whole = block_sample(TOKENIZER, "12345 + 678 + 99 =", " 13122")
    cut = block_sample(TOKENIZER, "12345 + 678 + 99 =", " 13122", length=12)
    assert len(cut) == 12 and cut.blocks[0][1] == whole.blocks[0][1]
    assert cut.tokens == whole.tokens[-len(cut.tokens) :]
    assert cut.blocks[0][0] == len(cut.tokens)
    batch = layout([[cut]])
    assert int((batch["target"] != IGNORE).sum()) == len(cut.blocks[0][1]) - 1
    with pytest.raises(UsageError, match="length=4"):
        block_sample(TOKENIZER, "1 =", " 13122", length=4)


def test_row_of_a_text_holds_blocks_with_their_prefix():
    text = "12345 + 678 = 13023 fox"
    row = text_row(TOKENIZER, text)
    found = [(segment.tokens[:seen], ids) for segment in row for seen, ids in segment.blocks]
    before, wanted, pieces = "", [], TOKENIZER.split(text)
    for piece in pieces:
        wanted.append((TOKENIZER.encode(before), TOKENIZER.encode_block(piece, last=piece == pieces[-1])))
        before += piece
    assert sorted(found) == sorted(wanted)
    assert wanted[-1][1][-1] == EOS and [ids[-1] for _, ids in wanted[:-1]] == [EOB] * (len(pieces) - 1)
    assert row[0].tokens == TOKENIZER.encode(text[: -len(pieces[-1])]) and len(row[0].blocks) >= 4
    empty = text_row(TOKENIZER, "")
    assert empty == [Segment([], [(0, [BOB, EOS])])]


def test_block_with_another_prefix_has_its_own_segment():
    # cut to "xabc", "d", " y": the tokens of "xabc" do not begin those of "xabcd", which ends in one token
    tokenizer = MixedTokenizer.train(["abcd"] * 9, 290, max_block=4)
    row = text_row(tokenizer, "xabcd y")
    assert len(row) == 2
    for segment in row[1:]:
        assert segment.tokens != row[0].tokens[: len(segment.tokens)]
    assert sum(len(s.blocks) for s in row) == 3


def test_plain_sample_trains_the_answer_and_its_end():
    batch = layout([[plain_sample([270, 271], [272, 273])]])
    assert batch["input_ids"].tolist() == [[EOS, 270, 271, 272, 273, EOS]]
    assert batch["target"].tolist() == [[IGNORE, IGNORE, 272, 273, EOS, IGNORE]]
    assert batch["character"].tolist() == [[-1] * 6]


def test_packing_keeps_every_segment_within_the_length():
    sizes = [5, 3, 7, 2, 2, 8, 1]
    segments = [Segment(list(range(n))) for n in sizes]
    rows = pack(segments, 8)
    assert all(sum(map(len, row)) <= 8 for row in rows)
    assert sorted(len(s) for row in rows for s in row) == sorted(sizes)
    assert len(rows) == 4
    with pytest.raises(UsageError, match="rows of 6"):
        pack(segments, 6)


def test_canvas_of_a_block():
    filled = fixed_block(block_sample(TOKENIZER, "1 =", " 2"), 6)
    assert filled.blocks[0][1][-3:] == [PAD] * 3 and len(filled.blocks[0][1]) == 7
    with pytest.raises(UsageError, match="canvas of 2"):
        fixed_block(block_sample(TOKENIZER, "1 =", " 2"), 2)


def test_what_was_written_ends_at_the_first_end():
    three, four = TOKENIZER.spell("34")
    assert TOKENIZER.read_block([three, four, EOB, three]) == ("43", False)
    assert TOKENIZER.read_block([EOS, three]) == ("", True)
    assert TOKENIZER.read_block([three]) == ("3", False)


def test_arithmetic_is_right_seeded_and_disjoint():
    problems = arithmetic(2000, 300, 100)
    for p in problems.train[:200] + problems.held_out + problems.longer:
        a, sign, b, equals, c = p.text.split(" ")
        assert equals == "=" and int(c) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
    everything = problems.train + problems.held_out + problems.longer
    assert len(set(everything)) == len(everything) == 2400
    assert max(max(p.a, p.b) for p in problems.train + problems.held_out) <= LARGEST
    assert min(min(p.a, p.b) for p in problems.longer) > LARGEST
    assert sum(p.sign == "+" for p in problems.held_out) == 150
    assert arithmetic(2000, 300, 100) == problems
    assert arithmetic(50, 300, 0).held_out == problems.held_out
    assert arithmetic(2000, 300, 100, seed=1).held_out != problems.held_out


def test_too_many_problems_are_refused():
    with pytest.raises(UsageError, match="at most half"):
        arithmetic(100, 50, 0, largest=5)


def test_small_range_never_holds_out_what_is_trained():
    problems = arithmetic(100, 20, 0, largest=10)
    assert not set(problems.train) & set(problems.held_out)


def test_short_operands_change_nothing_held_out() -> None:
    plain, mixed = arithmetic(4000, 500, 100, short=0.0), arithmetic(4000, 500, 100)
    assert plain.held_out == mixed.held_out and plain.longer == mixed.longer

    def few(problems: list) -> float:
        return sum(p.a < 1000 or p.b < 1000 for p in problems) / len(problems)

    assert few(plain.train) < 0.04 < 0.1 < few(mixed.train) < 0.3
    assert few(mixed.held_out) < 0.04
    assert max(max(p.a, p.b) for p in mixed.train) <= LARGEST
    with pytest.raises(UsageError, match="short=2"):
        arithmetic(10, short=2)
