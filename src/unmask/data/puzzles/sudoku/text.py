"""Boards as text: ``53..7....``, row by row, ``.`` or ``0`` for a blank; also read with line breaks and box lines."""

from __future__ import annotations

import re

import numpy as np

from unmask.core.errors import UsageError
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import Boards, solve

_UNITS = ("row", "column", "box")


def parse(text: str) -> Boards:
    """The board [C] that a text shows; 16, 36 or 81 cells. White space, ``|`` and lines of ``-`` and ``+`` are skipped.

    Raises:
        UsageError: wrong length, a character that is no digit of this board, or two equal givens that see each other.
    """
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip(" \t-+")]
    cells = re.sub(r"[\s|]", "", "".join(lines))
    sizes = {size * size: size for size in (4, 6, 9)}
    if len(cells) not in sizes:
        raise UsageError(f"a sudoku board has 81 cells (the minis 36 or 16), this one has {len(cells)}: {_short(text)}")
    layout = Layout(sizes[len(cells)])
    for cell, sign in enumerate(cells):
        if sign not in "." + "0123456789"[: layout.size + 1]:
            raise UsageError(
                f"{sign!r} at {layout.name(cell)} is not part of a {layout.size}x{layout.size} board: "
                f"write 1 to {layout.size}, and 0 or . for a blank"
            )
    board = np.array([0 if sign == "." else int(sign) for sign in cells], dtype=np.uint8)
    clash(board)
    return board


def clash(board_C: Boards) -> None:
    """Refuse a board that breaks a rule already.

    Raises:
        UsageError: two equal givens share a row, a column or a box; both cells are named.
    """
    layout = Layout.of_cells(board_C.size)
    for number, unit in enumerate(layout.units):
        digit = board_C[unit]
        for value in range(1, layout.size + 1):
            same = unit[digit == value]
            if same.size > 1:
                kind, where = _UNITS[number // layout.size], number % layout.size + 1
                first, second = layout.name(int(same[0])), layout.name(int(same[1]))
                raise UsageError(f"{first} and {second} both hold {value} in {kind} {where}: change one of them")


def solution(board_C: Boards) -> Boards:
    """The only solution of a board.

    Raises:
        UsageError: the board breaks a rule, has no solution, or has several (a cell that may differ is named).
    """
    clash(board_C)
    count, found = solve(board_C[None])
    if count[0] == 0:
        raise UsageError(f"the board {text(board_C)} has no solution: a given must be wrong")
    if count[0] > 1:
        layout = Layout.of_cells(board_C.size)
        for cell in np.nonzero(board_C == 0)[0]:
            trial = np.repeat(board_C[None], layout.size, axis=0)
            trial[:, cell] = np.arange(1, layout.size + 1)
            value = np.nonzero(solve(trial, limit=1)[0])[0] + 1
            if value.size > 1:
                where = f"{layout.name(int(cell))} can be {value[0]} or {value[1]}"
                raise UsageError(f"the board {text(board_C)} has several solutions ({where}): give more cells")
    return found[0]


def text(board_C: Boards) -> str:
    """One line, ``.`` for a blank; :func:`parse` reads it back."""
    return "".join("." if d == 0 else str(d) for d in board_C)


def draw(board_C: Boards) -> str:
    """The board as people draw it, with lines between boxes; :func:`parse` reads it back."""
    layout = Layout.of_cells(board_C.size)
    size, (high, wide) = layout.size, layout.box
    rule = "+".join(["-" * (2 * wide + 1)] * (size // wide))[1:-1]
    lines = []
    for row in range(size):
        if row and row % high == 0:
            lines.append(rule)
        signs = [text(board_C[row * size + c : row * size + c + wide]) for c in range(0, size, wide)]
        lines.append(" | ".join(" ".join(part) for part in signs))
    return "\n".join(lines)


def _short(text_: str) -> str:
    flat = " ".join(text_.split())
    return repr(flat if len(flat) <= 40 else flat[:40] + "...")
