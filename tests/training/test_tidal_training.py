"""Every recipe and mode trains on the common trainer; what is reported is the exact cost of whole texts."""

import math

import pytest
import torch

from unmask.core.errors import UsageError
from unmask.data.tidal.dataset import TidalDataset, batches, collate
from unmask.data.tidal.mixed_tokenizer import BOB, EOS, MASK, PAD, MixedTokenizer
from unmask.data.tidal.plain import PlainTokenizer
from unmask.decoding.tidal import CharacterWriter, write_blocks
from unmask.diffusion.blocks import bits_per_character, block_losses
from unmask.evaluation.tidal import write, writer_for
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for, load_tidal
from unmask.recipes import find
from unmask.training import budget
from unmask.training.base_trainer import last_checkpoint
from unmask.training.recipe import parse, read_recipe
from unmask.training.run import train

TINY = dict(max_steps=4, save_steps=2, eval_steps=2, logging_steps=1, warmup_steps=1, limit=200, validation=0.1,
            vocab_size=290, dim=16, layers=1, heads=2, ffn_dim=16, per_device_train_batch_size=8, bf16=False,
            report_to="none", disable_tqdm=True, eval_texts=6)  # fmt: skip
SILENT = dict(say=lambda _: None)
TEXTS = ["the quick brown fox", "12 + 7 = 19", "Größte, 你好"] * 3
TOKENIZER = MixedTokenizer.train(TEXTS, 280, max_block=12)


def net(attention="tidal", writes="blocks", tokenizer=TOKENIZER, **settings):
    torch.manual_seed(0)
    return TidalModel(
        config_for(tokenizer, writes=writes, attention=attention, dim=16, layers=1, heads=2, ffn_dim=16, **settings)
    )


@pytest.mark.parametrize("name", ["tidal_arithmetic", "tidal_verses"])
def test_shipped_recipe_runs_and_is_loaded_as_it_was_saved(tmp_path, name):
    model = train(parse({**read_recipe(find(name)), **TINY, "output_dir": str(tmp_path)}), **SILENT)
    again = load_tidal(tmp_path)
    ids = torch.tensor([again.tokenizer.encode("12 +")])
    assert torch.equal(again.denoiser(ids)["logits"], model.denoiser(ids)["logits"])
    assert again.card.scores["eval_bits_per_character"] > 0 and again.card.recipe["family"] == "tidal"


def test_time_ends_a_tidal_run(tmp_path, monkeypatch):
    recipe, seconds = read_recipe(find("tidal_arithmetic")), iter(range(10_000))
    monkeypatch.setattr(budget, "now", lambda: float(next(seconds)))
    short = {name: value for name, value in TINY.items() if "steps" not in name}
    said: list[str] = []
    train(parse({**recipe, **short, "output_dir": str(tmp_path)}, ["--minutes", "0.5"]), say=said.append)
    assert last_checkpoint(tmp_path) and load_tidal(tmp_path).card.scores["eval_bits_per_character"] > 0
    assert any(line.endswith("minutes") and line.split()[1] == "steps" for line in said)


def test_run_that_stopped_goes_on_exactly(tmp_path):
    recipe = read_recipe(find("tidal_arithmetic"))
    whole = train(parse({**recipe, **TINY, "output_dir": str(tmp_path / "whole")}), **SILENT)

    def stop(_):
        def probe(net, step):
            if step == 4:
                raise InterruptedError
            return {}, []

        return [probe]

    cut = parse({**recipe, **TINY, "output_dir": str(tmp_path / "cut")})
    with pytest.raises(Exception, match="run stopped"):  # InterruptedError is an OSError, reported as one sentence
        train(cut, stop, **SILENT)
    assert last_checkpoint(tmp_path / "cut").endswith("checkpoint-2")
    again = train(cut, **SILENT)
    for a, b in zip(whole.denoiser.parameters(), again.denoiser.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"family": "tide"}, "family='tide'"),
        ({"conditioning": "adaln", "task": "reconstruction"}, "conditioning must be 'none'"),
        ({"attention": "left"}, "attention='left'"),
        ({"writes": "tokens"}, "needs attention='causal'"),
        ({"blocks": "letter"}, "blocks='letter'"),
        ({"length": 8}, "length=8 has no room"),
        ({"length": 14, "max_block": 12}, r"must be above max_block \+ 2 = 14"),
        ({"attention": "masked", "packed": True}, "packed=True needs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said):
        train(
            parse({**read_recipe(find("tidal_arithmetic")), **TINY, "output_dir": str(tmp_path), **changed}), **SILENT
        )


def dataset(attention, writes="blocks", length=64, examples=None):
    examples = [("", t) for t in TEXTS[:3]] if examples is None else examples
    return TidalDataset(TOKENIZER, examples, attention=attention, writes=writes, length=length)


@pytest.mark.parametrize(
    ("attention", "writes"),
    [("tidal", "blocks"), ("causal", "blocks"), ("causal", "tokens"), ("causal", "characters")],
)
def test_untrained_uniform_model_costs_the_logarithm_of_its_ids(attention, writes):
    """A zero head is uniform over what can be written (no mask, padding, <bob>): known cost, whatever the layout."""
    model = net(attention, writes)
    model.embed.weight.data.zero_()
    data = dataset(attention, writes)
    rows, characters = data.rows_of(9)
    assert characters == sum(map(len, TEXTS[:3]))
    found = bits_per_character(model, batches(rows, 40), characters)
    written = {
        "blocks": sum(len(p.encode()) + 1 for t in TEXTS[:3] for p in TOKENIZER.split(t)),
        "tokens": sum(len(TOKENIZER.encode(t)) + 1 for t in TEXTS[:3]),
        "characters": sum(len(t.encode()) + 1 for t in TEXTS[:3]),
    }[writes]
    nats = math.log(model.config.outputs - 3)
    assert found["loss"] == pytest.approx(nats, rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(written * nats / math.log(2) / characters, rel=1e-5)


@pytest.mark.parametrize(("attention", "writes"), [("tidal", "blocks"), ("causal", "blocks"), ("causal", "tokens")])
def test_packed_samples_cost_what_they_cost_alone(attention, writes):
    """Samples in one row do not see each other."""
    model, data = net(attention, writes), dataset(attention, writes)
    rows = [data[i] for i in range(len(data))]
    alone, packed = collate(rows), collate(rows, length=max(sum(map(len, row)) for row in rows) + 30)
    assert len(packed["input_ids"]) < len(alone["input_ids"])
    assert (packed["target"] >= 0).sum() == (alone["target"] >= 0).sum()
    assert float(block_losses(model, packed).loss) == pytest.approx(float(block_losses(model, alone).loss), rel=1e-5)


@pytest.mark.parametrize("attention", ["tidal", "causal"])
def test_cost_is_the_probability_of_writing_the_text(attention):
    """The bits of a text are those of the draws that write it, summed over the loop of generation."""
    model, text = net(attention).eval(), TEXTS[2]
    # the loop never draws these; without mass of theirs the trained law and the drawn one are the same
    model.head_bias.data[[PAD, BOB]] = -1e4
    rows, characters = dataset(attention, examples=[("", text)]).rows_of(1)
    bits = bits_per_character(model, batches(rows), characters)["bits_per_character"] * characters
    nats, before, pieces = 0.0, "", TOKENIZER.split(text)
    for at, piece in enumerate(pieces):
        law, state = model.begin([TOKENIZER.encode(before)])
        for i in TOKENIZER.encode_block(piece, at == len(pieces) - 1)[1:]:
            nats -= float(law.log_softmax(-1)[0, i])
            law, state = model.step(torch.tensor([i]), state)
        before += piece
    assert bits == pytest.approx(nats / math.log(2), rel=1e-5)


def test_masked_uniform_model_costs_the_logarithm_too():
    model = net("masked")
    model.embed.weight.data.zero_()
    rows, characters = dataset("masked", length=40).rows_of(9)
    found = bits_per_character(model, batches(rows, 100), characters)
    width = (TOKENIZER.max_block + 1) * len(rows)
    assert found["loss"] == pytest.approx(math.log(260), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(width * math.log2(260) / characters, rel=1e-5)


def test_masked_loss_hides_characters_of_the_block_only():
    model = net("masked")
    batch = collate([dataset("masked", length=40)[i] for i in range(4)])
    found = block_losses(model, batch, noise=torch.Generator().manual_seed(0))
    assert (batch["character"][found.row_N, found.col_N] > 0).all()
    assert not (batch["input_ids"] == MASK).any()


def test_micro_batches_see_the_noise_of_the_whole_step():
    model = net("masked")
    rows = [dataset("masked", length=40)[i] for i in range(4)]
    whole = block_losses(model, collate(rows), noise=torch.Generator().manual_seed(3))
    halves = []
    for first in (0, 2):
        batch = {k: v[first : first + 2] for k, v in collate(rows).items()}
        halves.append(block_losses(model, batch, noise=torch.Generator().manual_seed(3), part=(first, 4)))
    torch.testing.assert_close(torch.cat([h.ce_N for h in halves]), whole.ce_N)


def test_rows_are_what_each_mode_reads():
    blocks, whole = dataset("tidal"), dataset("causal")
    assert len(blocks) == sum(len(TOKENIZER.split(t)) for t in TEXTS[:3]) and len(whole) == 3
    found = {tuple(ids) for row in (whole[i] for i in range(3)) for s in row for _, ids in s.blocks}
    assert found == {tuple(ids) for i in range(len(blocks)) for _, ids in blocks[i][0].blocks}
    too_long = sum(sum(map(len, whole[i])) > 30 for i in range(3))
    assert dataset("causal", length=30).over_long == too_long == 1
    with pytest.raises(UsageError, match="none of 3 texts fits"):
        dataset("causal", length=14)
    plain = dataset("causal", "tokens")[0][0]
    assert plain.tokens == [EOS, *TOKENIZER.encode(TEXTS[0]), EOS] and plain.train_from == 1


@pytest.mark.parametrize("attention", ["tidal", "masked"])
def test_a_prefix_is_cut_in_training_as_it_is_at_inference(attention):
    """Whatever the size of the block, which no reader knows before it is written."""
    length, widest = 24, TOKENIZER.max_block
    text = "".join(TEXTS)
    data = dataset(attention, length=length, examples=[("", text)])
    model = TidalTextModel(net(attention), TOKENIZER, TextModelCard(length=length))
    pieces = TOKENIZER.split(text)
    cut = 0
    for at in range(len(pieces)):
        whole = TOKENIZER.encode("".join(pieces[:at]))
        assert data[at][0].tokens == whole[-model.room :] and model.room == length - widest - 2
        cut += len(whole) > model.room
    assert cut > 2
    if attention == "tidal":
        writer, _ = writer_for(model)
        assert writer.max_prefix == model.room


def test_a_causal_prefix_is_whole():
    model = TidalTextModel(net("causal"), TOKENIZER, TextModelCard(length=8))
    assert writer_for(model)[0].max_prefix is None
    short = net("causal", "characters", positions="learned", max_length=20).eval()
    short.head_bias.data[EOS] = -50.0
    plain = TidalTextModel(short, TOKENIZER, TextModelCard(length=20))
    for most, ids in ((5, 6), (500, 20 - 4)):
        found = write(plain, ["abc"], most=most)
        assert found.ended == [False] and len(found.trace) == 1 and len(found.trace[0].ids) == ids
    with pytest.raises(UsageError, match="leaves no room to write"):
        write(plain, ["x" * 25])


def test_learns_to_spell_and_stops():
    """One text, learned by heart by every mode that draws in order, is written back by the loop of generation."""
    text = TEXTS[0]
    for attention, writes in (
        ("tidal", "blocks"),
        ("causal", "blocks"),
        ("causal", "tokens"),
        ("causal", "characters"),
    ):
        model = net(attention, writes)
        data = dataset(attention, writes, examples=[("", text)])
        batch = collate([data[i] for i in range(len(data))])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(150):
            optimizer.zero_grad()
            block_losses(model, batch).loss.backward()
            optimizer.step()
        tokenizer = TOKENIZER if writes == "blocks" else PlainTokenizer(TOKENIZER, writes)
        found = write_blocks(CharacterWriter(model.eval(), tokenizer), tokenizer, [""])
        assert (found.texts, found.ended) == ([text], [True]), (attention, writes)
