import pytest
import torch

import unmask
from unmask.core.errors import UsageError
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.evaluation.tidal import bits, exact_match_probe, greedy_exact_match, text_probe, write
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for
from unmask.reporting.evaluation import tidal_grids

EXAMPLES = [("1 + 2 =", " 3"), ("40 - 9 =", " 31"), ("7 - 9 =", " -2")]
TOKENIZER = MixedTokenizer.train([a + b for a, b in EXAMPLES] * 4, 270, blocks="number", max_block=6)


def model(attention="tidal", writes="blocks"):
    torch.manual_seed(0)
    net = TidalModel(config_for(TOKENIZER, writes=writes, attention=attention, dim=32, layers=2, heads=2, ffn_dim=32))
    return TidalTextModel(net.eval(), TOKENIZER, TextModelCard(length=40))


def learn(text_model):
    from unmask.data.tidal.dataset import TidalDataset, collate
    from unmask.diffusion.blocks import block_losses

    net, c = text_model.denoiser, text_model.denoiser.config
    data = TidalDataset(TOKENIZER, EXAMPLES, attention=c.attention, writes=c.writes, length=40)
    batch = collate([data[i] for i in range(len(data))])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    noise = torch.Generator().manual_seed(0)
    for _ in range(200):
        optimizer.zero_grad()
        block_losses(net, batch, noise=noise).loss.backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("attention", "writes"),
    [("tidal", "blocks"), ("masked", "blocks"), ("causal", "blocks"), ("causal", "tokens"), ("causal", "characters")],
)
def test_exact_match_tells_trained_from_untrained(attention, writes):
    text_model = model(attention, writes)
    assert greedy_exact_match(text_model, EXAMPLES) == [False] * 3
    before = bits(text_model, EXAMPLES)["bits_per_character"]
    learn(text_model)
    assert greedy_exact_match(text_model, EXAMPLES) == [True] * 3
    assert greedy_exact_match(text_model, EXAMPLES, batch_size=1) == [True] * 3
    # right but for its end, or its sign, is not exact
    assert greedy_exact_match(text_model, [("1 + 2 =", " 31"), ("7 - 9 =", " 2")]) == [False] * 2
    after = bits(text_model, EXAMPLES)["bits_per_character"]
    assert after < 0.5 < before
    figures, lines = exact_match_probe(text_model, EXAMPLES)(text_model.denoiser, 7)
    assert figures == {"generation": 1.0}
    assert lines == ["step 7: 100.0% of 3 written exactly", "  1 + 2 = 3", "  40 - 9 = 31"]
    figures, lines = text_probe(text_model, [a + b for a, b in EXAMPLES], max_blocks=6)(text_model.denoiser, 7)
    assert 0 <= figures["generation"] <= 1 and len(lines) == 3


def test_the_batch_size_changes_nothing_that_is_written():
    text_model = model("causal")
    prompts = ["1 +", "40", "", "9 - 2 =", "7"]
    whole = write(text_model, prompts, temperature=1.0, seed=4, max_blocks=3)
    parts = write(text_model, prompts, temperature=1.0, seed=4, max_blocks=3, batch_size=2)
    assert whole.texts == parts.texts and whole.ended == parts.ended
    with pytest.raises(UsageError, match="batch_size=0"):
        write(text_model, prompts, batch_size=0)
    with pytest.raises(UsageError, match="order has no effect"):
        write(text_model, prompts, plan={"order": "margin"})


@pytest.mark.parametrize("writes", ["tokens", "characters"])
def test_texts_longer_than_a_row_are_counted(writes):
    plain = model("causal", writes)
    texts = ["1 + 2 = 3", "40 - 9 = 31", "7 - 9 = -2 " * 9]
    found = unmask.evaluate(plain, texts)
    assert found.texts == 2 and found.characters == sum(map(len, texts[:2]))
    assert found.metrics["texts_left_out_too_long"] == 1 and found.metrics["texts_looked_at"] == 3
    said = "1 of 3 texts is left out: 1 longer than the canvas of 40 tokens"
    assert said in tidal_grids(found)[0].note and said in found.page()
    assert unmask.diagnose(plain, texts, only=["batch_invariance"]).notes == (f"{said}.",)
    wide = unmask.evaluate(plain, texts, length=200)
    assert wide.texts == 3 and not wide.left_out.count
    assert not unmask.diagnose(plain, texts, length=200, only=["batch_invariance"]).notes
    with pytest.raises(UsageError, match="length=3: none of 3 texts fits"):
        unmask.evaluate(plain, texts, length=3)
    with pytest.raises(UsageError, match="length=1 must lie in 2.."):
        unmask.evaluate(plain, texts, length=1)


def test_blocks_take_texts_of_any_length():
    found = unmask.evaluate(model(), ["1 + 2 = 3", "7 - 9 = -2 " * 9])
    assert found.texts == 2 and not found.left_out.count and "left out" not in tidal_grids(found)[0].note
