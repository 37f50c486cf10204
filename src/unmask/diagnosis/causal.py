"""The subject of a causal language model: next-token answers, its own sampler, and its key-value cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical
from unmask.core.unknown import require_known, unknown_ids
from unmask.decoding.autoregressive import next_tokens, penalised
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.native import RowsOf, RowSource, quietly
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
from unmask.models.causal import CausalModel
from unmask.models.causal_prompts import positions


class CausalSubject(Subject):
    """A transformers causal language model with data.

    Args:
        model: called as ``model(input_ids=..., position_ids=..., past_key_values=..., use_cache=...)``, answering with
            ``.logits`` [B, L, V] and ``.past_key_values``.
        held_out, train: rows of ids, or a function that gives the first n; ``train`` may be None.
        pad_id, eos_id: ids of the data's rows, or None.
        tokenizer: with ``decode``, or None.
        temperature, limits, repetition_penalty: of its sampler; ``limits`` holds ``top_k`` and ``top_p`` where given.
        name: what to call it.
    """

    kind = "causal"

    def __init__(
        self,
        model: Any,
        held_out: Batch | RowSource,
        train: Batch | RowSource | None = None,
        *,
        pad_id: int | None = None,
        eos_id: int | None = None,
        tokenizer: Any = None,
        temperature: float = 1.0,
        limits: dict[str, Any] | None = None,
        repetition_penalty: float = 1.0,
        name: str = "causal model",
    ) -> None:
        self.limits, self.repetition_penalty = limits or {}, repetition_penalty
        self.model, self.tokenizer, self.temperature, self.name = model, tokenizer, temperature, name
        self.held_out = RowsOf(held_out) if isinstance(held_out, Batch) else held_out
        self.train = RowsOf(train) if isinstance(train, Batch) else train
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self.pad_id, self.eos_id = pad_id, eos_id
        self.settings = {"temperature": (1.0, 0.5)}

    @classmethod
    def of(
        cls, model: CausalModel, texts: Sequence[str], *, train_texts: Sequence[str] | None = None, length: int = 64
    ) -> CausalSubject:
        """A :class:`unmask.models.causal.CausalModel` with texts, joined and cut into rows of ``length`` tokens.

        Raises:
            UsageError: the texts do not fill two rows, nearly all tokens are unknown, or a length the model has no
                positions for.
        """
        limit = positions(model)
        if length < 8 or (limit is not None and length > limit):
            raise UsageError(f"length={length} must lie in 8..{limit or ''}, the positions this model has")

        def rows(side: Sequence[str]) -> tuple[Tensor, int]:
            ids = torch.cat([model.encode(text + "\n", start=False) for text in side])
            whole = ids[: len(ids) // length * length].view(-1, length)
            if len(whole) < 2:
                raise UsageError(f"the texts have {len(ids)} tokens, which does not fill two rows of {length}")
            return whole, len(ids) - whole.numel()

        held_out, rest = rows(texts)
        unknown = require_known(unknown_ids(model.tokenizer, held_out.tolist()), model.name)
        train = None if not train_texts else RowsOf(Batch(rows(train_texts)[0]))
        subject = cls(model.model, RowsOf(Batch(held_out)), train, tokenizer=model.tokenizer, name=model.name)
        left = f"The last {rest} tokens of the texts are left out: they fill no row of {length}." if rest else ""
        said = f"{unknown} to the tokenizer." if str(unknown) else ""
        subject.notes = tuple(note for note in (left, said) if note)
        return subject

    def data(self, n: int, split: Split = "held_out") -> Batch:
        rows = self.held_out if split == "held_out" else self.train
        if rows is None:
            raise NotProvided("data(n, 'train')")
        batch = rows(n)
        device = next(self.model.parameters()).device
        return Batch(batch.ids_BL.to(device), texts=batch.texts)

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        self.model.eval()
        at_BL = in_text(batch.ids_BL, self.eos_id, self.pad_id)
        at_BL[:, 0] = False
        logits_BLV = self.model(input_ids=batch.ids_BL, use_cache=False).logits
        ce_N = torch.nn.functional.cross_entropy(
            logits_BLV[:, :-1][at_BL[:, 1:]].float(), batch.targets[:, 1:][at_BL[:, 1:]], reduction="none"
        ).double()
        # nats a text token: the first token is given, so it is neither scored nor divided by
        inside = in_text(batch.ids_BL, self.eos_id, self.pad_id).sum()
        weight_N = torch.full_like(ce_N, 1 / len(ce_N))
        assert int(inside) >= len(ce_N)
        return TrainingView(batch.ids_BL, at_BL, ce_N, float(ce_N.mean()), weight_N=weight_N, bound=True)

    def predict(self, state: State) -> Tensor:
        self.model.eval()
        if bool(state.at_BL[:, 0].any()):
            raise ValueError("a causal model cannot predict the first position: nothing comes before it")
        logits_BLV: Tensor = self.model(input_ids=state.x_BL, use_cache=False).logits
        return logits_BLV[:, :-1][state.at_BL[:, 1:]]

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        temperature = float(settings.get("temperature", self.temperature))
        ids_BL = batch.ids_BL.clone()
        B, L = ids_BL.shape
        start = max(L // 4, 1)
        ids_BL[:, start:] = 0 if self.pad_id is None else self.pad_id
        end_E = torch.tensor([] if self.eos_id is None else [self.eos_id], dtype=torch.long, device=ids_BL.device)
        ended_B = torch.isin(ids_BL[:, :start], end_E).any(1)

        def read(fed_B: Tensor, state: tuple[Any, int]) -> tuple[Tensor, tuple[Any, int]]:
            fed_BS, (cache, place) = fed_B.view(B, -1), state
            end = place + fed_BS.shape[1]
            position = torch.arange(place, end, device=ids_BL.device).expand(B, -1)
            out = self.model(input_ids=fed_BS, position_ids=position, past_key_values=cache, use_cache=True)
            logits_BV = penalised(out.logits[:, -1], ids_BL[:, :end], self.repetition_penalty)
            return logits_BV, (out.past_key_values, end)

        logits_BV, state = read(ids_BL[:, :start], (None, 0))
        names, places, steps = (torch.arange(B),), range(start, L), []
        tokens = next_tokens(read, logits_BV, state, names, places, temperature=temperature, seed=seed, **self.limits)
        for place, token in zip(places, tokens, strict=True):
            drawn_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
            drawn_BL[:, place] = ~ended_B
            steps.append(Step(ids_BL.clone(), drawn_BL))
            # what a row draws behind its end is read by that row alone, and padded
            chosen_B = token.ids_B if self.pad_id is None else token.ids_B.masked_fill(ended_B, self.pad_id)
            ids_BL[:, place] = chosen_B
            ended_B = ended_B | torch.isin(chosen_B, end_E)
        return Generated(
            ids_BL,
            tuple(steps),
            temperature=temperature,
            altered=f"repetition_penalty={self.repetition_penalty:g} changes what is drawn from"
            if self.repetition_penalty != 1
            else "",
            forwards=B * (L - start),
            **self.limits,
        )

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        row_N = torch.arange(len(logits_NV), device=logits_NV.device)
        return categorical(logits_NV, uniform(seed, row_N, Stream.VALUE))

    def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
        return cached_run(self.model, ids_BL, start)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    def reloaded(self) -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as folder, quietly():
            self.model.save_pretrained(folder)
            again = type(self.model).from_pretrained(folder, dtype=self.model.dtype, local_files_only=True)
        return dict(again.state_dict())


def cached_run(
    model: Any,
    ids_BL: Tensor,
    start: int,
    *,
    keep: float = 1.0,
    evict: Callable[[Any, int], None] | None = None,
    position: Callable[[int, int], int] = lambda true, held: true,
    held: Tensor | None = None,
) -> CachedRun:
    """Fill a cache with the first ``start`` tokens, feed the others one by one, and tell how.

    Args:
        model: see :class:`CausalSubject`.
        ids_BL, start: known tokens, and the first one predicted from the cache.
        keep: the share of the prefix that is asked to be kept.
        evict: called with the cache after the prefix (token -1) and after each token fed, to shrink it.
        position: from a token's true position and the entries held before it, the position it is given.
        held: the places of the prefix that ``evict`` leaves, where they are known.
    """
    B, L = ids_BL.shape
    model.eval()
    # all but the prefix's last token are the cache; that one is fed again so that the cache answers for ``start``
    out = model(input_ids=ids_BL[:, :start], use_cache=True)
    cache, logits = out.past_key_values, [out.logits[:, -1]]
    if evict is not None:
        evict(cache, -1)
    positions, kept = [], []
    for place in range(start, L):
        given = position(place, cache.get_seq_length())
        where = torch.full((B, 1), given, device=ids_BL.device)
        out = model(input_ids=ids_BL[:, place : place + 1], position_ids=where, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        if evict is not None:
            evict(cache, place)
        positions.append(given)
        kept.append(float(cache.get_seq_length()))
        logits.append(out.logits[:, -1])
    logits_NV = torch.stack(logits[:-1], dim=1).flatten(0, 1)
    return CachedRun(logits_NV, start, torch.tensor(positions), torch.tensor(kept), keep, held)


def drop_entries(cache: Any, keep: Tensor) -> None:
    """Keep only some entries [S] of every layer of a transformers cache."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, keep], layer.values[:, :, keep]
