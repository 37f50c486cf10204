"""What is scored was not trained on, however its source is named."""

from types import SimpleNamespace

import pytest

from unmask.core.errors import UsageError
from unmask.data.text import load_texts
from unmask.evaluation.held_out import held_out
from unmask.families.tidal import TidalText


@pytest.fixture()
def corpus(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"text number {i} of the first file" for i in range(120)), encoding="utf-8")
    return path


def trained(**recipe):
    return SimpleNamespace(card=SimpleNamespace(recipe=recipe))


def both_ways(model, data=None):
    """Texts that a denoiser and a tidal model are scored on, and those they were trained on."""
    _, written, known = held_out(model, data, texts=1000)
    examples, train = TidalText.examples(model, data)
    return [(written, known), ([t for _, t in examples], [t for _, t in train])]


def test_the_own_source_named_again_is_split_as_in_training(corpus):
    model = trained(data=str(corpus), validation=0.1, split_seed=3, limit=100)
    own = load_texts(corpus, validation=0.1, seed=3, limit=100)
    for data in (None, str(corpus), corpus, corpus.parent / "." / "texts.txt"):
        for written, known in both_ways(model, data):
            assert sorted(written) == sorted(own.validation) and list(known) == list(own.train)


def test_of_another_file_unseen_texts_count(corpus, tmp_path):
    model = trained(data=str(corpus), validation=0.1)
    own = load_texts(corpus, validation=0.1)
    other = tmp_path / "other.txt"
    new = [f"a text of another file, number {i}" for i in range(7)]
    other.write_text("\n".join([*new, *own.train[:20], own.validation[0]]), encoding="utf-8")
    for written, known in both_ways(model, other):
        assert sorted(written) == sorted([*new, own.validation[0]]) and list(known) == list(own.train)
    other.write_text("\n".join(own.train[:20]), encoding="utf-8")
    with pytest.raises(UsageError, match="trained on"):
        held_out(model, other)
    with pytest.raises(UsageError, match="trained on"):
        TidalText.examples(model, other)


def test_a_column_that_is_not_there_is_refused(corpus):
    for model, data in ((trained(data=str(corpus)), None), (trained(data="verses"), "verses")):
        with pytest.raises(UsageError, match="column"):
            held_out(model, data, "foo")
        with pytest.raises(UsageError, match="column"):
            TidalText.examples(model, data, "foo")


def test_a_training_file_that_is_gone_leaves_all_texts(corpus, tmp_path):
    model = trained(data=str(tmp_path / "gone.txt"), validation=0.1)
    for written, known in both_ways(model, corpus):
        assert len(written) == 120 and not known


def test_translations_of_held_out_verses_are_held_out():
    model = trained(data="verses", validation=0.02, split_seed=1, limit=4000)
    wanted = set(load_texts("verses-kjv", validation=0.02, seed=1).validation)
    for written, known in both_ways(model, "verses-kjv"):
        assert 256 < len(written) <= 1000 and set(written) <= wanted
        assert list(known) == list(load_texts("verses", validation=0.02, seed=1, limit=4000).train)


def test_what_is_left_out_of_scored_texts_is_said_once(corpus, tmp_path, caplog):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n{oops\n\n{"id": 3}\n{"text": "two"}\n{"text": "one"}\n', encoding="utf-8")
    line = f"{rows}: 6 rows read, 2 kept; left out: 1 empty, 2 malformed, 1 duplicates"
    for model in (trained(), trained(data=str(corpus), validation=0.1)):
        caplog.clear()
        assert held_out(model, rows)[1] == ["one", "two"]
        assert [record.getMessage() for record in caplog.records] == [line]
    caplog.clear()
    TidalText.examples(trained(), rows)
    assert [record.getMessage() for record in caplog.records] == [line]
    caplog.clear()
    held_out(trained(), corpus)
    assert not caplog.records


def test_a_column_beside_texts_in_memory_is_refused():
    with pytest.raises(UsageError, match="column='text' goes with the name of a file"):
        held_out(trained(), ["a b", "c d"], "text")
