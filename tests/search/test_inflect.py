"""Other forms of a word are proposed, ranked as any replacement is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import search_toy as toy
from unmask.search.climb import Climb, WordForms
from unmask.search.hypothesis import Hypothesis
from unmask.search.lexicon import Lexicon
from unmask.search.plan import SearchPlan
from unmask.search.proposals.inflect import Inflect
from unmask.search.site import Site
from unmask.search.writer import MaskFiller

FORMS = [
    "anna sees the bridge.",
    "anna seeing the bridges.",
    "she has seen a bridge, anna.",
    "bridges see annabel.",
] * 3


@pytest.fixture(scope="module")
def site():
    encoder, model = toy.ToyEncoder(), toy.model()
    lexicon = Lexicon.made(FORMS, lambda part: torch.from_numpy(encoder.encode(part)), uncased=True)
    writer = MaskFiller(model.denoiser, model.tokenizer)
    climb = Climb(0, None, lexicon, WordForms.of(lexicon, writer), writer, {}, SearchPlan(), str.lower)
    units = ("anna", "sees", "the", "bridge", ".")
    ids = lexicon.ids(units)
    return Site(climb, Hypothesis(units, "", ids, 0.5, lexicon.trigram.score(ids), None, "test"))


def test_every_form_is_proposed_in_its_place(site):
    found = {(edit.start, edit.units[0]) for edit in Inflect().edits(site)}
    assert {(1, "seeing"), (1, "seen"), (1, "see"), (3, "bridges")} <= found
    assert all(site.hypothesis.units[at][:3] == word[:3] and site.hypothesis.units[at] != word for at, word in found)


def test_ranks_are_those_of_any_replacement(site):
    every = site.ranked(False, 10_000)
    place, word = (np.array([entry[i] for entry in every]) for i in (1, 2))
    assert np.allclose(site.rank(place, word), [entry[0] for entry in every], atol=1e-5)


def test_words_of_other_stems_are_no_forms():
    alike = Inflect()._alike
    assert alike("please", "pleases") and alike("sits", "sitting") and alike("deceitly", "deceitfully")
    assert not alike("please", "please") and not alike("sat", "sit") and not alike("content", "continue")


def test_short_units_have_no_stem(site):
    lexicon = site.search.lexicon
    assert lexicon.beginning(".") == lexicon.beginning("an") == []
    assert {lexicon.words[i] for i in lexicon.beginning("annas")} == {"anna", "annabel"}
