"""The same texts, whatever they are saved as; and which files of a folder are read."""

import csv
import gzip
import io
import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from unmask.core.errors import UsageError
from unmask.data.files import FORMATS, format_of
from unmask.data.text import Texts, load_texts

TEXTS = [f"la forêt, numéro {i}: près du « château »" for i in range(20)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def as_csv(texts, delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([("n", "text"), *enumerate(texts)])
    return out.getvalue()


FORMS = {
    ".txt": "\n".join,
    "": "\n".join,
    ".jsonl": lambda texts: "\n".join(json.dumps({"n": i, "text": t}) for i, t in enumerate(texts)),
    ".json": lambda texts: json.dumps([{"text": t} for t in texts], ensure_ascii=False),
    ".csv": as_csv,
    ".tsv": lambda texts: as_csv(texts, "\t"),
}
#: none of these ends a line, though Python's splitlines thinks so
WORDS = st.text(st.sampled_from("abcé ж龙🐉,;|\"'{}[]\x0c\x0b\x85\u2028\u2029\x1c"), min_size=1, max_size=12)


@given(
    texts=st.lists(WORDS, min_size=1, max_size=6, unique=True),
    form=st.sampled_from(sorted(FORMS)),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    packed=st.booleans(),
    upper=st.booleans(),
)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_form_of_the_same_texts_reads_the_same(tmp_path, texts, form, codec, end, packed, upper):
    # begin with a letter: a quote at the start of a line means something in CSV, a bracket in JSON
    texts = [f"x{i} {text} z" for i, text in enumerate(texts)]
    content = FORMS[form](texts).replace("\n", end).encode(codec)
    name = f"x{form}{'.gz' if packed else ''}"
    path = tmp_path / (name.upper() if upper else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    plain = tmp_path / "plain.txt"
    plain.write_bytes("\n".join(texts).encode())
    path_data, plain_data = load_texts(path, validation=0.3), load_texts(plain, validation=0.3)
    assert list(path_data.train) == list(plain_data.train)
    assert path_data.fingerprint == plain_data.fingerprint and path_data.report.kept == len(texts)
    path.unlink()


def test_the_endings_on_the_page_are_those_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "data_formats.md").read_text(encoding="utf-8")
    table = page.split("| ending", 1)[1].split("\n\n", 1)[0]
    assert {ending for ending in FORMATS if f"`{ending}`" in table} == set(FORMATS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.TXT", "txt"),
        ("a.b.Jsonl.GZ", "jsonl"),
        ("README", ""),
        ("part.0001", ""),
        ("dump.gz", ""),
        ("notes 3.0 final", ""),
        ("a.md", ".md"),
    ],
)
def test_format_of_a_name(name, kind, tmp_path):
    assert format_of(tmp_path / name) == kind


def test_an_unknown_ending_is_refused_with_those_that_are_known(tmp_path):
    (tmp_path / "x.md").write_text("a\nb")
    with pytest.raises(UsageError, match=r"ends in .md: files of texts end in .txt, .jsonl, .json"):
        load_texts(tmp_path / "x.md")


ARROW = {
    "string": pyarrow.string(),
    "large": pyarrow.large_string(),
    "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    "view": pyarrow.string_view() if hasattr(pyarrow, "string_view") else pyarrow.string(),
}


@pytest.mark.parametrize("kind", ARROW)
def test_every_string_of_arrow_is_text(tmp_path, kind):
    table = pyarrow.table({"n": range(21), "text": pyarrow.array([None, *TEXTS]).cast(ARROW[kind])})
    parquet.write_table(table, tmp_path / "x.parquet")
    data = load_texts(tmp_path / "x.parquet", validation=0.0)
    assert list(data.train) == TEXTS and data.report.empty == 1 and isinstance(data.train, Texts)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"text": [b"bytes"] * 3}, "'text' of .* holds bytes"),
        ({"text": [["a", "b"]] * 3}, "'text' of .* holds lists"),
        ({"text": pyarrow.nulls(3)}, "'text' of .* is empty in every row"),
        ({"text": [1, 2, 3]}, "'text' of .* holds plain numbers"),
        ({"id": ["d1", "d2", "d3"]}, r"id \(ids\)"),
        ({"note": ["a b"] * 3, "who": ["c d"] * 3}, "one of note, who"),
        ({"id": ["x"] * 3, "doc": [{"text": "a b"}] * 3}, r"one of id, doc\.text"),
        ({"messages": [[{"role": "user", "content": "x"}]] * 3, "id": ["a"] * 3}, "one of id"),
        ({"image": [{"bytes": b"x", "path": "a"}] * 3, "id": ["d1"] * 3}, r"image \(bytes\)"),
    ],
)
def test_a_parquet_file_without_a_clear_text_is_refused(tmp_path, columns, says):
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=says):
        load_texts(tmp_path / "x.parquet")


@pytest.mark.parametrize("kind", ["parquet", "saved", "file", "stream"])
def test_a_struct_is_read_by_its_dotted_name(tmp_path, kind):
    table = pyarrow.table({"id": ["x"] * 20, "doc": [{"text": t, "n": 1} for t in TEXTS], "a.b": TEXTS[::-1]})
    where = tmp_path / f"x.{'parquet' if kind == 'parquet' else 'arrow'}"
    if kind == "parquet":
        parquet.write_table(table, where)
    elif kind == "saved":
        datasets.Dataset(table).save_to_disk(str(where))
    else:
        opens = pyarrow.ipc.new_file if kind == "file" else pyarrow.ipc.new_stream
        with pyarrow.OSFile(str(where), "wb") as file, opens(file, table.schema) as writer:
            writer.write_table(table)
    assert list(load_texts(where, column="doc.text", validation=0.0).train) == TEXTS
    assert list(load_texts(where, column="a.b", validation=0.0).train) == TEXTS[::-1]
    with pytest.raises(UsageError, match=r"holds objects: name one of doc\.text"):
        load_texts(where, column="doc")


def test_shards_may_differ_in_other_columns(tmp_path):
    parquet.write_table(pyarrow.table({"text": TEXTS[:9], "meta": pyarrow.nulls(9)}), tmp_path / "train-0.parquet")
    parquet.write_table(pyarrow.table({"text": TEXTS[9:], "meta": ["x"] * 11}), tmp_path / "train-1.parquet")
    assert list(load_texts(tmp_path, validation=0.0).train) == TEXTS
    parquet.write_table(pyarrow.table({"body": TEXTS}), tmp_path / "train-2.parquet")
    with pytest.raises(UsageError, match="train-2.parquet has no column 'text'"):
        load_texts(tmp_path)


def test_parquet_under_a_text_name_is_read_as_parquet(tmp_path):
    parquet.write_table(pyarrow.table({"text": TEXTS}), tmp_path / "x.txt")
    assert list(load_texts(tmp_path / "x.txt", validation=0.0).train) == TEXTS


@pytest.mark.parametrize("form", [".txt", "", ".jsonl", ".json", ".csv", ".tsv"])
@pytest.mark.parametrize("files", [3, 80])
def test_a_folder_is_its_files_one_after_the_other(tmp_path, form, files):
    texts = [f"{text} {i}" for i in range(files) for text in TEXTS[:3]]
    for i in range(files):
        content = FORMS[form](texts[3 * i : 3 * i + 3])
        codec, end = ("utf-16", "\r") if i % 2 else ("utf-8-sig", "\n")
        (tmp_path / f"part_{i:03}{form}").write_bytes(content.replace("\n", end).encode(codec))
    (tmp_path / "README.md").write_text("about")
    data = load_texts(tmp_path, validation=0.0)
    assert list(data.train) == texts and data.train[4] == texts[4] and data.train[-1] == texts[-1]
    assert data.report.note == f"{files} files"
    assert list(load_texts(f"{tmp_path}/part_*", validation=0.0).train) == texts


def test_a_folder_of_several_formats_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.csv").write_text("text\na")
    with pytest.raises(UsageError, match=r"files of several formats \(1 txt, 1 csv\)"):
        load_texts(tmp_path)
    assert list(load_texts(f"{tmp_path}/*.txt", validation=0.0).train) == ["a"]


def test_a_folder_names_what_it_leaves(tmp_path):
    for name in ("train.txt", "test.txt", "constraints.txt", "cover.pdf"):
        (tmp_path / name).write_text(f"text of {name}")
    data = load_texts(tmp_path, validation="test")
    assert (list(data.train), list(data.validation)) == (["text of train.txt"], ["text of test.txt"])
    assert data.report.note == "1 file; not read: constraints.txt, cover.pdf, test.txt"
    with pytest.raises(UsageError, match="no split 'tset'"):
        load_texts(tmp_path, validation="tset")


def test_the_files_of_a_folder_choose_their_column_together(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"title": "a b"}')
    (tmp_path / "b.jsonl").write_text('{"title": "c d", "text": "e f"}')
    data = load_texts(tmp_path, validation=0.0)
    assert list(data.train) == ["e f"] and data.report.malformed == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none*.txt", "no file is named like"),
        ("gone.JSONL.gz", "there is no file"),
        ("./gone", "there is no file"),
    ],
)
def test_names_of_no_file_are_one_sentence(name, says):
    with pytest.raises(UsageError, match=says):
        load_texts(name)


def test_a_file_of_plain_text_has_no_column(tmp_path):
    for name in ("x.txt", "x"):
        (tmp_path / name).write_text("a\nb")
        with pytest.raises(UsageError, match="is plain text and has no column 'text'"):
            load_texts(tmp_path / name, column="text")
