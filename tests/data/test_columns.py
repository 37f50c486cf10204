"""The column of the texts is named, usual or the only one; whatever else there is, the user is asked."""

import datetime
import re
from pathlib import Path

import pytest

from unmask.core.errors import UsageError
from unmask.data.columns import cell_kind, cell_of, choose_columns, survey
from unmask.data.json_tables import parsed

PAGE = Path(__file__).parents[2] / "docs" / "data_formats.md"
ROWS = re.findall(r"^\| `(\{.*\})` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("row", "result"), ROWS)
def test_the_page_on_data_formats_is_true(row, result):
    found = survey([parsed(row)] * 3)
    if result.startswith("refused: "):
        with pytest.raises(UsageError, match=re.escape(result.removeprefix("refused: "))):
            choose_columns(found, None, "x", complete=True)
    else:
        assert choose_columns(found, None, "x", complete=True) == (result.strip("`"),)


def test_the_page_has_rows():
    assert len(ROWS) >= 12


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (None, "nothing"),
        (float("nan"), "nothing"),
        (" \n", "nothing"),
        ("a cat", "texts"),
        ("cat", "texts"),
        ("7 dragons came", "texts"),
        ("这是第7个句子", "texts"),
        ("https://x.org/a b", "texts"),
        ("https://x.org/a", "URLs"),
        ("www.x.org", "URLs"),
        ("s3://bucket/key", "URLs"),
        ("-3.5e-7", "numbers"),
        ("1,234.50", "numbers"),
        ("45 %", "numbers"),
        ("2024-02-29", "dates"),
        ("29.02.2024", "dates"),
        ("2024-02-29T12:00:01Z", "dates"),
        ("12:30", "dates"),
        ("doc_17", "ids"),
        ("3f2a91c0-77de-4b1c-9c1f-000000000000", "ids"),
        ("a.b@x.org", "ids"),
        ("images/cat.png", "ids"),
        (True, "true or false"),
        (3, "plain numbers"),
        (b"x", "bytes"),
        (datetime.date(2024, 1, 1), "points in time"),
        ({"a": 1}, "objects"),
        (["a"], "lists"),
        ([], "lists"),
        ([{"role": "user", "content": "x"}], "chats"),
        ([{"from": "human", "value": "x"}], "chats"),
        ([{"name": "x"}], "lists"),
    ],
)
def test_kind_of_a_value(cell, kind):
    assert cell_kind(cell) == kind


def test_all_rows_count_and_not_the_first_alone():
    rows = [{"title": "none yet"}, {"title": "a b", "text": None}, *({"title": "a b", "text": "c d"} for _ in range(5))]
    assert choose_columns(survey(rows), None, "x") == ("text",)
    assert choose_columns(survey(reversed(rows)), None, "x") == ("text",)


def test_usual_names_come_in_order_and_in_any_capitals():
    row = {"document": "a b", "Content": "a b", "sentence": "a b"}
    assert choose_columns(survey([row]), None, "x") == ("sentence",)
    assert choose_columns(survey([{"id": "x1", " TEXT": "a b"}]), None, "x") == (" TEXT",)
    with pytest.raises(UsageError, match="which column of x is the text.*Text, TEXT"):
        choose_columns(survey([{"Text": "a b", "TEXT": "c d"}]), None, "x")


def test_text_is_taken_whatever_it_reads_like():
    assert choose_columns(survey([{"text": "12", "label": "pos"}]), None, "x") == ("text",)


def test_a_column_of_nulls_is_refused_if_all_was_seen():
    found = survey([{"text": None, "body": "a b"}])
    assert choose_columns(found, None, "x", complete=False) == ("text",)
    with pytest.raises(UsageError, match="'text' of x is empty in every row; column= may be one of body"):
        choose_columns(found, None, "x", complete=True)


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_of_pandas_is_no_text_and_no_reason_to_ask(index):
    assert choose_columns(survey([{index: "0", "text": "a b"}]), None, "x") == ("text",)
    with pytest.raises(UsageError, match="one of body$"):
        choose_columns(survey([{index: "a b", "body": "c d"}]), None, "x")


def test_a_column_by_name_is_honoured_or_refused():
    found = survey([{"id": "x1", "n": 3, "doc": {"text": "a b", "deep": {"er": "c d"}}, "tags": ["a"]}])
    assert choose_columns(found, ("id",), "x") == ("id",)
    assert choose_columns(found, ("doc.deep.er", "doc.text"), "x") == ("doc.deep.er", "doc.text")
    for wanted, says in (
        ("n", "holds plain numbers, not texts"),
        ("tags", "holds lists"),
        ("doc", "holds objects: name one of doc.text, doc.deep.er"),
        ("doc.txt", "no column 'doc.txt': did you mean 'doc.text'"),
    ):
        with pytest.raises(UsageError, match=re.escape(says)):
            choose_columns(found, (wanted,), "x")


def test_cell_of_follows_dots_but_a_key_with_a_dot_comes_first():
    row = {"a": {"b": "inner", "c.d": "odd"}, "a.b": "literal"}
    assert cell_of(row, "a.b") == "literal"
    assert cell_of(row, "a.c.d") == "odd"
    assert cell_of(row, "a.x") is cell_of(row, "x.y") is cell_of("text", "a") is None
