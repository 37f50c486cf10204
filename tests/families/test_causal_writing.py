"""What a causal model writes follows from the call alone, whatever its folder's generation_config.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import unmask
from unmask.core.errors import UsageError
from unmask.families.causal.generation import CausalGenerationConfig, write_on
from unmask.models.causal import CausalModel
from unmask.models.causal_prompts import end_ids

WORDS = ["<unk>", "</s>", "<pad>", *(f"w{i}" for i in range(40))]
PROMPTS = ["w1 w2 w3 w1 w2", "w4 w4 w4", "w5 w6 w7 w8 w9"]
HIDDEN: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 9.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "bad_words_ids": {"bad_words_ids": [[i] for i in range(3, 20)]},
    "suppress_tokens": {"suppress_tokens": list(range(3, 30))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(3, 40))},
    "forced_bos_token_id": {"forced_bos_token_id": 7},
    "forced_eos_token_id": {"forced_eos_token_id": 1},
    "min_length": {"min_length": 60},
    "min_new_tokens": {"min_new_tokens": 60},
    "max_length": {"max_length": 6},
    "num_beams": {"num_beams": 4, "length_penalty": -3.0},
    "sampling": {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.5},
    "top_k": {"do_sample": True, "top_k": 1},
    "sequence_bias": {"sequence_bias": [[[5], 50.0]]},
    "exponential_decay": {"exponential_decay_length_penalty": [1, 9.0]},
    "several": {"num_return_sequences": 2, "do_sample": True, "repetition_penalty": 3.0},
}


def save(folder: Path, **hidden: Any) -> Path:
    torch.manual_seed(3)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            eos_token_id=1, bos_token_id=None, initializer_range=0.4,
        )
    ).save_pretrained(folder)  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, **hidden}))
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    return folder


def by_argmax(model: CausalModel, prompt: str, length: int, ends: set[int]) -> list[int]:
    """The most probable token, again and again."""
    ids = model.encode(prompt)[None]
    found: list[int] = []
    with torch.no_grad():
        while len(found) < length and not (found and found[-1] in ends):
            found.append(int(model.model(ids, use_cache=False).logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([[found[-1]]])], 1)
    return found


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_generation_settings_do_not_act(tmp_path: Path, hidden: str) -> None:
    model = unmask.load(save(tmp_path, **HIDDEN[hidden]), device="cpu")
    own = model.model.generation_config
    out = unmask.sample(model, PROMPTS, length=12)
    for prompt, row in zip(PROMPTS, out.sequences.tolist(), strict=True):
        want = by_argmax(model, prompt, 12, {1})
        assert row[: len(want)] == want and set(row[len(want) :]) <= {2}
    assert model.model.generation_config is own  # nobody else's calls are changed


def test_hidden_settings_do_not_act_on_draws(tmp_path: Path) -> None:
    plain = unmask.load(save(tmp_path / "plain"), device="cpu")
    sly = unmask.load(save(tmp_path / "sly", **HIDDEN["repetition_penalty"], **HIDDEN["bad_words_ids"]), device="cpu")
    how: dict[str, Any] = {"n": 4, "temperature": 1.0, "length": 8, "seed": 2}
    assert torch.equal(unmask.sample(plain, PROMPTS, **how).sequences, unmask.sample(sly, PROMPTS, **how).sequences)
    # what is asked for in the call does act
    asked = unmask.sample(sly, PROMPTS, **how, repetition_penalty=9.0)
    assert not torch.equal(asked.sequences, unmask.sample(sly, PROMPTS, **how).sequences)


def test_every_end_of_generation_config_ends_a_text(tmp_path: Path) -> None:
    model = unmask.load(save(tmp_path / "one"), device="cpu")
    free = by_argmax(model, PROMPTS[0], 12, {1})
    stop = free[len(free) // 2]
    several = unmask.load(save(tmp_path / "several", eos_token_id=[1, stop]), device="cpu")
    assert end_ids(several) == [1, stop]
    ids = [several.encode(PROMPTS[0])]
    assert write_on(several, ids, CausalGenerationConfig(length=12))[0].tolist() == by_argmax(
        several, PROMPTS[0], 12, {1, stop}
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"length": 0}, "length=0"), ({"repetition_penalty": 0.0}, "repetition_penalty=0"), ({"top_k": 0}, "top_k=0")],
)
def test_writing_refuses_what_does_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CausalGenerationConfig(**settings)
