"""Presses: kept tokens as kvpress keeps them, budgets to the token, controls as they say, names as they are written."""

import importlib.util
from dataclasses import dataclass

import pytest
import torch
import transformers

from tiny_causal import ids, make
from unmask.core.errors import MissingExtra, UsageError
from unmask.kvcache.budget import CacheBudget, ratio_for
from unmask.kvcache.eviction import PressFailed
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill, prefill_compressed
from unmask.kvcache.press import presses

kvpress = pytest.importorskip("kvpress")
CONTEXT = 60
# kvpress' hooks read an argument that transformers 5.3 no longer passes; ours do not need it
THEIR_HOOKS = pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 3), reason="kvpress needs transformers < 5.3"
)
SCORING = [
    "knorm",
    "keydiff",
    "snapkv:window_size=8",
    "tova",
    "expected_attention",
    "streaming_llm",
    "lagkv:lag_size=16",
]
OTHERS = ["chunk:press=knorm,chunk_length=20", "chunkkv:press=keydiff,chunk_length=5", "pyramidkv:window_size=4",
          "criticalkv:press=knorm", "compactor", "leverage"]  # fmt: skip


def kept(state):
    return [p.tolist() for p in state.positions]


def theirs(model, spec, ratio, text):
    """kvpress' own way: its hooks around a plain prefill."""
    from transformers import DynamicCache

    press = presses.make(spec)
    press.compression_ratio = ratio
    cache = DynamicCache()
    with press(model), torch.inference_mode():
        model.model(input_ids=text, past_key_values=cache)
    return cache


@THEIR_HOOKS
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("spec", [*SCORING, *OTHERS])
def test_kept_tokens_are_those_of_kvpress(kind, spec):
    model, text = make(kind), ids(CONTEXT)
    torch.manual_seed(0)  # compactor and leverage sketch with torch's global generator
    cache = theirs(model, spec, 0.5, text)
    torch.manual_seed(0)
    state = Prefill(model, text).compressed(presses.make(spec), 30)
    for layer in range(3):
        ours, other = state.keys_values(layer)[0], cache.layers[layer].keys
        assert ours.shape == other.shape
        # theirs lie in the order of their scores: compare as sets, by a sort on one coordinate
        key = other[..., 0].sort(-1).indices.unsqueeze(-1).expand_as(other)
        torch.testing.assert_close(ours.gather(2, ours[..., 0].sort(-1).indices.unsqueeze(-1).expand_as(ours)),
                                   other.gather(2, key), atol=1e-5, rtol=1e-5)  # fmt: skip
    assert state.lengths()[0][0] == cache.layers[0].keys.shape[2]


@THEIR_HOOKS
def test_one_shot_perplexity_is_that_of_kvpress():
    model, whole = make("llama"), ids(CONTEXT + 20)
    for spec in ("knorm", "snapkv:window_size=8", "streaming_llm"):
        cache = theirs(model, spec, 0.5, whole[:, :CONTEXT])
        new = whole[:, CONTEXT:]
        # what kvpress' pipeline does with a question: positions from the context's length
        positions = torch.arange(CONTEXT, CONTEXT + new.shape[1])[None]
        with torch.inference_mode():
            logits = model(input_ids=new, past_key_values=cache, position_ids=positions).logits
        nats = torch.nn.functional.cross_entropy(logits[0, :-1], new[0, 1:])
        state = Prefill(model, whole[:, :CONTEXT]).compressed(presses.make(spec), 30)
        ours = torch.nn.functional.cross_entropy(state.feed(new)[0, :-1], new[0, 1:])
        assert float(ours.exp()) == pytest.approx(float(nats.exp()), rel=1e-5)


@THEIR_HOOKS
def test_a_greedy_answer_is_that_of_kvpress_pipeline(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(97)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=None, eos_token="w1", unk_token="w0")
    model = make("llama")
    model.generation_config.eos_token_id = None
    pipeline = kvpress.KVPressTextGenerationPipeline(model=model, tokenizer=tokenizer)
    context, question = ids(CONTEXT, 4), ids(5, 5)
    press = presses.make("knorm")
    press.compression_ratio = 0.5
    found = pipeline._forward(
        {"context_ids": context, "questions_ids": [question]}, max_new_tokens=8, press=press, cache=None
    )[0]
    state = Prefill(model, context).compressed(presses.make("knorm"), 30)
    answer = [state.feed(question)[:, -1].argmax(-1, keepdim=True)]
    for _ in range(7):
        answer.append(state.feed(answer[-1])[:, -1].argmax(-1, keepdim=True))
    assert tokenizer.decode(torch.cat(answer, 1)[0]) == found


@pytest.mark.parametrize("spec", ["knorm", "random", "chunk:press=knorm,chunk_length=20", "adakv:press=knorm", "kvzip"])
def test_keeping_everything_is_bit_exact(spec):
    model, whole = make("llama"), ids(CONTEXT + 9)
    prefill = Prefill(model, whole[:, :CONTEXT])
    full = prefill.full().feed(whole[:, CONTEXT:])
    assert torch.equal(prefill.compressed(presses.make(spec), CONTEXT).feed(whole[:, CONTEXT:]), full)


def test_one_prefill_serves_all_and_equals_one_of_its_own():
    model, text = make("llama"), ids(CONTEXT)
    prefill = Prefill(model, text)
    first = prefill.compressed(presses.make("snapkv:window_size=8"), 20)
    prefill.compressed(presses.make("think:key_channel_compression_ratio=0.5"), 20)  # writes into the keys it is given
    again = prefill.compressed(presses.make("snapkv:window_size=8"), 20)
    alone, _ = prefill_compressed(model, text, presses.make("snapkv:window_size=8"), 20)
    assert kept(first) == kept(again) == kept(alone)
    torch.testing.assert_close(first.keys_values(1), alone.keys_values(1))
    assert prefill.full().slots() == [CONTEXT] * 3


@THEIR_HOOKS
def test_presses_with_hooks_of_their_own_run_inside_the_prefill():
    model, text = make("llama"), ids(CONTEXT)
    spec = "per_layer_compression:press=knorm,compression_ratios=0.5+0.0+0.25"
    per_layer = Prefill(model, text).compressed(presses.make(spec), 30)
    assert per_layer.slots() == [30, 60, 45]
    # layers of different lengths crash under sdpa elsewhere: here each has its own mask
    with pytest.raises(RuntimeError):
        model(ids(5), past_key_values=per_layer.clone().cache)
    assert torch.isfinite(per_layer.feed(ids(5))).all()
    plain = Prefill(model, text).compressed(presses.make("knorm"), 30)
    assert torch.equal(per_layer.positions[0][..., :30], plain.positions[0])


def test_budgets_are_exact_to_the_token():
    lengths = range(1, 400)
    for keep in ("0.1", "0.3", "0.5", "0.7", "0.9", "0.95"):
        for n in lengths:
            wanted = CacheBudget.of(keep=keep).tokens(n)
            assert wanted == max(1, n * int(float(keep) * 100 + 0.5) // 100)
            # whatever kvpress makes of the ratio must be that many
            assert max(1, int(n * (1 - ratio_for(wanted, n)))) == wanted
    # the float trap itself: kvpress' arithmetic on the ratio a user would give keeps 1 of 10 instead of 2
    assert int(10 * (1 - 0.8)) == 1 and CacheBudget.of(compression_ratio=0.8).tokens(10) == 2
    assert CacheBudget.of(compression_ratio=0.9).tokens(10) == 1 and int(10 * (1 - 0.9)) == 0


def test_keep_and_removed_are_opposites():
    assert CacheBudget.of(compression_ratio=0.1) == CacheBudget.of(keep=0.9) == CacheBudget.parse(".9")
    assert CacheBudget.parse("256t").tokens(1000) == 256 == CacheBudget.of(tokens=256).tokens(300)
    assert CacheBudget.of(tokens=256).tokens(100) == 100
    for wrong in ("0", "1.1", "-0.5", "a"):
        with pytest.raises(UsageError, match="keep="):
            CacheBudget.parse(wrong)
    with pytest.raises(UsageError, match="compression_ratio=1"):
        CacheBudget.of(compression_ratio=1)
    with pytest.raises(UsageError, match="exactly one"):
        CacheBudget.of(keep=0.5, tokens=3)


@pytest.mark.parametrize(
    "spec", ["random", "random_sinks", "knorm_protected:recent=8", "knorm_high", "protected:press=keydiff,recent=8"]
)
def test_controls_respect_the_budget_and_keep_true_positions(spec):
    model, text = make("llama"), ids(CONTEXT)
    prefill = Prefill(model, text)
    state = prefill.compressed(presses.make(spec), 20)
    assert state.lengths() == [(20, 20)] * 3 and state.next_B.tolist() == [CONTEXT]
    for layer, pos_BHK in enumerate(state.positions):
        keys = prefill.state.keys_values(layer)[0]
        at = pos_BHK.unsqueeze(-1).expand(-1, -1, -1, keys.shape[-1])
        assert torch.equal(keys.gather(2, at), state.keys_values(layer)[0])
        assert (pos_BHK.diff(dim=-1) > 0).all()


def test_controls_are_what_they_say():
    model, text = make("llama"), ids(CONTEXT)
    prefill = Prefill(model, text)
    norms = prefill.state.keys_values(0)[0].norm(dim=-1)
    low, high = (prefill.compressed(presses.make(s), 30).positions[0] for s in ("knorm", "knorm_high"))
    assert torch.equal(low, norms.topk(30, largest=False).indices.sort(-1).values)
    assert sorted(low[0, 0].tolist() + high[0, 0].tolist()) == list(range(CONTEXT))
    sinks = prefill.compressed(presses.make("random_sinks:sinks=6"), 20)
    assert all((p[..., :6] == torch.arange(6)).all() for p in sinks.positions)
    guarded = prefill.compressed(presses.make("knorm_protected:sinks=2,recent=5"), 12).positions[0]
    assert (guarded[..., :2] == torch.arange(2)).all() and (guarded[..., -5:] == torch.arange(55, 60)).all()
    same = prefill.compressed(presses.make("protected:press=knorm,sinks=2,recent=5"), 12).positions[0]
    assert torch.equal(same, guarded)
    tight = prefill.compressed(presses.make("knorm_protected:sinks=4,recent=32"), 6).positions[0]
    assert tight[0, 0].tolist() == [0, 1, 2, 3, 58, 59]
    skipping = prefill.compressed(presses.make("skip_layers:press=knorm,layers=0+2"), 20)
    assert skipping.slots() == [60, 20, 60]


def test_random_is_uniform_over_tokens():
    model, text = make("mha"), ids(CONTEXT)
    prefill = Prefill(model, text)
    counts = torch.zeros(CONTEXT)
    for seed in range(40):
        for pos_BHK in prefill.compressed(presses.make(f"random:seed={seed}"), 15).positions:
            counts += torch.bincount(pos_BHK.flatten(), minlength=CONTEXT)
    draws = 40 * 3 * 4
    expected, deviation = draws * 15 / CONTEXT, (draws * 0.25 * 0.75) ** 0.5
    assert (counts - expected).abs().max() < 4.5 * deviation
    one = prefill.compressed(presses.make("random"), 15).positions
    assert not torch.equal(one[0], one[1]) and not torch.equal(one[0][:, 0], one[0][:, 1])
    assert torch.equal(one[0], prefill.compressed(presses.make("random"), 15).positions[0])
    # kvpress' own, seeded, keeps the same tokens in every layer
    theirs_too = prefill.compressed(presses.make("kvpress_random:seed=0"), 15).positions
    assert torch.equal(theirs_too[0], theirs_too[1])


def test_low_precision_norms_tie_and_kvpress_does_not():
    keys = torch.randn(1, 2, 2000, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    tied = keys.norm(dim=-1)  # rounded to bf16: the trap
    scores = presses.make("knorm").score(None, None, keys, None, None, {})
    assert scores.dtype == torch.float32 and scores.unique().numel() > 3000 > 200 > tied.unique().numel()


def test_reasons_of_a_press_become_one_sentence():
    model, text = make("llama"), ids(CONTEXT)
    prefill = Prefill(model, text)
    with pytest.raises(PressFailed, match="greater than the window size 64"):
        prefill.compressed(presses.make("snapkv"), 20)
    with pytest.raises(PressFailed, match="eager"):
        prefill.compressed(presses.make("observed_attention"), 20)
    with pytest.raises(PressFailed, match="cannot be told"):
        prefill.compressed(_half_keys(), 20)
    model.set_attn_implementation("eager")
    assert Prefill(model, text).compressed(presses.make("observed_attention"), 20).slots() == [20] * 3


def _half_keys():
    class HalfKeys(kvpress.BasePress):
        def compress(self, module, hidden_states, keys, values, attentions, kwargs):
            return keys[:, :, ::2] * 0.5, values[:, :, ::2]

    return HalfKeys()


def test_names_settings_and_hints():
    found = presses.parse("knorm,snapkv:window_size=16,kernel_size=3,StreamingLLMPress,random-sinks")
    assert [str(s) for s in found] == ["knorm", "snapkv:window_size=16,kernel_size=3", "streaming_llm", "random_sinks"]
    assert found[1].build().kernel_size == 3
    assert presses.make("skip_layers:press=knorm,layers=0+3").layers == (0, 3)
    for text, words in {
        "knrm": "did you mean 'knorm'",
        "knorm:x=1": "no setting 'x'",
        "snapkv:window_size=wide": "is not a number",
        "adakv": "adakv:press=knorm",
        "decoding": "--rolling",
        "knorm:keep=0.5": "given once for all presses",
        "": "names no press",
        "snapkv:window_size": "has no value",
    }.items():
        with pytest.raises(UsageError, match=words.replace("(", r"\(")):
            presses.parse(text)


def test_parse_keeps_settings_of_a_press_within():
    (found,) = presses.parse("protected:sinks=2,press=snapkv:window_size=16,recent=5")
    press = found.build()
    assert (press.sinks, press.recent, press.press.window_size) == (2, 5, 16)
    assert presses.parse(str(found)) == [found]
    assert presses.spec_of(presses.make("snapkv:window_size=16")) == "snapkv:window_size=16"


def test_register_adds_a_press_from_outside():
    @dataclass
    class Last(kvpress.StreamingLLMPress):
        """Keeps the last tokens."""

        n_sink: int = 0

    try:
        presses.register(Last, "last_tokens")
        assert presses.make("Last-Tokens:n_sink=1").n_sink == 1 and presses.name_of(Last) == "last_tokens"
        assert {"name": "last_tokens", "summary": "Keeps the last tokens."}.items() <= presses.table()[
            presses.names().index("last_tokens")
        ].items()
        with pytest.raises(UsageError, match="not a BasePress"):
            presses.register(int, "int")
    finally:
        presses.unregister("last_tokens")


def test_every_press_of_kvpress_is_found():
    classes = {presses.get(n) for n in presses.names()}
    acting_while_decoding = (kvpress.DecodingPress, kvpress.PrefillDecodingPress)
    theirs_all = {getattr(kvpress, n) for n in kvpress.__all__ if n.endswith("Press")}
    theirs_all -= {kvpress.BasePress, kvpress.ScorerPress}
    missing = {c for c in theirs_all if c not in classes and not issubclass(c, acting_while_decoding)}
    assert not missing and len(classes) > 45
    rows = {r["name"]: r for r in presses.table()}
    assert rows["knorm"]["reference"] == "2406.11430" and "window_size=64" in rows["snapkv"]["settings"]


def test_without_kvpress_one_sentence_says_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "kvpress" else real(name, *a))
    with pytest.raises(MissingExtra, match=r'pip install "unmask\[kv\]"'):
        presses.parse("knorm")
    assert presses.names() == []


def test_rolling_presses_still_know_first_and_last():
    # after an eviction slots lie by position, so "first" and "last" mean the text's: sinks survive many evictions
    from unmask.kvcache.eviction import evict, prepared

    model = make("llama")
    text = ids(CONTEXT)
    for spec in ("streaming_llm", "knorm_protected:recent=8"):
        state, seen = PositionedCache(model, 1), []
        press = presses.make(spec)
        with prepared(press, model):
            for i in range(0, CONTEXT, 5):
                state.feed(text[:, i : i + 5], record=seen)
                evict(state, seen, press, 16)
        for pos_BHK in state.positions:
            assert (pos_BHK[..., :4] == torch.arange(4)).all() and (pos_BHK[..., -8:] == torch.arange(52, 60)).all()
