"""Faults of the number that is watched, and of the tokenizer that the texts are read with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.tokenizer import encode_fixed
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.subject import Batch, Split, Subject, TrainingView, Wrapped
from zoo.contract import ZooFault
from zoo.own.kept import some
from zoo.own.loop import system_of


class Reported(Wrapped):
    """The report changes what it says of a view, and nothing else."""

    def __init__(self, inner: Subject, change: Callable[[Subject, TrainingView, Batch], TrainingView]) -> None:
        super().__init__(inner)
        self.change = change

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        """The view as it is reported."""
        return self.change(self.inner, self.inner.training_view(batch, seed), batch)


def weighted(view: TrainingView, weight_N: Tensor) -> TrainingView:
    """A view reported under other weights."""
    return replace(view, weight_N=weight_N, loss=float((weight_N * view.ce_N).sum()))


def rows_first(subject: Subject, view: TrainingView, batch: Batch) -> TrainingView:
    """Each row's loss a token is averaged over rows, so that short texts count for too much."""
    row_N = view.scored_BL.nonzero()[:, 0]
    token_B = in_text(batch.ids_BL, subject.eos_id, subject.pad_id).sum(1).double()
    weight_N = torch.full_like(view.ce_N, 1 / len(view.ce_N)) if view.weight_N is None else view.weight_N
    if subject.kind == "causal":
        token_B = torch.bincount(row_N, minlength=len(batch)).double()
    elif not view.bound:
        raise UsageError("this fault is one of a bound: a mean of rows' means is the weight 1/t, and right, elsewhere")
    share_B = token_B.sum() / (token_B.clamp(min=1) * len(batch))
    return weighted(view, weight_N * share_B[row_N])


def in_bits(subject: Subject, view: TrainingView, batch: Batch) -> TrainingView:
    """Bits are reported as nats."""
    weight_N = torch.full_like(view.ce_N, 1 / len(view.ce_N)) if view.weight_N is None else view.weight_N
    return weighted(view, weight_N / math.log(2))


def easiest(subject: Subject, view: TrainingView, batch: Batch) -> TrainingView:
    """The hardest tenth of the tokens is left out as "outliers"."""
    weight_N = torch.full_like(view.ce_N, 1 / len(view.ce_N)) if view.weight_N is None else view.weight_N
    kept_N = (view.ce_N <= view.ce_N.quantile(0.9)).double()
    return weighted(view, weight_N * kept_N * (weight_N.sum() / (weight_N * kept_N).sum()))


class OtherTokenizer(Wrapped):
    """Texts are read with another tokenizer than training's, wherever texts are read; the record's ids stay."""

    def __init__(self, inner: Subject, read: Callable[[Sequence[str], int], Tensor], tokenizer: Any) -> None:
        super().__init__(inner)
        self.read, self.tokenizer = read, tokenizer

    def data(self, n: int, split: Split = "held_out") -> Batch:
        """The same texts, their ids made anew."""
        batch = self.inner.data(n, split)
        if batch.texts is None:
            raise UsageError("this fault reads texts, and the subject has none")
        ids_BL = self.read(batch.texts, batch.ids_BL.shape[1])
        valid_BL = None if batch.valid_BL is None else ids_BL != self.pad_id
        return replace(batch, ids_BL=ids_BL, valid_BL=valid_BL)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Ids of today's tokenizer; the vectors do not hang on it."""
        was_BL, latent_BZ = self.inner.encode(texts)
        return self.read(texts, was_BL.shape[1]), latent_BZ


@lru_cache(maxsize=4)
def _fewer_merges(share: float) -> Any:
    """The clauses' tokenizer with only the first part of its merges."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from zoo.own.ours import clauses

    whole = clauses().tokenizer
    told = json.loads(whole.backend_tokenizer.to_str())
    told["model"]["merges"] = told["model"]["merges"][: round(len(told["model"]["merges"]) * share)]
    cut = Tokenizer.from_str(json.dumps(told))
    names = {n: getattr(whole, n) for n in ("pad_token", "eos_token", "mask_token", "unk_token")}
    return PreTrainedTokenizerFast(tokenizer_object=cut, **{n: v for n, v in names.items() if v is not None})


def _laid(tokenizer: Any) -> Callable[[Sequence[str], int], Tensor]:
    @lru_cache(maxsize=8)
    def read(texts: tuple[str, ...], length: int) -> Tensor:
        laid = encode_fixed(tokenizer, list(texts), length, over_long="truncate")
        return torch.from_numpy(laid.ids).long()

    return lambda texts, length: read(tuple(texts), length)


def half_merges(subject: Subject, strength: float) -> Subject:
    """Half of the merges at evaluation (three quarters at half strength): the same text in more, smaller pieces."""
    if not hasattr(system_of(subject), "what"):
        raise UsageError("this fault is one of subwords, and this subject's tokenizer has whole words")
    tokenizer = _fewer_merges(1 - strength / 2)
    return OtherTokenizer(subject, _laid(tokenizer), tokenizer)


def lower_cased(subject: Subject, strength: float) -> Subject:
    """Texts are lower-cased at evaluation, and were not in training."""
    system = system_of(subject)
    if not hasattr(system, "what"):
        raise UsageError("this subject's language has no capitals")
    read = _laid(system.tokenizer)
    return OtherTokenizer(subject, lambda texts, length: read([t.lower() for t in texts], length), system.tokenizer)


def words_exchanged(subject: Subject, strength: float) -> Subject:
    """A vocabulary file in another order: a share of the words have exchanged their ids when texts are read."""
    system = system_of(subject)
    if hasattr(system, "what"):
        raise UsageError("wrong_tokenizer plants this into subjects of subwords")
    V = system.vocab_size
    table_V = torch.arange(V)
    chosen = torch.arange(3, V)[some(V - 3, 0.5 * strength, 4)]
    table_V[chosen] = chosen.roll(1)
    inner = system.tokenizer

    class Exchanged:
        """Reads and writes by the other table."""

        all_special_ids = inner.all_special_ids

        def __len__(self) -> int:
            return len(inner)

        def encode(self, text: str, **settings: Any) -> list[int]:
            return [int(table_V[i]) for i in inner.encode(text)]

        def decode(self, ids: Any, **settings: Any) -> str:
            back = table_V.argsort()
            return str(inner.decode([int(back[int(i)]) for i in ids]))

    return OtherTokenizer(subject, lambda texts, length: table_V[inner.rows(tuple(texts), length)], Exchanged())


def faults() -> list[ZooFault]:
    """Every fault of this file."""

    def report(name: str, change: Any) -> ZooFault:
        return ZooFault(name, "report", "report", lambda subject, strength: Reported(subject, change))

    return [
        report("bound_averaged_by_row", rows_first),
        report("bits_for_nats", in_bits),
        report("hardest_left_out", easiest),
        ZooFault("half_of_the_merges", "tokenizer", "tokenizer", half_merges, graded=True),
        ZooFault("lower_cased", "tokenizer", "tokenizer", lower_cased),
        ZooFault("words_exchanged", "tokenizer", "tokenizer", words_exchanged, graded=True),
    ]
