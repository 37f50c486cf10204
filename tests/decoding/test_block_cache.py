"""Block caches: exact where nothing they remember could have changed, measured where it could, and never silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding_toy import CachingNet, TinyNet, canvas
from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.cache import caches
from unmask.decoding.cache_error import cache_error
from unmask.models.adapters import attention as adapters_attention
from unmask.models.adapters.dream import DreamConfig, DreamDenoiser
from unmask.models.adapters.llada import LladaConfig, LladaDenoiser
from unmask.models.bidirectional_cache import packed
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

LLADA: dict[str, Any] = {
    "d_model": 16,
    "n_heads": 4,
    "n_kv_heads": 2,
    "mlp_hidden_size": 24,
    "vocab_size": 384,
    "mask_token_id": 300,
    "block_type": "llama",
    "activation_type": "silu",
    "weight_tying": False,
    "layer_norm_type": "rms",
    "rope": True,
}
DREAM: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 384,
    "mask_token_id": 300,
}


def random_weights(model: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        torch.nn.init.ones_(parameter) if "norm" in name else torch.nn.init.normal_(parameter, std=0.7)
    return model.double().eval().requires_grad_(False)


def llada(layers: int) -> Any:
    return random_weights(LladaDenoiser(LladaConfig.read(LLADA | {"n_layers": layers}, Path("."))))


def dream(layers: int) -> Any:
    return random_weights(DreamDenoiser(DreamConfig.read(DREAM | {"num_hidden_layers": layers}, Path("."))))


def native(layers: int, **settings: Any) -> Any:
    shape = {
        "vocab_size": 384,
        "mask_token_id": 300,
        "dim": 16,
        "heads": 2,
        "ffn_dim": 24,
        "max_position_embeddings": 40,
    }
    return random_weights(MaskedDiffusionModel(MaskedDiffusionConfig(**shape, layers=layers, **settings)))


def adaln(layers: int) -> Any:
    return native(layers, conditioning="adaln", latent_dim=6, latent_tokens=3)


def cross(layers: int) -> Any:
    return native(layers, conditioning="cross", latent_dim=6, latent_tokens=3, absolute=False)


MODELS: dict[str, Callable[[int], Any]] = {
    "llada": llada,
    "dream": dream,
    "native": native,
    "adaln": adaln,
    "cross": cross,
}
PLANS: dict[str, dict[str, Any]] = {
    "linear": {"quota": "linear", "block_length": 5},
    "adaptive": {"quota": "threshold:least=0.2", "order": "top_prob", "block_length": 4},
    "guided": {"quota": "linear", "block_length": 5, "guidance": 2.0, "steps": 9},
    "whole": {"quota": "linear", "steps": 8},
    "ancestral": {"sampler": "ancestral", "steps": 14, "block_length": 5},
    "remasking": {"sampler": "ancestral", "steps": 14, "block_length": 5, "remasking": "cap:eta=0.3"},
}


def rows() -> tuple[Tensor, Tensor]:
    """Prompts and answers of different lengths, padded on either side."""
    x_BL = torch.full((4, 24), 300)
    valid_BL = torch.ones_like(x_BL, dtype=torch.bool)
    for row, (left, prompt, right) in enumerate(((0, 6, 0), (0, 3, 7), (4, 5, 2), (1, 1, 0))):
        x_BL[row, left : left + prompt] = torch.arange(prompt) * 7 + 11 * row + 2
        valid_BL[row, :left] = False
        valid_BL[row, 24 - right :] = False
    return x_BL.masked_fill(~valid_BL, 0), valid_BL


def wrote(model: Denoiser, plan: DecodingPlan, **given: Any) -> Any:
    x_BL, valid_BL = rows()
    cond = None
    if model.conditional:
        cond = Condition.of(torch.randn(4, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    return generate(model, x_BL, plan, valid_BL=valid_BL, cond=cond, **given)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", PLANS)
def test_exact_where_remembered_keys_cannot_be_old(name: str, kind: str) -> None:
    """With one layer, keys depend on their own token alone; with a refresh at each step nothing is remembered."""
    for layers, specs in ((1, ("prefix", "dual")), (2, ("dual:refresh=1",))):
        model = MODELS[name](layers)
        plain = wrote(model, DecodingPlan(seed=2, **PLANS[kind]))
        for spec in specs:
            found = wrote(model, DecodingPlan(seed=2, cache=spec, **PLANS[kind]))
            assert torch.equal(found.sequences, plain.sequences), (layers, spec)
            assert found.forwards_B.tolist() == plain.forwards_B.tolist()
            if layers == 2:
                assert found.body_rows == plain.body_rows
            else:
                assert found.body_rows < plain.body_rows
            assert found.trace.replay().tolist() == plain.sequences.tolist()


@pytest.mark.parametrize("spec", ["prefix", "dual"])
def test_exact_for_attention_that_does_not_look_ahead(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    """Four layers, each position seeing what stands before it: what is remembered before a block stays true."""
    now: dict[str, Tensor] = {}
    plain_attention = adapters_attention.attention

    class Causal(LladaDenoiser):
        def _states(self, x_BL: Tensor, valid_BL: Tensor | None, memory: Any = None) -> Tensor:
            run_BC = None if memory is None else memory.index_BC
            every_L = torch.arange(x_BL.shape[1])
            now["ahead"] = (every_L[None] if run_BC is None else run_BC)[..., None] < every_L
            return super()._states(x_BL, valid_BL, memory)

    def causal(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        ahead = torch.zeros(now["ahead"].shape, dtype=q.dtype).masked_fill(now["ahead"], float("-inf"))[:, None]
        return plain_attention(q, k, v, ahead if bias is None else (ahead + bias).nan_to_num(neginf=-1e9))

    monkeypatch.setattr(adapters_attention, "attention", causal)
    model: Any = Causal(LladaConfig.read(LLADA | {"n_layers": 4}, Path(".")))
    random_weights(model)
    for kind in ("linear", "adaptive"):
        plain = wrote(model, DecodingPlan(seed=4, **PLANS[kind]))
        found = wrote(model, DecodingPlan(seed=4, cache=spec, **PLANS[kind]))
        assert torch.equal(found.sequences, plain.sequences)
        assert found.body_rows < plain.body_rows


@pytest.mark.parametrize("name", MODELS)
def test_old_keys_change_tokens_and_the_error_says_so(name: str) -> None:
    model = MODELS[name](3)
    x_BL, valid_BL = rows()
    errors = {}
    for spec in ("prefix", "dual", "dual:refresh=2", "dual:refresh=1"):
        plan = DecodingPlan(quota="linear", block_length=6, cache=spec, temperature=0.0)
        errors[spec] = cache_error(model, x_BL, plan, valid_BL=valid_BL)
        cached, plain = (generate(model, x_BL, p, valid_BL=valid_BL) for p in (plan, replace(plan, cache=None)))
        differ_N = (cached.sequences != plain.sequences)[x_BL == 300]
        assert errors[spec].tokens_changed == float(differ_N.double().mean())
    exact = errors.pop("dual:refresh=1")
    assert exact.kl_nats == exact.tokens_changed == exact.predictions == 0 and exact.top1 == 1
    for spec, error in errors.items():
        assert error.kl_nats > 1e-6 and 0 <= error.top1 <= 1 and error.predictions > 50, spec
    assert errors["dual"].body_rows < errors["dual:refresh=2"].body_rows < errors["dual"].body_rows_uncached
    assert errors["dual"].body_rows < errors["prefix"].body_rows < errors["prefix"].body_rows_uncached
    assert any(error.tokens_changed > 0 for error in errors.values())


def test_the_body_runs_on_what_the_cache_says() -> None:
    """16 given and 12 written tokens, blocks of 4, one a step: 3 refreshes of 28, and 9 steps of a block (and tail)."""
    x_BL = torch.full((2, 28), 300)
    x_BL[:, :16] = torch.arange(16) + 5
    for spec, rest in (("dual", 9 * 4), ("prefix", 3 * (12 + 8 + 4)), ("dual:refresh=2", None)):
        plan = DecodingPlan(quota="one", block_length=4, cache=spec)
        rows_run = generate(llada(2), x_BL, plan).body_rows
        want = 3 * 28 + rest if rest is not None else 6 * 28 + 6 * 4
        assert rows_run == 2 * want, spec


@pytest.mark.parametrize("spec", ["prefix", "dual"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_error_is_that_of_the_open_block(spec: str, guidance: float) -> None:
    """Blocks of 4, one a step: after the refresh 3, 2 and 1 are hidden in it, whatever is hidden behind it."""
    x_BL = torch.full((2, 28), 300)
    x_BL[:, :16] = torch.arange(16) + 5
    plan = DecodingPlan(quota="one", block_length=4, cache=spec, guidance=guidance)
    branches = 1 if guidance == 1 else 2
    assert cache_error(llada(2), x_BL, plan).predictions == branches * 2 * 3 * (3 + 2 + 1)
    # 8, 12 and 9 to write
    x_BL = torch.cat([x_BL, x_BL, x_BL[:1]])
    x_BL[:2, 16:20], x_BL[4, 16:19] = 7, 7
    want = branches * (2 * 2 + 2 * 3 + 2) * (3 + 2 + 1)
    assert cache_error(llada(2), x_BL, plan).predictions == want
    # rows that open their blocks at different steps are refreshed beside others that are not
    plan = replace(plan, quota="threshold:least=0.2", order="top_prob", temperature=0.0)
    together, alone = cache_error(llada(2), x_BL, plan), [cache_error(llada(2), x[None], plan) for x in x_BL]
    assert together.predictions == sum(one.predictions for one in alone) > 0
    assert together.kl_nats * together.predictions == pytest.approx(sum(one.kl_nats * one.predictions for one in alone))


def test_a_row_is_refreshed_when_a_hook_writes() -> None:
    model = llada(1)

    def hook(step: int | None, now_BL: Tensor) -> Tensor:
        if step == 2:
            now_BL[0, 20] = 77  # in the last block, while the first is open
        return now_BL

    plain = wrote(model, DecodingPlan(seed=1, **PLANS["linear"]), token_hook=hook)
    found = wrote(model, DecodingPlan(seed=1, cache="dual", **PLANS["linear"]), token_hook=hook)
    assert torch.equal(plain.sequences, found.sequences) and int(plain.sequences[0, 20]) == 77


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("spec", ["prefix", "dual:refresh=3"])
def test_a_row_writes_the_same_alone(name: str, spec: str) -> None:
    """In fp32; rows open their blocks at different steps, so refreshes and remembered passes meet in one batch."""
    model = MODELS[name](2).float()
    x_BL, valid_BL = rows()
    plan = DecodingPlan(cache=spec, **PLANS["adaptive"])
    together = generate(model, x_BL, plan, valid_BL=valid_BL).sequences
    for row in range(4):
        one = slice(row, row + 1)
        alone = generate(model, x_BL[one], plan, valid_BL=valid_BL[one], row_ids_B=torch.tensor([row])).sequences
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("name", list(caches))
def test_any_cache_refreshed_at_each_step_is_none(name: str) -> None:
    net, x_BL = CachingNet(), canvas(rows=5, length=16)
    for settings in ({"quota": "linear", "block_length": 5}, {"quota": "threshold:least=0.3", "block_length": 4}):
        plain = generate(net, x_BL, DecodingPlan(seed=6, **settings))
        found = generate(net, x_BL, DecodingPlan(seed=6, cache=caches.make(name, refresh=1), **settings))
        assert torch.equal(found.sequences, plain.sequences) and found.body_rows == plain.body_rows


def test_what_cannot_remember_is_refused() -> None:
    plan = DecodingPlan(cache="dual")
    with pytest.raises(UsageError, match="cache='dual' needs a model that remembers keys, and this TinyNet does not"):
        generate(TinyNet(), canvas(), plan)
    for settings in ({"self_conditioning": True}, {"relations": 2}):
        model = native(1, **settings)
        with pytest.raises(UsageError, match="this MaskedDiffusionModel does not"):
            generate(model, torch.full((1, 8), 300), plan)
        with pytest.raises(UsageError, match="self-conditioning or relations"):
            model.cached_body(torch.full((1, 8), 300))
    with pytest.raises(UsageError, match="beside a memory"):
        llada(1).cached_body(torch.full((1, 8), 300), at_BL=torch.ones(1, 8, dtype=torch.bool))
    with pytest.raises(UsageError, match="needs a plan with a cache"):
        cache_error(TinyNet(), canvas(), DecodingPlan())
    assert set(caches) == {"prefix", "dual"} and DecodingPlan().cache is None


def test_positions_are_packed_from_left_to_right() -> None:
    at_BL = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0]]).bool()
    assert packed(at_BL).tolist() == [[1, 2, 4], [3, 3, 3]]
