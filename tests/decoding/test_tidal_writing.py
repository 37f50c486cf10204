import itertools
import json
from types import SimpleNamespace

import pytest
import torch

from unmask.core.errors import UsageError
from unmask.data.tidal.mixed_tokenizer import BOB, EOB, EOS, FIRST_TOKEN, PAD, MixedTokenizer
from unmask.data.tidal.plain import PlainTokenizer
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.tidal import CharacterWriter, MaskedWriter, stream_blocks, write_blocks
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for

TEXT = "Das Größte, 你好 🙂 12345 e\u0301!"
TOKENIZER = MixedTokenizer.train([TEXT, "the quick brown fox 1 + 2 = 3"] * 4, 300, max_block=12)


class Oracle:
    """Knows the whole text; its block model spells what comes next, last character first."""

    def __init__(self, tokenizer, text):
        self.tokenizer, self.text, self.seen = tokenizer, text, []

    def begin(self, prefixes, before=None):
        self.seen.append([list(p) for p in prefixes])
        scripts = []
        for prefix in prefixes:
            said = self.tokenizer.decode(prefix)
            assert self.text.startswith(said)
            left = self.tokenizer.split(self.text[len(said) :])
            scripts.append(iter(self.tokenizer.encode_block(left[0], len(left) == 1)[1:] if left else [EOS]))
        return self.next(scripts)

    def step(self, ids_B, state):
        return self.next(state.scripts)

    def next(self, scripts):
        logits = torch.zeros(len(scripts), FIRST_TOKEN)
        for b, script in enumerate(scripts):
            logits[b, next(script, EOB)] = 20.0
        state = SimpleNamespace(scripts=scripts, reused=[0] * len(scripts))
        state.rows = lambda index: state
        return logits, state


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("blocks", ["word", "number", "tokens:2"])
def test_any_script_is_written_back_exactly(blocks, reverse):
    tokenizer = MixedTokenizer(TOKENIZER.bpe, blocks=blocks, reverse=reverse, max_block=12)
    prompts = ["", tokenizer.split(TEXT)[0], TEXT]
    found = write_blocks(CharacterWriter(Oracle(tokenizer, TEXT), tokenizer), tokenizer, prompts)
    assert [p + t for p, t in zip(prompts, found.texts, strict=True)] == [TEXT] * 3
    assert found.ended == [True] * 3


def test_everything_is_tokenised_again_before_each_block():
    oracle = Oracle(TOKENIZER, TEXT)
    events = list(stream_blocks(CharacterWriter(oracle, TOKENIZER), TOKENIZER, [""]))
    said = [""] + [e.text for e in events[:-1]]
    assert [row for rows in oracle.seen for row in rows] == [TOKENIZER.encode(t) for t in said]
    assert [e.tokens for e in events] == [len(TOKENIZER.encode(t)) for t in said]
    assert [e.block for e in events] == TOKENIZER.split(TEXT)
    assert [e.ended for e in events] == [False] * (len(events) - 1) + [True]


def test_blocks_come_out_as_they_are_finished():
    oracle = Oracle(TOKENIZER, TEXT)
    stream = stream_blocks(CharacterWriter(oracle, TOKENIZER), TOKENIZER, ["", TEXT], max_blocks=3)
    first = next(stream)
    assert (first.row, first.number, first.block) == (0, 0, TOKENIZER.split(TEXT)[0]) and len(oracle.seen) == 1
    assert [(e.row, e.number) for e in stream] == [(1, 0), (0, 1), (0, 2)]
    # the row that ended is not read again
    assert [len(rows) for rows in oracle.seen] == [2, 1, 1]


def tidal(attention="tidal", positions="alibi"):
    torch.manual_seed(1)
    net = TidalModel(config_for(TOKENIZER, attention=attention, positions=positions, dim=24, layers=2, heads=2,
                                ffn_dim=24, max_length=200)).eval()  # fmt: skip
    for p in net.parameters():
        p.data += 0.15 * torch.randn_like(p)
    # letters and ends, so that blocks are short
    net.head_bias.data += 3.0 * (torch.arange(FIRST_TOKEN) % 16 == 4)
    return net


class Forgetful:
    """The same model without the reuse of cached prefixes."""

    def __init__(self, net):
        self.begin, self.step = (lambda prefixes, before=None: net.begin(prefixes)), net.step


@pytest.mark.parametrize(
    ("attention", "positions"), itertools.product(("tidal", "causal"), ("alibi", "rope", "learned"))
)
def test_reusing_the_prefix_changes_nothing(attention, positions):
    net, prompts = tidal(attention, positions), ["the quick", "", "1 + 2 ="]
    cached, plain = (
        write_blocks(CharacterWriter(m, TOKENIZER, temperature=1.0, seed=5), TOKENIZER, prompts, max_blocks=4)
        for m in (net, Forgetful(net))
    )
    assert cached.texts == plain.texts and cached.ended == plain.ended
    for one, other in zip(cached.trace, plain.trace, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)
    reused = sum(e.reused for e in cached.trace)
    assert (reused > 0) == (attention == "causal") and not any(e.reused for e in plain.trace)


def test_a_row_writes_the_same_alone_and_in_a_batch():
    net, prompts = tidal("causal"), ["the quick", "", "1 + 2 =", "fox"]
    together = write_blocks(CharacterWriter(net, TOKENIZER, temperature=1.0, seed=7), TOKENIZER, prompts, max_blocks=3)
    for i, prompt in enumerate(prompts):
        writer = CharacterWriter(net, TOKENIZER, temperature=1.0, seed=7)
        assert write_blocks(writer, TOKENIZER, [prompt], max_blocks=3, row_ids=[i]).texts == [together.texts[i]]
    other = write_blocks(CharacterWriter(net, TOKENIZER, temperature=1.0, seed=8), TOKENIZER, prompts, max_blocks=3)
    assert other.texts != together.texts


def test_trace_says_what_was_drawn_with_which_probability(tmp_path):
    net = tidal()
    found = write_blocks(CharacterWriter(net, TOKENIZER), TOKENIZER, ["the quick"], max_blocks=1)
    event = found.trace[0]
    law, state = net.begin(TOKENIZER.encode_batch(["the quick"]))
    for i, p in zip(event.ids, event.probabilities, strict=True):
        assert i == int(law[0].argmax()) and p == pytest.approx(float(law[0].softmax(-1)[i]), rel=1e-5)
        law, state = net.step(torch.tensor([i]), state)
    rows = json.loads(found.save(tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert rows[0]["ids"] == event.ids and rows[0]["text"] == event.text


def test_prefix_is_cut_to_its_newest_tokens():
    oracle = tidal()
    seen = []
    begin = oracle.begin
    oracle.begin = lambda prefixes, before=None: seen.extend(prefixes) or begin(prefixes, before)
    writer = CharacterWriter(oracle, TOKENIZER, max_prefix=3)
    write_blocks(writer, TOKENIZER, ["the quick brown fox"], max_blocks=1)
    assert seen == [TOKENIZER.encode("the quick brown fox")[-3:]]


@pytest.mark.parametrize("writes", ["tokens", "characters"])
@pytest.mark.parametrize("positions", ["alibi", "rope", "learned"])
def test_plain_continuations_are_the_greedy_ones_of_one_reading(writes, positions):
    torch.manual_seed(2)
    config = config_for(TOKENIZER, writes=writes, attention="causal", positions=positions, dim=24, layers=2, heads=2,
                        ffn_dim=24)  # fmt: skip
    net = TidalModel(config).eval()
    net.embed.weight.data += 0.5 * torch.randn_like(net.embed.weight)
    net.head_bias.data[EOB] = -30.0
    plain = PlainTokenizer(TOKENIZER, writes, max_block=7)
    found = write_blocks(CharacterWriter(net, plain), plain, ["the quick", "", "Größte"], max_blocks=1)
    # only who wrote <eos> has ended
    assert found.ended == [EOS in event.ids for event in found.trace] and len(found.trace) == 3
    for event, prompt in zip(found.trace, plain.encode_batch(["the quick", "", "Größte"]), strict=True):
        ids = list(prompt)
        for wanted in event.ids:
            logits = net(torch.tensor([ids]))["logits"][0, -1]
            logits[[PAD, BOB]] = float("-inf")
            assert int(logits.argmax()) == wanted
            ids.append(wanted)
        assert len(event.ids) == 8 or event.ids[-1] == EOS


def test_plain_reading_gives_texts_back():
    for writes in ("tokens", "characters"):
        plain = PlainTokenizer(TOKENIZER, writes)
        (ids,) = plain.encode_batch([TEXT])
        assert ids[0] == EOS and plain.read_block([*ids[1:], EOS, ids[1]]) == (TEXT, True)
        assert plain.read_block(ids[1:]) == (TEXT, False)


def test_masked_blocks_are_filled_by_our_samplers():
    net = tidal("masked")
    text = TidalTextModel(net, TOKENIZER, TextModelCard(length=64))
    plan = DecodingPlan(order="margin", temperature=1.0, steps=5, seed=2)

    def write(prompts, ids):
        writer = MaskedWriter(net, text.canvas, TOKENIZER, plan)
        return write_blocks(writer, TOKENIZER, prompts, max_blocks=2, row_ids=ids)

    together = write(["the quick", "", "fox"], [0, 1, 2])
    assert together.forwards == 10
    assert write([""], [1]).texts == [together.texts[1]]
    assert all(len(e.ids) == TOKENIZER.max_block + 1 for e in together.trace)
    assert [e.tokens for e in together.trace[:3]] == [len(TOKENIZER.encode(t)) for t in ("the quick", "", "fox")]


def test_wrong_use_is_refused():
    writer = CharacterWriter(tidal(), TOKENIZER)
    with pytest.raises(UsageError, match="must be a list"):
        list(stream_blocks(writer, TOKENIZER, "text"))
    with pytest.raises(UsageError, match="max_blocks=0"):
        list(stream_blocks(writer, TOKENIZER, ["text"], max_blocks=0))
    with pytest.raises(UsageError, match="different row_ids"):
        list(stream_blocks(writer, TOKENIZER, ["a", "b"], row_ids=[1, 1]))
    with pytest.raises(UsageError, match="no effect at temperature=0"):
        CharacterWriter(tidal(), TOKENIZER, top_k=3)
    with pytest.raises(UsageError, match="temperature=-1"):
        CharacterWriter(tidal(), TOKENIZER, temperature=-1)
    with pytest.raises(UsageError, match="max_prefix=0"):
        CharacterWriter(tidal(), TOKENIZER, max_prefix=0)
