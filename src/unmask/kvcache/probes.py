"""Questions about a context, answered from a compressed cache: what perplexity does not show.

An answer is right when greedy decoding would write it token for token; that is read off one teacher-forced forward.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.kvcache.eviction import PressFailed
from unmask.kvcache.model import CausalModelProtocol
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.protocols import When
from unmask.kvcache.result import ProbeRow
from unmask.kvcache.scoring import ArmSpec

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
#: tokens: what is longer than the first is no sentence (Chinese, code, transcripts) and is cut into pieces of 16
_LONGEST, _PIECE = 64, 16


@dataclass
class Probe:
    """A context, a question behind it, and the answer, as token ids [L] on the CPU."""

    task: str
    context: Tensor
    question: Tensor
    answer: Tensor
    depth: float | None = None


def prose_sentences(text: str) -> list[str]:
    """Sentences of a text, white space made single."""
    return [s for s in _SENTENCE.split(" ".join(text.split())) if s]


class Filler:
    """Prose to hide facts in: sentences of a text, from a place that the seed chooses.

    A text without full stops is cut every few tokens instead, so that facts still find their depth.

    Args:
        causal: the model whose tokenizer counts.
        text: at least as long as the contexts asked for.
    """

    def __init__(self, causal: CausalModelProtocol, text: str) -> None:
        self.causal = causal
        whole = [causal.encode(" " + s, start=False) for s in prose_sentences(text)]
        self._ids = [part for ids in whole for part in (ids.split(_PIECE) if len(ids) > _LONGEST else [ids])]
        self._total = sum(len(i) for i in self._ids)

    def around(self, facts: list[tuple[float, str]], length: int, seed: int) -> Tensor:
        """A context of ``length`` tokens with each fact between two sentences at its depth in [0, 1].

        The last sentence is cut where the context ends: contexts shorter than asked for would lie within a budget that
        is given in tokens, and every press would look like the full cache.

        Raises:
            UsageError: the text is too short, or the facts fill the context.
        """
        placed = sorted((depth, self.causal.encode(" " + fact, start=False)) for depth, fact in facts)
        begin = self.causal.encode("", start=True)
        room = length - len(begin) - sum(len(i) for _, i in placed)
        if room < 1:
            raise UsageError(f"context={length} tokens is too short for {len(facts)} facts: make it longer")
        if self._total < length:
            raise UsageError(
                f"the text has {self._total} tokens, fewer than the context of {length}: give a longer one"
            )
        start = int(torch.randint(len(self._ids), (1,), generator=generator(seed)))
        prose: list[Tensor] = []
        total = 0
        while total < room:
            ids = self._ids[(start + len(prose)) % len(self._ids)]
            prose.append(ids[: room - total])
            total += len(prose[-1])
        pieces, used = [begin], 0
        waiting = list(placed)
        for piece in prose:
            while waiting and used >= waiting[0][0] * total:
                pieces.append(waiting.pop(0)[1])
            pieces.append(piece)
            used += len(piece)
        return torch.cat([*pieces, *(i for _, i in waiting)])


@torch.inference_mode()
def ask_probes(
    model: Any,
    probes: list[Probe],
    arms: list[ArmSpec],
    when: When,
    *,
    query_aware: bool = False,
    progress: Callable[[str], None] = lambda what: None,
) -> list[ProbeRow]:
    """Answers to every probe by the full cache and by every arm: one row an arm.

    Args:
        model: a causal model.
        probes: the questions.
        arms: presses and budgets; the full cache comes first by itself, as the ceiling.
        when: the protocol.
        query_aware: compress after the question was read (a press can see what is asked), not before.
        progress: told what was finished.

    Returns:
        one row an arm, task and depth; presses that cannot be applied are left out.
    """
    found: dict[tuple[int, str, float | None], list[tuple[bool, float]]] = {}
    failed: set[int] = set()
    everyone = [None, *arms]
    for n, probe in enumerate(probes):
        read, unread = probe.context, probe.question
        if query_aware:
            # the last token of the question is fed: its logits are the answer's first
            read, unread = torch.cat([probe.context, probe.question[:-1]]), probe.question[-1:]
        prefill = Prefill(model, read[None], mode=when.mode)
        new_1S = torch.cat([unread, probe.answer])[None].to(model.device)
        for i, asked in enumerate(everyone):
            if i in failed:
                continue
            try:
                cache = prefill.full() if asked is None else asked.start(prefill, when)
                logits = cache.feed(new_1S[:, :-1])
            except PressFailed:
                failed.add(i)
                continue
            answer_A = new_1S[0, -len(probe.answer) :]
            log_AV = logits[0, -len(probe.answer) :].float().log_softmax(-1)
            right = bool((log_AV.argmax(-1) == answer_A).all())
            nats = float(-log_AV.gather(-1, answer_A[:, None]).mean())
            found.setdefault((i, probe.task, probe.depth), []).append((right, nats))
        progress(f"{probe.task} {n + 1}")
    rows = []
    for (i, task, depth), answers in sorted(found.items(), key=lambda f: (f[0][0], f[0][1], f[0][2] or 0.0)):
        if i in failed:
            continue  # fewer questions than the others had: its share would not be comparable
        asked = everyone[i]
        rows.append(
            ProbeRow(
                "full" if asked is None else asked.name,
                "1" if asked is None else str(asked.budget),
                task,
                sum(right for right, _ in answers),
                len(answers),
                sum(nats for _, nats in answers) / len(answers),
                depth,
            )
        )
    return rows
