"""Texts between and behind given ones, and what continuations cost: by any family that can, literally."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
)

import unmask
from unmask.core.errors import UsageError
from unmask.core.model import Model
from unmask.core.sampling_config import SamplingConfig
from unmask.evaluation.answering import answer_config
from unmask.evaluation.tasks import Problem, run_task
from unmask.families.causal.generation import CausalGenerationConfig, write_on
from unmask.models.causal import CausalModel

WORDS = ["[UNK]", "[PAD]", "[MASK]", "[CLS]", "[SEP]", "</s>", "[", "]", "MASK", *(f"w{i}" for i in range(20))]
SIZE: dict[str, Any] = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZE |= {"intermediate_size": 16, "initializer_range": 0.5}


def tokenizer(**names: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", **names)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**SIZE, max_position_embeddings=24, pad_token_id=1)).save_pretrained(folder)
    tokenizer(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]").save_pretrained(folder)
    return unmask.load(folder, device="cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(**SIZE, max_position_embeddings=16, eos_token_id=5, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(eos_token="</s>").save_pretrained(folder)
    return unmask.load(folder, device="cpu")


def test_a_mask_word_in_what_is_given_is_a_word(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    body = bert.denoiser.body
    monkeypatch.setattr(
        bert.denoiser, "body", lambda x_BL, *a, **k: (seen.append(x_BL.clone()), body(x_BL, *a, **k))[1]
    )
    (wrote,) = bert.fill(["w1 [MASK] w2"], ["[MASK] w3"], [2], SamplingConfig(steps=None, temperature=0.0))
    given = [WORDS.index(word) for word in ("[", "MASK", "]")]
    assert wrote is not None and len(wrote.split()) <= 2
    for x_BL in seen:
        row = x_BL[0].tolist()
        # the word itself, before and behind; masked is nothing but the hole
        assert row[1:4] == given or row[2:5] == given
        assert (x_BL == WORDS.index("[MASK]")).sum() <= 2
    monkeypatch.undo()
    spelled, plain = bert.log_likelihood(["w1 [MASK] w2"] * 2, [" w4", " w5"], samples=2)
    assert spelled.nats != plain.nats and spelled.bound and math.isfinite(spelled.nats)


def test_a_mask_word_that_cannot_be_literal_is_named(bert: Any) -> None:
    words = tokenizer()
    words.add_tokens(["<gap>"])
    model = type(bert)(bert.denoiser, words, bert.card, "here")
    bert.denoiser.mask_id, own = len(words) - 1, bert.denoiser.mask_id
    try:
        with pytest.raises(UsageError, match="'<gap>' in a text would be a mask to this model"):
            model.fill(["w1 <gap>"], [""], [1], SamplingConfig(steps=None))
    finally:
        bert.denoiser.mask_id = own


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_text_is_filled_the_same_among_others(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    how = SamplingConfig(temperature=1.0, seed=3)
    texts = ["w1 w2 w3", "w4", "w5 w6"]
    together = model.fill(texts, [""] * 3, [4] * 3, how)
    assert together[1] == model.fill(texts[1:2], [""], [4], how, rows=[1])[0]
    # what does not fit is not written, or loses its beginning
    long = "w1 w2 w3 w4 " * 10
    assert model.fill([long, "w1"], ["", ""], [4, 4], how)[0] is None
    assert model.fill([long], [""], [4], how, cut=True)[0]


def test_only_what_changes_something_is_taken(bert: Any, llama: Any) -> None:
    with pytest.raises(UsageError, match="order='margin' has no effect on a causal model"):
        llama.fill(["w1"], [""], [2], SamplingConfig(order="margin"))
    with pytest.raises(UsageError, match="holes to fill, and a causal model"):
        llama.fill(["w1"], ["w2"], [2])
    with pytest.raises(UsageError, match="samples=4 has no effect on a causal model.*exact"):
        llama.log_likelihood(["w1"], ["w2"], samples=4)
    for model in (bert, llama):
        with pytest.raises(UsageError, match="continuation '' has no token"):
            model.log_likelihood(["w1"], [""])


def test_a_causal_likelihood_is_exact(llama: Any) -> None:
    def by_hand(context: str, continuation: str) -> float:
        ids = llama.encode(f"{context} {continuation}")[None]
        logp_LV = llama.model(ids).logits[0].double().log_softmax(-1)
        first = len(llama.encode(context))
        return float(sum(logp_LV[i - 1, ids[0, i]] for i in range(first, ids.shape[1])))

    pairs = [("w1 w2", "w3 w4 w5"), ("w7", "w8"), ("w1 w2 w3 w4", "w5")]
    found = llama.log_likelihood([a for a, _ in pairs], [f" {b}" for _, b in pairs])
    for score, pair in zip(found, pairs, strict=True):
        assert score.nats == pytest.approx(by_hand(*pair), abs=1e-5) and not score.bound
    best = llama.fill(["w1 w2"], [""], [2], SamplingConfig(temperature=0.0))[0]
    greedy, other = llama.log_likelihood(["w1 w2"] * 2, [f" {best}", " w3 w3"])
    assert greedy.greedy and not other.greedy


def test_a_long_causal_text_is_scored_once(llama: Any) -> None:
    text = " ".join(f"w{i % 20}" for i in range(50))
    (score,) = llama.log_likelihood([""], [text], batch_size=2)
    ids = torch.cat([torch.tensor([5]), llama.encode(text)])  # </s> starts a text where nothing else does
    total = 0.0
    for start in range(1, len(ids), 16):
        end = min(start + 16, len(ids))
        part = ids[max(0, end - 17) : end]
        logp_LV = llama.model(part[None, :-1]).logits[0].double().log_softmax(-1)
        total += float(sum(logp_LV[i, part[i + 1]] for i in range(len(part) - 1 - (end - start), len(part) - 1)))
    assert score.nats == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "mamba", "bart"])
def test_a_row_writes_alone_what_it_writes_in_a_batch(kind: str) -> None:
    torch.manual_seed(1)
    size = {"vocab_size": len(WORDS), "initializer_range": 0.5}
    net: Any = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZE, eos_token_id=5)),
        "mamba": lambda: MambaForCausalLM(MambaConfig(**size, hidden_size=16, num_hidden_layers=1, state_size=4)),
        "bart": lambda: BartForCausalLM(
            BartConfig(
                vocab_size=len(WORDS), d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
                max_position_embeddings=40, is_decoder=True, is_encoder_decoder=False, init_std=0.5,
            )
        ),
    }[kind]()  # fmt: skip
    model = CausalModel(net.eval(), tokenizer(eos_token="</s>"), kind, kind)
    net.generation_config.eos_token_id = 5
    rows = [torch.tensor(ids) for ids in ([9, 10, 11, 12, 13, 14], [15], [16, 17, 18])]
    # a penalty is of what the row holds: its padding is none of it
    for how in (
        CausalGenerationConfig(length=8),
        CausalGenerationConfig(length=8, temperature=1.0, repetition_penalty=1.5, seed=2),
    ):
        together = write_on(model, rows, how)
        for i, row in enumerate(rows):
            alone = write_on(model, [row], how, first_row=i)[0].tolist()
            assert together[i].tolist()[: len(alone)] == alone and set(together[i].tolist()[len(alone) :]) <= {1}


def test_a_task_takes_any_setting_of_a_generation(bert: Any) -> None:
    hole = Problem("h", "w1 w2\n", "\nw3", "w4 w5", head="", tail="")
    found = run_task(bert, "humaneval_single", problems=[hole], quota="one", top_k=1, temperature=0.5)
    assert found.plan == "order=margin, steps=None, quota=one, temperature=0.5, top_k=1" and found.fitted == 1
    for name, value in {"length": 8, "batch_size": 2, "verify": "rules"}.items():
        with pytest.raises(UsageError, match=f"{name}=.* has no effect"):
            run_task(bert, "humaneval_single", problems=[hole], **{name: value})


def test_answers_follow_the_default_plan(bert: Any, llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(answer_config(bert, {})) == "order=margin, steps=None, quota=linear, temperature=0.0"
    assert str(answer_config(llama, {})) == "temperature=0.0"
    monkeypatch.setattr(bert, "config", SamplingConfig(sampler="ancestral", steps=8, length=4))
    # which has no use for an order, and an answer's length is the benchmark's
    assert str(answer_config(bert, {})) == "steps=8, sampler=ancestral, temperature=0.0"
    assert answer_config(bert, {"steps": "none"}).steps is None


def test_what_neither_fills_nor_scores_says_so() -> None:
    model = unmask.load(Path(__file__).parents[2] / "checkpoints" / "sudoku_relations", device="cpu")
    for ask in (lambda: model.fill([], [], []), lambda: model.log_likelihood([], [])):
        with pytest.raises(UsageError, match="masked and causal models, this is a puzzle model"):
            ask()
