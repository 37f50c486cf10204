import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.core.errors import CheckpointError
from unmask.data.tidal.mixed_tokenizer import BOB, FIRST_TOKEN, MASK, PAD, MixedTokenizer
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for, is_tidal, load_tidal

TEXTS = ["the quick brown fox", "12 + 7 = 19"] * 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    tokenizer = MixedTokenizer.train(TEXTS, 270, max_block=6)
    net = TidalModel(config_for(tokenizer, attention="masked", dim=16, layers=1, heads=2, ffn_dim=16)).eval()
    return TidalTextModel(net, tokenizer, TextModelCard(length=32, tokenizer_identity=tokenizer.identity))


def test_saved_and_loaded_as_one(model, tmp_path):
    model.save(tmp_path)
    again = load_tidal(tmp_path)
    assert is_tidal(tmp_path) and not is_tidal(tmp_path / "none")
    ids, valid = model.canvas(["the quick", "12"])
    assert torch.equal(again.denoiser.logits(ids, valid_BL=valid), model.denoiser.logits(ids, valid_BL=valid))
    assert again.tokenizer.identity == model.tokenizer.identity and again.card == model.card


def test_missing_and_odd_weights_are_refused(model, tmp_path):
    model.save(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = next(n for n in weights if "mlp" in n)
    save_file({n: w for n, w in weights.items() if n != name}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"missing.*{name}"):
        load_tidal(tmp_path)


def test_tokenizer_with_another_mapping_is_refused(model, tmp_path):
    model.save(tmp_path)
    size = len(model.tokenizer) - FIRST_TOKEN
    other = MixedTokenizer.train(["other words make other merges"] * 4, size, max_block=6)
    assert len(other) == len(model.tokenizer)
    other.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="not the one this model was trained with"):
        load_tidal(tmp_path)
    MixedTokenizer.train(TEXTS, 268, max_block=6).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_tidal(tmp_path)
    (tmp_path / "unmask.json").write_text(json.dumps({"format": 7}))
    with pytest.raises(CheckpointError, match="format 7"):
        load_tidal(tmp_path)


@pytest.mark.parametrize("order", ["margin", "random", "left_to_right"])
def test_our_samplers_fill_the_block_in_any_order(model, order):
    ids, valid = model.canvas(["the quick brown", ""])
    assert not valid[1, :-8].any() and (ids[1, -8:] == torch.tensor([BOB] + [MASK] * 7)).all()
    plan = DecodingPlan(order=order, temperature=1.0, seed=3)
    together = generate(model.denoiser, ids, plan, valid_BL=valid).sequences
    assert not (together[valid] == MASK).any()
    assert torch.equal(together[ids != MASK], ids[ids != MASK])
    one, here = model.canvas([""])
    alone = generate(model.denoiser, one, plan, valid_BL=here, row_ids_B=torch.tensor([1])).sequences
    assert torch.equal(alone[0], together[1, valid[1]])
    assert isinstance(model.decode(together)[0], str) and (ids[~valid] == PAD).all()
