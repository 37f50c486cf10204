"""True positions: a compressed cache must answer as the whole text does when the evicted keys are masked out of it."""

import pytest
import torch

from tiny_causal import KINDS, WINDOW, ids, make
from unmask.core.errors import UsageError
from unmask.diagnosis.faults._measured import StoredOrder
from unmask.diagnosis.faults.shrunken_positions import ShrunkenPositions
from unmask.diagnosis.faults.stale_mask import StaleMask
from unmask.diagnosis.faults.stuck_positions import StuckPositions
from unmask.kvcache.model import attention_modules, require_kv_cache
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.press import presses

pytest.importorskip("kvpress")
CONTEXT, NEW = 40, 9


def oracle(model, ids_BL, state, context):
    """Uncached logits of the whole text, where queries behind the context see only the context keys that stayed.

    An independent way to the same numbers: no cache, no slots, positions 0..L-1 by construction.
    """
    length = ids_BL.shape[1]
    q, k = torch.arange(length)[:, None], torch.arange(length)[None]
    handles = []
    for module, pos_BHK in zip(attention_modules(model), state.positions, strict=True):
        heads = pos_BHK.shape[1]
        see = (k <= q).expand(len(ids_BL), heads, length, length).clone()
        if getattr(model.config, "sliding_window", None) and model.config.model_type == "mistral":
            see &= q - k < WINDOW
        for b in range(len(ids_BL)):
            for h in range(heads):
                gone = torch.ones(context, dtype=torch.bool)
                kept = pos_BHK[b, h]
                gone[kept[(kept >= 0) & (kept < context)]] = False
                see[b, h, context:, :context] &= ~gone
        see = see.repeat_interleave(model.config.num_attention_heads // heads, dim=1)
        handles.append(
            module.register_forward_pre_hook(
                lambda m, args, kwargs, see=see: (args, {**kwargs, "attention_mask": see}), with_kwargs=True
            )
        )
    try:
        return model(ids_BL, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def compressed(model, spec, keep, *, rows=1, cache=PositionedCache, chunk=None, mode="original", seed=0):
    whole = ids(CONTEXT + NEW, seed, rows)
    prefill = Prefill(model, whole[:, :CONTEXT], cache=cache, chunk=chunk, mode=mode)
    return whole, prefill, prefill.compressed(presses.make(spec), keep)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", ["knorm", "random_sinks", "skip_layers:press=knorm,layers=1"])
def test_compressed_cache_answers_as_the_masked_text(kind, spec):
    model = make(kind)
    whole, _, state = compressed(model, spec, 15, rows=2)
    expected = oracle(model, whole, state, CONTEXT)[:, CONTEXT:]
    in_one = state.clone().feed(whole[:, CONTEXT:])
    torch.testing.assert_close(in_one, expected, atol=2e-4, rtol=1e-4)
    by_one = torch.cat([state.feed(whole[:, i : i + 1]) for i in range(CONTEXT, CONTEXT + NEW)], dim=1)
    torch.testing.assert_close(by_one, expected, atol=2e-4, rtol=1e-4)
    if kind != "mistral":
        uncached = model(whole).logits[:, CONTEXT:]
        assert (uncached - expected).abs().max() > 0.05  # the oracle is not the uncompressed model


@pytest.mark.parametrize("kind", KINDS)
def test_full_cache_answers_as_no_cache(kind):
    model = make(kind)
    whole = ids(CONTEXT + NEW, rows=2)
    expected = model(whole).logits
    for chunk in (None, 7):
        state = Prefill(model, whole[:, :CONTEXT], chunk=chunk).full()
        torch.testing.assert_close(state.feed(whole[:, CONTEXT:]), expected[:, CONTEXT:], atol=2e-4, rtol=1e-4)


def test_eager_attention_gives_the_same():
    model = make("llama")
    whole, _, state = compressed(model, "knorm", 15)
    expected = state.feed(whole[:, CONTEXT:])
    model.set_attn_implementation("eager")
    whole, _, state = compressed(model, "knorm", 15)
    torch.testing.assert_close(state.feed(whole[:, CONTEXT:]), expected, atol=2e-4, rtol=1e-4)


def test_headwise_masking_is_by_position():
    model = make("llama")
    whole, _, state = compressed(model, "adakv:press=knorm", 15)
    least, most = zip(*state.lengths(), strict=True)
    assert state.slots() == [CONTEXT] * 3 and min(least) < 15 < max(most)
    assert sum(int((p >= 0).sum()) for p in state.positions) == 3 * 2 * 15
    expected = oracle(model, whole, state, CONTEXT)[:, CONTEXT:]
    torch.testing.assert_close(state.feed(whole[:, CONTEXT:]), expected, atol=2e-4, rtol=1e-4)
    assert all(getattr(m, "masked_key_indices", None) is None for m in model.modules())


def test_order_of_storage_is_no_fault():
    model = make("llama")
    whole, _, straight = compressed(model, "knorm", 15)
    _, _, shuffled = compressed(model, "knorm", 15, cache=StoredOrder)
    assert not torch.equal(straight.positions[0], shuffled.positions[0])
    torch.testing.assert_close(
        shuffled.feed(whole[:, CONTEXT:]), straight.feed(whole[:, CONTEXT:]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("fault", [ShrunkenPositions(), StuckPositions(), StaleMask(hidden=4)])
def test_planted_faults_change_the_answer(fault):
    model = make("llama")
    whole, _, right = compressed(model, "knorm", 15)
    _, _, wrong = compressed(model, "knorm", 15, cache=fault.measured())
    first, second = whole[:, CONTEXT : CONTEXT + 4], whole[:, CONTEXT + 4 :]
    expected = torch.cat([right.feed(first), right.feed(second)], 1)
    got = torch.cat([wrong.feed(first), wrong.feed(second)], 1)
    assert (got - expected).abs().max() > 0.05


def test_shrunken_positions_are_transformers_default():
    model = make("llama")
    whole, _, wrong = compressed(model, "knorm", 15, cache=ShrunkenPositions().measured())
    _, _, state = compressed(model, "knorm", 15)
    theirs = model(whole[:, CONTEXT:], past_key_values=state.cache).logits
    torch.testing.assert_close(wrong.feed(whole[:, CONTEXT:]), theirs, atol=1e-4, rtol=1e-4)


def test_other_positions_are_refused_with_the_true_one():
    model = make("llama")
    whole, _, state = compressed(model, "knorm", 15)
    with pytest.raises(UsageError, match="true position is 40"):
        state.feed(whole[:, CONTEXT:], position_ids=torch.arange(15, 15 + NEW)[None])
    state.feed(whole[:, CONTEXT:], position_ids=torch.arange(CONTEXT, CONTEXT + NEW)[None])
    assert state.next_B.tolist() == [CONTEXT + NEW]


def test_chunked_prefill_is_compressed_as_a_whole():
    model = make("llama")
    for spec in ("knorm", "snapkv:window_size=10", "keydiff", "tova", "expected_attention"):
        _, _, one = compressed(model, spec, 15)
        _, _, chunked = compressed(model, spec, 15, chunk=16)
        for a, b in zip(one.positions, chunked.positions, strict=True):
            assert torch.equal(a, b), spec


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_rows_of_different_lengths_answer_as_they_do_alone(kind):
    model = make(kind)
    rows, alone = [], []
    for n, seed in ((17, 1), (30, 2), (24, 3)):
        text = ids(n + NEW, seed)
        state = Prefill(model, text[:, :n]).compressed(presses.make("keydiff"), n // 2)
        rows.append(state)
        alone.append((text[:, n:], state.clone().feed(text[:, n:])))
    batch = PositionedCache.join(rows)
    assert batch.next_B.tolist() == [17, 30, 24]
    got = torch.cat([batch.feed(torch.cat([t for t, _ in alone])[:, i : i + 1]) for i in range(NEW)], 1)
    torch.testing.assert_close(got, torch.cat([logits for _, logits in alone]), atol=2e-4, rtol=1e-4)


def test_padding_is_never_kept():
    model = make("llama")
    rows = [Prefill(model, ids(n, n)).full() for n in (10, 30)]
    batch = PositionedCache.join(rows)
    seen = []
    batch.feed(ids(4, 1, 2), record=seen)
    from unmask.kvcache.eviction import evict

    # knorm prefers keys of low norm, and padding has norm 0
    evict(batch, seen, presses.make("knorm"), 12)
    assert all((p[0] >= 0).all() for p in batch.positions)


def test_sliding_window_drops_what_no_query_can_see():
    model = make("mistral")
    state = Prefill(model, ids(CONTEXT)).full()
    assert state.slots() == [WINDOW - 1] * 3
    assert state.positions[0][0, 0].tolist() == list(range(CONTEXT - WINDOW + 1, CONTEXT))


def test_cache_relative_keys_are_those_of_their_place():
    # relative positions: a text that starts 9 positions later has the same hidden states and keys rotated by 9
    from unmask.kvcache.rotation import rotate

    for kind in ("llama", "qwen3"):
        model = make(kind)
        at_zero, later = PositionedCache(model, 1), PositionedCache(model, 1)
        later.next_B += 9
        at_zero.feed(ids(20))
        later.feed(ids(20))
        for layer in range(3):
            moved = rotate(model, at_zero.keys_values(layer)[0], torch.full((1, 2, 20), 9))
            torch.testing.assert_close(moved, later.keys_values(layer)[0], atol=2e-4, rtol=1e-4)


def test_cache_relative_mode_equals_kvpress_rerotation():
    model = make("llama")
    whole, _, ours = compressed(model, "knorm", 15, mode="cache")
    _, _, theirs = compressed(model, "key_rerotation:press=knorm", 15)
    assert ours.next_B.tolist() == theirs.next_B.tolist() == [15]
    assert ours.positions[1][0, 1].tolist() == list(range(15))
    torch.testing.assert_close(ours.keys_values(2)[0], theirs.keys_values(2)[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(ours.feed(whole[:, CONTEXT:]), theirs.feed(whole[:, CONTEXT:]), atol=2e-4, rtol=1e-4)


def test_what_cannot_be_moved_is_refused():
    with pytest.raises(UsageError, match="no rotary positions"):
        PositionedCache(make("gpt2"), 1, "cache")
    with pytest.raises(UsageError, match="positions='slots'"):
        PositionedCache(make("llama"), 1, "slots")
    with pytest.raises(UsageError, match="same number everywhere"):
        compressed(make("llama"), "skip_layers:press=knorm,layers=1", 15, mode="cache")


def test_learned_positions_end():
    model = make("gpt2")
    state = Prefill(model, ids(120)).compressed(presses.make("knorm"), 20)
    with pytest.raises(UsageError, match="beyond the 128"):
        state.feed(ids(9))


def test_bytes_are_those_of_the_storages():
    model = make("llama")
    full = Prefill(model, ids(CONTEXT)).full()
    one_token = 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, bytes
    assert full.bytes() == CONTEXT * one_token
    _, _, state = compressed(model, "knorm", 15)
    assert state.bytes() == 15 * one_token and state.lengths() == [(15, 15)] * 3
    # a view of a larger tensor frees nothing: the storage counts
    state.store(0, *(x[:, :, :1] for x in state.keys_values(0)), state.positions[0][..., :1])
    assert state.bytes() == 15 * one_token


def test_models_without_a_kv_cache_are_refused():
    from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration

    with pytest.raises(UsageError, match="state-space"):
        require_kv_cache(MambaForCausalLM(MambaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, state_size=4)))
    tiny_t5 = T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8, decoder_start_token_id=0)
    with pytest.raises(UsageError, match="encoder-decoder"):
        require_kv_cache(T5ForConditionalGeneration(tiny_t5))
    for kind in KINDS:
        require_kv_cache(make(kind))
    model = make("llama")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match="flash_attention_2"):
        require_kv_cache(model)
