"""CSV and TSV: the delimiter is found, no first row is lost, no text is cut in silence."""

import csv
import io

import pytest

from unmask.core.errors import UsageError
from unmask.data.text import load_texts

TEXTS = [
    f"sentence number {i}, about the dragon; {'and | the tea' if i % 2 else 'or the hills'}" + ", of old" * (i % 3)
    for i in range(30)
]


def written(rows, **dialect):
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows(rows)
    return out.getvalue()


def read(tmp_path, content, name="x.csv", **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_texts(path, validation=0.0, **settings)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_line_ends_and_encodings_read_the_same(tmp_path, delimiter, name, end, codec):
    rows = [("id", "text", "label"), *((i, text, "pos") for i, text in enumerate(TEXTS))]
    content = written(rows, delimiter=delimiter, lineterminator=end)
    assert list(read(tmp_path, content.encode(codec), name).train) == TEXTS


def test_the_sep_line_of_excel_is_obeyed(tmp_path):
    rows = written([("id", "text"), *enumerate(TEXTS)], delimiter="#")
    assert list(read(tmp_path, "sep=#\r\n" + rows).train) == TEXTS


def test_a_blank_after_the_delimiter_belongs_to_no_cell(tmp_path):
    content = "id, text\n" + "\n".join(f'{i}, "{text}"' for i, text in enumerate(TEXTS))
    assert list(read(tmp_path, content).train) == TEXTS


def test_quotes_escaped_by_a_backslash_are_read(tmp_path):
    content = "id,text\n" + "\n".join(f'{i},"he said \\"{text}\\", twice"' for i, text in enumerate(TEXTS))
    assert list(read(tmp_path, content).train) == [f'he said "{text}", twice' for text in TEXTS]


def test_unpaired_quotes_of_a_tsv_stand_in_the_texts(tmp_path):
    texts = ['"well begun', '"half" done', 'five 5" pipes', "plain"]
    content = "id\ttext\n" + "\n".join(f"{i}\t{text}" for i, text in enumerate(texts))
    assert list(read(tmp_path, content, "x.tsv").train) == texts


def test_paired_quotes_of_a_tsv_are_quotes(tmp_path):
    rows = [("id", "text"), (1, "two\nlines"), (2, 'a "word"'), (3, "a\ttab")]
    content = written(rows, delimiter="\t")
    assert list(read(tmp_path, content, "x.tsv").train) == ["two\nlines", 'a "word"', "a\ttab"]


def test_a_quote_that_stays_open_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match="line 3 of .*x.csv opens a quote that is never closed"):
        read(tmp_path, 'id,text\n1,fine\n2,"open\n3,lost\n4,lost too\n')


def test_a_very_long_cell_is_one_row(tmp_path):
    data = read(tmp_path, written([("text",), ("long " * 40_000 + "\nover two lines",), ("short",)]))
    assert list(data.train) == ["short"] and data.report.over_long == 1 and data.report.read == 2


def test_one_column_needs_no_quotes(tmp_path):
    texts = ["one, two", "three", "four, five, six", "seven"]
    assert list(read(tmp_path, "text\n" + "\n".join(texts)).train) == texts


def test_rows_with_surplus_cells_are_counted_never_cut(tmp_path):
    data = read(tmp_path, "id,text\n1,plain one\n2,plain two\n3,cut here, and lost\n4,plain four,\n")
    assert list(data.train) == ["plain one", "plain two", "plain four"] and data.report.malformed == 1


@pytest.mark.parametrize(
    "content",
    [
        "id,text\n" + "\n".join(f"{i},{text}" for i, text in enumerate(TEXTS)),
        '"text","label"\n' + "\n".join(f'"{i}","{text}","1"' for i, text in enumerate(TEXTS)),
        "text\n" + "\n".join(f'{i},"{text}"' for i, text in enumerate(TEXTS)),
    ],
)
def test_rows_wider_than_the_names_are_refused(tmp_path, content):
    with pytest.raises(UsageError, match="put a name above every column, or quotes around the texts"):
        read(tmp_path, content)


HEADLESS = {
    "sentences": [(text,) for text in TEXTS],
    "names": [("Alice",), ("Bob",), ("Carol",), ("Dora",)],
    "labels": [(text, "pos" if i % 2 else "neg") for i, text in enumerate(TEXTS)],
    "numbers": list(enumerate(TEXTS)),
    "links": [(f"https://x.org/{i}", text) for i, text in enumerate(TEXTS)],
    "dates": [(text, "2024-01-01") for text in TEXTS],
}


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_first_row_of_data_is_not_lost(tmp_path, kind):
    rows = HEADLESS[kind]
    content = written(rows)
    with pytest.raises(UsageError, match="may be data, not names") as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
    at = next(i for i, cell in enumerate(rows[0]) if cell in TEXTS or cell == "Alice")
    assert list(read(tmp_path, content, column=str(at)).train) == [row[at] for row in rows]


def test_a_column_number_beyond_the_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no column '7'.*0, 1"):
        read(tmp_path, written(HEADLESS["labels"]), column="7")


@pytest.mark.parametrize("name", ["review", "Review Text", "0"])
def test_a_name_above_longer_texts_is_a_name(tmp_path, name):
    assert list(read(tmp_path, written([(name,), *((text,) for text in TEXTS)])).train) == TEXTS


def test_a_question_as_a_name_is_taken_when_it_is_given(tmp_path):
    name = "What did you like most about us?"
    content = written([(name,), *((text,) for text in TEXTS)])
    with pytest.raises(UsageError, match="may be data"):
        read(tmp_path, content)
    assert list(read(tmp_path, content, column=name).train) == TEXTS


def test_a_name_that_stands_twice_is_refused_if_it_is_meant(tmp_path):
    content = written([("text", "text", "note", "note"), *((text, i, "a", "b") for i, text in enumerate(TEXTS))])
    with pytest.raises(UsageError, match="two columns called 'text'"):
        read(tmp_path, content)
    with pytest.raises(UsageError, match="two columns called 'note'"):
        read(tmp_path, content, column="note")
    content = content.replace("text,text", "text,number")
    assert list(read(tmp_path, content).train) == TEXTS


def test_the_index_of_pandas_is_no_column(tmp_path):
    for index in ("", "Unnamed: 0"):
        assert list(read(tmp_path, written([(index, "text"), *enumerate(TEXTS)])).train) == TEXTS
