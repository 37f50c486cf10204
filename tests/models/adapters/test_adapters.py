"""Other people's models: logits as their own code gives them, the contract, and refusals in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    EsmConfig,
    EsmForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

import tiny_checkpoints as tiny
import unmask
from adapted import MASK, MASKED_LM, SHAPE, TEXTS, masked_lm, native, tokenizer
from unmask.core.errors import CheckpointError, UsageError
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.evaluation.likelihood import bound
from unmask.models.adapters import AdapterModel, load_adapter
from unmask.models.adapters.masked_lm import MaskedLmDenoiser

GOLDEN = json.loads((Path(__file__).parent / "golden" / "logits.json").read_text())


@pytest.mark.parametrize("name", GOLDEN["cases"])
@pytest.mark.parametrize("shards", [1, 3])
def test_native_logits_equal_the_public_code(tmp_path: Path, name: str, shards: int) -> None:
    case = GOLDEN["cases"][name]
    kind = name.split("_")[0]
    changes = {k: v for k, v in case["config"].items() if k != "auto_map"}
    denoiser = load_adapter(native(tmp_path, kind, shards, **changes), dtype=torch.float64).denoiser
    want = torch.tensor(case["logits"], dtype=torch.float64).view(2, 3, 10, GOLDEN["columns"])
    if kind == "dream":  # the public sampler's shift: the row at i predicts the token at i + 1
        want = torch.cat([want[:, :, :1], want[:, :, :-1]], dim=2)
    everywhere = torch.ones_like(tiny.valid())
    denoiser.forbid = lambda logits: logits  # type: ignore[method-assign]  # the public code leaves the mask its mass
    for valid_BL, wanted in zip((None, tiny.valid()), want, strict=True):
        got = denoiser.logits(tiny.ids(), everywhere, valid_BL=valid_BL).view(3, 10, -1)
        got = torch.cat([got[..., ::64], got.sum(-1, keepdim=True)], dim=-1)
        exists = everywhere if valid_BL is None else valid_BL
        torch.testing.assert_close(got[exists], wanted[exists], rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("kind", MASKED_LM)
def test_masked_lm_logits_equal_the_whole_model(tmp_path: Path, kind: str) -> None:
    folder, net = masked_lm(tmp_path, kind)
    model = load_adapter(folder)
    x_BL = model.tokenize(TEXTS, 12)
    x_BL[:, 1:4] = model.denoiser.mask_id
    valid_BL = x_BL != model.denoiser.pad_id
    whole = net(input_ids=x_BL, attention_mask=valid_BL.long()).logits.detach()
    whole[..., model.denoiser.mask_id] = float("-inf")
    at_BL = x_BL == model.denoiser.mask_id
    got_NV = model.denoiser.logits(x_BL, valid_BL=valid_BL)
    torch.testing.assert_close(got_NV, whole[at_BL], rtol=1e-5, atol=1e-5)
    assert len(got_NV) == 9
    assert model.denoiser.logits(x_BL, torch.zeros_like(at_BL)).shape == (0, model.denoiser.vocab_size)


def test_masked_lm_head_sees_only_the_rows_asked_for(tmp_path: Path) -> None:
    model = load_adapter(masked_lm(tmp_path, "bert")[0])
    seen: list[int] = []
    transform = model.denoiser.model.cls.predictions.transform  # type: ignore[attr-defined]
    transform.dense.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[-2]))
    x_BL = model.canvas(2, 12)
    at_BL = torch.zeros_like(x_BL, dtype=torch.bool)
    at_BL[1, 3:5] = True
    model.denoiser.logits(x_BL, at_BL)
    assert seen == [2]


def test_positions_of_roberta_are_counted_from_padding(tmp_path: Path) -> None:
    model = load_adapter(masked_lm(tmp_path, "roberta")[0])
    assert model.denoiser.max_length == SHAPE["max_position_embeddings"] - SHAPE["pad_token_id"] - 1
    longest = torch.full((1, model.denoiser.max_length), 5)
    assert model.denoiser.body(longest).h_BLD.isfinite().all()
    with pytest.raises(UsageError, match="positions this model has"):
        model.canvas(1, model.denoiser.max_length + 1)


@pytest.mark.parametrize("kind", ["llada", "dream"])
def test_padding_in_front_changes_nothing(tmp_path: Path, kind: str) -> None:
    denoiser = load_adapter(native(tmp_path, kind), dtype=torch.float64).denoiser
    x_BL = tiny.ids()[:1]
    padded_BL = torch.cat([torch.full((1, 4), 7), x_BL], dim=1)
    valid_BL = torch.arange(14)[None] >= 4
    alone_NV = denoiser.logits(x_BL, torch.ones_like(x_BL, dtype=torch.bool))
    among_NV = denoiser.logits(padded_BL, valid_BL, valid_BL=valid_BL)
    torch.testing.assert_close(among_NV, alone_NV, rtol=1e-4, atol=1e-4)


def test_dream_answers_for_its_own_position(tmp_path: Path) -> None:
    """With attention's output and all feed-forwards silenced, a row knows only one token: its predecessor."""
    weights = tiny.dream_weights()
    for name, tensor in weights.items():
        if "o_proj" in name or "down_proj" in name:
            tensor.zero_()
    tokenizer(MASK).save_pretrained(tmp_path)
    denoiser = load_adapter(tiny.write(tmp_path, tiny.DREAM, weights)).denoiser
    x_BL = tiny.ids()[:1]
    before = denoiser.logits(x_BL, torch.ones_like(x_BL, dtype=torch.bool))
    x_BL[0, 4] = 17
    moved = (denoiser.logits(x_BL, torch.ones_like(x_BL, dtype=torch.bool)) != before).any(1)
    assert moved.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("kind", ["llada", "dream", "bert"])
def test_an_adapted_model_writes_and_is_scored(tmp_path: Path, kind: str) -> None:
    model = load_adapter(masked_lm(tmp_path, kind)[0] if kind == "bert" else native(tmp_path, kind))
    rows = model.answer_canvas(["the river", "a house stands by the"], 6)
    found = generate(model.denoiser, rows.x_BL, DecodingPlan(steps=3), fill_BL=rows.fill_BL, valid_BL=rows.valid_BL)
    assert (found.sequences != model.denoiser.mask_id).all() and found.forwards <= 3
    assert torch.equal(found.sequences[~rows.fill_BL], rows.x_BL[~rows.fill_BL])
    assert rows.fill_BL.sum(1).tolist() == [6, 6] and not rows.valid_BL[0].all()
    alone = generate(model.denoiser, model.answer_canvas(["the river"], 6).x_BL, DecodingPlan(steps=3)).sequences
    assert torch.equal(found.sequences[0, rows.valid_BL[0]], alone[0])
    ids_NL = model.tokenize(TEXTS, 20)
    assert model.decode(ids_NL) == TEXTS
    score = bound(model.denoiser, ids_NL, samples=4)
    assert (score.nelbo_N > 0).all() and torch.isfinite(torch.tensor(score.nelbo_N)).all()


def test_the_chat_template_is_the_tokenizers_own(tmp_path: Path) -> None:
    model = load_adapter(native(tmp_path, "llada"))
    said = model.tokenizer.decode(model.prompt_ids("the sea"))
    assert said == "<|user|>the sea<|assistant|>"
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert model.tokenizer.decode(model.prompt_ids(messages)) == "<|system|>a<|user|>b<|assistant|>"
    model.tokenizer.chat_template = None
    assert model.tokenizer.decode(model.prompt_ids("the sea")) == "the sea"
    with pytest.raises(UsageError, match="no chat template"):
        model.prompt_ids(messages)


def test_dreams_tokenizer_needs_no_remote_code(tmp_path: Path) -> None:
    """The hub's folder has vocab.json, merges.txt and the name of a class that only remote code defines."""
    folder = native(tmp_path, "dream")
    tree = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(tree["model"]["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tree["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    added = {
        str(t["id"]): {k: t[k] for k in ("content", "lstrip", "rstrip", "normalized", "single_word", "special")}
        for t in tree["added_tokens"]
    }
    settings |= {"tokenizer_class": "DreamTokenizer", "added_tokens_decoder": added}
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    want = load_adapter(native(tmp_path / "plain", "dream")).tokenizer
    (folder / "tokenizer.json").unlink()
    model = load_adapter(folder)
    assert model.tokenizer.mask_token_id == MASK
    assert [model.tokenizer(t)["input_ids"] for t in TEXTS] == [want(t)["input_ids"] for t in TEXTS]


def test_load_finds_the_adapter_and_what_is_spare_is_spared(tmp_path: Path) -> None:
    words = tokenizer()
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=len(words), **SHAPE)).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    model = unmask.load(tmp_path, device="cpu")
    assert isinstance(model, AdapterModel) and isinstance(model.denoiser, MaskedLmDenoiser)
    assert model.card.task == "adapter" and model.card.length == SHAPE["max_position_embeddings"]
    with pytest.raises(UsageError, match="not saved again"):
        model.save(tmp_path / "copy")


def lacking(folder: Path, drop: str) -> Path:
    weights = {n: t for n, t in tiny.llada_weights().items() if drop not in n}
    tokenizer(MASK).save_pretrained(folder)
    return tiny.write(folder, tiny.LLADA, weights)


def another(folder: Path, **changes: Any) -> Path:
    folder = native(folder, "llada")
    (folder / "config.json").write_text(json.dumps(tiny.LLADA | changes))
    return folder


def causal(folder: Path) -> Path:
    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def esm(folder: Path) -> Path:
    words = tokenizer()
    config = EsmConfig(vocab_size=len(words), mask_token_id=words.mask_token_id, **SHAPE)
    EsmForMaskedLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def without_tokenizer(folder: Path) -> Path:
    return tiny.write(folder, tiny.LLADA, tiny.llada_weights())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: lacking(f, "blocks.1.k_proj"), "missing: model.transformer.blocks.1.k_proj.weight"),
        (lambda f: another(f, n_layers=1), "unexpected: model.transformer.blocks.1"),
        (lambda f: another(f, mlp_hidden_size=32), "of another shape"),
        (lambda f: another(f, layer_norm_type="gemma_rms"), "layer_norm_type='gemma_rms'"),
        (lambda f: another(f, d_model="wide"), "d_model='wide'"),
        (lambda f: another(f, mask_token_id=5), "mask id 300, its config.json 5"),
        (lambda f: another(f, model_type="lada", architectures=["LadaNet"]), "did you mean 'llada'"),
        (lambda f: masked_lm(f, "bert", vocab=200)[0], "its model has 200"),
        (causal, "causal language model .GPT2LMHeadModel."),
        (esm, "needs an adapter of its own"),
        (without_tokenizer, "tokenizer"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, make: Any, says: str) -> None:
    folder = make(tmp_path)
    with pytest.raises(UsageError, match=says) as caught:
        load_adapter(folder)
    assert "\n" not in str(caught.value)


def test_weights_missing_from_a_masked_lm_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, _ = masked_lm(tmp_path, "bert")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {n: t for n, t in tensors.items() if "layer.1.attention.output.dense.weight" not in n},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(CheckpointError, match="missing: bert.encoder.layer.1.attention.output.dense.weight"):
        load_adapter(folder)


def test_an_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="no hub id of that name can be reached") as caught:
        unmask.load("no-such-owner/no-such-model", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["llada", "dream"])
def test_shards_and_one_file_hold_the_same_model(tmp_path: Path, kind: str) -> None:
    one = load_adapter(native(tmp_path / "one", kind))
    many = load_adapter(native(tmp_path / "many", kind, shards=4))
    assert torch.equal(one.denoiser.logits(tiny.ids()), many.denoiser.logits(tiny.ids()))
    (tmp_path / "many" / "model-00002-of-00004.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00004"):
        load_adapter(tmp_path / "many")
