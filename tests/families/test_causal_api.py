"""A causal model through what users call: load, sample, diagnose, and what has no meaning for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import unmask
from unmask.core.errors import UsageError
from unmask.models.causal import CausalModel

WORDS = ["<unk>", "</s>", *(f"w{i}" for i in range(30))]
TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10", "w2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("causal")
    torch.manual_seed(1)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            eos_token_id=1, bos_token_id=1, initializer_range=0.3,
        )
    ).save_pretrained(place)  # fmt: skip
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>").save_pretrained(place)
    return place


def test_a_trace_that_no_causal_model_has_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from unmask.cli import main

    for words, said in ((["--trace", "x.html"], "trace has no effect"), (["--live"], "live has no effect")):
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(folder), "--text", "the river", "--length", "2", *words])
        assert stop.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(("content", "said"), [(b"", "holds no text"), ("Café".encode("latin-1"), "cannot be read")])
def test_a_file_without_texts_is_refused(
    tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from unmask.cli import main

    (tmp_path / "texts.txt").write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(["sample", "no_model_is_loaded", "--file", str(tmp_path / "texts.txt")])
    assert stop.value.code == 2 and said in capsys.readouterr().err


@pytest.fixture(scope="module")
def model(folder: Path) -> CausalModel:
    loaded = unmask.load(folder)
    assert isinstance(loaded, CausalModel)
    return loaded


def test_at_temperature_zero_it_is_a_plain_argmax_loop(model: CausalModel) -> None:
    found = unmask.sample(model, TEXTS, length=7)
    for prompt, ids in zip(TEXTS, found.sequences, strict=True):
        so_far = model.encode(prompt)[None]
        for token in ids:
            best = model.model(so_far).logits[0, -1].argmax()
            assert best == token
            if token == 1:
                break
            so_far = torch.cat([so_far, best.view(1, 1)], 1)
    assert found.texts[0] == model.tokenizer.decode(found.sequences[0], skip_special_tokens=True)


def test_a_batch_draws_what_its_rows_draw_alone(model: CausalModel) -> None:
    together = unmask.sample(model, TEXTS, n=2, temperature=1.0, length=9, seed=5)
    alone = unmask.sample(model, TEXTS, n=2, temperature=1.0, length=9, seed=5, batch_size=1)
    other = unmask.sample(model, TEXTS, n=2, temperature=1.0, length=9, seed=6)
    assert together.texts == alone.texts != other.texts
    assert len(together.texts) == 8 and together.prompts[1] == TEXTS[0]


def test_the_draw_has_the_models_probabilities(model: CausalModel) -> None:
    drawn = unmask.sample(model, ["w3"], n=4000, length=1, temperature=1.0, batch_size=4000).sequences[:, 0]
    expected = model.model(model.encode("w3")[None]).logits[0, -1].double().softmax(-1)
    seen = torch.bincount(drawn, minlength=len(WORDS)).double()
    chi2 = float(((seen - 4000 * expected) ** 2 / (4000 * expected)).sum())
    assert chi2 < 61  # 31 degrees of freedom, p = .001
    narrow = unmask.sample(model, ["w3"], n=200, length=1, temperature=1.0, top_k=2).sequences[:, 0]
    assert set(narrow.tolist()) <= set(expected.topk(2).indices.tolist())


def test_each_setting_changes_something(model: CausalModel) -> None:
    plain = unmask.sample(model, TEXTS, n=4, length=12, seed=1)
    for changed in ({"temperature": 3.0}, {"top_k": 1}, {"top_p": 0.2}, {"repetition_penalty": 5.0}, {"length": 2}):
        assert unmask.sample(model, TEXTS, n=4, **{"length": 12, "seed": 1, **changed}).texts != plain.texts, changed


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"order": "margin"}, "order='margin' has no effect on a causal model"),
        ({"top_k": 0}, "top_k=0"),
        ({"temperature": -1.0}, "temperature=-1"),
        ({"length": 0, "batch_size": 0}, "batch_size=0"),
        ({"texts": "w1"}, "must be a list"),
        ({"texts": [[{"role": "user", "content": "w1"}]]}, "no chat template"),
        ({"n": 0}, "n=0"),
    ],
)
def test_what_has_no_meaning_is_refused(model: CausalModel, settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        unmask.sample(model, **{"texts": TEXTS, **settings})


def test_it_is_diagnosed_on_texts(model: CausalModel) -> None:
    verdict = unmask.diagnose(model, TEXTS * 2000, only=["batch_invariance", "future_invariance", "latent_use"])
    status = {f.check: f.status for f in verdict.findings}
    assert status["batch_invariance"] == status["future_invariance"] == "pass"
    assert status["latent_use"] == "not_run"
    with pytest.raises(UsageError, match="data="):
        unmask.diagnose(model)
    with pytest.raises(UsageError, match="unmask kv"):
        unmask.evaluate(model, TEXTS)


def test_the_column_to_diagnose_is_asked_for_and_honoured(model: CausalModel, tmp_path: Path) -> None:
    rows = [{"id": f"d{i}", "body": f"w{i % 30} w{i // 30}"} for i in range(900)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match="column= one of body"):
        unmask.diagnose(model, tmp_path / "x.jsonl")
    verdict = unmask.diagnose(model, tmp_path / "x.jsonl", column="body", only=["batch_invariance"])
    assert [f.status for f in verdict.findings] == ["pass"]
