"""What a user of generate may rely on, and the bugs of public samplers that it must not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from decoding_toy import EOS, MASK, PAD, VOCAB, TinyNet, canvas
from oracles import UniformDenoiser
from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UnmaskError, UsageError
from unmask.decoding import DecodingPlan, Guidance, Progress, Trace, generate, logit_stats
from unmask.decoding.guidance import guide
from unmask.decoding.logit_stats import LogitStats
from unmask.decoding.order import ranked
from unmask.decoding.packed_lm_head import PackedLMHead
from unmask.decoding.state import SamplerState


def latents(rows: int = 4) -> Condition:
    return Condition.of(torch.randn(rows, 16, generator=torch.Generator().manual_seed(7)))


def stats_of(logits_NV: Tensor, *needs: str) -> LogitStats:
    return LogitStats(
        lambda k: logits_NV if k is None else logits_NV[k], len(logits_NV), logits_NV.shape[1], set(needs)
    )


# -- statistics -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("vocab", [50, 256, 1000])
def test_statistics_equal_the_plain_softmax(vocab: int) -> None:
    logits_NV = torch.randn(7, vocab, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    logits_NV[:, 9] = float("-inf")
    rows, p_NV = stats_of(logits_NV, "best", "rest", "second", "entropy"), logits_NV.softmax(-1)
    top = p_NV.topk(2, dim=-1)
    assert torch.equal(rows.best_id_N, top.indices[:, 0])
    torch.testing.assert_close(rows.top_prob_N, top.values[:, 0])
    torch.testing.assert_close(rows.log_best_N, top.values[:, 0].log())
    torch.testing.assert_close(1 - rows.shortfall_N, top.values[:, 0] - top.values[:, 1])
    torch.testing.assert_close(rows.log_norm_N, logits_NV.logsumexp(-1))
    torch.testing.assert_close(rows.entropy_N, torch.special.entr(p_NV).sum(-1))


def test_the_best_id_is_the_first_of_the_largest() -> None:
    for vocab in (3, 256, 600, 1024):
        for places in ([0], [vocab - 1], [vocab // 2, vocab - 1], [1, 2], [0, vocab // 2, vocab - 1]):
            logits_NV = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
            logits_NV[1, places] = 9.0
            assert stats_of(logits_NV).best_id_N[1] == places[0] and stats_of(logits_NV).best_N[1] == 9
            assert torch.equal(stats_of(logits_NV).best_id_N[::2], logits_NV[::2].argmax(-1))
    logits_NV[2, 700] = float("nan")
    with pytest.raises(UnmaskError, match="NaN"):
        _ = stats_of(logits_NV).best_id_N


def test_statistics_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x_BL = TinyNet(), canvas()
    plan = DecodingPlan(order="entropy", steps=5)
    whole = generate(net, x_BL, plan)
    monkeypatch.setattr(logit_stats, "CHUNK_ELEMENTS", 2 * VOCAB)
    pieces = generate(net, x_BL, plan)
    assert torch.equal(whole.sequences, pieces.sequences)
    assert pieces.head_rows > whole.head_rows


def test_saturated_confidences_stay_apart() -> None:
    """Dream#72: in an fp32 softmax both rows have p = 1.0, and the leftmost wins."""
    logits_NV = torch.zeros(2, 5)
    logits_NV[0, 1], logits_NV[1, 1] = 40.0, 60.0
    assert torch.equal(logits_NV.softmax(-1).amax(-1), torch.ones(2))
    rows = stats_of(logits_NV, "best", "rest", "second", "entropy")
    assert rows.log_best_N[1] > rows.log_best_N[0]
    assert rows.shortfall_N[1] < rows.shortfall_N[0]
    assert rows.entropy_N[1] < rows.entropy_N[0]


@pytest.mark.parametrize("trace", ["committed", None])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "random"},
        {"order": "left_to_right"},
        {"order": "random", "draw": "gumbel"},
        {"sampler": "ancestral"},
        {"sampler": "first_hitting"},
    ],
    ids=str,
)
def test_nan_logits_are_an_error_that_says_so(settings: dict[str, Any], trace: Any) -> None:
    """Orders that ask nothing of the logits as well: garbage was written, or the last id, which may be the mask."""

    class Broken(TinyNet):
        def head(self, h_ND: Tensor) -> Tensor:
            return torch.full((len(h_ND), VOCAB), float("nan"))

    def stop(progress: Progress) -> None:
        assert progress.forward < 50, "the mask id is written again and again"

    with pytest.raises(UnmaskError, match="NaN"):
        generate(Broken(), canvas(rows=1), DecodingPlan(**settings), trace=trace, callback=stop)


# -- ties -----------------------------------------------------------------------------------------------------------
def test_ties_are_broken_by_seed_never_by_position() -> None:
    """Every position of a uniform model has the same confidence: its first must be any of the eight alike."""
    rows, length = 4000, 8
    x_BL = torch.full((rows, length), 10)
    for order in ("top_prob", "margin", "entropy"):
        plan = DecodingPlan(order=order, quota="one", temperature=0.0)
        trace = generate(UniformDenoiser(), x_BL, plan).trace
        assert trace is not None
        first = trace.events["position"][trace.events["step"] == 0]
        assert stats.chisquare(torch.bincount(first, minlength=length).numpy()).pvalue > 1e-3
        left = (trace.events["position"] == trace.events["step"]).double().mean()
        assert float(left) == pytest.approx(1 / length, abs=0.02)


def test_candidates_of_no_score_come_before_given_ones() -> None:
    x_BL = torch.full((1, 6), MASK)
    x_BL[0, :2] = 5

    ids = torch.tensor([0])
    all_BL = torch.ones(1, 6, dtype=torch.bool)
    c = SamplerState.start(x_BL, x_BL == MASK, all_BL, ids, mask_id=MASK, seed=0, steps=None, block_length=None)
    order_RL, rank_RL = ranked(torch.full((1, 6), float("-inf"), dtype=torch.float64), c.open_RL, c)
    assert set(order_RL[0, :4].tolist()) == {2, 3, 4, 5}
    assert torch.equal(order_RL.gather(1, rank_RL), torch.arange(6)[None])


# -- guidance -------------------------------------------------------------------------------------------------------
def test_guidance_is_the_stated_formula() -> None:
    g = torch.Generator().manual_seed(0)
    c, u = (torch.randn(3, 9, generator=g, dtype=torch.float64) for _ in range(2))
    for gamma in (0.0, 0.5, 1.0, 2.7):
        mixed = gamma * c.log_softmax(-1) + (1 - gamma) * u.log_softmax(-1)
        torch.testing.assert_close(guide(c, u, gamma).log_softmax(-1), mixed - mixed.logsumexp(-1, keepdim=True))
    # the sources' forms: l_c + w (l_c - l_u) with gamma = w + 1, and l_u + (cfg + 1)(l_c - l_u) with gamma = cfg + 1
    torch.testing.assert_close(guide(c, u, 3.0).softmax(-1), (c + 2 * (c - u)).softmax(-1))
    torch.testing.assert_close(guide(c, u, 3.0).softmax(-1), (u + 3 * (c - u)).softmax(-1))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 3.0])
def test_guidance_where_a_branch_forbids(gamma: float) -> None:
    """What p_c forbids stays forbidden; what only p_u forbids keeps log p_c; constants a row and branch fall out."""
    g = torch.Generator().manual_seed(0)
    c, u = (torch.randn(4, 9, generator=g, dtype=torch.float64) for _ in range(2))
    inf = float("inf")
    c[:, 4] = u[:, 4] = -inf
    c[0, 5] = u[1, 6] = u[2, 4] = -inf
    u[0, 4] = 0.3
    log_c, log_u = c.log_softmax(-1), u.log_softmax(-1)
    only_u = torch.isinf(log_u) & torch.isfinite(log_c)
    mixed = gamma * log_c + (1 - gamma) * log_u
    wanted = torch.where(torch.isinf(log_c), -inf, torch.where(only_u, log_c, mixed)).log_softmax(-1)
    torch.testing.assert_close(guide(c, u, gamma).log_softmax(-1), wanted)
    assert (wanted[:, 4] == -inf).all() and wanted[0, 5] == -inf and torch.isfinite(wanted[1, 6])
    shift = torch.tensor([[100.0], [-3.0], [0.0], [7.0]], dtype=torch.float64)
    torch.testing.assert_close(guide(c + shift, u - 2 * shift, gamma).log_softmax(-1), wanted)


def test_a_linear_head_mixes_the_branches_before_it() -> None:
    """Half the rows and the same logits as two heads mixed; a head of the denoiser's own sees both branches."""

    class Own(TinyNet):
        def head(self, h_ND: Tensor) -> Tensor:
            return super().head(h_ND)

    plain, own = TinyNet(conditional=True), Own(conditional=True)
    h_2ND = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    for gamma in (0.0, 0.5, 3.0):
        mixed, rows = PackedLMHead(plain, 1).guided(*h_2ND, gamma)
        apart, own_rows = PackedLMHead(own, 1).guided(*h_2ND, gamma)
        torch.testing.assert_close(mixed.softmax(-1), apart.softmax(-1))
        assert (rows, own_rows) == (5, 10) and (mixed[:, MASK] == float("-inf")).all()


def test_guidance_by_null_takes_both_branches_in_one_forward() -> None:
    net, x_BL = TinyNet(conditional=True), canvas()
    x_BL[:, :] = MASK
    plain = generate(net, x_BL, DecodingPlan(steps=5), cond=latents(), trace=None)
    net.calls.clear()
    strong = generate(net, x_BL, DecodingPlan(steps=5, guidance=3.0), cond=latents(), trace=None)
    assert set(net.calls) == {8} and strong.forwards == plain.forwards == 5
    assert strong.head_rows == plain.head_rows
    net.calls.clear()
    none = generate(net, x_BL, DecodingPlan(steps=5, guidance=1.0), cond=latents(), trace=None)
    assert set(net.calls) == {4} and none.head_rows == plain.head_rows
    assert torch.equal(none.sequences, plain.sequences)
    zero = generate(net, x_BL, DecodingPlan(steps=5, guidance=0.0), cond=latents(), trace=None)
    without = generate(net, x_BL, DecodingPlan(steps=5), cond=latents().nulled(), trace=None)
    assert torch.equal(zero.sequences, without.sequences)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.7])
def test_guidance_by_prompt_needs_no_attention_mask(gamma: float) -> None:
    """LLaDA raises without one; duo raises for weights other than 0 and 1."""
    net, x_BL = TinyNet(), canvas()
    plan = DecodingPlan(steps=5, guidance=Guidance(gamma, "prompt"))
    out = generate(net, x_BL, plan)
    assert not (out.sequences == MASK).any()
    if gamma == 0:
        blind_BL = torch.full_like(x_BL, MASK)
        fill_BL = x_BL == MASK

        class Promptless(TinyNet):
            def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
                return super().body(torch.where(fill_BL[: len(x_BL)], x_BL, blind_BL[: len(x_BL)]), *args, **kwargs)

        alone = generate(Promptless(), x_BL[:1], DecodingPlan(steps=5))
        assert torch.equal(alone.sequences[0, 3:], out.sequences[0, 3:])


def test_guidance_with_nothing_to_guide_by_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to guide by"):
        generate(TinyNet(), torch.full((1, 5), MASK), DecodingPlan(guidance=2.0))
    with pytest.raises(UsageError, match="semantic condition"):
        generate(TinyNet(), canvas(), DecodingPlan(guidance=Guidance(2.0, "null")))


# -- rows of all shapes ---------------------------------------------------------------------------------------------
def test_padding_on_either_side_changes_nothing() -> None:
    net, x_BL = TinyNet(), canvas(rows=1, length=9)
    plan = DecodingPlan(order="margin", steps=4)
    plain = generate(net, x_BL, plan).sequences
    for left, right in ((0, 4), (4, 0), (2, 3)):
        padded_BL = torch.nn.functional.pad(x_BL, (left, right), value=PAD)
        valid_BL = torch.nn.functional.pad(torch.ones_like(x_BL, dtype=torch.bool), (left, right), value=False)
        out = generate(net, padded_BL, plan, valid_BL=valid_BL).sequences
        assert torch.equal(out[valid_BL], plain[0])
        assert (out[~valid_BL] == PAD).all()


def test_unequal_masks_keep_prompts_and_leave_no_mask() -> None:
    """A batch-mean quota (Dream's) overwrites prompts of short rows and leaves masks in long ones."""
    x_BL = torch.randint(2, MASK, (5, 16), generator=torch.Generator().manual_seed(1))
    hidden_BL = torch.zeros_like(x_BL, dtype=torch.bool)
    for row, places in enumerate(([3], [0, 15], range(16), [], range(4, 9))):
        hidden_BL[row, list(places)] = True
    x_BL[hidden_BL] = MASK
    for settings in ({"steps": 4}, {"steps": 4, "quota": "linear"}, {"steps": 4, "sampler": "ancestral"}, {}):
        out = generate(TinyNet(), x_BL, DecodingPlan(**settings))
        assert torch.equal(out.sequences[~hidden_BL], x_BL[~hidden_BL])
        assert not (out.sequences == MASK).any()
        assert int(out.forwards_B[3]) == 0 and (out.forwards_B[:3] <= torch.tensor([1, 2, 16])).all()


def test_fill_says_what_is_written() -> None:
    x_BL = torch.randint(2, MASK, (2, 10), generator=torch.Generator().manual_seed(2))
    fill_BL = torch.zeros_like(x_BL, dtype=torch.bool)
    fill_BL[0, 2:5] = True
    net = TinyNet()
    out = generate(net, x_BL, DecodingPlan(seed=3), fill_BL=fill_BL)
    assert torch.equal(out.sequences[~fill_BL], x_BL[~fill_BL])
    hidden = generate(net, x_BL.masked_fill(fill_BL, MASK), DecodingPlan(seed=3))
    assert torch.equal(out.sequences, hidden.sequences)


def test_the_denoiser_is_told_the_hidden_share() -> None:
    seen: list[list[float]] = []

    class Listening(TinyNet):
        def body(self, x_BL: Tensor, cond: Any = None, t_B: Tensor | None = None, **kwargs: Any) -> Body:
            assert t_B is not None
            seen.append(t_B.tolist())
            return super().body(x_BL, cond, t_B, **kwargs)

    x_BL = torch.tensor([[5, 6, MASK, MASK, MASK, MASK], [5, 6, 7, 8, MASK, MASK]])
    generate(Listening(), x_BL, DecodingPlan(quota="one", block_length=2))
    assert seen == [[1.0, 1.0], [0.75, 0.5], [0.5], [0.25]]


def test_blocks_go_left_to_right_and_the_last_is_ragged() -> None:
    trace = generate(TinyNet(), canvas(rows=3), DecodingPlan(steps=6, block_length=4)).trace
    assert trace is not None
    for row in range(3):
        mine = trace.events["row"] == row
        block = (trace.events["position"][mine] - 3 - row) // 4
        assert block.tolist() == sorted(block.tolist())
        assert len(block) == 9 - row


def test_samples_of_a_row_differ_and_the_first_is_the_one_alone() -> None:
    net, x_BL = TinyNet(sharp=1.0), canvas()
    three = generate(net, x_BL, DecodingPlan(steps=5), num_return_sequences=3)
    assert torch.equal(three.sequences[::3], generate(net, x_BL, DecodingPlan(steps=5)).sequences)
    assert len({tuple(r) for r in three.sequences.tolist()}) == 12
    again = generate(net, x_BL[2:3], DecodingPlan(steps=5), num_return_sequences=3, row_ids_B=torch.tensor([2]))
    assert torch.equal(again.sequences, three.sequences[6:9])


# -- EOS ------------------------------------------------------------------------------------------------------------
class EndsEarly(TinyNet):
    """Sure of EOS at place 6."""

    def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
        out = super().body(x_BL, *args, **kwargs)
        out.h_BLD = torch.cat([out.h_BLD, torch.zeros_like(out.h_BLD[..., :1])], -1)
        out.h_BLD[:, 6, -1] = 50.0
        return out

    def head(self, h_ND: Tensor) -> Tensor:
        logits_NV = h_ND[:, :-1] @ self.out
        logits_NV[:, EOS] += h_ND[:, -1] - 20 * (h_ND[:, -1] == 0)
        return self.forbid(logits_NV)


def test_a_row_may_stop_at_its_first_eos() -> None:
    x_BL = canvas(rows=2, length=14)
    plan = DecodingPlan(order="left_to_right", quota="one")
    full = generate(EndsEarly(), x_BL, plan)
    short = generate(EndsEarly(), x_BL, DecodingPlan(order="left_to_right", quota="one", stop_at_eos=True))
    assert short.forwards_B.tolist() == [4, 3] and full.forwards_B.tolist() == [11, 10]
    assert torch.equal(short.sequences[:, :7], full.sequences[:, :7])
    assert (short.sequences[:, 7:] == PAD).all()
    assert short.trace is not None and torch.equal(short.trace.replay(), short.sequences)
    # margin writes EOS first, but what stands before it is still hidden: the row goes on until it is not
    planned = generate(EndsEarly(), x_BL, DecodingPlan(order="margin", quota="one", stop_at_eos=True))
    assert (planned.forwards_B >= short.forwards_B).all() and not (planned.sequences == MASK).any()
    # an EOS that was given does not stop a row
    x_BL[:, 0] = EOS
    assert generate(EndsEarly(), x_BL, DecodingPlan(quota="one", stop_at_eos=True)).forwards_B.min() > 1


def test_stopping_at_eos_needs_an_eos() -> None:
    with pytest.raises(UsageError, match="eos_id"):
        generate(UniformDenoiser(), torch.full((1, 4), 10), DecodingPlan(stop_at_eos=True))


# -- callback and hook ----------------------------------------------------------------------------------------------
def test_a_callback_sees_each_step() -> None:
    seen: list[Progress] = []
    out = generate(TinyNet(), canvas(), DecodingPlan(steps=4), callback=seen.append)
    assert [p.forward for p in seen] == [1, 2, 3, 4]
    assert torch.equal(seen[-1].sequences_BL, out.sequences)
    for p in seen:
        assert torch.equal(p.sequences_BL[p.row_K, p.position_K], p.value_K)
    assert sum(len(p.row_K) for p in seen) == int((canvas() == MASK).sum())


def test_a_hook_may_write_and_hide() -> None:
    x_BL, steps, hidden = canvas(rows=2), [], []

    def hook(step: int | None, now_BL: Tensor) -> Tensor:
        steps.append(step)
        now_BL[0, 8] = 7  # always this word
        if now_BL[1, 5] != MASK and not hidden:
            hidden.append(step)
            now_BL[1, 5] = MASK  # once more, please
        return now_BL

    out = generate(TinyNet(), x_BL, DecodingPlan(quota="one", block_length=4), token_hook=hook)
    assert steps[:3] == [None, 0, 1]
    assert out.sequences[0, 8] == 7 and not (out.sequences == MASK).any()
    assert out.trace is not None and torch.equal(out.trace.replay(), out.sequences)
    events = out.trace.events
    there = (events["row"] == 1) & (events["position"] == 5)
    assert events["kind"][there].tolist() == [0, 3, 0]
    assert out.forwards_B.tolist() == [8, 9]
    with pytest.raises(UsageError, match="given token"):
        generate(TinyNet(), x_BL, token_hook=lambda step, now_BL: torch.full_like(now_BL, 3))


# -- noise ----------------------------------------------------------------------------------------------------------
class Flat(Denoiser):
    """Uniform over 2,000 ids, in bf16: noise of that precision could not reach them all alike."""

    vocab_size, mask_id = 2001, 2000

    def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
        return Body(torch.zeros(*x_BL.shape, 1))

    def head(self, h_ND: Tensor) -> Tensor:
        return self.forbid(torch.zeros(len(h_ND), self.vocab_size, dtype=torch.bfloat16))


@pytest.mark.parametrize("draw", ["inverse", "gumbel"])
def test_noise_is_not_drawn_in_the_precision_of_the_model(draw: str) -> None:
    x_BL = torch.full((100, 40), 2000)
    out = generate(Flat(), x_BL, DecodingPlan(order="random", quota="linear", steps=1, draw=draw), trace=None).sequences
    assert stats.chisquare(torch.bincount(out.flatten() // 100, minlength=20).numpy()).pvalue > 1e-3


def test_the_mask_is_never_drawn_whatever_the_settings() -> None:
    """And setting neither, either or both of top_k and top_p works (xlm raises for neither)."""
    x_BL = torch.full((30, 12), MASK)
    for k in (None, 1, 5, 10_000):
        for p in (None, 1e-9, 0.5, 1.0):
            out = generate(TinyNet(), x_BL, DecodingPlan(steps=3, top_k=k, top_p=p, temperature=5.0), trace=None)
            assert not (out.sequences == MASK).any()
            if k == 1 or p == 1e-9:
                best = generate(TinyNet(), x_BL, DecodingPlan(steps=3, temperature=0.0), trace=None)
                assert torch.equal(out.sequences, best.sequences)


def test_repetition_penalty_spares_padding() -> None:
    class Shifted(TinyNet):
        def head(self, h_ND: Tensor) -> Tensor:
            return super().head(h_ND) + 100.0

    x_BL = canvas(length=20)
    plan = DecodingPlan(quota="one", repetition_penalty=3.0, temperature=0.0)
    out = generate(TinyNet(), x_BL, plan).sequences
    assert torch.equal(out, generate(Shifted(), x_BL, plan).sequences)

    def repeats(ids_BL: Tensor) -> int:
        return sum(len(r) - len(set(r)) for r in ids_BL.tolist())

    assert repeats(out) < repeats(generate(TinyNet(), x_BL, DecodingPlan(quota="one", temperature=0.0)).sequences)


# -- wrong use ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"x_BL": torch.full((3,), MASK)}, "ids [B, L]"),
        ({"x_BL": torch.full((1, 3), 0.5)}, "ids [B, L]"),
        ({"x_BL": torch.full((1, 3), 99)}, "id 99 lies outside"),
        ({"x_BL": torch.full((1, 3), -2)}, "id -2 lies outside"),
        ({"fill_BL": torch.ones(4, 12)}, "fill_BL must be bool"),
        ({"valid_BL": torch.zeros(4, 12, dtype=torch.bool)}, "do not exist"),
        ({"cond": latents(3)}, "3 semantic vectors do not fit 4 rows"),
        ({"row_ids_B": torch.arange(3)}, "row_ids_B"),
        ({"num_return_sequences": 0}, "num_return_sequences=0"),
        ({"trace": "everything"}, "trace='everything'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError) as error:
        generate(TinyNet(), **{"x_BL": canvas(), **arguments})
    assert word in str(error.value)


def test_a_canvas_longer_than_the_model_is_refused() -> None:
    net = TinyNet()
    net.max_length = 8
    with pytest.raises(UsageError, match="12 tokens is longer than the model's 8"):
        generate(net, canvas())


# -- trace files ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d.update(format="x"), "format"),
        (lambda d: d.update(start=[[1], [1, 2]]), "rectangular"),
        (lambda d: d.update(start=[]), "rectangular"),
        (lambda d: d["events"].pop("row"), "columns"),
        (lambda d: d["events"]["row"].append(0), "different lengths"),
        (lambda d: d["events"]["row"].__setitem__(0, "a"), "'a'"),
        (lambda d: d["events"]["row"].__setitem__(0, 99), "outside 0..3"),
        (lambda d: d["events"]["position"].__setitem__(0, -1), "outside 0..11"),
    ],
)
def test_a_damaged_trace_is_refused(change: Any, word: str) -> None:
    trace = generate(TinyNet(), canvas()).trace
    assert trace is not None
    data = trace.to_dict()
    change(data)
    with pytest.raises(UsageError) as error:
        Trace.from_dict(data)
    assert word in str(error.value)


def test_a_file_that_is_no_trace_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        Trace.load(tmp_path / "none.json")
    for content in (b"\xff\xfe", b"{", b"[1]", b"null"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(UsageError, match=r"bad\.json"):
            Trace.load(tmp_path / "bad.json")
