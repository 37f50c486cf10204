"""Scores against plain formulas, protocols against their definitions, pitfalls against what they do to the numbers."""

import math

import numpy as np
import pytest
import torch

from tiny_causal import ids, make
from unmask.core.errors import UsageError
from unmask.diagnosis.faults.compounding_ratio import CompoundingRatio
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.eviction import PressFailed, evict
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.press import presses
from unmask.kvcache.protocols import OneShot, Rolling, Track
from unmask.kvcache.result import BLOCK, interval
from unmask.kvcache.scoring import ArmSpec, score

pytest.importorskip("kvpress")
CONTEXT, NEW = 60, 40


def asked(*specs, keep="0.5"):
    return [ArmSpec(s, CacheBudget.parse(keep)) for spec in specs for s in presses.parse(spec)]


def windows(count=2):
    return [ids(CONTEXT + NEW, seed)[0] for seed in range(count)]


def test_scores_are_their_formulas():
    model, texts = make("llama"), windows()
    standard, (arm,) = score(model, texts, CONTEXT, asked("knorm"), OneShot(), greedy=6, write=6)
    full_nats, nats, kl, agree, right = [], [], [], [], []
    for text in texts:
        # the full cache, from one plain forward over the window; token CONTEXT is predicted by the prefill: left out
        full = model(text[None]).logits[0, CONTEXT:-1].log_softmax(-1)
        state = Prefill(model, text[None, :CONTEXT]).compressed(presses.make("knorm"), 30)
        mine = state.feed(text[None, CONTEXT:])[0, :-1].log_softmax(-1)
        gold = text[CONTEXT + 1 :, None]
        full_nats.append(-full.gather(1, gold))
        nats.append(-mine.gather(1, gold))
        kl.append((full.exp() * (full - mine)).sum(-1))
        agree.append(full.argmax(-1) == mine.argmax(-1))
        right.append(mine.argmax(-1) == gold[:, 0])
    mean = float(torch.cat(full_nats).mean())
    assert standard.value == pytest.approx(math.exp(mean), rel=1e-4) == arm.full_ppl.value
    assert arm.ppl.value == pytest.approx(math.exp(float(torch.cat(nats).mean())), rel=1e-4)
    assert arm.dnll.value == pytest.approx(float((torch.cat(nats) - torch.cat(full_nats)).mean()), abs=1e-4)
    assert arm.kl == pytest.approx(float(torch.cat(kl).mean()), rel=1e-3)
    assert arm.agreement == pytest.approx(float(torch.cat(agree).float().mean()), abs=1e-6)
    assert arm.accuracy == pytest.approx(float(torch.cat(right).float().mean()), abs=1e-6)
    assert np.average(arm.dnll_by_position, weights=[5] * 7 + [4]) == pytest.approx(arm.dnll.value, abs=1e-6)
    assert arm.sizes.slots == (30, 30) and arm.sizes.saved == 0.5 and not arm.sizes.masked_only


def test_keeping_all_is_the_full_cache_in_every_score():
    model = make("qwen2")
    for when in (OneShot(), Rolling(7), Rolling(7, "cache")):
        _, (arm,) = score(model, windows(4), CONTEXT, asked("knorm", keep="1"), when, greedy=6, write=6)
        assert arm.dnll.value == arm.dnll.low == arm.dnll.high == 0 and arm.ppl == arm.full_ppl
        assert arm.kl == 0 and arm.agreement == 1 and arm.greedy_match == arm.greedy_limit == 5
        assert arm.sizes.bytes == arm.sizes.full_bytes


@pytest.mark.parametrize("when", [OneShot(), Rolling(4)])
def test_greedy_match_is_that_of_really_writing(when):
    model = make("llama")
    (text,) = windows(1)
    for spec in ("knorm", "streaming_llm", "random_sinks"):
        _, (arm,) = score(model, [text], CONTEXT, asked(spec), when, greedy=12, write=0)
        prefill = Prefill(model, text[None, :CONTEXT])
        first = prefill.logits_BV.argmax(-1)
        reference = Track(prefill, prefill.full()).generate(first, 12, sample=False)[0]
        written = when.start(prefill, presses.make(spec), CacheBudget.parse("0.5")).generate(first, 12, sample=False)[0]
        same = (reference == written).tolist()
        assert arm.greedy_match == (same.index(False) if False in same else 12) - 1


def test_written_text_is_scored_by_the_full_model():
    model = make("llama")
    (text,) = windows(1)
    _, (arm,) = score(model, [text], CONTEXT, asked("knorm"), OneShot(), greedy=0, write=10, seed=3)
    prefill = Prefill(model, text[None, :CONTEXT])
    track = OneShot().start(prefill, presses.make("knorm"), CacheBudget.parse("0.5"))
    written = track.generate(prefill.logits_BV.argmax(-1), 10, seed=3)
    log = model(torch.cat([text[None, :CONTEXT], written], 1)).logits[0, CONTEXT:-1].log_softmax(-1)
    assert arm.generation.nats == pytest.approx(float(-log.gather(1, written[0, 1:, None]).mean()), rel=1e-4)
    _, counts = written[0].unique(return_counts=True)
    share = counts / counts.sum()
    assert arm.generation.entropy == pytest.approx(float(-(share * share.log()).sum()), rel=1e-5)


def test_random_and_sinks_is_the_yardstick():
    model = make("llama")
    _, arms = score(model, windows(5), CONTEXT, asked("knorm_high,random_sinks"), OneShot(), greedy=0, write=0)
    high, control = arms
    assert high.over_control.value == pytest.approx(high.dnll.value - control.dnll.value, abs=1e-9)
    assert (high.note == "not better than random_sinks") == (not high.over_control.below_zero)
    assert control.over_control is None and control.note == ""


def test_interval_is_of_blocks_and_agrees_with_the_normal_one():
    rng = np.random.default_rng(0)
    independent = rng.normal(0.3, 1.0, (40, 256))
    found = interval(independent, resamples=2000)
    half = 1.96 / math.sqrt(independent.size)
    assert found.value == pytest.approx(independent.mean()) and found.above_zero
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)
    # the same number in every token of a block: resampling tokens would give an interval six times too narrow
    together = np.repeat(rng.normal(0, 1.0, (40, 8)), BLOCK, axis=1)
    found = interval(together, resamples=2000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / math.sqrt(320), rel=0.15)
    assert math.isnan(interval(np.ones((1, 20))).low)


def test_a_press_that_cannot_be_applied_is_not_measured():
    model = make("llama")
    _, (arm, other) = score(model, windows(), CONTEXT, asked("snapkv", "knorm"), OneShot(), greedy=0, write=0)
    assert "window size 64" in arm.reason and arm.ppl is None and arm.dnll is None and arm.sizes is None
    assert other.reason is None


# ---- rolling


def test_rolling_holds_the_budget_at_every_eviction():
    model = make("llama")
    text = windows(1)[0]
    prefill = Prefill(model, text[None, :CONTEXT])
    track = Rolling(8).start(prefill, presses.make("knorm"), CacheBudget.of(tokens=20))
    assert track.state.slots() == [20] * 3
    for at in range(CONTEXT, CONTEXT + NEW, 8):
        track.feed(text[None, at : at + 8])
        assert track.state.slots() == [20] * 3
    assert track.state.next_B.tolist() == [CONTEXT + NEW]
    sizes = track.sizes(prefill.full())
    assert sizes.slots == (20, 28)


def test_rolling_does_not_depend_on_how_it_is_fed():
    model = make("llama")
    text = windows(1)[0][None]
    prefill = Prefill(model, text[:, :CONTEXT])
    for spec in ("knorm_protected:recent=8", "tova", "streaming_llm"):
        whole, single = (Rolling(8).start(prefill, presses.make(spec), CacheBudget.of(tokens=20)) for _ in range(2))
        one = whole.feed(text[:, CONTEXT:])
        by_one = torch.cat([single.feed(text[:, i : i + 1]) for i in range(CONTEXT, CONTEXT + NEW)], dim=1)
        torch.testing.assert_close(one, by_one, atol=2e-4, rtol=1e-4)


def test_a_press_that_only_hides_cannot_hold_a_rolling_budget():
    model = make("llama")
    _, arms = score(model, windows(), CONTEXT, asked("adakv:press=knorm", "kvzip"), Rolling(8), greedy=0, write=0)
    assert "hides tokens" in arms[0].reason and "inside a prefill only" in arms[1].reason


def streaming_oracle(model, text_L, sinks, recent):
    """StreamingLLM as its paper defines it (arXiv 2309.17453, 3.2): logits of one token after another.

    The cache holds *unrotated* keys of the sinks and the most recent tokens; every step rotates them to the places they
    have in the cache, and the new token to the place behind them. Written out on the weights, without a cache class.
    """
    config = model.config
    heads, kv, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def turned(x_HKD, places_K):
        cos, sin = model.model.rotary_emb(x_HKD, places_K[None])
        half = torch.cat([-x_HKD[..., width // 2 :], x_HKD[..., : width // 2]], -1)
        return x_HKD * cos[0] + half * sin[0]

    held = [(torch.empty(kv, 0, width), torch.empty(kv, 0, width)) for _ in model.model.layers]
    out = []
    for token in text_L:
        h_D = model.model.embed_tokens(token[None])[0]
        for i, layer in enumerate(model.model.layers):
            x_D = layer.input_layernorm(h_D)
            attention = layer.self_attn
            q = attention.q_proj(x_D).view(heads, 1, width)
            k, v = (p(x_D).view(kv, 1, width) for p in (attention.k_proj, attention.v_proj))
            keys, values = (torch.cat([old, new], 1) for old, new in zip(held[i], (k, v), strict=True))
            places = torch.arange(keys.shape[1])
            scores = turned(q, places[-1:]) @ turned(keys, places).repeat_interleave(heads // kv, 0).transpose(1, 2)
            mixed = (scores / math.sqrt(width)).softmax(-1) @ values.repeat_interleave(heads // kv, 0)
            h_D = h_D + attention.o_proj(mixed.reshape(-1))
            h_D = h_D + layer.mlp(layer.post_attention_layernorm(h_D))
            if keys.shape[1] > sinks + recent:
                keep = [*range(sinks), *range(keys.shape[1] - recent, keys.shape[1])]
                keys, values = keys[:, keep], values[:, keep]
            held[i] = (keys, values)
        out.append(model.lm_head(model.model.norm(h_D)))
    return torch.stack(out)


def test_streaming_llm_is_its_papers_rolling_definition():
    model = make("llama")
    text = ids(50, 9)
    expected = streaming_oracle(model, text[0], sinks=3, recent=13)
    prefill = Prefill(model, text[:, :10], mode="cache")
    track = Rolling(1, "cache").start(prefill, presses.make("streaming_llm:n_sink=3"), CacheBudget.of(tokens=16))
    track.target = 16  # a budget larger than this short context
    got = track.feed(text[:, 10:])
    torch.testing.assert_close(got[0], expected[10:], atol=3e-4, rtol=1e-3)
    assert track.state.slots() == [16] * 3 and track.state.next_B.tolist() == [16]
    # with original positions it is another method
    plain = Rolling(1).start(
        Prefill(model, text[:, :10]), presses.make("streaming_llm:n_sink=3"), CacheBudget.of(tokens=16)
    )
    plain.target = 16
    assert (plain.feed(text[:, 10:])[0] - expected[10:]).abs().max() > 0.05


# ---- pitfalls


def test_a_ratio_applied_again_compounds():
    model = make("llama")
    text = windows(1)[0][None]
    prefill = Prefill(model, text[:, :CONTEXT])
    track = CompoundingRatio().start(prefill, presses.make("knorm"), CacheBudget.parse("0.5"))
    track.feed(text[:, CONTEXT : CONTEXT + 8])
    # n -> (n + 1) / 2: after eight steps one token is left of 60
    assert track.state.slots() == [1] * 3
    budget = Rolling(1).start(Prefill(model, text[:, :CONTEXT]), presses.make("knorm"), CacheBudget.parse("0.5"))
    budget.feed(text[:, CONTEXT : CONTEXT + 8])
    assert budget.state.slots() == [30] * 3


def test_rolling_evicts_recent_tokens_of_high_norm():
    model = make("llama")
    text = windows(1)[0][None]
    prefill = Prefill(model, text[:, :CONTEXT])

    def newest_kept(spec):
        track = Rolling(8).start(prefill, presses.make(spec), CacheBudget.of(tokens=20))
        track.feed(text[:, CONTEXT : CONTEXT + 32])
        recent = torch.arange(CONTEXT + 24, CONTEXT + 32)
        return torch.stack([torch.isin(recent, p[0, h]).float().mean() for p in track.state.positions for h in (0, 1)])

    assert (newest_kept("knorm_protected:recent=8") == 1).all()
    assert newest_kept("knorm").mean() < 0.9


def test_wrong_sign_keeps_what_the_right_sign_evicts():
    model = make("llama")
    prefill = Prefill(model, ids(CONTEXT))
    low, high = (prefill.compressed(presses.make(s), 30) for s in ("knorm", "knorm_high"))
    for layer in range(3):
        norms = [s.keys_values(layer)[0].norm(dim=-1).mean() for s in (low, high)]
        assert norms[0] < norms[1]


def test_a_cache_used_twice_is_not_the_same_cache():
    model = make("llama")
    text = windows(1)[0][None]
    prefill = Prefill(model, text[:, :CONTEXT])
    state = prefill.compressed(presses.make("knorm"), 30)
    first = state.clone().feed(text[:, CONTEXT:])
    assert torch.equal(state.clone().feed(text[:, CONTEXT:]), first)
    state.feed(text[:, CONTEXT:])
    # a second arm on the same cache would see the continuation twice
    assert (state.feed(text[:, CONTEXT:]) - first).abs().max() > 0.05
    assert prefill.full().next_B.tolist() == [CONTEXT]


def test_wrong_settings_are_one_sentence():
    with pytest.raises(UsageError, match="interval=0"):
        Rolling(0)
    with pytest.raises(UsageError, match="positions='near'"):
        Rolling(8, "near")
    with pytest.raises(UsageError, match="chunk=0"):
        Prefill(make("llama"), ids(8), chunk=0)
    with pytest.raises(PressFailed):
        evict_unknown()


def evict_unknown():
    model = make("llama")
    seen = []
    state = Prefill(model, ids(20)).full()
    state.feed(ids(3), record=seen)
    evict(state, seen, presses.make("snapkv"), 10)
