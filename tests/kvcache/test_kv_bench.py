"""Self-checks that refuse, probes that can be answered, timing that is honest, and the tree they make."""

import importlib.util
import json
import math
from dataclasses import replace

import pytest
import torch

from tiny_causal import KINDS, ids, make
from tiny_reader import PROSE, TinyReader
from unmask.core.errors import MissingExtra, UsageError
from unmask.diagnosis.faults._measured import StoredOrder
from unmask.diagnosis.faults.shrunken_positions import ShrunkenPositions
from unmask.kvcache import timing
from unmask.kvcache.bench import Settings, bench, plan, text_windows
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.longset import TASKS, _copy, longset
from unmask.kvcache.needle import needles
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.press import PressSpec, presses
from unmask.kvcache.probes import Filler, Probe, ask_probes
from unmask.kvcache.protocols import OneShot, Rolling
from unmask.kvcache.quantized import quantized
from unmask.kvcache.result import SelfCheck
from unmask.kvcache.scoring import ArmSpec, score
from unmask.kvcache.selfchecks import SelfCheckFailed, require, selfchecks
from unmask.reporting.kv import tables

pytest.importorskip("kvpress")
SMALL = Settings(
    press="knorm,adakv:press=knorm,snapkv", budgets=("1", "0.5"), context=60, continuation=40, windows=4,
    greedy=6, write=6, needles=1, long=1, repeats=1, new_tokens=3,
)  # fmt: skip


# ---- self-checks


@pytest.mark.parametrize("kind", KINDS)
def test_self_checks_pass_on_every_kind_of_model(kind):
    checks = selfchecks(make(kind), ids(100)[0], presses.parse("knorm,random_sinks,adakv:press=knorm"))
    require(checks)
    assert {c.name.split(":")[0] for c in checks} >= {
        "cached and uncached agree",
        "keep 1 is exact",
        "order of storage is free",
        "positions are true",
        "compressed once",
        "presses leave nothing behind",
    }


def failing(cache=PositionedCache):
    checks = selfchecks(make("llama"), ids(100)[0], presses.parse("knorm"), cache=cache)
    return {c.name.split(":")[0] for c in checks if not c.passed}


def test_positions_from_the_shrunken_cache_refuse_the_table():
    assert "positions are true" in failing(cache=ShrunkenPositions().measured())
    with pytest.raises(SelfCheckFailed, match="taken from the shrunken cache"):
        require(selfchecks(make("llama"), ids(100)[0], presses.parse("knorm"), cache=ShrunkenPositions().measured()))
    assert failing(cache=StoredOrder) == set()


def test_masks_by_slot_refuse_the_table():
    class BySlot(PositionedCache):
        def _mask(self, old_BHK, pos_BL, layer):
            # hides the slots whose number is above the token's place in the cache: right only while none was evicted
            seen = super()._mask(old_BHK, pos_BL, layer).clone()
            slots = old_BHK.shape[-1]
            seen[..., :slots] &= torch.arange(slots) < slots - 10 if slots < 75 else True
            return seen

    assert "positions are true" in failing(cache=BySlot)


def test_a_press_that_acts_at_keep_one_refuses_the_table(monkeypatch):
    from unmask.kvcache import prefill

    original = prefill.evict
    # keep versus remove: the fraction kept is handed over as the fraction removed
    monkeypatch.setattr(
        prefill, "evict", lambda state, seen, press, tokens: original(state, seen, press, max(1, 75 - tokens))
    )
    assert "keep 1 is exact" in failing()


def test_a_press_that_stays_on_the_model_refuses_the_table(monkeypatch):
    model = make("llama")
    from unmask.kvcache import eviction

    original, done = eviction._evict_layer, []

    def leaves_a_hook(state, layer, seen, press, tokens):
        original(state, layer, seen, press, tokens)
        if not done:
            done.append(state.attention[0].register_forward_hook(lambda m, a, out: (out[0] * 1.01, *out[1:])))

    monkeypatch.setattr(eviction, "_evict_layer", leaves_a_hook)
    checks = selfchecks(model, ids(100)[0], presses.parse("knorm"))
    assert any(c.name == "presses leave nothing behind" and not c.passed for c in checks)


def refuse(*args, **kwargs):
    raise ValueError("made for another model")


def test_a_press_that_refuses_the_model_is_left_out(monkeypatch):
    monkeypatch.setattr(type(presses.make("tova")), "post_init_from_model", refuse)
    settings = Settings(press="knorm,tova", budgets=("0.5",), context=60, continuation=20, windows=1, greedy=0,
                        write=0, needles=1, long=0, repeats=1, new_tokens=2)  # fmt: skip
    result = bench(TinyReader(), PROSE, settings)
    assert "made for another model" in result.arm("tova", "0.5").reason
    assert result.arm("knorm", "0.5").ppl is not None
    assert not any("tova" in c.name for c in result.checks) and any("knorm" in c.name for c in result.checks)
    assert "tova" not in {r.press for r in [*result.needle, *result.timing.rows]}


def test_require_names_the_pitfall():
    with pytest.raises(SelfCheckFailed, match="1 of 2 self-checks failed: b .off by 3.: because"):
        require([SelfCheck("a", True, "", ""), SelfCheck("b", False, "off by 3", "because")])


# ---- probes


def test_facts_lie_at_their_depth():
    causal = TinyReader()
    filler = Filler(causal, PROSE)
    fact = causal.encode("zebra quagga okapi", start=False)
    for depth in (0.0, 0.3, 1.0):
        made = filler.around([(depth, "zebra quagga okapi")], 300, seed=1)
        assert len(made) == 300
        places = [i for i in range(len(made) - 2) if torch.equal(made[i : i + 3], fact)]
        assert len(places) == 1 and abs(places[0] / (len(made) - 3) - depth) < 0.06
    with pytest.raises(UsageError, match="too short for 1 facts"):
        filler.around([(0.0, "a b c")], 3, 0)
    with pytest.raises(UsageError, match="give a longer one"):
        filler.around([], 10**6, 0)


@pytest.mark.parametrize("starts", [0, 1])
def test_texts_without_full_stops_fill_their_contexts_too(starts):
    class Reader(TinyReader):
        def encode(self, text, start=True):
            return torch.cat([torch.full((starts * start,), 96), super().encode(text, start)])

    causal = Reader()
    fact = causal.encode("zebra quagga okapi", start=False)
    for text in (PROSE, PROSE.replace(".", ","), " ".join(f"word{i}" for i in range(4000))):
        filler = Filler(causal, text)
        for length in (40, 61, 300):
            for depth in (0.0, 0.5, 1.0):
                made = filler.around([(depth, "zebra quagga okapi")], length, seed=3)
                assert len(made) == length and (made[:starts] == 96).all()
                (place,) = [i for i in range(length - 2) if torch.equal(made[i : i + 3], fact)]
                assert abs((place - starts) - depth * (length - starts - 3)) <= 16
        assert len(torch.stack([filler.around([], 100, seed) for seed in range(8)]).unique(dim=0)) > 1
        tasks = longset(causal, text, 100, each=2)
        assert {len(p.context) for p in tasks} == {100} and all(len(p.answer) for p in tasks)


def test_a_context_without_room_for_a_passage_is_refused():
    with pytest.raises(UsageError, match="context=47 tokens is too short"):
        _copy(TinyReader(), Filler(TinyReader(), PROSE), 47, 0)
    probe = _copy(TinyReader(), Filler(TinyReader(), PROSE), 48, 0)
    assert (len(probe.context), len(probe.question), len(probe.answer)) == (48, 16, 8)


def test_needles_and_tasks_ask_for_what_the_context_says():
    causal = TinyReader()
    found = needles(causal, PROSE, 200, depths=3, each=2)
    assert [p.depth for p in found] == [0, 0, 0.5, 0.5, 1, 1]
    for probe in found:
        whole = torch.cat([probe.question, probe.answer])
        spots = [i for i in range(len(probe.context)) if torch.equal(probe.context[i : i + len(whole)], whole)]
        assert len(spots) == 1
    assert torch.equal(needles(causal, PROSE, 200)[3].context, needles(causal, PROSE, 200)[3].context)
    tasks = longset(causal, PROSE, 300, each=2)
    assert [p.task for p in tasks[:4]] == ["lookup", "latest", "copy", "pattern"] and len(tasks) == 8
    assert set(TASKS) == {p.task for p in tasks}
    for probe in tasks:
        whole = torch.cat([probe.question, probe.answer])
        assert any(torch.equal(probe.context[i : i + len(whole)], whole) for i in range(len(probe.context))), probe.task


def test_probes_are_right_when_greedy_writing_is():
    model = make("llama")
    context, question = ids(50, 1)[0], ids(4, 2)[0]
    state = PositionedCache(model, 1)
    step = state.feed(torch.cat([context, question])[None])[:, -1].argmax(-1)
    written = [int(step)]
    for _ in range(2):
        step = state.feed(step[:, None])[:, -1].argmax(-1)
        written.append(int(step))
    right = Probe("t", context, question, torch.tensor(written))
    wrong = Probe("t", context, question, torch.tensor([*written[:2], (written[2] + 1) % 97]))
    arms = [ArmSpec(presses.parse("knorm")[0], CacheBudget.parse("0.2"))]
    for aware in (False, True):
        full, pressed = ask_probes(model, [right, wrong], arms, OneShot(), query_aware=aware)
        assert (full.press, full.right, full.asked) == ("full", 1, 2)
        assert (pressed.press, pressed.budget, pressed.asked) == ("knorm", "0.2", 2)


def test_a_press_that_fails_on_a_later_probe_has_no_row(monkeypatch):
    kind, calls = type(presses.make("tova")), []

    def twice(self, model):
        calls.append(model)
        if len(calls) > 2:
            refuse()

    monkeypatch.setattr(kind, "post_init_from_model", twice)
    arms = [ArmSpec(s, CacheBudget.parse("0.5")) for s in presses.parse("tova,knorm")]
    probes = [Probe("t", ids(50, i)[0], ids(6, 1)[0], ids(2, 2)[0]) for i in range(4)]
    rows = ask_probes(make("llama"), probes, arms, OneShot())
    assert [(r.press, r.asked) for r in rows] == [("full", 4), ("knorm", 4)]


def test_query_aware_presses_see_the_question():
    model, seen = make("llama"), []

    class Spy(OneShot):
        def start(self, prefill, press, budget):
            seen.append(prefill.length)
            return super().start(prefill, press, budget)

    arms = [ArmSpec(presses.parse("knorm")[0], CacheBudget.parse("0.5"))]
    probe = Probe("t", ids(50)[0], ids(6, 1)[0], ids(2, 2)[0])
    ask_probes(model, [probe], arms, Spy())
    ask_probes(model, [probe], arms, Spy(), query_aware=True)
    assert seen == [50, 55]


# ---- timing


class FakeTime:
    """A clock that only the model moves: a second a prefilled token, ten milliseconds a decoded one."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_times_are_those_of_their_definitions(monkeypatch):
    clock = FakeTime()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    model = make("llama")
    forward = model.forward

    def slow(*args, input_ids=None, **kwargs):
        clock.now += 0.001 * input_ids.shape[1] if input_ids.shape[1] > 1 else 0.01
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(model, "forward", slow)
    arms = [ArmSpec(presses.parse("knorm")[0], CacheBudget.parse("0.5"))]
    found = timing.time_arms(model, ids(40)[0], arms, sizes=[(1, 40), (2, 20)], new_tokens=5, repeats=3)
    full, again, knorm = found.rows[:3]
    assert [r.press for r in found.rows] == ["full", "full again", "knorm"] * 2
    for row in (full, again, knorm):
        # TPOT = (latency - TTFT) / (tokens - 1)
        assert row.ttft_ms.median == pytest.approx(40) and row.tpot_ms.median == pytest.approx(10)
        assert row.ttft_ms.n == 3 and row.itl_ms.n == 12 and row.tokens_per_s == pytest.approx(5 / 0.08)
    assert found.noise_ttft == pytest.approx(0, abs=1e-9)
    assert knorm.slots == (20, 20) and knorm.cache_bytes * 2 == full.cache_bytes
    assert sorted(r.cold_order for r in found.rows[:3]) == [1, 2, 3]
    assert found.rows[3].batch == 2 and found.rows[3].tokens_per_s == pytest.approx(2 * 5 / 0.06)


def test_compression_is_inside_the_clock_and_noise_is_seen(monkeypatch):
    clock = FakeTime()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    model = make("llama")
    original, count = timing.prefill_compressed, []

    def slow(model, ids_BL, press, tokens):
        count.append(press)
        # every other uncompressed prefill is slow: the noise floor must be no smaller
        clock.now += 1.0 + (0.5 if press is not None else 0.2 * (len(count) % 2))
        return original(model, ids_BL, press, tokens)

    forward = model.forward

    def ticking(*args, **kwargs):
        clock.now += 0.01
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", ticking)
    monkeypatch.setattr(timing, "prefill_compressed", slow)
    arms = [ArmSpec(presses.parse("knorm")[0], CacheBudget.parse("0.5"))]
    found = timing.time_arms(model, ids(40)[0], arms, sizes=[(1, 40)], new_tokens=2, repeats=4)
    assert found.rows[2].ttft_ms.median == pytest.approx(1510)
    assert found.noise_ttft > 0.05


def test_turns_are_drawn_and_the_cold_run_is_apart(monkeypatch):
    order = []
    original = timing._run

    def note(model, ids_BL, asked, new_tokens, peak):
        order.append(asked.name)
        return original(model, ids_BL, asked, new_tokens, peak)

    monkeypatch.setattr(timing, "_run", note)
    arms = [ArmSpec(s, CacheBudget.parse("0.5")) for s in presses.parse("knorm,tova,keydiff,kvzip")]
    found = timing.time_arms(make("llama"), ids(30)[0], arms, sizes=[(1, 30)], new_tokens=2, repeats=6)
    assert "kvzip" not in {r.press for r in found.rows}  # it cannot be timed: no row, not a wrong one
    rounds = [order[6 + i : 11 + i] for i in range(0, 35, 5)]
    assert all(sorted(r) == sorted(rounds[0]) for r in rounds) and len({tuple(r) for r in rounds}) > 3
    assert all(r.ttft_ms.n == 6 for r in found.rows)


@pytest.mark.parametrize("budgets", [("1",), ("500t",)])
def test_without_removal_the_full_cache_is_measured(budgets, tmp_path):
    settings = Settings(press="knorm", budgets=budgets, context=100, continuation=20, windows=1, greedy=0, write=0,
                        needles=1, long=1, repeats=1, new_tokens=2)  # fmt: skip
    result = bench(TinyReader(), PROSE, settings)
    assert [a.press for a in result.arms] == ["full"] and {r.press for r in result.needle} == {"full"}
    assert [r.press for r in result.timing.rows] == ["full", "full again"]
    assert len(tables(result)) == 4 and all(path.is_file() for path in result.save(tmp_path))


@pytest.mark.parametrize("sizes", [[], [(0, 20)], [(1, 0)]])
def test_sizes_that_cannot_be_timed_are_refused(sizes):
    with pytest.raises(UsageError, match="sizes="):
        timing.time_arms(make("llama"), ids(40)[0], [], sizes=sizes, new_tokens=2, repeats=1)


# ---- the whole


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"repeats": -1}, "repeats=-1 must be at least 0"),
        ({"batches": (1, 0)}, "batch=0 must be at least 1"),
        ({"batches": ()}, "no batch size"),
        ({"timed_contexts": (0,)}, "timed_context=0 must be at least 1"),
        ({"new_tokens": 1}, "new_tokens=1 must be at least 2"),
        ({"context": 40}, "context=40 tokens is too short for 8 facts"),
        ({"context": 10, "long": 0}, "context=10 tokens is too short for 1 facts"),
        ({"timed_contexts": (60, 127)}, "up to 129 positions, but tiny has 128"),
        ({"write": 80}, "up to 140 positions, but tiny has 128"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_before_scoring(monkeypatch, changed, says):
    from unmask.kvcache import bench as room

    monkeypatch.setattr(room, "score", lambda *a, **k: pytest.fail("scored"))
    with pytest.raises(UsageError, match=says):
        bench(TinyReader("gpt2"), PROSE, replace(SMALL, **changed))


def test_learned_positions_are_used_up_to_the_last():
    settings = Settings(press="knorm", budgets=("0.5",), context=100, continuation=28, windows=1, greedy=28, write=28,
                        needles=0, long=0, repeats=1, new_tokens=3, timed_contexts=(126,))  # fmt: skip
    assert bench(TinyReader("gpt2"), PROSE, settings).timing.rows


def test_rotary_models_are_timed_at_any_length():
    settings = Settings(press="knorm", budgets=("0.5",), context=50, continuation=20, windows=1, greedy=0, write=0,
                        needles=0, long=0, repeats=1, new_tokens=2, timed_contexts=(600,))  # fmt: skip
    assert {r.context for r in bench(TinyReader(), PROSE, settings).timing.rows} == {600}


def test_the_bench_makes_one_tree(tmp_path):
    result = bench(TinyReader(), PROSE, SMALL)
    json_path, page_path = result.save(tmp_path / "out")
    tree = json.loads(json_path.read_text())
    names = [(a["press"], a["budget"]) for a in tree["arms"]]
    assert names[0] == ("full", "1") and ("knorm", "0.5") in names and ("random_sinks", "0.5") in names
    assert tree["arms"][0]["dnll"]["value"] == 0 and tree["protocol"]["scored_tokens"] == 4 * 39
    unmeasured = next(a for a in tree["arms"] if a["press"] == "snapkv")
    assert unmeasured["ppl"] is None and unmeasured["full_ppl"] is None and "window size" in unmeasured["reason"]
    hidden = result.arm("adakv:press=knorm", "0.5")
    assert hidden.sizes.masked_only and hidden.sizes.saved == 0
    assert any("hides tokens and frees no memory" in n for n in result.notes)
    assert any("snapkv at 0.5 was not measured" in n for n in result.notes)
    assert {r.press for r in result.needle} >= {"full", "knorm", "random_sinks"}
    assert {r.press for r in result.timing.rows} == {"full", "full again", "knorm", "adakv:press=knorm"}
    page = page_path.read_text()
    assert "not measured" in page and page.count("<svg") == 4 and "prefers-color-scheme: dark" in page
    assert "<script" not in page and "src=" not in page and 'href="http' not in page and "@import" not in page
    assert not list((tmp_path / "out").glob(".*"))
    assert len(tables(result)) == 4


def test_the_bench_is_reproducible():
    settings = Settings(press="knorm", budgets=("0.5",), context=50, continuation=20, windows=2, greedy=4, write=4,
                        needles=1, long=0, repeats=0)  # fmt: skip
    one, two = (bench(TinyReader(), PROSE, settings) for _ in range(2))
    assert one.json() == two.json() and one.timing is None


def test_names_from_outside_are_escaped(tmp_path):
    causal = TinyReader()
    causal.name = "<img src=x onerror=alert(1)>"
    settings = Settings(press="knorm", budgets=("0.5",), context=50, continuation=20, windows=1, greedy=0, write=0,
                        needles=0, long=0, repeats=0)  # fmt: skip
    _, page = bench(causal, PROSE, settings).save(tmp_path)
    assert "<img" not in page.read_text() and "&lt;img" in page.read_text()


def test_a_failed_self_check_leaves_no_table(monkeypatch):
    from unmask.kvcache import bench as room

    monkeypatch.setattr(
        room, "selfchecks", lambda *a, **k: [SelfCheck("positions are true", False, "0.4 nats", "pitfall")]
    )
    with pytest.raises(SelfCheckFailed, match="pitfall"):
        bench(TinyReader(), PROSE, SMALL)


def test_plan_has_the_full_cache_once():
    arms = plan(presses.parse("knorm,streaming_llm"), Settings(budgets=("1", "0.5", "0.50", "2000t"), context=100))
    assert [(a.name, str(a.budget), a.control) for a in arms] == [
        ("full", "1", False),
        ("knorm", "0.5", False),
        ("streaming_llm", "0.5", False),
        ("random", "0.5", True),
        ("random_sinks", "0.5", True),
    ]
    assert plan([PressSpec("knorm")], Settings(budgets=("0.5",), controls=False))[1:] == [
        ArmSpec(PressSpec("knorm"), CacheBudget.parse("0.5"))
    ]


def test_windows_are_cut_evenly_and_never_too_long():
    causal = TinyReader()
    body = causal.encode(PROSE)
    found = text_windows(causal, PROSE, Settings(context=60, continuation=40, windows=3))
    assert torch.equal(found[0], body[:100]) and torch.equal(found[2], body[(len(body) - 100) // 2 * 2 :][:100])
    with pytest.raises(UsageError, match="give a longer text"):
        text_windows(causal, "Too short.", Settings(context=60, continuation=40))
    with pytest.raises(UsageError, match="has 512 positions"):
        text_windows(causal, PROSE, Settings(context=500, continuation=40))
    with pytest.raises(UsageError, match="continuation=1"):
        text_windows(causal, PROSE, Settings(continuation=1))
    with pytest.raises(UsageError, match="no budget"):
        plan([], Settings(budgets=()))
    assert math.isfinite(Settings().seed)


# ---- quantised caches


def rounded_cache(monkeypatch, levels):
    """transformers' own quantised cache with a rounding that can be written down: to multiples of 1 / levels."""
    from transformers import Cache, cache_utils

    class Rounded(cache_utils.QuantizedLayer):
        def _quantize(self, tensor, axis):
            return (tensor * levels).round().to(torch.int16)

        def _dequantize(self, stored):
            return stored.float() / levels

    made = lambda backend, config, nbits, q_group_size: Cache(  # noqa: E731
        layers=[Rounded(residual_length=8) for _ in range(config.num_hidden_layers)]
    )
    monkeypatch.setattr("transformers.QuantizedCache", made)


def test_a_quantised_cache_is_scored_and_weighed_like_any_other(monkeypatch):
    model, texts = make("llama"), [ids(100, seed)[0] for seed in range(4)]
    arm = ArmSpec(None, CacheBudget.of(keep=1), bits=4)
    rounded_cache(monkeypatch, 4096)
    _, (fine,) = score(model, texts, 60, [arm], OneShot(), greedy=4, write=4)
    rounded_cache(monkeypatch, 1)
    _, (coarse,) = score(model, texts, 60, [arm], OneShot(), greedy=4, write=4)
    assert fine.press == "4-bit" and 0 < fine.kl < 1e-4 < 0.05 < coarse.kl
    # int16 instead of float32: half the bytes of what was there after the prefill
    assert 2 * fine.sizes.bytes == fine.sizes.full_bytes == 60 * 3 * 2 * 2 * 8 * 4
    rounded_cache(monkeypatch, 4096)
    _, (rolling,) = score(model, texts[:1], 60, [arm], Rolling(8), greedy=0, write=0)
    # the newest 40 tokens wait in full precision
    assert rolling.sizes.bytes == (60 // 2 + 40) * 3 * 2 * 2 * 8 * 4


def test_quantised_caches_need_their_package_and_known_bits(monkeypatch):
    import transformers

    def missing(*args, **kwargs):
        raise ImportError("optimum-quanto")

    monkeypatch.setattr(transformers, "QuantizedCache", missing)
    with pytest.raises(MissingExtra, match="pip install optimum-quanto"):
        quantized(Prefill(make("llama"), ids(20)).full(), 4)
    if importlib.util.find_spec("optimum") is None:  # and that is said before anything is measured
        with pytest.raises(MissingExtra, match="pip install optimum-quanto"):
            bench(TinyReader(), "Too short, which is said later.", Settings(quantize=(4,)))
    with pytest.raises(UsageError, match="quantize=3"):
        plan(presses.parse("knorm"), Settings(quantize=(3,)))
