"""Texts as words and marks, and back: what an edit moves about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Units = tuple[str, ...]

_UNIT = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
_SPACED_UNIT = re.compile(r"(\s*)(\w+(?:['\u2019]\w+)*|[^\w\s])")
_ENDS = frozenset(".?!")
#: mark -> whether there is a space before and after it, where training does not say
_GLUE = {
    **{mark: (False, True) for mark in ",.;:!?)]}%\u201d"},
    **{mark: (True, False) for mark in "([{\u201c$\u2018"},
    **{mark: (False, False) for mark in "-'\u2019/"},
}


def is_word(unit: str) -> bool:
    """Whether a unit is a word or a number, not a mark."""
    return unit[0].isalnum() or unit[0] == "_"


def split_units(text: str) -> Units:
    """The words and marks of a text, in order; apostrophes inside a word belong to it."""
    return tuple(_UNIT.findall(text))


@dataclass(frozen=True)
class Spelling:
    """How units are written as a text: spaces about marks, and the case of words where case is unknown.

    Attributes:
        uncased: units are lower case, because the verifier cannot tell; letters are raised when they are written.
        case: lower-case word -> how it is most often written inside a sentence, where that is not lower case.
        glue: mark -> (space before, space after), as training has it.
    """

    uncased: bool = True
    case: Mapping[str, str] = field(default_factory=dict)
    glue: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)

    @classmethod
    def learnt(cls, texts: Iterable[str], uncased: bool) -> Spelling:
        """From training texts."""
        inside: dict[str, Counter[str]] = {}
        anywhere: dict[str, Counter[str]] = {}
        marks: dict[str, Counter[tuple[bool, bool]]] = {}
        for text in texts:
            found = _SPACED_UNIT.findall(text)
            first = True
            for at, (space, unit) in enumerate(found):
                if not is_word(unit):
                    after = at + 1 == len(found) or bool(found[at + 1][0])
                    marks.setdefault(unit, Counter())[at == 0 or bool(space), after] += 1
                    first = first or unit in _ENDS
                    continue
                if unit[0].isalpha() and uncased:
                    (anywhere if first else inside).setdefault(unit.lower(), Counter())[unit] += 1
                first = False
        case = {word: counts.most_common(1)[0][0] for word, counts in (anywhere | inside).items()}
        glue = {mark: counts.most_common(1)[0][0] for mark, counts in marks.items()}
        return cls(uncased, {word: form for word, form in case.items() if form != word}, glue)

    def cut(self, text: str) -> Units:
        """:func:`split_units`, in lower case where the verifier cannot tell."""
        return split_units(text.lower() if self.uncased else text)

    def spell(self, units: Sequence[str]) -> str:
        """The text of units; a sentence, and what is quoted, begins with a capital."""
        return "".join(self.pieces(units))

    def pieces(self, units: Sequence[str]) -> list[str]:
        """What each unit adds to the text, the space before it included."""
        out: list[str] = []
        quoted, glued, first, quotes = False, True, True, units.count('"')
        for at, unit in enumerate(units):
            if is_word(unit):
                form = self.case.get(unit, unit) if self.uncased else unit
                if first and self.uncased:
                    form = form[:1].upper() + form[1:]
                out.append(form if glued else " " + form)
                glued = first = False
                continue
            before, after = self.glue.get(unit) or _GLUE.get(unit, (True, True))
            if unit == '"':
                # one that ends the text closes, and so does one after a sentence whose quotes would not pair up
                quotes -= 1
                closes = quoted or at + 1 == len(units) or (at > 0 and units[at - 1] in _ENDS and quotes % 2 == 0)
                before, after, quoted = not closes, closes, not closes
                first = first or not closes
            out.append(" " + unit if before and not glued else unit)
            glued, first = not after, first or unit in _ENDS
        return out
