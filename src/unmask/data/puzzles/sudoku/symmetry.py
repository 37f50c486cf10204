"""Symmetries of a board: as augmentation, as an invariant that splits train from test, and as an exact canonical form.

They are: renaming digits, permuting bands, stacks, rows within a band and columns within a stack, and (where boxes are
square) transposing. All leave the rules, and so the number of solutions, as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.split import is_test, mix
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import Boards


@dataclass(frozen=True)
class Symmetry:
    """One symmetry for each of B boards.

    Attributes:
        cell_BC: the old cell that each new cell takes its content from.
        digit_BD: the new digit for each old one; column 0 (blank) holds 0.
    """

    cell_BC: NDArray[np.int64]
    digit_BD: Boards

    @classmethod
    def random(cls, layout: Layout, n: int, rng: np.random.Generator) -> Symmetry:
        """``n`` uniformly random symmetries."""
        size, (high, wide) = layout.size, layout.box
        row, column = _random_lines(n, size // high, high, rng), _random_lines(n, size // wide, wide, rng)
        cell = row[:, :, None] * size + column[:, None, :]
        if high == wide:
            flip = rng.random(n) < 0.5
            cell[flip] = row[flip, :, None] + column[flip, None, :] * size
        digit = np.zeros((n, size + 1), dtype=np.uint8)
        digit[:, 1:] = rng.random((n, size), dtype=np.float32).argsort(axis=1) + 1
        return cls(cell.reshape(n, -1), digit)

    def move(self, value_BC: NDArray) -> NDArray:
        """Anything that belongs to cells (given or not, rank in an order), moved with them."""
        return np.take_along_axis(value_BC, self.cell_BC, axis=1)

    def apply(self, board_BC: Boards) -> Boards:
        """Boards (0 for a blank) moved and renamed."""
        return np.take_along_axis(self.digit_BD, self.move(board_BC).astype(np.int64), axis=1)


def _random_lines(n: int, groups: int, lines: int, rng: np.random.Generator) -> NDArray[np.int64]:
    group = rng.random((n, groups), dtype=np.float32).argsort(axis=1)
    inside = rng.random((n, groups, lines), dtype=np.float32).argsort(axis=2)
    return (group[:, :, None] * lines + inside).reshape(n, groups * lines)


def signature(grid_BC: Boards) -> NDArray[np.uint64]:
    """A hash of each complete grid that no symmetry changes.

    Two rows are two orders of the digits, so that they define a permutation whose cycle lengths no symmetry changes.
    The hash refines the graph of rows (edges: cycle lengths, same band or not), the same for columns, and joins both.
    Equal for equivalent grids, always; grids that are not equivalent may collide, which only puts them on the same side
    of a split.
    """
    layout = Layout.of_cells(grid_BC.shape[1])
    size, (high, wide) = layout.size, layout.box
    grid = grid_BC.reshape(-1, size, size).astype(np.int64) - 1
    row, column = _line_hash(grid, high), _line_hash(grid.transpose(0, 2, 1), wide)
    return mix(row) + mix(column) if high == wide else mix(row + mix(column))


def _line_hash(grid_Bnn: NDArray[np.int64], band: int) -> NDArray[np.uint64]:
    batch, size, _ = grid_Bnn.shape
    first, second = np.array(list(combinations(range(size), 2))).T
    column = grid_Bnn.argsort(axis=2)
    step = np.take_along_axis(grid_Bnn[:, second], column[:, first], axis=2)
    power, code = step, np.zeros((batch, first.size), dtype=np.uint64)
    for k in range(2, size):
        power = np.take_along_axis(step, power, axis=2)
        # Fixed points of the k-th powers determine the cycle lengths.
        code += mix((power == np.arange(size)).sum(axis=2).astype(np.uint64) * np.uint64(64) + np.uint64(k))
    code += (first // band == second // band).astype(np.uint64)
    edge = np.zeros((batch, size, size), dtype=np.uint64)
    edge[:, first, second] = edge[:, second, first] = mix(code)
    colour = np.zeros((batch, size), dtype=np.uint64)
    for _ in range(3):
        colour = mix(edge ^ mix(colour)[:, None, :]).sum(axis=2) + mix(colour)
    return colour.sum(axis=1)


def for_test(layout: Layout, grid_BC: Boards, given_BC: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """True where a board belongs to the test side; equivalent boards are always on the same side.

    9x9 boards are split by their solution: no solution of a training board is equivalent to one of a test board. There
    are only 2 classes of 4x4 grids and 49 of 6x6 grids, so those boards are split by solution *and* givens.
    """
    if layout.size == 9:
        key = signature(grid_BC)
    else:
        assert given_BC is not None, "minis are split by solution and givens"
        key = np.array([hash_bytes(canonical(g, m)) for g, m in zip(grid_BC, given_BC, strict=True)], dtype=np.uint64)
    return is_test(key)


def hash_bytes(data: bytes) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@cache
def _line_orders(groups: int, lines: int) -> NDArray[np.int64]:
    """Every order of lines that keeps groups together: [orders, groups * lines]."""
    inside = [list(permutations(range(lines)))] * groups
    found = []
    for group in permutations(range(groups)):
        orders: list[list[int]] = [[]]
        for g in group:
            orders = [o + [g * lines + i for i in p] for o in orders for p in inside[g]]
        found += orders
    return np.array(found)


def canonical(grid_C: Boards, given_C: NDArray[np.bool_] | None = None) -> bytes:
    """The smallest of all boards equivalent to this one: the same for two boards if and only if they are equivalent.

    Args:
        grid_C: the complete grid.
        given_C: which cells are given; None compares the grids alone.

    Returns:
        The smallest grid in reading order (one byte a digit), then the smallest pattern of givens that goes with it.
    """
    layout = Layout.of_cells(grid_C.size)
    size, (high, wide) = layout.size, layout.box
    best: tuple[bytes, bytes] | None = None
    for turned in (False, True) if high == wide else (False,):
        cell = np.arange(layout.cells).reshape(size, size)
        cell = cell.T if turned else cell
        for first in range(size):
            for source in _smallest(grid_C, cell, first, high, _line_orders(size // wide, wide)):
                rename = np.zeros(size + 1, dtype=np.uint8)
                rename[grid_C[source[:size]]] = np.arange(1, size + 1)
                found = rename[grid_C[source]].tobytes(), b"" if given_C is None else given_C[source].tobytes()
                best = found if best is None or found < best else best
    assert best is not None
    return best[0] + best[1]


def _smallest(
    grid_C: Boards, cell_nn: NDArray[np.int64], first: int, high: int, orders: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Source cells of the smallest boards that have ``first`` as their first row (renamed to 1, 2, 3 ...).

    With the columns and the first row chosen, renaming is settled, and rows and bands sort by their first digits.
    """
    size = len(cell_nn)
    value = grid_C[cell_nn].astype(np.int64) - 1
    rename = np.empty((len(orders), size), dtype=np.int64)
    np.put_along_axis(rename, value[first][orders], np.arange(size)[None], axis=1)
    band = first // high
    mates = [r for r in range(band * high, band * high + high) if r != first]
    rows = np.stack([np.take_along_axis(rename, value[r][orders], axis=1) for r in mates], axis=1)
    second = np.take_along_axis(rows, rows[:, :, 0].argmin(axis=1)[:, None, None], axis=1)[:, 0]
    weight = size ** np.arange(size - 1, -1, -1)
    key = second @ weight
    sources = []
    for k in np.nonzero(key == key.min())[0]:
        lead = rename[k][value[:, orders[k, 0]]]
        bands = sorted(range(0, size, high), key=lambda b: lead[b : b + high].min())
        lines = [r for b in bands for r in sorted(range(b, b + high), key=lambda r: lead[r])]
        sources.append(cell_nn[lines][:, orders[k]].reshape(-1))
    return sources
