"""Prompts and prose: every text in order, as it stands; what is left out is said."""

import logging

import pyarrow
import pytest
from pyarrow import parquet

from unmask.core.errors import UsageError
from unmask.data.prose import prompts, prose


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="unmask")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_prompts_of_plain_text_are_its_lines(tmp_path, codec, end):
    wanted = ["tell me ", "  a story\x0cabout", "the dragon\u2028and the tea", "tell me "]
    path = tmp_path / "prompts.lst"  # any ending
    path.write_bytes(end.join(wanted).encode(codec))
    assert prompts(path) == wanted


def test_blank_and_broken_prompts_are_counted(tmp_path, said):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "one", "text": "x"}\n{oops\n\n{"text": "y"}\n{"prompt": "\\ud800"}\n{"prompt": "one"}\n'
    )
    assert prompts(path) == ["one", "one"]
    assert said() == [f"{path}: 6 rows read, 2 kept; left out: 1 empty, 2 malformed, 1 not-utf8"]
    assert prompts(path, "text") == ["x", "y"]


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, said):
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    assert prompts(tmp_path / "p.txt") == ["one", "two"] and not said()


def test_prose_is_the_text_as_it_stands(tmp_path, said):
    path = tmp_path / "novel"
    path.write_bytes("\ufeffOne\r\n\r\n  Two\r\nend".encode())
    assert prose(path) == "One\n\n  Two\nend" and not said()
    path.write_bytes("Один\n\nдва\n".encode("utf-16"))
    assert prose(path) == "Один\n\nдва\n"
    assert said() == [f"{path} (decoded from UTF-16): 3 rows read, 3 kept"]


def test_prose_of_rows_is_their_column_joined(tmp_path, said):
    parquet.write_table(pyarrow.table({"id": [1, 2, 3], "text": ["one", None, "two"]}), tmp_path / "x.parquet")
    assert prose(tmp_path / "x.parquet") == "one\ntwo"
    assert said() == [f"{tmp_path}/x.parquet: 3 rows read, 2 kept; left out: 1 empty"]
    (tmp_path / "x.csv").write_text('id;body\n1;"one"\n2;"two"\n')
    with pytest.raises(UsageError, match="column= one of body"):
        prose(tmp_path / "x.csv")
    assert prose(tmp_path / "x.csv", "body") == "one\ntwo"


def test_prose_of_a_folder_of_texts_keeps_files_apart(tmp_path):
    for name, text in (("a.txt", "one\n\ntwo"), ("b.txt", "three\n")):
        (tmp_path / name).write_text(text)
    assert prose(tmp_path) == "one\n\ntwo\nthree\n"


@pytest.mark.parametrize("read", [prompts, prose])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("plain\ncafé\nplain\nplain".encode("latin-1"), "cannot be read as UTF-8"),
        (b"%PDF-1.4", "is a PDF"),
        (b"PAR1 and no more", "cannot be read as parquet"),
        (b" \n\n", "holds no text"),
        (b"", "holds no text"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "holds a JSON object a line|holds chats"),
    ],
)
def test_what_holds_no_text_is_refused(tmp_path, read, content, says):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UsageError, match=says) as error:
        read(tmp_path / "x.txt")
    assert "\n" not in str(error.value) and "x.txt" in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="there is no file 'none.txt'"):
        prompts("none.txt")
