"""The subject of a TidalTransformer: rows are single blocks, and what stands before a block is its condition.

A row is ``<bob>``, the block's ids up to its end, and padding; the ids of the prefix are the row's vector, -1 behind
them. So every question about a causal model (its past, its future, its targets) is asked of the block. A plain baseline
has no blocks: its rows are the text that it writes, behind a ``<bob>`` that stands for the prefix and is not read.

Shapes: B rows, L columns, N rows of logits asked for, P longest prefix.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator, uniform
from unmask.core.sampling import categorical
from unmask.data.tidal.dataset import Example, TidalDataset
from unmask.data.tidal.mixed_tokenizer import BOB, EOS, PAD
from unmask.data.tidal.samples import Segment, layout
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.tidal import CharacterWriter
from unmask.diagnosis.native import RowSource, quietly
from unmask.diagnosis.record import Record, kept_at
from unmask.diagnosis.subject import (
    Batch,
    CachedRun,
    Generated,
    NotProvided,
    Split,
    State,
    Step,
    Subject,
    TrainingView,
)
from unmask.diagnosis.tidal_rows import RowText
from unmask.diffusion.blocks import block_losses
from unmask.evaluation.tidal import fitting, row_length
from unmask.models.tidal import TidalModel
from unmask.models.tidal_attention import Places
from unmask.models.tidal_text import TidalTextModel, load_tidal

#: texts whose blocks are looked at, at most
MOST_PIECES = 1024


class TidalSubject(Subject):
    """A :class:`TidalModel` that draws its characters in order, or one of its plain baselines.

    Args:
        net: the network; used in evaluation mode.
        held_out, train: rows, from :func:`block_rows`; ``train`` may be None.
        tokenizer: reads and spells a row, see :class:`unmask.diagnosis.tidal_rows.RowText`.
        pieces: the blocks of held-out texts; none for a model without blocks.
        name, path: what to call it, and the folder it was loaded from.
    """

    kind = "causal"
    conditional = True
    pad_id, eos_id = PAD, EOS
    rows_are_texts = False
    settings = {"temperature": (1.0, 0.5)}

    def __init__(
        self,
        net: TidalModel,
        held_out: RowSource,
        train: RowSource | None = None,
        *,
        tokenizer: Any = None,
        pieces: Sequence[list[str]] = (),
        temperature: float = 1.0,
        limits: dict[str, Any] | None = None,
        name: str = "tidal",
        path: str | None = None,
    ) -> None:
        self.temperature, self.limits = temperature, limits or {}
        self.pieces = pieces
        self.net, self.held_out, self.train = net.eval(), held_out, train
        self.tokenizer, self.name, self.path = tokenizer, name, path
        self.vocab_size = net.config.outputs
        self.in_blocks = net.config.writes == "blocks"

    def data(self, n: int, split: Split = "held_out") -> Batch:
        rows = self.held_out if split == "held_out" else self.train
        if rows is None:
            raise NotProvided("data(n, 'train')")
        batch = rows(n)
        assert batch.cond is not None
        device = self.net.device
        return Batch(batch.ids_BL.to(device), batch.cond.to(device), texts=batch.texts)

    # -- rows and what the network reads ----------------------------------------------------------------------------
    def prefixes(self, cond: Condition | None, rows: int) -> list[list[int]]:
        """The ids before each row; those of a row without a condition are the ids before an empty text."""
        bare = [] if self.in_blocks else [EOS]
        if cond is None:
            return [list(bare) for _ in range(rows)]
        top = self.net.config.vocab_size - 1
        return [
            [min(int(i), top) for i in line if i >= 0] or list(bare) if present else list(bare)
            for line, present in zip(cond.latent_BZ.tolist(), cond.present_B.tolist(), strict=True)
        ]

    def segments(self, x_BL: Tensor, prefixes: Sequence[list[int]]) -> list[list[Segment]]:
        """What training makes of these rows, one a row."""
        found = []
        for row, prefix in zip(x_BL.tolist(), prefixes, strict=True):
            if self.in_blocks:
                found.append([Segment(prefix, [(len(prefix), row)])])
            else:
                found.append([Segment(prefix + row[1:], train_from=len(prefix))])
        return found

    def predicted_at(self, prefixes: Sequence[list[int]], columns: int) -> Tensor:
        """Which position of the network's row predicts each column of ours [B, L]; column 0 is never asked for."""
        before_B1 = torch.tensor([len(p) for p in prefixes])[:, None]
        behind = 1 if self.in_blocks else 2
        return (before_B1 + torch.arange(columns) - behind).clamp(min=0).to(self.net.device)

    # -- the four ---------------------------------------------------------------------------------------------------
    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        """Training's own layout, targets and loss on these rows."""
        self.net.eval()
        prefixes = self.prefixes(batch.cond, len(batch))
        laid = {k: v.to(self.net.device) for k, v in layout(self.segments(batch.ids_BL, prefixes)).items()}
        target_BL = laid["target"]
        # a block's padding is no part of it; the layout of real rows ends with the block
        target_BL[target_BL == PAD] = -100
        at_BL = self.predicted_at(prefixes, batch.ids_BL.shape[1])
        scored_BL = target_BL.gather(1, at_BL) >= 0
        scored_BL[:, 0] = False
        row_N, col_N = scored_BL.nonzero(as_tuple=True)
        target_BL[row_N, at_BL[scored_BL]] = batch.targets[row_N, col_N]
        losses = block_losses(self.net, laid)
        # row-major in the network's rows is row-major in ours: both go from left to right
        ce_N = losses.ce_N.double()
        weight_N = torch.full_like(ce_N, 1 / max(len(ce_N), 1))
        return TrainingView(
            batch.ids_BL, scored_BL, ce_N, float(losses.loss), weight_N=weight_N, bound=True, cond=batch.cond
        )

    def predict(self, state: State) -> Tensor:
        self.net.eval()
        prefixes = self.prefixes(state.cond, len(state.x_BL))
        laid = {k: v.to(self.net.device) for k, v in layout(self.segments(state.x_BL, prefixes)).items()}
        h_BLD, _ = self.net.read(laid["input_ids"], Places(laid["segment"], laid["token"], laid["character"]))
        at_BL = self.predicted_at(prefixes, state.x_BL.shape[1])
        row_N, col_N = state.at_BL.nonzero(as_tuple=True)
        return self.net.head(h_BLD[row_N, at_BL[row_N, col_N]])

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """What :class:`unmask.decoding.tidal.CharacterWriter` draws behind these prefixes, one block a row."""
        self.net.eval()
        temperature = float(settings.get("temperature", self.temperature))
        B, L = batch.ids_BL.shape
        given = _KnownPrefixes(self.prefixes(batch.cond, B), L - 2, self.tokenizer.ends)
        writer = CharacterWriter(self.net, given, temperature=temperature, seed=seed, **self.limits)
        drawn = writer.block([""] * B, list(range(B)), 0)
        ids_BL = torch.full_like(batch.ids_BL, PAD)
        ids_BL[:, 0] = BOB
        steps = []
        for column in range(1, L):
            writes_B = torch.tensor([len(d.ids) >= column for d in drawn], device=ids_BL.device)
            if not bool(writes_B.any()):
                break
            drawn_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
            drawn_BL[:, column] = writes_B
            steps.append(Step(ids_BL.clone(), drawn_BL))
            ids_BL[writes_B, column] = torch.tensor(
                [d.ids[column - 1] for d in drawn if len(d.ids) >= column], device=ids_BL.device
            )
        return Generated(ids_BL, tuple(steps), temperature=temperature, forwards=B * writer.forwards, **self.limits)

    # -- more -------------------------------------------------------------------------------------------------------
    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        row_N = torch.arange(len(logits_NV), device=logits_NV.device)
        return categorical(logits_NV, uniform(seed, row_N, Stream.VALUE))

    def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
        """The block through ``begin`` and ``step``, as writing goes, behind an empty prefix."""
        self.net.eval()
        B, L = ids_BL.shape
        prefixes = self.prefixes(None, B)
        logits_BV, writing = self.net.begin(prefixes)
        behind, logits, given, held = len(prefixes[0]), [], [], []
        for column in range(1, L):
            if column >= start:
                logits.append(logits_BV)
            logits_BV, writing = self.net.step(ids_BL[:, column], writing)
            if column >= start:
                last = writing.cache.places
                # the place in the block, on whichever axis it is counted; <bob> is 0
                offset = last.character[0, -1] if self.in_blocks else last.token[0, -1] - behind + 1
                given.append(int(offset))
                held.append(float(int((last.segment[0] > 0).sum()) - behind + (0 if self.in_blocks else 1)))
        return CachedRun(torch.stack(logits, 1).flatten(0, 1), start, torch.tensor(given), torch.tensor(held))

    def blocks(self, n: int) -> list[list[str]]:
        if not len(self.pieces):
            raise NotProvided("blocks(n): it writes without blocks, or first character first")
        return list(self.pieces[:n])

    def record(self) -> Record:
        return kept_at(self.path)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    def reloaded(self) -> dict[str, Tensor]:
        if self.path is not None:
            return dict(load_tidal(self.path, self.net.device).denoiser.state_dict())
        with tempfile.TemporaryDirectory() as folder, quietly():
            self.net.save_pretrained(folder)
            return dict(TidalModel.from_pretrained(folder).state_dict())


@dataclass(frozen=True)
class _KnownPrefixes:
    """A tokenizer for the writer whose prefixes are known already."""

    prefixes: list[list[int]]
    max_block: int
    ends: tuple[int, ...]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return self.prefixes

    def read_block(self, ids: Sequence[int]) -> tuple[str, bool]:
        raise NotImplementedError("ids are looked at, not read")


def block_rows(model: TidalTextModel, examples: Sequence[Example], length: int | None = None) -> RowSource:
    """The first n of a fixed shuffle of the blocks (a plain baseline: texts) that training makes of the examples.

    Args:
        model, examples: see :func:`tidal_subject`.
        length: most positions of a row; the card's when None.

    Raises:
        UsageError: there is no example, or none fits.
    """
    if not len(examples):
        raise UsageError("there is no text to diagnose with: give held-out texts")
    config, tokenizer = model.denoiser.config, model.tokenizer
    plain = config.writes != "blocks"
    data = TidalDataset(
        tokenizer,
        examples,
        # a causal model's row holds every block of a text; here each stands alone
        attention=config.attention if plain else "tidal",
        writes=config.writes,
        length=row_length(model, length),
    )
    order = torch.randperm(len(data), generator=generator(0, Stream.SHUFFLE)).tolist()
    width = max(len(_parts(data[i][0])[1]) for i in order[:4096]) if plain else tokenizer.max_block + 2

    def rows(n: int) -> Batch:
        chosen = order[:n]
        parts = [_parts(data[i][0]) for i in chosen]
        ids_BL = torch.full((len(parts), width), PAD)
        latent_BP = torch.full((len(parts), max(1, *(len(p) for p, _ in parts))), -1.0)
        for b, (prefix, ids) in enumerate(parts):
            ids_BL[b, : len(ids)] = torch.tensor(ids[:width])
            latent_BP[b, : len(prefix)] = torch.tensor(prefix, dtype=torch.float32)
        texts = []
        for example, at in data.index[chosen].tolist():
            text = data.examples[example][1]
            texts.append(text if plain else (tokenizer.split(text) or [""])[at])
        return Batch(ids_BL, Condition.of(latent_BP), texts=tuple(texts))

    return rows


def _parts(segment: Segment) -> tuple[list[int], list[int]]:
    """A segment's prefix and its row."""
    if segment.train_from is None:
        return segment.tokens, segment.blocks[0][1]
    return segment.tokens[: segment.train_from], [BOB, *segment.tokens[segment.train_from :]]


def tidal_subject(
    model: TidalTextModel,
    examples: Sequence[Example],
    train: Sequence[Example] | None = None,
    *,
    length: int | None = None,
    plan: DecodingPlan | None = None,
) -> Subject:
    """A loaded tidal model (or plain baseline) with (prompt, text) pairs, as a subject.

    Args:
        model: from ``unmask.load``.
        examples: held-out pairs; the prompt is "" for texts written from nothing.
        train: pairs of the training set, for word counts and memorisation.
        length: most positions of a row; the card's when None. A plain baseline's longer texts are left out and counted.
        plan: how blocks are written; of a model that draws its characters in order only temperature, ``top_k`` and
            ``top_p``. When None: temperature 1, and for a block in any order see
            :class:`unmask.diagnosis.native.NativeSubject`.

    Raises:
        UsageError: no example, none fits, or a length the model has no positions for.
    """
    plain = model.denoiser.config.writes != "blocks"
    notes: tuple[str, ...] = ()
    if plain:
        examples, left_out = fitting(model, examples, length)
        notes = (f"{left_out}.",) if left_out.count else ()
    subject = _subject(model, examples, block_rows(model, examples, length), train, length, plan)
    subject.notes = notes
    return subject


def _subject(
    model: TidalTextModel,
    examples: Sequence[Example],
    held_out: RowSource,
    train: Sequence[Example] | None,
    length: int | None,
    plan: DecodingPlan | None,
) -> Subject:
    known = None if not train else block_rows(model, train, length)
    name = Path(model.path).name if model.path else "tidal"
    if model.denoiser.any_order:
        from unmask.diagnosis.tidal_masked import TidalMaskedSubject

        return TidalMaskedSubject(model, held_out, known, name=name, plan=plan)
    tokenizer = model.tokenizer
    cut = model.denoiser.config.writes == "blocks" and tokenizer.reverse
    return TidalSubject(
        model.denoiser,
        held_out,
        known,
        tokenizer=RowText(model),
        pieces=[tokenizer.split(text) for _, text in examples[:MOST_PIECES]] if cut else (),
        temperature=1.0 if plan is None else plan.temperature,
        limits={} if plan is None else {k: v for k in ("top_k", "top_p") if (v := getattr(plan, k)) is not None},
        name=name,
        path=model.path,
    )
