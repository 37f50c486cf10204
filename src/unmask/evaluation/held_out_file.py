"""Held-out texts that travel with a model: drawn by length, far from every training text, in ``held_out.jsonl``.

``python -m unmask.evaluation.held_out_file MODEL`` draws them and writes the file beside the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.files import write_text
from unmask.core.random import Stream, generator
from unmask.data import corpora, english
from unmask.data.crops import Crops, crop_all
from unmask.data.latents import Encoder, cached_latents
from unmask.data.near_duplicates import same_words
from unmask.data.sentences import bare, sentences
from unmask.evaluation.held_out import split_rows
from unmask.metrics.bleu import sentence_bleu
from unmask.models.text_model import TextModel, load_native

FILE = "held_out.jsonl"
#: the longest text of each bucket, in the model's tokens
BUCKETS = (8, 16, 32)
#: training texts that a text is compared with: those whose vectors are nearest
_NEAREST = 8
#: a text this like a training text is not drawn
_LIKE = 50.0
#: candidates looked at for each text that is wanted
_SPARE = 4
_BLOCK = 65_536


@dataclass(frozen=True)
class HeldOutText:
    """A text that training never saw.

    Attributes:
        text: the text.
        source: where it stands, such as ``web 43011035``.
        bucket: the most tokens of its bucket, of :data:`BUCKETS`.
        tokens: how many of the model's tokens it has, without the end.
        kind: ``whole``, or ``sentence`` for one that was taken out of a longer held-out text.
        nearest: the training text most like it, of those with the nearest vectors.
        bleu: of that text with this one as the reference.
    """

    text: str
    source: str
    bucket: int
    tokens: int
    kind: str
    nearest: str
    bleu: float


def write_held_out(folder: str | Path, count: int = 1000, seed: int = 0, cache_dir: str | Path | None = None) -> Path:
    """The file that was written beside a model: ``count`` held-out texts, a third in each bucket.

    Args:
        folder: of a conditional model; its card says what it was trained on and how that was split.
        count: how many; fewer where a bucket does not hold as many.
        seed: of the draw.
        cache_dir: of the vectors of the training texts.

    Raises:
        UsageError: the model takes no vector, its data is not at hand, or ``count`` is below 3.
    """
    if count < len(BUCKETS):
        raise UsageError(f"count={count} must be at least {len(BUCKETS)}, one for each bucket")
    model = load_native(folder)
    recipe = model.card.recipe
    if model.card.task == "unconditional" or "data" not in recipe:
        raise UsageError(f"{folder} writes from no text, or its card names no data: nothing is held out for it")
    rows = split_rows(recipe)
    encoder = model.card.load_encoder(recipe.get("encoder_precision", "auto"))
    found = draw_texts(
        candidates(rows.validation, _tokens(model), names_of(str(recipe["data"]))),
        rows.train,
        encoder,
        crops=_crops(recipe),
        count=count,
        seed=seed,
        cache_dir=cache_dir,
    )
    lines = (json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found)
    return write_text(Path(folder) / FILE, "".join(lines))


def read_held_out(folder: str | Path) -> list[HeldOutText]:
    """The held-out texts that came with a model; none where there is no such file.

    Raises:
        UsageError: the file is damaged.
    """
    place = Path(folder) / FILE
    if not place.is_file():
        return []
    try:
        return [HeldOutText(**json.loads(line)) for line in place.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise UsageError(f"{place} is damaged: {error}") from error


def candidates(
    texts: Iterable[str], tokens: Callable[[Sequence[str]], list[int]], names: Mapping[str, str]
) -> list[HeldOutText]:
    """Whole texts of at most 32 tokens, then sentences of at most 8 out of longer ones; each text once.

    Args:
        texts: held out.
        tokens: how many tokens each of some texts has.
        names: where a text stands; by its hash where that is not known.
    """
    whole = list(dict.fromkeys(texts))
    kinds = dict.fromkeys(whole, "whole")
    origin = {text: text for text in whole}
    for text in whole:
        parts = [bare(part) for part in sentences(text)]
        for part in parts if len(parts) > 1 else ():
            kinds.setdefault(part, "sentence")
            origin.setdefault(part, text)
    found = []
    for (text, kind), size in zip(kinds.items(), tokens(list(kinds)), strict=True):
        bucket = next((most for most in BUCKETS if size <= most), 0)
        if bucket and (kind == "whole" or bucket == BUCKETS[0]):
            name = names.get(origin[text]) or hashlib.blake2b(origin[text].encode(), digest_size=8).hexdigest()
            found.append(HeldOutText(text, name, bucket, size, kind, "", 0.0))
    return found


def draw_texts(
    found: Sequence[HeldOutText],
    train: Sequence[str],
    encoder: Encoder,
    *,
    crops: Crops,
    count: int,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> list[HeldOutText]:
    """``count`` of the candidates, a third in each bucket, whole texts first, each with its nearest training text.

    Left out: what stands in a training text as a sentence or clause, and what has BLEU 50 or more with one of the eight
    training texts whose vectors are nearest.

    Args:
        found: from :func:`candidates`.
        train: the rows that were trained on, or cut up for training.
        encoder: of the vectors.
        crops: what training cut out of the rows.
        count, seed: how many, and of which draw.
        cache_dir: of the training texts' vectors.
    """
    trained, _ = crop_all(train, crops)
    parts, _ = crop_all(train, Crops(("whole", "sentences", "clauses"), 1, 10**6))
    seen = same_words([one.text for one in found], parts)
    apart = [one for one, old in zip(found, seen.tolist(), strict=True) if not old]
    share = -(-count // len(BUCKETS))
    order = torch.randperm(len(apart), generator=generator(seed, Stream.SHUFFLE)).tolist()
    # whole texts before sentences, else as drawn
    order.sort(key=lambda i: apart[i].kind != "whole")
    chosen = [i for most in BUCKETS for i in [i for i in order if apart[i].bucket == most][: _SPARE * share]]
    compared = _compared([apart[i] for i in chosen], trained, encoder, cache_dir)
    far = [one for one in compared if one.bleu < _LIKE]
    drawn = [one for most in BUCKETS for one in [one for one in far if one.bucket == most][:share]]
    return drawn[:count] if len(drawn) > count else drawn


def _compared(
    found: Sequence[HeldOutText], trained: Sequence[str], encoder: Encoder, cache_dir: str | Path | None
) -> list[HeldOutText]:
    """Each text with the most similar of the training texts whose vectors are nearest."""
    if not found or not len(trained):
        return list(found)
    latents = cached_latents(trained, encoder, cache_dir)
    ours = _unit(torch.from_numpy(np.asarray(encoder.encode([one.text for one in found]), np.float32)))
    most = min(_NEAREST, len(trained))
    best, at = torch.full((len(found), 0), -2.0), torch.zeros((len(found), 0), dtype=torch.int64)
    for start in range(0, len(trained), _BLOCK):
        theirs = _unit(torch.from_numpy(np.asarray(latents[start : start + _BLOCK], np.float32)))
        cosine = ours @ theirs.T
        top = cosine.topk(min(most, len(theirs)), dim=1)
        best, at = torch.cat([best, top.values], 1), torch.cat([at, top.indices + start], 1)
        keep = best.topk(min(most, best.shape[1]), dim=1)
        best, at = keep.values, at.gather(1, keep.indices)
    made = []
    for one, near in zip(found, at.tolist(), strict=True):
        texts = [trained[i] for i in near]
        scores = sentence_bleu(texts, [one.text] * len(texts))
        score, nearest = max(zip(scores, texts, strict=True))
        made.append(HeldOutText(**{**asdict(one), "nearest": nearest, "bleu": round(score, 2)}))
    return made


def names_of(data: str) -> dict[str, str]:
    """Text -> where it stands, for the corpora that know; nothing for any other data."""
    if data == english.NAME:
        return english.names()
    return corpora.verse_names(data) if data == corpora.VERSES_ALL or data in corpora.VERSES else {}


def _crops(recipe: Mapping[str, Any]) -> Crops:
    """What training cut out; whole texts of any length where it cut nothing."""
    words = int(recipe.get("crop_min_words", 3)), int(recipe.get("crop_max_words", 32))
    return Crops.read(recipe.get("crops"), *words) or Crops(("whole",), 1, 10**6)


def _tokens(model: TextModel) -> Callable[[Sequence[str]], list[int]]:
    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    return count


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    parser = argparse.ArgumentParser(prog="python -m unmask.evaluation.held_out_file", description=__doc__)
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--count", type=int, default=1000, help="how many texts")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    chosen = parser.parse_args(arguments)
    try:
        place = write_held_out(chosen.model, chosen.count, chosen.seed)
    except UnmaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = read_held_out(chosen.model)
    said = []
    for most in BUCKETS:
        mine = [one for one in found if one.bucket == most]
        parts = sum(one.kind == "sentence" for one in mine)
        said.append(f"{len(mine)} of at most {most} tokens" + (f" ({parts} of them sentences)" if parts else ""))
    print(f"{place}: {', '.join(said)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
