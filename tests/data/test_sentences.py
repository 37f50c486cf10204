"""Where sentences and clauses end."""

import pytest

from unmask.data.sentences import bare, clauses, sentences, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Jesus wept. He said, "Come." They came!', ["Jesus wept.", 'He said, "Come."', "They came!"]),
        ("Mr. Bell met Mrs. J. Dunn. Then he left.", ["Mr. Bell met Mrs. J. Dunn.", "Then he left."]),
        ("It is I. Do not fear.", ["It is I.", "Do not fear."]),
        ("hath he said, Ye shall not? and she answered", ["hath he said, Ye shall not? and she answered"]),
        ("Wait... 12 came.", ["Wait...", "12 came."]),
        ("no mark at all", ["no mark at all"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_they_end(text, found):
    assert sentences(text) == found


def test_clauses_keep_every_character_but_spaces():
    text = "When he saw it, he ran; and his sons -- all of them -- ran: none stayed."
    found = clauses(text)
    assert found[:2] == ["When he saw it,", "he ran;"] and len(found) == 6
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_comma_between_digits_ends_no_clause():
    assert clauses("He had 1,200 men, all armed.") == ["He had 1,200 men,", "all armed."]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("and he said,", "and he said"),
        ('"Come to me,', "Come to me"),
        ('He said, "Come."', 'He said, "Come."'),
        ("the fathers' house;", "the fathers' house"),
        ("-- all of them --", "all of them"),
        ("(for he was tall", "for he was tall"),
        ("don't be afraid.'", "don't be afraid."),
        ('Is it well?"', "Is it well?"),
        (", ;", ""),
    ],
)
def test_a_crop_has_no_loose_ends(part, text):
    assert bare(part) == text
    assert bare(text) == text


def test_words_ignore_case_and_marks():
    assert words('"Don\u2019t," HE said -- 12 times.') == ["don't", "he", "said", "12", "times"]
