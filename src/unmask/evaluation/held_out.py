"""Which texts a model is scored on: by default exactly those that its training never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.core.errors import UnmaskError, UsageError
from unmask.data import corpora
from unmask.data.split import columns_in, split_texts
from unmask.data.text import Pairs, TextData, evenly, load_texts
from unmask.models.text_model import TextModel


def held_out(
    model: TextModel, data: Any = None, column: str | None = None, texts: int = 256
) -> tuple[list[str], list[str], Sequence[str] | None]:
    """Texts that training never saw, and what each is written from.

    Args:
        model: its card says what it was trained on.
        data: None for what training held out; a source for :func:`unmask.data.text.load_texts` (the model's own, named
            again, is split as in training; of another all texts that were not trained on); or a list of texts.
        column: the text's column, or two for pairs.
        texts: how many at most.

    Returns:
        (sources, references, the texts that were trained on; None for a list, and where the card names no data or its
        data cannot be read here).

    Raises:
        UsageError: no data, nothing held out, or every text was trained on.
    """
    recipe = model.card.recipe
    if data is None and "data" not in recipe:
        raise UsageError("this model's card names no data: say which texts to use with data=")
    if "data" not in recipe or not (data is None or isinstance(data, (str, Path))):
        return *unseen(data, column, texts), None
    if texts < 1:
        raise UsageError(f"texts={texts} must be at least 1")
    if data is None and column is not None and column != recipe.get("column"):
        raise UsageError(f"column={column!r} goes with data=: the model's own is read as in training")
    relation = "own" if data is None else relation_of(data, column, recipe)
    if relation == "own":
        own = split_texts(recipe)
        own.report.announce()
        return *_chosen(own.validation, own.validation_pairs, texts, str(recipe["data"])), own.train
    known = trained_on(recipe)
    if relation == "kin":
        kin = split_texts({**recipe, "data": data, "column": column, "limit": None})
        kin.report.announce()
        return *_chosen(kin.validation, kin.validation_pairs, texts, str(data)), known
    read, written = unseen(data, column, texts)
    if known is not None:
        wanted = set(written)
        old = {text for text in known if text in wanted}
        keep = [i for i, text in enumerate(written) if text not in old]
        if not keep:
            raise UsageError(f"{str(data)!r}: each of its {len(written)} texts that were looked at was trained on")
        read, written = [read[i] for i in keep], [written[i] for i in keep]
    return read, written, known


def relation_of(data: str | Path, column: str | None, recipe: Mapping[str, Any]) -> str:
    """What a source is to the one that a model was trained on.

    Returns:
        ``own``: the same one. ``kin``: both are made of the same verses, so what the split of the one holds out the
        other's holds out too. ``other``.
    """
    theirs = str(recipe["data"])
    if str(data) == theirs or (Path(data).exists() and Path(theirs).exists() and Path(data).samefile(theirs)):
        # another column has other texts, and its rows are split by those
        return "own" if column in (None, recipe.get("column")) else "other"
    shared = {*corpora.VERSES, corpora.VERSES_ALL, *corpora.VERSE_PAIRS}
    return "kin" if str(data) in shared and theirs in shared else "other"


def trained_on(recipe: Mapping[str, Any]) -> Sequence[str] | None:
    """The texts of a recipe's training split; None where its data is not at hand."""
    try:
        return split_texts(recipe).train
    except UnmaskError:
        return None


def split_rows(recipe: Mapping[str, Any]) -> TextData:
    """A recipe's data, split as in training, in whole rows: nothing is cut out of them."""
    return split_texts({**recipe, "crops": None})


def _chosen(texts: Sequence[str], pairs: Pairs | None, count: int, name: str) -> tuple[list[str], list[str]]:
    if not len(texts):
        raise UsageError(f"{name!r} holds out no text")
    at = evenly(len(texts), count)
    references = [texts[i] for i in at]
    return references if pairs is None else [pairs.sources[i] for i in at], references


def unseen(data: Any, column: str | None = None, texts: int = 256) -> tuple[list[str], list[str]]:
    """What each text is written from, and the texts, for somebody else's model.

    As far as anyone knows it has trained on none of these, so all may be scored.

    Args:
        data, column, texts: see :func:`held_out`.

    Raises:
        UsageError: ``data`` is not made of texts, or ``texts`` is below 1.
    """
    if texts < 1:
        raise UsageError(f"texts={texts} must be at least 1")
    if not isinstance(data, (str, Path)):
        if column is not None:
            raise UsageError(
                f"column={column!r} goes with the name of a file or dataset, and data= holds the texts itself"
            )
        rows = list(data)[:texts]
        if not rows or not all(isinstance(row, str) for row in rows):
            raise UsageError("data must be texts, or the name of a corpus, file or folder")
        return rows, rows
    found = load_texts(str(data), column=columns_in(column), validation=0.0)
    found.report.announce()
    return _chosen(found.train, found.train_pairs, texts, str(data))
