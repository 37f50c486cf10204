"""A small set of long-context tasks in the manner of LongBench (arXiv 2308.14508), made from any prose.

Four abilities that a compressed cache loses at different rates: looking up one of many facts, taking the latest of
several, copying a passage, and applying a pattern shown long before. A small model does not reach 100 % on them with a
full cache: that ceiling is measured and printed beside every press.
"""

from __future__ import annotations

import torch

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.kvcache.model import CausalModelProtocol
from unmask.kvcache.needle import CITIES
from unmask.kvcache.probes import Filler, Probe

_NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry")
_THINGS = ("lamp", "key", "book", "ring", "drum", "coat", "bell", "map")
_PAIRS = (
    ("dog", "animal"),
    ("oak", "tree"),
    ("rose", "flower"),
    ("hammer", "tool"),
    ("salmon", "fish"),
    ("violin", "instrument"),
)
TASKS = ("lookup", "latest", "copy", "pattern")


def longset(causal: CausalModelProtocol, text: str, length: int, *, each: int = 3, seed: int = 0) -> list[Probe]:
    """``each`` probes of every task.

    Args:
        causal: the model whose tokenizer counts.
        text: prose for the contexts.
        length: context in tokens.
        each: how many probes a task.
        seed: of facts, places and prose.

    Raises:
        UsageError: the context is too short for the facts or a passage, or the text for the context.
    """
    filler = Filler(causal, text)
    made = []
    for n in range(each):
        made.append(_lookup(causal, filler, length, seed + n))
        made.append(_latest(causal, filler, length, seed + n))
        made.append(_copy(causal, filler, length, seed + n))
        made.append(_pattern(causal, filler, length, seed + n))
    return made


def _probe(causal: CausalModelProtocol, task: str, context: torch.Tensor, question: str, answer: str) -> Probe:
    return Probe(task, context, causal.encode(question, start=False), causal.encode(answer, start=False))


def _lookup(causal: CausalModelProtocol, filler: Filler, length: int, seed: int) -> Probe:
    """Who keeps what: eight facts spread over the context, one asked for."""
    order = torch.randperm(len(_THINGS), generator=generator(seed, 1)).tolist()
    facts = [(i / len(_NAMES), f"{name} keeps the {_THINGS[order[i]]}.") for i, name in enumerate(_NAMES)]
    asked = seed % len(_NAMES)
    context = filler.around(facts, length, seed)
    return _probe(causal, "lookup", context, f" {_NAMES[asked]} keeps the", f" {_THINGS[order[asked]]}")


def _latest(causal: CausalModelProtocol, filler: Filler, length: int, seed: int) -> Probe:
    """A price that changes three times; the last one counts."""
    city = CITIES[seed % len(CITIES)]
    values = torch.randint(100, 1000, (3,), generator=generator(seed, 2)).tolist()
    facts = [(0.1 + 0.35 * i, f"The price of bread in {city} is now {v} coins.") for i, v in enumerate(values)]
    context = filler.around(facts, length, seed + 100)
    return _probe(causal, "latest", context, f" The price of bread in {city} is now", f" {values[-1]}")


def _copy(causal: CausalModelProtocol, filler: Filler, length: int, seed: int) -> Probe:
    """A passage of the context begins again: its next eight tokens."""
    if length < 48:  # a passage that begins before the middle, 24 tokens long
        raise UsageError(f"context={length} tokens is too short for a passage to copy: make it at least 48")
    context = filler.around([], length, seed + 200)
    start = len(context) // 4 + int(torch.randint(len(context) // 4, (1,), generator=generator(seed, 3)))
    return Probe("copy", context, context[start : start + 16], context[start + 16 : start + 24])


def _pattern(causal: CausalModelProtocol, filler: Filler, length: int, seed: int) -> Probe:
    """Examples of a pattern at the very start, one more to complete at the end."""
    order = torch.randperm(len(_PAIRS), generator=generator(seed, 4)).tolist()
    shown = " ".join(f"{_PAIRS[i][0]}: {_PAIRS[i][1]}." for i in order)
    word, kind = _PAIRS[order[seed % len(_PAIRS)]]
    return _probe(causal, "pattern", filler.around([(0.0, shown)], length, seed + 300), f" {word}:", f" {kind}")
