"""A recipe's texts, to train on and held out: the same ones from a recipe's settings and from a model's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unmask.data.text import TextData, load_texts


def split_texts(settings: Mapping[str, Any]) -> TextData:
    """The texts of a recipe, split as training splits them.

    Args:
        settings: a recipe's or a card's: ``data``, ``column``, ``limit``, ``validation``, ``split_seed``, ``crops``,
            ``crop_min_words``, ``crop_max_words``, ``near_duplicates``; numbers may be words, as flags are.

    Raises:
        UsageError: as :func:`unmask.data.text.load_texts`.
    """
    near: Any = settings.get("near_duplicates")
    limit: Any = settings.get("limit")
    return load_texts(
        str(settings["data"]),
        column=columns_in(settings.get("column")),
        seed=_whole(settings.get("split_seed", 0)),
        limit=None if _nothing(limit) else _whole(limit),
        validation=float(settings.get("validation", 0.03)),
        crops=settings.get("crops"),
        crop_words=(_whole(settings.get("crop_min_words", 3)), _whole(settings.get("crop_max_words", 32))),
        near_duplicates=None if _nothing(near) else float(near),
    )


def columns_in(column: str | None) -> str | list[str] | None:
    """A column's name; of two names with a comma between them (a source's and a target's) both."""
    return [c.strip() for c in column.split(",")] if column and "," in column else column


def _nothing(value: Any) -> bool:
    return value is None or str(value).strip().lower() in ("none", "null", "~")


def _whole(value: Any) -> int:
    """A whole number, also as 1e3."""
    try:
        return int(value)
    except ValueError:
        return int(float(value))
