"""The search for one text: it asks for checks and for the denoiser's opinion, and never sees who else does.

:meth:`Climb.run` is a generator of requests, so that :mod:`unmask.search.loop` can answer those of many searches in
one batch.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from unmask.core.random import hashed
from unmask.search.corrector import Corrector
from unmask.search.hypothesis import Edit, Hypothesis, joined
from unmask.search.join import combinations
from unmask.search.lexicon import Lexicon
from unmask.search.plan import SearchPlan
from unmask.search.proposal import Proposal
from unmask.search.site import Site, word_log_probs
from unmask.search.units import Units
from unmask.search.writer import DenoiserRows, MaskFiller

#: of drafts, and of what is rewritten
_DRAFT, _REWRITE = (0.8, 0.25), (0.9, 0.5)
#: what is taken from the logits of a token that the row shows already, but for those of the most frequent words
_AGAIN, _FREQUENT = 2.5, 40
#: likeness above which two hypotheses are not different
_ALIKE = 0.8


@dataclass(frozen=True)
class VerifyRequest:
    """A request: what does the verifier say of these texts? Answered by a list of (score, accepted, vector)."""

    texts: list[str]


@dataclass(frozen=True)
class LogProbRequest:
    """A request: ln p at the masks of these rows."""

    rows: DenoiserRows


@dataclass(frozen=True)
class FillRequest:
    """A request: these rows with their masks filled in."""

    rows: DenoiserRows


Request = VerifyRequest | LogProbRequest | FillRequest


@dataclass(frozen=True)
class WordForms:
    """How the words of a lexicon begin in tokens: inside a sentence and at its start."""

    inside_W: Tensor
    inside_several_W: Tensor
    first_W: Tensor
    first_several_W: Tensor
    pairs: tuple[Tensor, Tensor]
    tokens_a_unit: float

    @classmethod
    def of(cls, lexicon: Lexicon, writer: MaskFiller) -> WordForms:
        """For a lexicon's words in a tokenizer's tokens."""
        spell = lexicon.spelling.pieces
        # behind a word, as inside a sentence
        inside = writer.pieces([spell(("a", word))[-1] for word in lexicon.words])
        first = writer.pieces([spell((word,))[0] for word in lexicon.words])
        flat = [(t, w) for forms in (inside, first) for w, ids in enumerate(forms) for t in ids]
        often = lexicon.trigram.unigram[: len(inside)]
        tokens = float(sum(n * len(ids) for n, ids in zip(often, inside, strict=True)) / max(1.0, often.sum()))
        return cls(
            torch.tensor([ids[0] for ids in inside]),
            torch.tensor([len(ids) > 1 for ids in inside]),
            torch.tensor([ids[0] for ids in first]),
            torch.tensor([len(ids) > 1 for ids in first]),
            (torch.tensor([t for t, _ in flat]), torch.tensor([w for _, w in flat])),
            tokens,
        )


class Climb:
    """One search.

    Args:
        row: its number, which names its noise and says which target the verifier compares with.
        z_Z: the vector that is written from, or None.
        lexicon, forms, writer: of the model.
        sources: the proposals, by name.
        plan: how.
        key: texts of one key are one text to the verifier.
        lengths: log probabilities of 1..L tokens, of a model that knows them; by the probe when None.
        corrector: proposes whole corrected texts.
        starts: texts to begin with, beside the drafts.
    """

    def __init__(
        self,
        row: int,
        z_Z: Tensor | None,
        lexicon: Lexicon,
        forms: WordForms,
        writer: MaskFiller,
        sources: dict[str, Proposal],
        plan: SearchPlan,
        key: Callable[[str], str],
        lengths: Tensor | None = None,
        corrector: Corrector | None = None,
        starts: Sequence[str] = (),
    ) -> None:
        self.row, self.z_Z, self.lexicon, self.forms, self.writer = row, z_Z, lexicon, forms, writer
        self.sources, self.plan, self._key, self._lengths, self.corrector = sources, plan, key, lengths, corrector
        self._starts = starts
        self.rng = random.Random(int(hashed(plan.seed, row)))
        self._names = count()
        self.seen: dict[str, Hypothesis] = {}
        self.calls = self.forwards = 0
        self.accepted: Hypothesis | None = None
        self.path: list[Hypothesis] = []
        self.stopped = ""
        self._found = {name: [source.prior * 20, 20.0] for name, source in sources.items()}
        probe = lexicon.probe
        self.word_W = None if z_Z is None else probe.logits(z_Z[None])[0]
        self.added_W = torch.zeros(0) if z_Z is None else probe.write_WZ @ z_Z
        self.square_W = probe.write_WZ.square().sum(1)
        self.bias_V: Tensor | None = None
        self.penalty_V = torch.full((writer.vocab_size,), _AGAIN)
        token, word = forms.pairs
        self.penalty_V[token[word < _FREQUENT]] = 0.0
        self._own_bias_V = self._from_probe()

    # -- what the sources ask ---------------------------------------------------------------------------------------
    def best(self, count: int, fluency: float | None = None) -> list[Hypothesis]:
        """The hypotheses that rank first."""
        weight = self.plan.fluency[0] if fluency is None else fluency
        return heapq.nlargest(count, self.seen.values(), key=lambda h: h.value(weight))

    def tokens(self, units: Units) -> list[list[int]]:
        """Ids of each unit as the text is written."""
        return self.writer.pieces(self.lexicon.spelling.pieces(units))

    # -- the search -------------------------------------------------------------------------------------------------
    def run(self) -> Generator[Request, Any, None]:
        """Until a text is accepted, or what may be spent is spent."""
        plan = self.plan
        mask = self.writer.mask
        cut = [self.lexicon.spelling.cut(text) for text in self._starts]
        yield from self._check([(units, "start", None, None) for units in cut if units])
        drafts = [[mask] * n for n in self._draft_lengths(plan.drafts)]
        if drafts:
            yield from self._write(drafts, _DRAFT, "draft")
        for _ in range(plan.waves):
            yield from self._rewrite()
        while not self._over():
            before = self._top()
            front = self._front()
            if not front:
                seen = len(self.seen)
                yield from self._rewrite()
                if len(self.seen) == seen:
                    self.stopped = self.stopped or "nothing new was proposed"
                    return
                continue
            yield from self._edit(front)
            if self._top() <= before + 1e-6 and not self._over():
                yield from self._rewrite()

    def _edit(self, front: list[Hypothesis]) -> Generator[Request, Any, None]:
        fresh = [h for h in front if h.waiting is None]
        if fresh:
            yield from self._expand(fresh)
        chosen = [(h, source, edit) for h in front for source, edit in self._next(h)]
        yield from self._try([(h, source, (edit,)) for h, source, edit in chosen])
        if self._over() or self.z_Z is None or not self.plan.join:
            return
        share = max(4, self.plan.tries // 2)
        together = [(h, "join", edits) for h in front for edits in combinations(h, self.z_Z, share)]
        yield from self._try(together)
        for hypothesis in front:
            hypothesis.visits += 1

    def _expand(self, front: list[Hypothesis]) -> Generator[Request, Any, None]:
        """List what may be done to hypotheses, with one question to the denoiser."""
        sites = [Site(self, h) for h in front]
        asked = self.plan.weights.denoiser > 0 and any(source.asks_denoiser for source in self.sources.values())
        if asked and self._may_write():
            mask, rows, firsts = self.writer.mask, [], []
            for h in front:
                ids = self.tokens(h.units)
                n = len(ids)
                flat: list[list[int]] = [
                    [i for k, piece in enumerate(ids) for i in ((mask,) if k == at else piece)] for at in range(n)
                ]
                flat += [[*sum(ids[:at], []), mask, *sum(ids[at:], [])] for at in range(n + 1)]
                rows += flat
                firsts.append(n)
            log_p = yield LogProbRequest(DenoiserRows(rows, self.z_Z))
            start = 0
            for site, n in zip(sites, firsts, strict=True):
                site.replaced_nW = self._by_word(log_p[start : start + n])
                site.inserted_mW = self._by_word(log_p[start + n : start + 2 * n + 1])
                start += 2 * n + 1
        for site in sites:
            found = {name: source.edits(site) for name, source in self.sources.items()}
            site.hypothesis.waiting = {
                name: sorted(edits, key=lambda e: -e.rank)[::-1] for name, edits in found.items() if edits
            }

    def _by_word(self, log_p_nV: Tensor) -> Tensor:
        forms = self.forms
        found = word_log_probs(log_p_nV, forms.inside_W, forms.inside_several_W)
        found[:1] = word_log_probs(log_p_nV[:1], forms.first_W, forms.first_several_W)
        return found

    def _next(self, h: Hypothesis) -> list[tuple[str, Edit]]:
        """Edits to try now, from each source by what it has found so far."""
        waiting = h.waiting or {}
        hope = {name: self._found[name][0] / self._found[name][1] for name, edits in waiting.items() if edits}
        whole, chosen = sum(hope.values()), []
        for name in hope:
            take = max(2, round(self.plan.tries * hope[name] / whole))
            for _ in range(min(take, len(waiting[name]))):
                chosen.append((name, waiting[name].pop()))
        return chosen

    def _try(self, edits: Iterable[tuple[Hypothesis, str, tuple[Edit, ...]]]) -> Generator[Request, Any, None]:
        """Verify edited hypotheses."""
        todo = []
        for parent, source, several in edits:
            units = joined(several, parent.units)
            if units:
                todo.append((units, source, parent, several[0] if len(several) == 1 else None))
        yield from self._check(todo)

    def _check(
        self, todo: Sequence[tuple[Units, str, Hypothesis | None, Edit | None]]
    ) -> Generator[Request, Any, None]:
        texts: dict[str, tuple[str, tuple[Units, str, Hypothesis | None, Edit | None]]] = {}
        for entry in todo:
            text = self.lexicon.spelling.spell(entry[0])
            key = self._key(text)
            known = self.seen.get(key)
            if known is not None:
                if entry[2] is not None and entry[3] is not None:
                    entry[2].tried.append((entry[3], known))
            elif text.strip() and sum(map(len, self.tokens(entry[0]))) < self.writer.longest:  # room for one more
                texts.setdefault(key, (text, entry))
        left = len(texts) if self.plan.calls is None else self.plan.calls - self.calls
        asked = list(texts.items())[: max(0, left)]
        if not asked:
            return
        answers = yield VerifyRequest([text for _, (text, _) in asked])
        ids = [self.lexicon.ids(entry[0]) for _, (_, entry) in asked]
        fluency = self.lexicon.trigram.scores(ids)
        top = self._top()
        for (key, (text, entry)), row, likely, (score, accepted, vector_Z) in zip(
            asked, ids, fluency, answers, strict=True
        ):
            units, source, parent, edit = entry
            found = Hypothesis(units, text, row, score, likely, vector_Z, source, parent, accepted, calls=self.calls)
            self.seen[key] = found
            if parent is not None and edit is not None:
                parent.tried.append((edit, found))
            if parent is not None and source in self._found:
                self._found[source][0] += score > parent.score + 1e-5
                self._found[source][1] += 1
            if score > top:
                top = score
                self.path.append(found)
            if accepted and (self.accepted is None or score > self.accepted.score):
                self.accepted = found

    def _write(self, rows: list[list[int]], how: tuple[float, float], source: str) -> Generator[Request, Any, None]:
        """Have rows filled in by the denoiser, and verify what comes."""
        if not self._may_write():
            return
        rows = [row[: self.writer.longest] for row in rows]
        temperature, pace = how
        names = [self.row * 2**20 + next(self._names) for _ in rows]
        bias_V = self._own_bias_V if self.bias_V is None else self.bias_V
        filled = yield FillRequest(
            DenoiserRows(rows, self.z_Z, bias_V, self.penalty_V, temperature, pace, names, self.plan.seed)
        )
        cut = [self.lexicon.spelling.cut(text) for text in self.writer.texts(filled)]
        yield from self._check([(units, source, None, None) for units in cut if units])

    def _rewrite(self) -> Generator[Request, Any, None]:
        """Whole texts and runs of words written anew from the best hypotheses."""
        best = self.best(8)
        if not best:
            return
        self._favour(self.best(24))
        for name, source in self.sources.items():
            rows = source.rows(self, best)
            if rows and not self._over():
                yield from self._write(rows, _REWRITE, name)
        if self.corrector is not None and not self._over():
            rows, forwards = self.corrector.rows(self, best)
            self.forwards += forwards
            yield from self._write(rows, _REWRITE, "corrector")

    # -- what it goes by --------------------------------------------------------------------------------------------
    def _front(self) -> list[Hypothesis]:
        """Different hypotheses that rank first and are not used up."""
        plan = self.plan
        live = [
            h for h in self.seen.values() if h.visits < plan.visits and (h.waiting is None or any(h.waiting.values()))
        ]
        front: list[Hypothesis] = []
        for place in range(plan.beam):
            weight = plan.fluency[min(place, len(plan.fluency) - 1)] if place < len(plan.fluency) else plan.fluency[0]
            for h in heapq.nlargest(24, live, key=lambda h: h.value(weight)):
                if all(h is not other and (place < 1 or h.likeness(other) < _ALIKE or place == 1) for other in front):
                    front.append(h)
                    break
        return front

    def _top(self) -> float:
        return self.path[-1].score if self.path else -1.0

    def _over(self) -> bool:
        if self.accepted is not None:
            self.stopped = "verified"
        elif self.plan.calls is not None and self.calls >= self.plan.calls:
            self.stopped = "calls"
        elif self.plan.forwards is not None and self.forwards >= self.plan.forwards:
            self.stopped = "forwards"
        return bool(self.stopped)

    def _may_write(self) -> bool:
        return not self._over()

    def _draft_lengths(self, count: int) -> list[int]:
        if self._lengths is not None:
            chance = self._lengths.exp().tolist()
            return self.rng.choices(range(1, len(chance) + 1), chance, k=count)
        if self.z_Z is None:
            return [self.rng.randrange(3, 33) for _ in range(count)]
        middle = float(self.lexicon.probe.length(self.z_Z[None])[0]) * self.forms.tokens_a_unit
        most = self.writer.longest
        return [min(most, max(2, round(self.rng.gauss(middle, 2.0 + 0.08 * middle)))) for _ in range(count)]

    def _from_probe(self) -> Tensor | None:
        """What the probe adds to the logits of tokens: the best of the words that they are in."""
        if self.word_W is None:
            return None
        token, word = self.forms.pairs
        bias_V = torch.full((self.writer.vocab_size,), -5.0)
        bias_V.scatter_reduce_(0, token, self.word_W[word].clamp(-5, 4), "amax")
        bias_V[[self.writer.pad, self.writer.eos]] = 0.0
        return self.plan.bias * bias_V

    def _favour(self, best: Sequence[Hypothesis]) -> None:
        """Raise the tokens of the best hypotheses."""
        if not best:
            return
        shares, top = torch.zeros(self.writer.vocab_size), best[0].score
        total = 0.0
        for h in best:
            weight = 2.718281828 ** ((h.score - top) / 0.03)
            total += weight
            shares[list({i for piece in self.tokens(h.units) for i in piece})] += weight
        own = self._own_bias_V if self._own_bias_V is not None else torch.zeros(self.writer.vocab_size)
        self.bias_V = own + self.plan.elite * shares / total
