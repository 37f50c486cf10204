"""Which texts a model is scored on: by default exactly those that its training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask.core.errors import WrongUse
from unmask.data.text import TextData, evenly, load_texts
from unmask.models.text_model import TextModel


def held_out(
    model: TextModel, data: Any = None, column: str | None = None, texts: int = 256
) -> tuple[list[str], list[str], TextData | None]:
    """Held-out texts and what each is written from.

    Args:
        model: its card says what it was trained on.
        data: a source for :func:`unmask.data.text.load_texts`, a list of texts, or None for what training held out.
        column: the text's column, or two for pairs.
        texts: how many at most.

    Returns:
        (sources, references, the data they came from; None for a list, and for a model that names no training data).
    """
    recipe = model.card.recipe
    own = data is None
    if own and "data" not in recipe:
        raise WrongUse("this model's card names no data: say which texts to use with data=")
    if not own and ("data" not in recipe or not isinstance(data, (str, Path))):
        return *unseen(data, column, texts), None
    if texts < 1:
        raise WrongUse(f"texts={texts} must be at least 1")
    split = {k: recipe[k] for k in ("limit", "validation") if k in recipe} if own else {}
    columns = recipe.get("column") if own else column
    found = load_texts(
        str(recipe["data"] if own else data),
        column=[c.strip() for c in columns.split(",")] if columns and "," in columns else columns,
        seed=int(recipe.get("split_seed", 0)),
        limit=int(split["limit"]) if "limit" in split else None,
        validation=float(split.get("validation", 0.03)),
    )
    if not len(found.validation):
        raise WrongUse(f"{recipe['data'] if own else data!r} holds out no text")
    chosen = evenly(len(found.validation), texts)
    references = [found.validation[i] for i in chosen]
    pairs = found.validation_pairs
    sources = references if pairs is None else [pairs.sources[i] for i in chosen]
    return sources, references, found


def unseen(data: Any, column: str | None = None, texts: int = 256) -> tuple[list[str], list[str]]:
    """What each text is written from, and the texts, for somebody else's model.

    As far as anyone knows it has trained on none of these, so all may be scored.

    Args:
        data, column, texts: see :func:`held_out`.

    Raises:
        WrongUse: ``data`` is not made of texts, or ``texts`` is below 1.
    """
    if texts < 1:
        raise WrongUse(f"texts={texts} must be at least 1")
    if not isinstance(data, (str, Path)):
        rows = list(data)[:texts]
        if not rows or not all(isinstance(row, str) for row in rows):
            raise WrongUse("data must be texts, or the name of a corpus, file or folder")
        return rows, rows
    columns = [c.strip() for c in column.split(",")] if column and "," in column else column
    found = load_texts(str(data), column=columns)
    read = written = [*found.validation, *found.train]
    if found.validation_pairs is not None and found.train_pairs is not None:
        read = [*found.validation_pairs.sources, *found.train_pairs.sources]
    chosen = evenly(len(written), texts)
    return [read[i] for i in chosen], [written[i] for i in chosen]


def fitting(model: TextModel, sources: Sequence[str], references: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pairs whose reference fits the model's canvas with its EOS.

    Raises:
        WrongUse: none does.
    """
    ids = model.tokenizer(list(references), add_special_tokens=False)["input_ids"]
    keep = [i for i, row in enumerate(ids) if len(row) < model.card.length]
    if not keep:
        raise WrongUse(f"no text fits the model's canvas of {model.card.length} tokens")
    return [sources[i] for i in keep], [references[i] for i in keep]
