"""A language small enough for a tiny network to write well, and with more to it than five neighbouring words.

Each sentence introduces a person, tells what happens, and comes back to the same person: the pronoun and the name at
the end hang on a word ten places before, which no chain of five words can know.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

PAD, EOS, MASK = "[PAD]", "[EOS]", "[MASK]"
SHE = "anna mary ruth sarah miriam esther lydia judith tabitha priscilla".split()
HE = "david peter moses joseph daniel samuel jonah caleb silas reuben".split()
WORK = "baker shepherd fisher weaver potter singer farmer scribe".split()
ADJECTIVES = "old young tall tired merry quiet proud hungry".split()
VERBS = "gave sold showed lent sent brought".split()
THINGS = "lamb cup lamp cloak basket boat scroll ring stone net loaf harp".split()
COLOURS = "red white black green golden plain".split()
PLACES = "market river temple garden harbour gate well field".split()
REASONS = "cold late hungry afraid glad lost weary alone".split()
LENGTH = 24


@lru_cache(maxsize=1)
def sentences() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Held-out and training sentences; none stands in both."""
    dice = random.Random(0)
    found: dict[str, None] = {}
    while len(found) < 12_600:
        found[_sentence(dice)] = None
    every = list(found)
    return tuple(every[:600]), tuple(every[600:])


def _sentence(dice: random.Random) -> str:
    people, pronoun = dice.choice(((SHE, "she"), (HE, "he")))
    name, other = dice.choice(people), dice.choice(WORK)
    thing, place = dice.choice(THINGS), dice.choice(PLACES)
    described = f"the {dice.choice(ADJECTIVES)} {other}" if dice.random() < 0.6 else f"the {other}"
    coloured = f"a {dice.choice(COLOURS)} {thing}" if dice.random() < 0.6 else f"a {thing}"
    middle = f"{name} {dice.choice(VERBS)} {described} {coloured} at the {place}"
    why = f"because {pronoun} was {dice.choice(REASONS)}" if dice.random() < 0.7 else "that morning"
    end = dice.choice((f"and {name} went home", f"but {name} kept the {dice.choice(THINGS)}", f"and {pronoun} left"))
    return f"{middle} {why} {end} ."


class Words:
    """A tokenizer of whole words, with what a diagnosis calls."""

    def __init__(self) -> None:
        lists = (SHE, HE, WORK, ADJECTIVES, VERBS, THINGS, COLOURS, PLACES, REASONS)
        small = "the a at because she he was that morning and went home but kept left .".split()
        self.words = [PAD, EOS, MASK, *dict.fromkeys([w for part in lists for w in part] + small)]
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.pad_token_id, self.eos_token_id, self.mask_token_id = 0, 1, 2
        self.all_special_ids = [0, 1, 2]

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, **settings: Any) -> list[int]:
        return [self.ids[word] for word in text.split()]

    def decode(self, ids: Any, **settings: Any) -> str:
        return " ".join(self.words[int(i)] for i in ids if int(i) > 2)

    def rows(self, texts: tuple[str, ...], length: int = LENGTH) -> Tensor:
        """Ids [N, L]: the text, EOS, padding; what is too long is cut off."""
        ids_NL = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = [*self.encode(text), 1][:length]
            ids_NL[row, : len(ids)] = torch.tensor(ids)
        return ids_NL


@lru_cache(maxsize=1)
def directions(words: int, width: int = 48) -> Tensor:
    """A fixed direction for each word [V, Z]."""
    return torch.randn(words, width, generator=torch.Generator().manual_seed(3)) / width**0.5


def vectors(ids_NL: Tensor, words: int) -> Tensor:
    """What a sentence is about [N, Z]: its words' directions, summed."""
    counts_NV = torch.zeros(len(ids_NL), words).scatter_add_(1, ids_NL, (ids_NL > 2).float())
    return counts_NV @ directions(words)
