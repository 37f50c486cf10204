"""What attention costs for each character written: blocks behind re-tokenised text against a plain character model.

Counted: query-key pairs, from the closed form and from a run. Measured: seconds of the processor. The text is forced,
so that every model writes the same; only the way it is read differs, so untrained weights do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.data.tidal.plain import PlainTokenizer
from unmask.decoding.tidal import BlockTokenizer, CharacterWriter, write_blocks
from unmask.experiments.study import Page
from unmask.experiments.tidal_page import lines
from unmask.models.tidal import TidalModel
from unmask.models.tidal_attention import FORBIDDEN
from unmask.models.tidal_text import config_for

#: name -> how the model sees and writes
WAYS: dict[str, dict[str, str]] = {
    "tidal": {"attention": "tidal", "writes": "blocks"},
    "tidal, causal prefix": {"attention": "causal", "writes": "blocks"},
    "characters": {"attention": "causal", "writes": "characters"},
    "bpe": {"attention": "causal", "writes": "tokens"},
}


def pairs(tokenizer: MixedTokenizer, prompt: str, text: str, way: str) -> int:
    """Query-key pairs a layer and head to write ``text`` behind ``prompt``, the closed form.

    What is read once for all is left out: the prompt (of a plain model), the first block (of a model of blocks).
    """
    attention, writes = WAYS[way]["attention"], WAYS[way]["writes"]
    if writes != "blocks":
        plain = PlainTokenizer(tokenizer, writes)
        before, new = 1 + len(plain.encode(prompt)), len(plain.encode(text))
        # the i-th new id sees the <eos> at the start, the prompt and i ids
        return sum(before + i for i in range(1, new + 1))
    total, held, said = 0, tokenizer.encode(prompt), prompt
    for number, block in enumerate(tokenizer.split(text)):
        tokens = tokenizer.encode(said)
        kept = _same(held, tokens) if attention == "causal" else len(tokens) if held == tokens else 0
        if number:
            n = len(tokens)
            read = sum(i + 1 for i in range(kept, n)) if attention == "causal" else n * (n - kept)
            # <bob> and every character see the tokens, <bob> and the characters up to themselves; the end is not read
            total += read + sum(n + 1 + j for j in range(len(tokenizer.spell(block)) + 1))
        held, said = tokens, said + block
    return total


def _same(old: Sequence[int], new: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


@dataclass
class Forced:
    """The model with its laws replaced by a script; counts pairs and seconds once the start has been read."""

    net: TidalModel
    script: list[list[int]]
    #: whether the script is one continuation, not blocks
    plain: bool
    pairs: int = 0
    seconds: float = 0.0
    counting: bool = False
    begun: int = 0
    _hook: Any = field(default=None, repr=False)

    def __enter__(self) -> Forced:
        def count(module: Any, args: tuple[Any, ...]) -> None:
            if self.counting:
                # [B, 1 or H, Q, S]: what is not forbidden in the first head
                self.pairs += int((args[2][:, 0] > FORBIDDEN / 2).sum())

        self._hook = self.net.blocks[0].attn.register_forward_pre_hook(count)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hook.remove()

    def begin(self, prefixes: Sequence[Sequence[int]], before: Any = None) -> tuple[Tensor, Any]:
        self.counting = self.begun > 0
        found = self._timed(lambda: self.net.begin(prefixes, before))
        self.counting = self.counting or self.plain
        self.begun += 1
        self.place = 0
        return self._law(), found[1]

    def step(self, ids_B: Tensor, writing: Any) -> tuple[Tensor, Any]:
        self.place += 1
        found = self._timed(lambda: self.net.step(ids_B, writing))
        return self._law(), found[1]

    def _timed(self, call: Callable[[], tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
        started = time.process_time()
        found = call()
        if self.counting:
            self.seconds += time.process_time() - started
        return found

    def _law(self) -> Tensor:
        law_1V = torch.zeros(1, self.net.config.outputs)
        law_1V[0, self.script[self.begun - 1][self.place]] = 1.0
        return law_1V


def run_forced(net: TidalModel, tokenizer: MixedTokenizer, prompt: str, text: str) -> Forced:
    """Write ``text`` behind ``prompt`` with every law forced, and count what was computed."""
    from unmask.data.tidal.mixed_tokenizer import EOS

    reader: BlockTokenizer = tokenizer
    if net.config.writes == "blocks":
        blocks = tokenizer.split(text)
        script = [tokenizer.encode_block(b, at == len(blocks) - 1)[1:] for at, b in enumerate(blocks)]
    else:
        plain = PlainTokenizer(tokenizer, net.config.writes, max_block=len(text.encode()) + 1)
        reader, script = plain, [[*plain.encode(text), EOS]]
    with Forced(net, script, net.config.writes != "blocks") as forced:
        found = write_blocks(CharacterWriter(forced, reader), reader, [prompt], max_blocks=len(script))
    assert found.texts == [text]
    return forced


def cost_table(
    tokenizer: MixedTokenizer, text: str, lengths: Sequence[int], written: int = 64, **network: Any
) -> list[dict[str, Any]]:
    """One row a length and way: pairs (closed form and counted) and seconds for each character behind the start.

    Args:
        text: at least as long as the longest length and what is written.
        lengths: characters of the prompt.
        written: characters written behind it (up to the end of a word).
        network: dim, layers, heads, ffn_dim.
    """
    rows = []
    for length in lengths:
        prompt = text[: text.index(" ", length)]
        continuation = text[len(prompt) : text.index(" ", len(prompt) + written)]
        first = len(tokenizer.split(continuation)[0])
        base = pairs(tokenizer, prompt, continuation, "characters") / len(continuation)
        for way, settings in WAYS.items():
            torch.manual_seed(0)
            net = TidalModel(config_for(tokenizer, **settings, **network)).eval()
            forced = run_forced(net, tokenizer, prompt, continuation)
            characters = len(continuation) - (first if settings["writes"] == "blocks" else 0)
            counted = pairs(tokenizer, prompt, continuation, way) / characters
            rows.append(
                {
                    "prompt characters": len(prompt),
                    "way": way,
                    "pairs a character": round(counted, 2),
                    "counted in the run": round(forced.pairs / characters, 2),
                    "against characters": round(counted / base, 4),
                    "CPU ms a character": round(1000 * forced.seconds / characters, 3),
                }
            )
    return rows


def cost_section(out: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of :func:`cost_table` and its drawing, on a page."""
    out.text(
        "Query-key pairs a layer and head for each character that is written, in words of the text itself behind "
        "prompts of several lengths; the closed form and a count in the run agree (*counted*). *Against characters* is "
        "the ratio to a plain character model. Milliseconds are the processor's, for a whole untrained network of the "
        "same size and one text at a time."
    )
    columns = ["prompt characters", "way", "pairs a character", "counted in the run", "against characters"]
    columns.append("CPU ms a character")
    out.table(columns, [[str(row[c]) for c in columns] for row in rows])
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        xs, ys = series.setdefault(row["way"], ([], []))
        xs.append(float(row["prompt characters"]))
        ys.append(float(row["against characters"]))
    alt = "Attention a character against a character model, by length of the prompt"
    out.drawing(
        "tidal_cost", lines(series, "characters of the prompt", "pairs, against characters", alt, log=True), alt
    )
