from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, moved
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, mean_by_text
from unmask.diagnosis.subject import State

#: what was found -> what it means
WHY = {
    "stuck positions": "Every new token got the same position: the counter of a rolling cache was never moved on.",
    "shrunken positions": "Positions count the entries that are left. Keys were rotated by their true positions; a "
    "query at another one looks in the wrong places.",
    "wrong positions": "Keys were rotated by their true positions; a query at another one looks in the wrong places.",
    "compounding ratio": "A ratio applied at every step compounds, and the cache forgets far more than was asked.",
    "kept what was to go": "The share to keep was taken for the share to remove.",
    "too few entries": "The cache forgets more than was asked.",
    "nothing evicted": "The cache that answers was not compressed: a copy was, or nothing.",
    "foreign entries": "The cache holds more than the text: it was used before and not emptied.",
    "sink evicted": "The first token's entry went. Heads with nothing to look at look there, and lose their rest.",
    "recent evicted": "The newest entries went, and what comes next depends on them most.",
    "worse than chance": "Entries drawn at random serve better: the score has the wrong sign, or no meaning.",
    "other answers": "What is written through the cache is not what the model would write: its mask, or its entries, "
    "are not those of this text.",
}


@dataclass(frozen=True)
class CacheCheck(Check):
    """Do cached answers equal uncached ones, with true positions and the cache that was asked for?

    The prefix is put into the cache, the true tokens follow one by one. Positions given to them must be their true
    ones, whatever the cache holds. An uncompressed cache must give the answers of a plain forward (what moves when the
    same is asked twice, times 4, and rounding; 1 % of the probability to fail). A compressed one must hold what was
    asked for: the kept share of the prefix and every token since, within one entry. Holding ever less is a ratio
    applied again and again; holding the complement is "keep" read as "remove"; holding everything means that something
    else was compressed. Where the cache tells which entries stayed, the first token (the attention sink) and the last
    must be among them; where it brings a control (as many entries, drawn), it must not be surely worse than that (4
    standard errors over texts, more for few).
    """

    title = "Do the cache's answers, positions and size hold?"
    fault = "The cache answers otherwise than the model does."
    needs = ("data", "predict", "cached")
    repair = "network.cache"
    leads_to = ("safe_words", "length", "frontier", "draw_calibration")

    def run(self, context: CheckContext) -> Finding:
        ids_BL = context.batch.ids_BL[:8]
        L = ids_BL.shape[1]
        start = max(L // 2, 1)
        run = context.subject.cached(ids_BL, start)
        at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        at_BL[:, start:] = True
        plain_NV = context.logits(State(ids_BL, at_BL))
        apart_N = moved(plain_NV, run.logits_NV)
        apart = float(apart_N.mean())
        floor = max(4 * context.noise_floor(), context.rounding())
        true_T = torch.arange(start, start + len(run.position_T))
        wrong_positions = float((run.position_T.cpu() != true_T).double().mean()) if len(true_T) else 0.0
        fed_T = torch.arange(1, len(run.kept_T) + 1)
        wanted_T = run.keep * start + fed_T
        over_T = run.kept_T.cpu().double() - wanted_T
        faults = _positions(run.position_T.cpu(), true_T)
        if len(fed_T):
            faults += _size(over_T, run.keep, start)
        if run.keep < 1 and run.held_K is not None:
            held = set(run.held_K.tolist())
            faults += [
                name for name, place in (("sink evicted", 0), ("recent evicted", start - 1)) if place not in held
            ]
        if run.keep < 1 and run.control_NV is not None and _loss_to_control(context, start).surely_above > 0:
            faults.append("worse than chance")
        if run.keep >= 1 and apart > max(0.01, floor):
            faults.append("other answers")
        short = float((-over_T).max()) if len(fed_T) else 0.0
        status = "fail" if faults else "warn" if run.keep >= 1 and apart > floor else "pass"
        by_place = apart_N.view(len(ids_BL), L - start).mean(0)
        return Finding(
            status,  # type: ignore[arg-type]
            measured=(", ".join(faults) + ": " if faults else "")
            + f"{apart:.2%} of the probability moves; {wrong_positions:.0%} of the positions are wrong; the cache "
            f"is {max(short, 0):.1f} entries short of what was asked for",
            threshold=f"true positions; size within one entry; uncompressed answers within {floor:.2g} (1 % to fail)",
            why=WHY[faults[0]] if faults else "The cache changes nothing that it should not.",
            next_step="Count positions from the tokens fed, never from the cache's length; compress once, or to "
            "a fixed "
            "size."
            if status != "pass"
            else "",
            numbers={
                "moved": apart,
                "floor": floor,
                "wrong_positions": wrong_positions,
                "entries_short": short,
                "keep": run.keep,
                "faults": faults,
            },
            plot=Plot(
                "lines",
                [float(i) for i in range(start, L)],
                {"probability that moves": [float(v) for v in by_place]},
                "position",
                "share",
            ),
            share=max(apart, 0.5) if faults else 0.0,
        )


def _loss_to_control(context: CheckContext, start: int) -> Mean:
    """By how much more the compressed answers move than those of the control, on all rows."""
    ids_BL = context.batch.ids_BL
    run = context.subject.cached(ids_BL, start)
    at_BL = (torch.arange(ids_BL.shape[1], device=ids_BL.device) >= start).expand_as(ids_BL)
    plain_NV = context.logits(State(ids_BL, at_BL))
    assert run.control_NV is not None
    row_N = torch.arange(len(ids_BL)).repeat_interleave(ids_BL.shape[1] - start)
    return mean_by_text(moved(plain_NV, run.logits_NV) - moved(plain_NV, run.control_NV), row_N)


def _positions(given_T: torch.Tensor, true_T: torch.Tensor) -> list[str]:
    if bool((given_T == true_T).all()):
        return []
    if len(given_T) > 1 and bool((given_T == given_T[0]).all()):
        return ["stuck positions"]
    return ["shrunken positions" if bool((given_T < true_T).all()) else "wrong positions"]


def _size(over_T: torch.Tensor, keep: float, start: int) -> list[str]:
    """What is wrong with entries held beyond what was asked for (negative: short)."""
    if float(-over_T.min()) > 1.5:
        if float(over_T[0] - over_T[-1]) > 1.5:
            return ["compounding ratio"]
        complement = (1 - 2 * keep) * start
        return ["kept what was to go" if abs(float(over_T[0]) - complement) <= 1.5 else "too few entries"]
    if float(over_T.max()) > 1.5:
        everything = (1 - keep) * start
        return ["nothing evicted" if abs(float(over_T[0]) - everything) <= 1.5 else "foreign entries"]
    return []
