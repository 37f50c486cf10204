"""GenPPL under judges whose answers are known, and the company it is never without."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.core.errors import UsageError
from unmask.evaluation import judge as module
from unmask.evaluation.judge import Quality, judge_texts, quality_metrics
from unmask.models.causal import CausalModel

WORDS = "<unk> <s> a b c d e f g h i j".split()


@pytest.fixture(scope="module")
def judge():
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    return CausalModel(LlamaForCausalLM(config).eval(), tokenizer, "tiny", "tiny 0")


class Flat(torch.nn.Module):
    """Every id equally likely."""

    def __init__(self, vocab_size):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size, max_position_embeddings=64)
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, attention_mask, use_cache):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, self.config.vocab_size))


def by_hand(judge, text, bos):
    ids = ([1] if bos else []) + judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        return []
    with torch.no_grad():
        log_p = judge.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [-float(log_p[i, ids[i + 1]]) for i in range(len(ids) - 1)]


TEXTS = ["a b c d e f", "g h", "c", "", "j j j j i"]


@pytest.mark.parametrize("bos", [False, True])
def test_gen_ppl_is_that_of_each_text_alone(judge, bos):
    found = judge_texts(TEXTS, judge, bos=bos)
    nats = [n for text in TEXTS for n in by_hand(judge, text, bos)]
    assert found.gen_ppl.value == pytest.approx(math.exp(np.mean(nats)), rel=1e-5)
    # without BOS the first token is context only; a single token has nothing to be scored by
    assert found.tokens == (14 if bos else 10)
    assert found.unscored == (1 if bos else 2)


def test_small_batches_change_nothing(judge, monkeypatch):
    whole = judge_texts(TEXTS, judge)
    monkeypatch.setattr(module, "_LOGITS", 1)
    assert judge_texts(TEXTS, judge).gen_ppl.value == pytest.approx(whole.gen_ppl.value, rel=1e-6)


def test_a_flat_judge_gives_its_vocabulary(judge):
    flat = CausalModel(Flat(12), judge.tokenizer, "flat", "flat")
    assert judge_texts(TEXTS, flat).gen_ppl.value == pytest.approx(12)


def test_long_texts_are_cut_and_counted(judge):
    found = judge_texts(["a b " * 20, "a b"], judge)
    assert found.truncated == 1
    assert found.tokens == (15 - 1) + 1


def test_repetition_shows_beside_gen_ppl(judge):
    varied, stuck = judge_texts(["a b c d", "e f g h"], judge), judge_texts(["a a a a", "a a a a"], judge)
    assert varied.entropy_nats.value == pytest.approx(math.log(4))
    assert varied.pooled_entropy_nats == pytest.approx(math.log(8))
    assert stuck.entropy_nats.value == stuck.pooled_entropy_nats == 0
    assert (varied.distinct_1, stuck.distinct_1) == (1, 1 / 8)
    assert (varied.rep_2.value, stuck.rep_2.value) == (0, pytest.approx(2 / 3))


def test_gen_ppl_cannot_be_had_alone():
    required = {f.name for f in dataclasses.fields(Quality) if f.default is dataclasses.MISSING}
    assert {"gen_ppl", "entropy_nats", "distinct_1", "distinct_2", "rep_4", "mauve"} <= required
    public = [name for name, thing in vars(module).items() if callable(thing) and thing.__module__ == module.__name__]
    assert {name for name in public if not name.startswith("_")} == {
        "Judge",
        "Quality",
        "judge_texts",
        "quality_metrics",
    }


def test_mauve_is_asked_for_features_only_when_there_are_enough(judge):
    def embed(texts):
        raise AssertionError("encoded for nothing")

    found = judge_texts(TEXTS, judge, data_texts=TEXTS, embed=embed)
    assert found.mauve.value is None and "5 texts" in found.mauve.missing

    def lengths(texts):
        return np.array([[len(t), t.count("a")] for t in texts], dtype=float)

    rng = np.random.default_rng(0)
    texts = ["a " * int(n) for n in rng.integers(1, 14, 60)]
    found = judge_texts(texts, None, data_texts=texts[::-1], embed=lengths, mauve_min_texts=50)
    assert found.mauve.value > 0.95
    assert "mauve_0_to_1" in quality_metrics(found)


def test_without_a_judge_words_are_counted(judge):
    found = judge_texts(["A a, b!"], None)
    assert found.gen_ppl is None and found.unit == "words" and found.judge is None
    assert found.distinct_1 == pytest.approx(2 / 3)
    numbers = quality_metrics(found, "data_")
    assert "data_gen_ppl" not in numbers and "data_entropy_nats_per_text" in numbers


def test_wrong_use_is_named(judge):
    with pytest.raises(UsageError, match="no text"):
        judge_texts([], judge)
    mute = PreTrainedTokenizerFast(tokenizer_object=judge.tokenizer.backend_tokenizer)
    with pytest.raises(UsageError, match="'mute' has no BOS"):
        judge_texts(["a b"], CausalModel(judge.model, mute, "mute", "mute"), bos=True)
