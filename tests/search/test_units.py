"""Texts as units and back."""

import pytest

from unmask.search.units import Spelling, split_units

LEARNT = Spelling.learnt(
    ["They went to Nineveh with David.", 'He said, "Go to Nineveh."', "Look: the well-known man; David's son."],
    uncased=True,
)


@pytest.mark.parametrize(
    "text",
    [
        "They went to Nineveh with David.",
        'He said, "Go to Nineveh."',
        "David's man; the well-known.",
        'They went to David."',
        'He said, "Go." They went.',
        "The well-known man.",
    ],
)
def test_spelt_as_it_was(text):
    assert LEARNT.spell(LEARNT.cut(text)) == text


def test_cased_units_keep_their_case():
    spelling = Spelling(uncased=False)
    assert spelling.cut("the HOUSE of iBooks") == ("the", "HOUSE", "of", "iBooks")
    assert spelling.spell(("the", "HOUSE", "!")) == "the HOUSE!"


def test_pieces_add_up_to_the_text():
    units = LEARNT.cut('He said, "Go to Nineveh."')
    assert len(LEARNT.pieces(units)) == len(units)


def test_an_apostrophe_inside_belongs_to_the_word():
    assert split_units("don't, David’s") == ("don't", ",", "David’s")
