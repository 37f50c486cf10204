"""`unmask kv`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

#: options that take several values behind one flag: --keep 1 .9 .5
_MANY = ("--keep", "--compression-ratio", "--tokens", "--quantize", "--batch", "--timed-context")
_STORY = ("reasoning_gym", "data/in_the_year_2889.txt")


class _ManyValues(TyperCommand):
    """Lets ``--keep 1 .9 .5`` stand for ``--keep 1 --keep .9 --keep .5``."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option: str | None = None
        waits = False
        for word in args:
            if option is not None and not word.startswith("-") and _number(word):
                spread += [option, word]
                waits = False
                continue
            if option is not None and waits:
                # no number follows: whatever does is its value, and said to be wrong
                spread.append(option)
                waits = False
                if not word.startswith("--"):
                    spread.append(word)
                    option = None
                    continue
            option = word if word in _MANY else None
            waits = option is not None
            if option is None:
                spread.append(word)
        if option is not None and waits:
            spread.append(option)
        return super().parse_args(context, spread)


def register(app: typer.Typer) -> None:
    @app.command(cls=_ManyValues)
    def kv(
        model: str = typer.Argument("smollm2", help="Hub id or folder of a causal model; smollm2 needs no network."),
        press: str = typer.Option("knorm,snapkv,keydiff", help="Presses, comma between: snapkv:window_size=32 sets."),
        keep: list[str] = typer.Option([], help="Fractions kept: --keep 1 .9 .7 .5 (the default)."),
        compression_ratio: list[float] = typer.Option([], help="kvpress' convention: the fraction removed."),
        tokens: list[int] = typer.Option([], help="Budgets in tokens instead: --tokens 128 512."),
        text: str = typer.Option("story", help="A file of texts, a corpus (verses, ...), or story: prose of 1889."),
        column: str | None = typer.Option(None, help="Column of --text's file that holds the text."),
        context: int = typer.Option(1024, help="Tokens that are compressed."),
        continuation: int = typer.Option(256, help="Tokens after them, scored."),
        windows: int = typer.Option(4, help="Places of the text."),
        rolling: bool = typer.Option(False, help="Stay within the budget while reading on."),
        interval: int = typer.Option(32, help="Tokens between two evictions when rolling."),
        positions: str = typer.Option("original", help="original, or cache: keys re-rotated to lie close together."),
        query_aware: bool = typer.Option(False, help="Compress after the question was read, not before."),
        chunk: int | None = typer.Option(None, help="Prefill in pieces of this many tokens."),
        quantize: list[int] = typer.Option([], help="Also a cache rounded to so many bits: --quantize 4 2."),
        controls: bool = typer.Option(True, help="Add random, random + sinks, and sinks + recent."),
        needles: int = typer.Option(2, help="Needles at each of five depths; 0 leaves them out."),
        long: int = typer.Option(2, help="Probes of each long-context task; 0 leaves them out."),
        write: int = typer.Option(48, help="Tokens that every arm writes; 0 leaves it out."),
        repeats: int = typer.Option(3, help="Warm timing runs of each arm; 0 leaves timing out."),
        batch: list[int] = typer.Option([], help="Batch sizes to time: --batch 1 4."),
        timed_context: list[int] = typer.Option([], help="Contexts to time: --timed-context 512 2048."),
        dtype: str | None = typer.Option(None, help="fp32, bf16 or fp16."),
        device: str | None = typer.Option(None, help="cpu, cuda, ..."),
        attention: str = typer.Option("sdpa", help="sdpa or eager (for presses that look at attention weights)."),
        seed: int = typer.Option(0),
        out: Path = typer.Option(Path("kv"), help="Folder for kv.json and kv.html."),
    ) -> None:
        """Measure KV-cache compression honestly: quality, retrieval and cost of presses on the same tokens."""
        from rich.console import Console

        from unmask.core.errors import UsageError
        from unmask.kvcache.bench import Settings, bench
        from unmask.kvcache.budget import CacheBudget
        from unmask.kvcache.press import presses
        from unmask.models.causal import load_causal
        from unmask.reporting.kv import tables

        budgets = [*keep, *(f"{t}t" for t in tokens)]
        budgets += [f"{float(CacheBudget.of(compression_ratio=c).keep or 0):g}" for c in compression_ratio]
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file: name a folder")
        settings = Settings(
            press=press,
            budgets=tuple(budgets) or Settings.budgets,
            context=context,
            continuation=continuation,
            windows=windows,
            rolling=rolling,
            interval=interval,
            positions=positions,
            chunk=chunk,
            quantize=tuple(quantize),
            controls=controls,
            write=write,
            needles=needles,
            long=long,
            query_aware=query_aware,
            repeats=repeats,
            batches=tuple(batch) or (1,),
            timed_contexts=tuple(timed_context),
            seed=seed,
        )
        presses.parse(press)  # a wrong name shows before a model is loaded
        settings.when()
        for budget in settings.budgets:
            CacheBudget.parse(budget)
        prose = read_text(text, column)
        console = Console()
        with console.status("loading the model") as status:
            causal = load_causal(model, dtype=dtype, device=device, attention=attention)
            result = bench(causal, prose, settings, progress=status.update)
        for table in tables(result):
            console.print(table)
        for note in result.notes:
            console.print(f"- {note}", markup=False, highlight=False)
        data, page = result.save(out)
        console.print(f"{data} and {page}", style="dim")


def read_text(name: str, column: str | None = None) -> str:
    """Prose from a file (:func:`unmask.data.prose.prose`), a corpus of :mod:`unmask.data.corpora`, or ``story``.

    Raises:
        UsageError: no such file or corpus, or a file that holds no text.
    """
    from unmask.core.errors import UsageError, did_you_mean
    from unmask.data import corpora
    from unmask.data.files import is_pattern, looks_like_a_file
    from unmask.data.prose import prose

    path = Path(name).expanduser()
    ships = name == "story" or name in corpora.VERSES  # which no folder of that name replaces
    if os.path.isfile(path) or (not ships and (os.path.exists(path) or is_pattern(name))):
        return prose(name, column)
    if column is not None:
        raise UsageError(f"--column {column} goes with a file as --text, and {name!r} is none")
    if name == "story":
        found = _story()
        # without the package that carries the story: verses, which models know by heart in part
        return found if found is not None else _verses("web")
    if name in corpora.VERSES:
        return _verses(corpora.VERSES[name])
    if looks_like_a_file(name):
        raise UsageError(f"there is no file {name!r} for --text")
    known = ["story", *corpora.VERSES]
    raise UsageError(f"--text {name!r} is neither a file nor a text that ships: {did_you_mean(name, known)}")


def _story() -> str | None:
    """ "In the Year 2889" (Verne, 1889, public domain), which the package reasoning-gym carries; None without it."""
    spec = importlib.util.find_spec(_STORY[0])
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / _STORY[1]
        if file.is_file():
            whole = file.read_text(encoding="utf-8")
            # from behind the editor's note to where the licence begins
            body = whole.split("*** START OF", 1)[-1].split("]", 1)[-1].split("End of Project", 1)[0]
            return " ".join(body.split())
    return None


def _verses(translation: str) -> str:
    from unmask.data.corpora import verses

    # from the books of Kings and Chronicles: prose that is less known by heart than the beginning
    return " ".join(text for i, text in sorted(verses(translation).items()) if 11_000_000 <= i < 15_000_000)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
