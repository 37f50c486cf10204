"""Where a model's lexicon is: beside the model, in the user's cache, or made now from the texts it was trained on."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.files import cache_root
from unmask.evaluation.held_out import trained_on
from unmask.models.text_model import TextModel
from unmask.search.lexicon import FILE, Lexicon
from unmask.search.verifiers.cosine import is_uncased

_log = logging.getLogger(__name__)
#: lexicons of models that are in memory
_KEPT: weakref.WeakKeyDictionary[TextModel, Lexicon] = weakref.WeakKeyDictionary()


def lexicon_of(model: TextModel, share: bool = False) -> Lexicon:
    """The lexicon of a model's training texts.

    Args:
        model: its card says what it was trained on.
        share: in a launch, the first process makes it and the others wait.

    Raises:
        UsageError: there is none, and the training texts are not at hand.
        CheckpointError: its file is damaged.
    """
    if model not in _KEPT:
        _KEPT[model] = _found(model, share)
    return _KEPT[model]


def _found(model: TextModel, share: bool) -> Lexicon:
    beside = None if model.path is None else Path(model.path) / FILE
    if beside is not None and beside.is_file():
        return Lexicon.load(beside)
    kept = _place(model)
    texts = () if kept.is_file() else _texts(model)  # refused in every process, before any waits for another
    if texts and (not share or distributed.is_main_process()):
        _made(model, texts).save(kept)
    if share:
        distributed.barrier()
    return Lexicon.load(kept) if kept.is_file() else _made(model, texts)


def _place(model: TextModel) -> Path:
    """In the cache, named by what the lexicon is made of."""
    recipe = model.card.recipe
    parts = [
        model.card.encoder_identity,
        *(recipe.get(k) for k in ("data", "column", "limit", "split_seed", "validation")),
    ]
    source = Path(str(recipe.get("data")))
    if source.exists():
        parts.append(source.stat().st_mtime_ns)
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:20]
    return cache_root() / "lexicons" / f"{name}.safetensors"


def _texts(model: TextModel) -> Sequence[str]:
    """What the model was trained on."""
    data = model.card.recipe.get("data")
    texts = None if data is None else trained_on(model.card.recipe)
    if texts is None:
        raise UsageError(
            f"a search needs the words of the training texts, and {data!r} cannot be read here: make a {FILE} beside "
            "the model where they are, with unmask.search.lexicons.lexicon_of(model).save(...)"
        )
    return texts


def _made(model: TextModel, texts: Sequence[str]) -> Lexicon:
    _log.warning("the words of %s training texts are read for searches, once: this takes minutes", f"{len(texts):,}")
    encoder = model.card.load_encoder("bf16")
    return Lexicon.made(list(texts), lambda part: torch.from_numpy(encoder.encode(part)), is_uncased(encoder))
