"""`unmask puzzle`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

TEXT_HELP = (
    'The puzzle or its file. Sudoku: "53..7....6..1", . is blank. Zebra: "3x3; A1 same B2; C3 left of A2; B1 differs '
    'H3": houses x attributes, then clues between items A1 to F6 or houses H1 to H6, of the kinds same, differs, just '
    "left of, left of, beside, apart. nae_sat, hashing, sorting: values and ., of a model of your own (--model)."
)


class TraceAlone(TyperCommand):
    """``--trace`` without a file names KIND.html; typer has no option whose value may be left out."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # click's types are not typer's
        if "--trace" in args:
            at = args.index("--trace") + 1
            if at == len(args) or args[at].startswith("-"):
                from unmask.data.puzzles import PUZZLES

                kind = next((word for word in args if word in PUZZLES), "puzzle")
                args = [*args[:at], f"{kind}.html", *args[at:]]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    @app.command(cls=TraceAlone)
    def puzzle(
        kind: str = typer.Argument(..., help="sudoku, zebra, nae_sat ... (unmask list puzzles)."),
        text: str = typer.Argument(..., help=TEXT_HELP),
        model: Path | None = typer.Option(
            None, help="A puzzle model; the one that ships when missing (sudoku, zebra)."
        ),
        order: str = typer.Option(
            "margin", help="Which cell next (unmask list orders), or vanilla: at random in 24 steps."
        ),
        steps: int | None = typer.Option(None, help="Denoising steps; one cell at a time when missing."),
        temperature: float = typer.Option(0.0, help="0 writes the most probable value."),
        seed: int = typer.Option(0),
        loops: int | None = typer.Option(
            None, help="Times a looped solver's stack is applied; as trained when missing."
        ),
        tries: int = typer.Option(8, help="Attempts at most, with noise on the order, while the answer breaks a rule."),
        trace: Path | None = typer.Option(
            None, help="Write the order as a page (.html) or as data (.json); KIND.html when no file is named."
        ),
    ) -> None:
        """Solve one puzzle and show which cell was written when. Exit code 1: the answer breaks a rule."""
        import torch
        from rich.console import Console

        from unmask.core.errors import UsageError
        from unmask.data.puzzles import PUZZLES
        from unmask.decoding import DecodingPlan, generate
        from unmask.families.puzzle.model import noisy
        from unmask.families.puzzle.network import load, shipped
        from unmask.families.puzzle.solving import attempt, vanilla
        from unmask.reporting import puzzle as pages

        wanted = PUZZLES.get(kind)
        if trace is not None and trace.suffix not in (".html", ".json"):
            raise UsageError(f"a trace is written as .html or .json, not {trace.name!r}")
        if tries < 1:
            raise UsageError(f"tries={tries} must be at least 1")
        quota = "one" if steps is None else "linear"
        if order == "vanilla":
            plan = replace(vanilla(steps or 24, temperature), seed=seed)
        else:
            plan = DecodingPlan(order=order, quota=quota, steps=steps, temperature=temperature, seed=seed)
        solver, _ = load(model or shipped(kind))
        if not isinstance(solver.puzzle, wanted):
            raise UsageError(f"{model} solves {solver.puzzle}, which is no {kind}: give another --model")
        if loops is not None:
            solver.loops(loops)
        board = solver.puzzle.read(_text(text))
        spent, before = 0, None
        for number in range(tries):
            chosen = attempt(plan, number)
            out = generate(solver, board.question_BL, chosen)
            spent += out.forwards
            solved = bool(solver.puzzle.correct(out.sequences, board).all())
            # an order without chance writes the same answer again
            if solved or (before is not None and torch.equal(before, out.sequences) and not noisy(chosen)):
                break
            before = out.sequences
        assert out.trace is not None
        tried = "" if number == 0 else f", attempt {number + 1}"
        # first of all: whoever reads the terminal's lines may stop reading
        written = None if trace is None else pages.write(solver.puzzle, out.trace, solved, trace, tried)
        console = Console(highlight=False)
        console.print(solver.puzzle.show(board.question_BL[0]), markup=False)
        console.print()
        for step, place, value, probability, margin in pages.steps(solver.puzzle, out.trace):
            style = "bold red" if probability < 0.5 else "yellow" if margin < 0.5 else ""
            console.print(
                f"{step:>4}  {place:<8} = {value:<3} p {probability:.3f}  margin {margin:.3f}",
                style=style,
                markup=False,
            )
        console.print()
        console.print(solver.puzzle.show(out.sequences[0]), markup=False)
        verdict = "solved" if solved else f"not solved: {_wrong(board, out.sequences)}"
        said = f"\n{verdict}; {spent} forwards, order {order}{tried}"
        console.print(said, style="green" if solved else "bold red")
        if written is not None:
            console.print(f"{written}", style="dim")
        if not solved:
            raise typer.Exit(1)


def _wrong(board: Any, answer_BL: Any) -> str:
    """What an answer that breaks a rule gets wrong, as far as the solution is known."""
    known_BL = (board.answer_BL > 0) & ~board.given_BL
    if not bool(known_BL[~board.given_BL].all()):
        return "a rule is broken"  # what was hidden has no one solution
    wrong = int(((answer_BL != board.answer_BL) & known_BL).sum())
    return f"{wrong} of {int(known_BL.sum())} cells differ from the solution"


def _text(text: str) -> str:
    """The puzzle itself, read from its file where a file is named.

    Raises:
        UsageError: there is no such file, or it is no text (:func:`unmask.data.encodings.read_text`).
    """
    from unmask.core.errors import UsageError
    from unmask.data.encodings import read_text

    # a board may be longer than any file name
    if len(text.encode()) >= 200 or "\n" in text or not text:
        return text
    path = Path(text)
    if path.is_dir() or (path.suffix in (".txt", ".md", ".json") and not path.is_file()):
        raise UsageError(f"{text!r} is a folder" if path.is_dir() else f"there is no file {text!r}")
    if not path.is_file():
        return text
    return read_text(path)
