"""Sentences and clauses of English prose, by rule: where a mark ends one, and where it only seems to."""

from __future__ import annotations

import re

_CLOSERS = "\"'\u2019\u201d)]"
_OPENERS = "\"'\u2018\u201c(["
# An end: marks, closing quotes and brackets, white space, and then what can begin a sentence.
_END = re.compile(rf"[.!?\u2026]+[{re.escape(_CLOSERS)}]*\s+(?=[{re.escape(_OPENERS)}]*[A-Z0-9])")
# A clause ends with a comma, a semicolon, a colon or a dash that stands alone; one between digits is none.
_CLAUSE = re.compile(rf"[,;:][{re.escape(_CLOSERS)}]*\s+|\s+--+\s+|--+|\s*\u2014\s*|\s+\u2013\s+")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr st rev hon gen col capt lt sgt gov sen rep prof messrs mme mlle jr sr vs viz cf etc e.g i.e no vol pp"
    " ch ver art fig co inc ltd u.s u.k a.m p.m b.c a.d jan feb mar apr jun jul aug sept oct nov dec ft esq".split()
)
_DASHES_SPACE = " \t\r\n-\u2013\u2014"
_PAIRS = {'"': '"', "'": "'", "\u2018": "\u2019", "\u201c": "\u201d", "(": ")", "[": "]"}
_QUOTES = {mark: re.compile(rf"(?<!\w){mark}|{mark}(?!\w)") for mark in "\"'"}


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, each with its marks and without outer white space.

    A mark ends a sentence where a capital, a digit or a quotation follows; behind an initial or a usual abbreviation
    it does not.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if not _abbreviated(text[start : end.start() + 1]):
            found.append(text[start : end.end()].strip())
            start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def clauses(sentence: str) -> list[str]:
    """The stretches of a sentence between commas, semicolons, colons and dashes, in order, each with its marks."""
    found, start = [], 0
    for end in _CLAUSE.finditer(sentence):
        found.append(sentence[start : end.end()].strip())
        start = end.end()
    found.append(sentence[start:].strip())
    return [clause for clause in found if clause]


def bare(text: str) -> str:
    """A stretch of a text as a text of its own: no comma, colon or dash at its ends, no half of a pair of quotes."""
    before = None
    while before != text:
        before = text
        text = text.strip(_DASHES_SPACE).rstrip(",;: ").lstrip(",;:. ")
        if text and (text[0] in _PAIRS or text[-1] in _CLOSERS):
            for opener, closer in _PAIRS.items():
                if text.startswith(opener) or text.endswith(closer):
                    text = _unpaired(text, opener, closer)
    return text


def words(text: str) -> list[str]:
    """The words of a text in lower case, without marks; an apostrophe inside stays."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _abbreviated(before: str) -> bool:
    """Whether the full stop at the end of ``before`` belongs to an initial or an abbreviation."""
    if not before.endswith("."):
        return False
    last = before[:-1].rsplit(None, 1)[-1:] or [""]
    word = last[0].lstrip(_OPENERS)
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word not in ("I", "O"))


def _unpaired(text: str, opener: str, closer: str) -> str:
    """Without an opening mark at the start that nothing closes, or a closing one at the end that nothing opened."""
    if opener == closer:
        # an apostrophe between letters is no quote
        marks = len(_QUOTES[opener].findall(text))
        if marks % 2 and text.startswith(opener):
            return text[1:]
        # the genitive of a plural (the fathers' house) ends in one inside; at the end it cannot be told from a quote
        return text[:-1] if marks % 2 and text.endswith(closer) else text
    if text.startswith(opener) and text.count(opener) > text.count(closer):
        return text[1:]
    if text.endswith(closer) and text.count(closer) > text.count(opener):
        return text[:-1]
    return text
