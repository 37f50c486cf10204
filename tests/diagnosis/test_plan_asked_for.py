"""The diagnosis judges what is written under the user's plan: the call's, else the model's own, else the family's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import unmask
from unmask.cli import build
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.data.tokenizer import train_bpe
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject
from unmask.families.causal import CausalText
from unmask.families.masked import MaskedText
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModelCard

TEXTS = ["the river runs to the sea", "a house stands by the river", "birds fly over the house"] * 4
WORDS = train_bpe(TEXTS, 280)


@pytest.fixture(scope="module")
def masked() -> MaskedText:
    torch.manual_seed(0)
    shape = {"dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "max_position_embeddings": 24}
    return MaskedText(
        MaskedDiffusionModel(MaskedDiffusionConfig(vocab_size=len(WORDS), **shape)), WORDS, TextModelCard(24)
    )


@pytest.fixture(scope="module")
def causal() -> CausalText:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return CausalText(LlamaForCausalLM(config).eval(), WORDS, "llama", "llama")


def written_with(model: Any, **settings: Any) -> str:
    return unmask.diagnose(model, TEXTS, only=["mask_mass"], **settings).plan


def test_the_plan_is_that_of_sample(masked: MaskedText, causal: CausalText) -> None:
    # free samples: as `unmask sample` writes them
    assert written_with(masked) == "order=margin, steps=16, quota=cosine, temperature=1.0"
    assert written_with(masked, steps=4, order="entropy") == "order=entropy, steps=4, quota=cosine, temperature=1.0"
    assert written_with(masked, sampler="first_hitting") == "sampler=first_hitting, temperature=1.0"
    # rows are continued as prompts are
    assert written_with(causal) == "temperature=0.0"
    assert written_with(causal, temperature=0.7, top_k=5) == "temperature=0.7, top_k=5"


def test_a_default_plan_is_judged(masked: MaskedText, tmp_path: Path) -> None:
    folder = masked.save(tmp_path / "model")
    SamplingConfig(order="random", steps=3, temperature=0.5).save(folder)
    loaded = unmask.load(folder, device="cpu")
    assert written_with(loaded) == "order=random, steps=3, quota=cosine, temperature=0.5"
    assert written_with(loaded, steps=5) == "order=random, steps=5, quota=cosine, temperature=0.5"
    subject: Any = loaded.subject(TEXTS)
    out = subject.generate(subject.data(2), 0)
    assert len(out.steps) == 3 and out.temperature == 0.5


def test_a_default_search_is_left_out_and_said(masked: MaskedText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked, "config", SamplingConfig(verify="cosine", calls=4, steps=3))
    verdict = unmask.diagnose(masked, TEXTS, only=["mask_mass"])
    assert verdict.plan == "order=margin, steps=3, quota=cosine, temperature=1.0"
    assert any("search of the model's default plan is left out" in note for note in verdict.notes)


def test_settings_without_effect_are_refused(masked: MaskedText, causal: CausalText) -> None:
    for model, settings, says in (
        (causal, {"order": "margin"}, "order='margin' has no effect on a causal model"),
        (masked, {"verify": "rules"}, "verify='rules' has no effect on a diagnosis of a masked model"),
        (masked, {"precision": "bf16"}, "precision='bf16' has no effect on a diagnosis"),
        (masked, {"batch_size": 3}, "batch_size=3 has no effect on a diagnosis"),
        (masked, {"top_k": 3, "temperature": 0.0}, "top_k=3 has no effect at temperature=0"),
        (causal, {"top_k": 3}, "top_k=3 has no effect at temperature=0"),
        (masked, {"stepps": 3}, "no setting of a generation is called 'stepps'"),
    ):
        with pytest.raises(UsageError, match=says):
            unmask.diagnose(model, TEXTS, only=["mask_mass"], **settings)
    with pytest.raises(UsageError, match="steps=3 has no effect on a _Cold, which brings its own rows and plan"):
        unmask.diagnose(_Cold(), steps=3)


def test_a_causal_plan_acts(causal: CausalText) -> None:
    def ids(**settings: Any) -> torch.Tensor:
        subject: Any = causal.subject(TEXTS, length=16, config=SamplingConfig(**settings))
        return subject.generate(subject.data(4), 3).ids_BL

    greedy = ids()
    assert torch.equal(greedy, ids(temperature=1.0, top_k=1)) and not torch.equal(greedy, ids(temperature=1.0))
    assert not torch.equal(greedy, ids(repetition_penalty=5.0))


def test_the_command_takes_the_flags_of_sample(
    masked: MaskedText, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = masked.save(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    words = ["diagnose", str(folder), "--data", str(tmp_path / "texts.txt"), "--check", "mask_mass", "--steps", "4"]
    words += ["--temperature", "0", "--order", "entropy", "--report", str(tmp_path / "page.html")]
    build()(args=words, standalone_mode=False)
    plan = "written with order=entropy, steps=4, quota=cosine, temperature=0.0"
    assert plan in " ".join(capsys.readouterr().out.split()) and plan in (tmp_path / "page.html").read_text()


class _Cold(Subject):
    """Three ids, the second always the most probable; ``takes`` is what it writes at its temperature of 0."""

    vocab_size, mask_id, kind = 4, 3, "masked"

    def __init__(self, takes: int = 1) -> None:
        self.takes = takes

    def data(self, n: int, split: str = "held_out") -> Batch:
        return Batch(torch.tensor([[0, 1, 2, 1]]).repeat(min(n, 16), 1))

    def predict(self, state: State) -> torch.Tensor:
        return torch.tensor([[0.0, 2.0, 0.0, -20.0]]).repeat(int(state.at_BL.sum()), 1)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        start_BL = torch.full_like(batch.ids_BL, 3)
        step = Step(start_BL, torch.ones_like(start_BL, dtype=torch.bool))
        return Generated(torch.full_like(start_BL, self.takes), (step,), temperature=0.0)


def test_nothing_drawn_is_no_pass_of_the_draw() -> None:
    def found(takes: int) -> Any:
        return run_check(checks.make("draw_calibration"), CheckContext(_Cold(takes), BUDGETS["quick"]))

    finding = found(1)
    assert finding.status == "not_run" and "temperature is 0, at which nothing is drawn" in finding.why
    # and one that does not take the most probable id is wrong at 0 too
    assert found(0).status == "fail"


class _Sure(_Cold):
    """Three ids, four times in six the first, which is all that it writes at a temperature of 0."""

    eos_id = None

    def data(self, n: int, split: str = "held_out") -> Batch:
        g = torch.Generator().manual_seed(1)
        return Batch(torch.randint(6, (400, 8), generator=g).clamp(min=3)[: min(n, 400)] - 3)

    def predict(self, state: State) -> torch.Tensor:
        return torch.tensor([[1.4, 0.0, 0.0, -20.0]]).repeat(int(state.at_BL.sum()), 1)


def test_a_cold_plan_is_named_where_the_draw_is_varied() -> None:
    finding = run_check(checks.make("frontier"), CheckContext(_Sure(0), BUDGETS["quick"]))
    assert finding.status == "fail" and finding.fault == "The samples lose variety to their temperature of 0."
