"""Corpora that installed packages ship, so that every command has real text without a network.

Five public-domain translations of the Bible come from the ``pythonbible`` packages, verse by verse under shared ids
(book * 1,000,000 + chapter * 1,000 + verse), which also makes them parallel text; ``verses-all`` is all five one after
the other. The WordNet glosses come from the Debian package ``wordnet-base``.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from unmask.core.errors import MissingExtra, UsageError, did_you_mean

PSALMS = 19
#: corpus name -> translation
VERSES = {
    "verses": "web",
    "verses-web": "web",
    "verses-kjv": "kjv",
    "verses-asv": "asv",
    "verses-bbe": "bbe",
    "verses-ylt": "ylt",
}
#: every translation: a verse is held out in all of them or in none
VERSES_ALL = "verses-all"
#: pair corpus name -> (read by the encoder, written by the decoder)
VERSE_PAIRS = {
    "kjv-web": ("kjv", "web"),
    "kjv-bbe": ("kjv", "bbe"),
    "web-bbe": ("web", "bbe"),
    "kjv-asv": ("kjv", "asv"),
}
WORDNET = "wordnet"
NAMES = (*VERSES, VERSES_ALL, *VERSE_PAIRS, WORDNET)

_VERSION = {
    "web": "WORLD_ENGLISH",
    "kjv": "KING_JAMES",
    "asv": "AMERICAN_STANDARD",
    "bbe": "BIBLE_IN_BASIC_ENGLISH",
    "ylt": "YOUNGS",
}
# WEB prints the heading of the next psalm (and of the next of the five books) at the end of a verse.
_NEXT_HEADING = re.compile(r"\s{2,}(?:BOOK [IVX]+\s+)?Psalm \d+\b.*$", re.DOTALL)
# The Hebrew letters over the parts of Psalm 119.
_LETTER_BEFORE = re.compile(r"^[A-Z]{2,} (?=[A-Z])")
_LETTER_AFTER = re.compile(r"\s+[A-Z]{2,}\.?$")
# BBE sets the title of a psalm in its first verse; the other translations leave it out.
_TITLE = re.compile(
    r"^(?:(?:(?:To|For) the chief music-maker|A Psalm(?: of Praise)?|A Song(?: of the going up| of praise)?"
    r"|A Prayer(?: of Moses, the man of God)?|Maschil|Michtam|Of (?:David|Solomon|Asaph|the sons of Korah))\.\s+)+"
)
# YLT does so too, in other words; a title may end inside a quotation, and a dash may stand before its parts.
_YLT_TITLE = re.compile(
    r"^(?:(?:-- )?(?:To the Overseer|(?:A|By) (?:Psalm|Song|song|Prayer|Secret Treasure|secret treasure|testimony)"
    r"|By (?:David|Solomon|Asaph|sons of Korah|a servant of Jehovah)|An [Ii]nstruction|Praise by David"
    r"|`(?:On|For|Destroy|To cause|The Erring))[^.?]*[.?]`?\s+)+"
)
# The Hebrew letters over the parts of Psalm 119 in YLT.
_YLT_LETTER = re.compile(r"^\[[A-Z][a-z]+\.\]\s*")
_BBE_VERSE = re.compile(r"(\d+)\. ?(?:\\(\d+):(\d+)\\)?")


def verses(translation: str) -> dict[int, str]:
    """Verse id -> text of one translation: ``web``, ``kjv``, ``asv``, ``bbe`` or ``ylt``; empty verses are left out.

    Apostrophes are made plain, the brackets that mark added words are removed (the words stay), headings of psalms are
    removed, and white space is single.

    Raises:
        MissingExtra: the package with the translation is not installed.
    """
    if translation not in _VERSION:
        raise UsageError(f"no translation is called {translation!r}: {did_you_mean(translation, _VERSION)}")
    return dict(_verses(translation))


def all_verses() -> list[tuple[int, str]]:
    """(verse id, text) of every verse of every translation, one translation after the other."""
    return [(i, text) for translation in _VERSION for i, text in _verses(translation).items()]


def verse_names(corpus: str) -> dict[str, str]:
    """Text -> where it stands (``web 43011035``), for every verse of ``verses-all`` or of one translation."""
    translations = list(_VERSION) if corpus == VERSES_ALL else [VERSES[corpus]]
    # of equal texts the first one gives its name
    return {text: f"{t} {i}" for t in reversed(translations) for i, text in reversed(_verses(t).items())}


def verse_pairs(source: str, target: str) -> dict[int, tuple[str, str]]:
    """Verse id -> (source text, target text) for the verses that both translations have."""
    first, second = _verses(source), _verses(target)
    return {i: (first[i], second[i]) for i in sorted(first.keys() & second.keys())}


@lru_cache(maxsize=5)
def _verses(translation: str) -> dict[int, str]:
    raw = _bbe() if translation == "bbe" else _indexed(translation)
    clean = {i: _plain(translation, i, text) for i, text in raw.items()}
    return {i: text for i, text in clean.items() if any(c.isalpha() for c in text)}


def _indexed(translation: str) -> dict[int, str]:
    bible = _bible(translation, "plain_text_readers")
    content, ends = bible.scripture_content, bible.verse_end_indices
    return {i: content[start : ends[i]] for i, start in sorted(bible.verse_start_indices.items())}


def _bbe() -> dict[int, str]:
    r"""The Bible in Basic English, parsed from its running text.

    The index that the package ships points to the wrong characters from Genesis 43 on: the text keeps the Hebrew
    numbering and marks the English one as ``\43:1\`` where they differ, and the index did not count the marks. Here the
    text is cut at its verse numbers (it has no other digits); a mark overrules the counted chapter and verse.
    """
    bible = _bible("bbe", "plain_text")
    books = [i // 1_000_000 for i in bible.verse_start_indices]
    cut = _BBE_VERSE.split(bible.scripture_content)[1:]
    parts: dict[int, list[str]] = {}
    book = chapter = 0
    for where, (number, marked_chapter, marked_verse, text) in enumerate(
        zip(cut[::4], cut[1::4], cut[2::4], cut[3::4], strict=True)
    ):
        if books[where] != book:
            book, chapter = books[where], 0
        verse = int(number)
        chapter += verse == 1
        if marked_chapter:
            chapter, verse = int(marked_chapter), int(marked_verse)
        # BBE makes two verses of John 1:38 and marks the second by a plus sign before its text goes on as 1:40.
        if (book, chapter) == (43, 1) and verse >= 40:
            verse -= 1
        text = text.replace("\\", " ").strip(" +")
        if text:
            parts.setdefault(book * 1_000_000 + chapter * 1_000 + verse, []).append(text)
    whole = {}
    for i, texts in parts.items():
        # Two texts under one number are a verse in two parts, but in Psalms a title and its first verse.
        text = texts[-1] if i // 1_000_000 == PSALMS else " ".join(texts)
        # Dots and stars stand where the translators left the Hebrew out: such a verse is not the whole verse.
        if "..." not in text and "***" not in text:
            whole[i] = text
    return whole


def _plain(translation: str, verse_id: int, text: str) -> str:
    book, chapter = verse_id // 1_000_000, verse_id // 1_000
    if book in (PSALMS - 1, PSALMS):  # the heading of Psalm 1 follows the last verse of Job
        text = _NEXT_HEADING.sub("", text)
    if chapter == PSALMS * 1_000 + 119:
        text = _LETTER_AFTER.sub("", _LETTER_BEFORE.sub("", _YLT_LETTER.sub("", text)))
    if book == PSALMS and verse_id % 1_000 == 1:
        text = _YLT_TITLE.sub("", " ".join(text.split())) if translation == "ylt" else _TITLE.sub("", text)
    text = text.replace(" -[", "-[").replace("[", "").replace("]", "").replace("`", "'").replace("\u2019", "'")
    return " ".join(text.split()).replace("( ", "(")


def _bible(translation: str, form: str):  # type: ignore[no-untyped-def]  # pythonbible is imported late
    wanted = f"pip install pythonbible pythonbible-{translation} (or unmask[offline])"
    try:
        import pythonbible
        from pythonbible import bible, errors
    except ImportError as error:
        raise MissingExtra(f"the {translation.upper()} verses are not installed: {wanted}") from error
    try:
        return bible.get_bible(pythonbible.Version[_VERSION[translation]], form)
    except errors.MissingBiblePackageError as error:
        raise MissingExtra(f"the {translation.upper()} verses are not installed: {wanted}") from error


def wordnet_folder() -> Path:
    """Where the WordNet data files are: ``$WNSEARCHDIR``, ``$WNHOME/dict`` or ``/usr/share/wordnet``.

    Raises:
        MissingExtra: they are in none of these.
    """
    home = os.environ.get("WNHOME")
    places = [os.environ.get("WNSEARCHDIR"), f"{home}/dict" if home else None, "/usr/share/wordnet"]
    for place in filter(None, places):
        if (Path(place) / "data.noun").is_file():
            return Path(place)
    raise MissingExtra("no WordNet data files: install wordnet-base (apt), or set WNSEARCHDIR to their folder")


def wordnet_glosses() -> list[str]:
    """The definition of every WordNet synset (without its example sentences), in the files' order."""
    glosses = []
    for part in ("noun", "verb", "adj", "adv"):
        with open(wordnet_folder() / f"data.{part}", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if not line.startswith("  "):  # the licence is indented
                    gloss = line.partition(" | ")[2]
                    glosses.append(re.split(r';\s*"', gloss, maxsplit=1)[0].strip())
    return glosses
