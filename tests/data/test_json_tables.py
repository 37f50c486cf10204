"""JSON in the shapes that tools write, and a sentence for what only looks like it."""

import json

import pytest

from unmask.core.errors import UsageError
from unmask.data.text import load_texts

TEXTS = [f"sentence number {i} about the dragon" for i in range(400)]
OBJECTS = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]


def read(tmp_path, content, name, **settings):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return load_texts(path, validation=0.0, **settings)


def a_line(rows):
    return "\n".join(json.dumps(row) for row in rows)


SHAPES = {
    "objects": json.dumps(OBJECTS),
    "indented": json.dumps(OBJECTS, indent=2),
    "strings": json.dumps(TEXTS),
    "columns": json.dumps({"id": list(range(400)), "text": TEXTS}),
    "data": json.dumps({"version": "1.0", "data": OBJECTS}),
    "data of strings": json.dumps({"data": TEXTS}),
    "pandas": json.dumps({"text": {str(i): text for i, text in enumerate(TEXTS)}}),
    "pandas split": json.dumps({"columns": ["text"], "index": [0], "data": [[text] for text in TEXTS]}),
    "a line": a_line(OBJECTS),
    "jq": "\n".join(json.dumps(row, indent=2) for row in OBJECTS),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_documents_of_every_shape_hold_the_same_texts(tmp_path, shape):
    assert list(read(tmp_path, SHAPES[shape], "x.json").train) == TEXTS
    assert list(read(tmp_path, SHAPES[shape], "no_ending").train) == TEXTS


@pytest.mark.parametrize("shape", ["objects", "indented", "strings", "jq"])
def test_a_document_named_jsonl_is_said(tmp_path, shape):
    with pytest.raises(UsageError, match="not an object a line: name it .json$"):
        read(tmp_path, SHAPES[shape], "x.jsonl")


def test_a_list_with_an_object_a_line_is_said(tmp_path):
    with pytest.raises(UsageError, match="name it .json$"):
        read(tmp_path, "[\n" + ",\n".join(json.dumps(row) for row in OBJECTS) + "\n]", "x.jsonl")


def test_lines_of_strings_are_texts(tmp_path):
    assert list(read(tmp_path, a_line(TEXTS), "x.jsonl").train) == TEXTS
    with pytest.raises(UsageError, match="made of strings and has no column 'text'"):
        read(tmp_path, a_line(TEXTS), "x.jsonl", column="text")


def test_lines_of_objects_in_a_text_file_are_said(tmp_path):
    with pytest.raises(UsageError, match="holds a JSON object a line: name it .jsonl"):
        read(tmp_path, a_line(OBJECTS), "x.txt")


def test_a_poem_that_begins_with_a_bracket_is_text(tmp_path):
    assert read(tmp_path, "[Intro]\n{x}\nla la", "poem").report.kept == 3


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ('{"text": "a"', "x.json", "is not JSON"),
        ("[1, 2]", "x.json", "holds no rows"),
        ("[" * 100_000, "x.json", "nested too deeply"),
        ('["a", "b"]\n["c", "d"]', "x.jsonl", "no line that is a JSON object"),
        ("no json\nat all", "x.jsonl", "no line that is a JSON object"),
        ("", "x.jsonl", "no usable text"),
        ("\n\n", "x.json", "no usable text"),
        ('{"id": 1}', "x.jsonl", r"no column of .* looks like texts: id \(plain numbers\)"),
    ],
)
def test_what_holds_no_rows_is_refused(tmp_path, content, name, says):
    with pytest.raises(UsageError, match=says) as error:
        read(tmp_path, content, name)
    assert "\n" not in str(error.value)


def test_a_text_that_comes_late_is_found(tmp_path):
    rows = [{"title": f"title {i}", "text": None} for i in range(2000)] + [{"title": "t", "text": t} for t in TEXTS]
    data = read(tmp_path, a_line(rows), "x.jsonl")
    assert list(data.train) == TEXTS and data.report.malformed == 2000


def test_ids_beside_chats_are_never_texts(tmp_path):
    for key, turn in (("messages", {"role": "user", "content": "why"}), ("conversations", {"from": "a", "value": "b"})):
        with pytest.raises(UsageError, match=f"column '{key}' of .* holds chats: write each as one text"):
            read(tmp_path, a_line({"id": f"c{i}", key: [turn]} for i in range(9)), "x.jsonl")


def test_a_nested_column_is_read_by_its_dotted_name(tmp_path):
    content = a_line([{"url": f"http://x/{i}", "doc": {"text": text}} for i, text in enumerate(TEXTS)] + [{"url": "x"}])
    with pytest.raises(UsageError, match=r"column= one of doc\.text"):
        read(tmp_path, content, "x.jsonl")
    data = read(tmp_path, content, "x.jsonl", column="doc.text")
    assert list(data.train) == TEXTS and data.report.malformed == 1
