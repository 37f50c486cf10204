"""Perplexity of generated text under a causal judge, never without what shows that it was not bought.

A sample scores well under a judge by repeating itself (KL(q || judge) = CE(q, judge) - H(q)): "the the the" beats real
prose. So there is no function here that returns the perplexity alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.unknown import UnknownTokens, unknown_ids
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.metrics.distinct_n import distinct_n
from unmask.metrics.mauve import MIN_TEXTS, Mauve, mauve
from unmask.metrics.perplexity import perplexity
from unmask.metrics.rep_n import rep_n
from unmask.metrics.token_entropy import pooled_entropy, token_entropy
from unmask.metrics.words import word_tokens

#: logits of the judge held at once: 2**26 numbers, 256 MB in fp32
_LOGITS = 2**26


class Judge(Protocol):
    """A Hugging Face causal model with its tokenizer (:class:`unmask.models.causal.CausalModel`)."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def model(self) -> Any: ...
    @property
    def tokenizer(self) -> Any: ...


@dataclass(frozen=True)
class Quality:
    """How a sample of texts reads, as one thing: GenPPL with entropy, diversity, repetition and MAUVE.

    Attributes:
        texts: how many; ``unscored`` of them had no token the judge could score, ``truncated`` were cut to its length.
        tokens: scored tokens.
        unit: what entropy, distinct-n and rep-n count: "judge tokens", or "words" without a judge.
        judge, judge_identity: its name, and which weights those are; None where none was given. GenPPL under different
            weights is not comparable.
        gen_ppl: exp of the mean nats a token under the judge; None without a judge. The first token is conditioned on
            BOS where ``bos``, otherwise it is context only.
        entropy_nats: mean unigram entropy of a text; at most the log of its length.
        pooled_entropy_nats: unigram entropy of all texts together.
        distinct_1, distinct_2, distinct_3: shares in (0, 1], pooled.
        rep_2, rep_3, rep_4: mean share of repeated n-grams within a text.
        mauve: a value, or why there is none.
        unknown: how many tokens the judge's tokenizer does not know.
    """

    texts: int
    unscored: int
    truncated: int
    tokens: int
    unit: str
    judge: str | None
    judge_identity: str | None
    bos: bool
    gen_ppl: Interval | None
    entropy_nats: Interval
    pooled_entropy_nats: float
    distinct_1: float
    distinct_2: float
    distinct_3: float
    rep_2: Interval
    rep_3: Interval
    rep_4: Interval
    mauve: Mauve
    unknown: UnknownTokens = UnknownTokens(0, 0)


def judge_texts(
    texts: Sequence[str],
    judge: Judge | None,
    *,
    data_texts: Sequence[str] | None = None,
    embed: Callable[[Sequence[str]], ArrayLike] | None = None,
    bos: bool = False,
    mauve_min_texts: int = MIN_TEXTS,
    seed: int = 0,
    share: bool = False,
) -> Quality:
    """Score a sample of texts.

    Args:
        texts: what was written.
        judge: scores it; None leaves GenPPL out and counts words.
        data_texts: real texts that MAUVE compares with.
        embed: texts -> features [N, D] for MAUVE.
        bos: put the judge's BOS before each text. Left out by default: judges that were not trained with one score
            everything worse with it.
        mauve_min_texts: the smallest sample MAUVE is measured on.
        seed: of the intervals.
        share: each process of a launch scores its part of the texts and gets everyone's; all must call.

    Raises:
        UsageError: no text, or ``bos`` with a judge that has none.
    """
    if not texts:
        raise UsageError("no text to judge")
    sequences: list[list[Any]] = [word_tokens(text) for text in texts]
    nats: list[NDArray[np.float64]] = []
    truncated = 0
    if judge is not None:
        sequences, truncated = _tokenize(judge, texts)
        mine = distributed.split_between_processes(len(texts)) if share else range(len(texts))
        nats = _nats(judge, sequences[mine.start : mine.stop], bos)
        nats = distributed.gather_object(nats) if share else nats
    enough = data_texts is not None and embed is not None and min(len(texts), len(data_texts)) >= mauve_min_texts
    if data_texts is None or embed is None:
        distance = mauve(None, None)
    elif enough:
        distance = mauve(embed(texts), embed(data_texts), min_texts=mauve_min_texts)
    else:  # the reason, without encoding anything
        distance = mauve(np.empty((len(texts), 0)), np.empty((len(data_texts), 0)), min_texts=mauve_min_texts)
    return Quality(
        texts=len(texts),
        unscored=sum(not len(row) for row in nats),
        truncated=truncated,
        tokens=sum(map(len, nats)),
        unit="words" if judge is None else "judge tokens",
        judge=None if judge is None else judge.name,
        judge_identity=None if judge is None else judge.identity,
        bos=bos,
        gen_ppl=None if judge is None else perplexity(nats, seed=seed),
        entropy_nats=_mean(token_entropy(sequences), seed),
        pooled_entropy_nats=pooled_entropy(sequences),
        distinct_1=distinct_n(sequences, 1),
        distinct_2=distinct_n(sequences, 2),
        distinct_3=distinct_n(sequences, 3),
        rep_2=_mean(rep_n(sequences, 2), seed),
        rep_3=_mean(rep_n(sequences, 3), seed),
        rep_4=_mean(rep_n(sequences, 4), seed),
        mauve=distance,
        unknown=UnknownTokens(0, 0) if judge is None else unknown_ids(judge.tokenizer, sequences),
    )


def _mean(value_N: NDArray[np.float64], seed: int) -> Interval:
    """Mean over the texts that have a value."""
    return ratio_interval(value_N[~np.isnan(value_N)], seed=seed)


def _tokenize(judge: Judge, texts: Sequence[str]) -> tuple[list[list[Hashable]], int]:
    rows = judge.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    # one place is kept for BOS
    longest = int(getattr(judge.model.config, "max_position_embeddings", None) or 1024) - 1
    return [list(row[:longest]) for row in rows], sum(len(row) > longest for row in rows)


@torch.no_grad()
def _nats(judge: Judge, sequences: Sequence[Sequence[Any]], bos: bool) -> list[NDArray[np.float64]]:
    """Each text's negative log likelihoods, a scored token; batches of like lengths, padded on the right."""
    start: list[int] = []
    if bos:
        if judge.tokenizer.bos_token_id is None:
            raise UsageError(f"the judge {judge.name!r} has no BOS token: leave bos out")
        start = [judge.tokenizer.bos_token_id]
    rows = [start + list(sequence) for sequence in sequences]
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(rows)
    todo = sorted((i for i, row in enumerate(rows) if len(row) > 1), key=lambda i: -len(rows[i]))
    device = next(judge.model.parameters()).device
    while todo:
        width = len(rows[todo[0]])
        size = max(1, _LOGITS // (width * int(judge.model.config.vocab_size)))
        batch, todo = todo[:size], todo[size:]
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        real = torch.zeros_like(ids)
        for at, i in enumerate(batch):
            ids[at, : len(rows[i])] = torch.tensor(rows[i])
            real[at, : len(rows[i])] = 1
        ids, real = ids.to(device), real.to(device)
        logits = judge.model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1]
        for at, i in enumerate(batch):
            told = logits[at, : len(rows[i]) - 1].float()
            right = told.gather(1, ids[at, 1 : len(rows[i]), None])[:, 0]
            found[i] = (told.logsumexp(-1) - right).double().cpu().numpy()
    return found


def quality_metrics(quality: Quality, prefix: str = "") -> dict[str, float]:
    """Flat numbers with their unit in the key; what was not measured is left out."""
    q = quality
    numbers = {
        "entropy_nats_per_text": q.entropy_nats.value,
        "pooled_entropy_nats": q.pooled_entropy_nats,
        "distinct_1_share": q.distinct_1,
        "distinct_2_share": q.distinct_2,
        "distinct_3_share": q.distinct_3,
        "rep_2_share": q.rep_2.value,
        "rep_3_share": q.rep_3.value,
        "rep_4_share": q.rep_4.value,
    }
    if q.gen_ppl is not None:
        numbers |= {"gen_ppl": q.gen_ppl.value, "gen_ppl_low": q.gen_ppl.low, "gen_ppl_high": q.gen_ppl.high}
    if q.mauve.value is not None:
        numbers["mauve_0_to_1"] = q.mauve.value
    return {prefix + key: value for key, value in numbers.items() if not math.isnan(value)}
