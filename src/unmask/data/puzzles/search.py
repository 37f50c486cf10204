"""Counting the solutions of many small constraint problems at once.

A problem is a set of cells, each with a bit mask of the values it may still take. Candidates are stored cell-first,
``cand_CW`` (C cells, W states side by side), so that one NumPy call works on all states. Rules remove candidates; where
they stall, a state splits in two ("this value" and "not this value"). Sudoku and the zebra puzzles share this loop.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint16]

#: number of set bits of each 16-bit mask
POPCOUNT = ((np.arange(1 << 16)[:, None] >> np.arange(16)) & 1).sum(axis=1).astype(np.uint8)


class ConstraintRules(Protocol):
    """Constraint propagation of one kind of problem, as the search calls it."""

    def step(self, cand_CW: Masks, owner_W: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Remove candidates that the rules exclude, in place; False for the states that broke a rule.

        It must be sound (no solution is lost) and complete on decided states: a state in which every cell has
        one candidate and which ``step`` neither changes nor refuses is a solution.

        Args:
            cand_CW: candidates of W states.
            owner_W: which problem each state belongs to.
        """
        ...


def propagate(rules: ConstraintRules, cand_CW: Masks, owner_W: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each state is consistent after propagating the constraints to a fixed point, in place."""
    alive_W = np.ones(cand_CW.shape[1], dtype=bool)
    live = np.arange(cand_CW.shape[1])
    work = cand_CW
    while live.size:
        before = work.copy()
        ok = rules.step(work, owner_W[live])
        before ^= work
        for cell in before[1:]:
            before[0] |= cell
        moving = (before[0] != 0) & ok
        # States at rest cost as much as moving ones, and copying costs too: drop them a quarter at a time.
        if moving.sum() <= 0.75 * live.size or not ok.all():
            if work is not cand_CW:
                cand_CW[:, live] = work
            alive_W[live[~ok]] = False
            live = live[moving]
            # take, not [:, live]: NumPy would lay the copy out state-first, and every later call would be slow.
            work = cand_CW.take(live, axis=1)
    return alive_W


def search(
    rules: ConstraintRules,
    cand_CB: Masks,
    limit: int | NDArray[np.int64] = 2,
) -> tuple[NDArray[np.int64], Masks]:
    """The number of solutions of B problems, each counted up to its ``limit``, and the first solution found.

    Args:
        rules: the rules of this kind of problem.
        cand_CB: the candidates each problem starts from (not changed).
        limit: stop counting a problem there; one number or one for each problem.

    Returns:
        (count_B, first_CB): the counts, and the masks of the first solution found (zeros where there is none).
    """
    cells, problems = cand_CB.shape
    limit_B = np.broadcast_to(np.asarray(limit, dtype=np.int64), (problems,))
    count_B = np.zeros(problems, dtype=np.int64)
    first_CB = np.zeros_like(cand_CB)
    blocks = [(cand_CB, np.arange(problems))]
    while blocks:
        cand, owner = _pop(blocks, max(problems, 256))
        wanted = count_B[owner] < limit_B[owner]
        cand, owner = cand.compress(wanted, axis=1), owner[wanted]
        alive = propagate(rules, cand, owner)
        cand, owner = cand.compress(alive, axis=1), owner[alive]
        size = POPCOUNT[cand]
        solved = (size == 1).all(axis=0)
        found = np.nonzero(solved)[0]
        # Reversed, so that the first of several states of one problem is the one that stays.
        new = found[count_B[owner[found]] == 0][::-1]
        first_CB[:, owner[new]] = cand[:, new]
        np.add.at(count_B, owner[found], 1)
        open_ = ~solved & (count_B[owner] < limit_B[owner])
        if open_.any():
            blocks.extend(_split(cand.compress(open_, axis=1), owner[open_], size.compress(open_, axis=1)))
    return np.minimum(count_B, limit_B), first_CB


def _pop(blocks: list[tuple[Masks, NDArray[np.int64]]], width: int) -> tuple[Masks, NDArray[np.int64]]:
    """The newest ``width`` states; the newest first means depth first, so the stack stays short."""
    taken, total = [], 0
    while blocks and total < width:
        cand, owner = blocks.pop()
        room = width - total
        if owner.size > room:
            blocks.append((cand[:, room:], owner[room:]))
            cand, owner = cand[:, :room], owner[:room]
        taken.append((cand, owner))
        total += owner.size
    return np.concatenate([c for c, _ in taken], axis=1), np.concatenate([o for _, o in taken])


def _split(
    cand_CW: Masks, owner_W: NDArray[np.int64], size_CW: NDArray[np.uint8]
) -> list[tuple[Masks, NDArray[np.int64]]]:
    """Two children of each state at its first smallest open cell; the child that holds the value comes last."""
    cell = np.where(size_CW > 1, size_CW, 255).argmin(axis=0)
    column = np.arange(owner_W.size)
    mask = cand_CW[cell, column].astype(np.int64)
    value = mask & -mask
    without, held = cand_CW.copy(), cand_CW.copy()
    without[cell, column] = mask & ~value
    held[cell, column] = value
    return [(without, owner_W), (held, owner_W)]


def complete(rules: ConstraintRules, cand_CB: Masks, rng: np.random.Generator) -> Masks:
    """A random solution of each of B problems that all have many: random values until done, from the start if stuck.

    Every solution can occur. They are not exactly uniform: rules decide cells between draws.
    """
    out_CB = np.zeros_like(cand_CB)
    owner = np.arange(cand_CB.shape[1])
    cand = cand_CB.copy()
    while owner.size:
        alive = propagate(rules, cand, owner)
        size = POPCOUNT[cand]
        solved = alive & (size == 1).all(axis=0)
        out_CB[:, owner[solved]] = cand[:, solved]
        stuck = np.nonzero(~alive)[0]
        cand[:, stuck] = cand_CB[:, owner[stuck]]
        open_ = np.nonzero(alive & ~solved)[0]
        lot = rng.random((len(cand), open_.size), dtype=np.float32) * 0.5
        cell = np.where(size[:, open_] > 1, size[:, open_] + lot, 255).argmin(axis=0)
        member = (cand[cell, open_] >> np.arange(16)[:, None]) & 1
        cand[cell, open_] = 1 << np.where(member, rng.random(member.shape), -1).argmax(axis=0)
        cand, owner = cand.compress(~solved, axis=1), owner[~solved]
    return out_CB
