"""Bytes become text by what they are; what is no text is refused by its name."""

import bz2
import gzip
import lzma
import os
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.errors import UsageError
from unmask.data.encodings import HEAD, open_utf8, read_text
from unmask.data.sources import Lines

LINES = {
    "english": [f"sentence number {i} about the dragon" for i in range(40)],
    "french": [f"la forêt près du château, numéro {i}" for i in range(40)],
    "russian": [f"предложение номер {i} про кота и дождь" for i in range(40)],
    "chinese": [f"这是第{i}个关于龙和茶的句子" for i in range(40)],
    "emoji": [f"a cat 🐈 and a dragon 🐉, {i}" for i in range(40)],
}
WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def lines_of(path):
    lines = Lines(open_utf8(path).file)
    return [lines.line(i).rstrip("\r\n") for i in range(len(lines))]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", *WIDE])
@pytest.mark.parametrize("language", LINES)
def test_every_unicode_encoding_reads_the_same(tmp_path, language, codec):
    path = tmp_path / "x.txt"
    path.write_bytes("\n".join(LINES[language]).encode(codec))
    assert lines_of(path) == LINES[language]
    assert read_text(path) == "\n".join(LINES[language])
    assert ("UTF" in open_utf8(path).note) == (codec in WIDE)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lf_crlf_and_cr_end_lines_and_nothing_else(tmp_path, end, last):
    texts = [
        "form\x0cfeed",
        "vertical\x0btab",
        "next\x85line",
        "line\u2028separator",
        "para\u2029graph",
        "file\x1csign",
    ]
    path = tmp_path / "x.txt"
    path.write_bytes((end.join(texts) + end * last).encode())
    assert lines_of(path) == texts


def test_a_stray_cr_stays_in_a_text_of_a_file_with_lf(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\rtwo\nthree\nfour")
    assert lines_of(path) == ["one\rtwo", "three", "four"]
    path.write_bytes(b"one\rtwo\rthree\rfour\n")
    assert lines_of(path) == ["one", "two", "three", "four"]


def test_crlf_over_the_edge_of_a_block_is_one_end(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a" * (HEAD - 1) + b"\r\n" + b"b\rc")  # 1 LF, 1 lone CR
    assert [len(line) for line in lines_of(path)] == [HEAD - 1, 3]


def test_wide_characters_over_the_edge_of_a_block_are_whole(tmp_path):
    path = tmp_path / "x.txt"
    text = "a" + "🐉" * HEAD
    path.write_bytes(text.encode("utf-16-le"))
    assert lines_of(path) == [text]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_text_with_a_mark_survives(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "x.txt"
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("\n".join(texts).encode(codec))
        assert lines_of(path) == texts


@pytest.mark.parametrize(
    ("codec", "language", "seems"),
    [
        ("latin-1", "french", "Windows-1252 or Latin-1.*WINDOWS-1252"),
        ("cp1252", "french", "Windows-1252 or Latin-1.*WINDOWS-1252"),
        ("mac_roman", "french", "old Macs or of DOS.*MACINTOSH"),
        ("cp1251", "russian", "Windows-1251"),
        ("gbk", "chinese", "GBK"),
    ],
)
def test_older_encodings_are_refused_with_a_guess(tmp_path, codec, language, seems):
    path = tmp_path / "x.txt"
    path.write_bytes("\n".join(LINES[language]).encode(codec))
    for read in (open_utf8, read_text):
        with pytest.raises(UsageError, match=f"x.txt cannot be read as UTF-8.*{seems}") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_few_damaged_lines_are_counted_unless_strict(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("\n".join(LINES["french"]).encode() + b"\ncaf\xe9\ntr\xe8s bien\n")
    assert lines_of(path)[:40] == LINES["french"]
    with pytest.raises(UsageError, match="byte 0xe9"):
        open_utf8(path, strict=True)


def test_control_characters_in_utf8_are_no_wide_encoding(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a bell \x07 and a nul \x00 in a long enough text\nand a line more")
    assert len(lines_of(path)) == 2 and open_utf8(path).note == ""


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_packed_files_are_unpacked_whatever_their_name(tmp_path, pack, codec):
    path = tmp_path / "x.txt"
    path.write_bytes(pack("\n".join(LINES["french"]).encode(codec)))
    assert lines_of(path) == LINES["french"] and "unpacked" in open_utf8(path).note


def make_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("word/document.xml", "<w/>")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "is a PDF"),
        (b"\x89PNG\r\n\x1a\n", "is an image"),
        (b"{\\rtf1\\ansi hello}", "an RTF document"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "packed with zstd"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git-lfs pointer"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (bytes(range(256)) * 20, "is not text"),
        (b"\0" * 500, "is not text"),
        (gzip.compress(gzip.compress(b"text")), "packed twice"),
        (gzip.compress(os.urandom(5000))[:100], "gzip and damaged"),
        (gzip.compress(b"%PDF-1.7"), "is a PDF inside"),
        ("text".encode("utf-16") + b"\x00", "damaged UTF-16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_text_is_refused_by_name(tmp_path, content, says):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"notes.txt.*{says}") as error:
        read_text(path)
    assert "\n" not in str(error.value)


def test_an_office_document_and_a_missing_file_are_refused(tmp_path):
    make_zip(tmp_path / "letter.docx")
    with pytest.raises(UsageError, match="a zip archive or an Office document"):
        read_text(tmp_path / "letter.docx")
    with pytest.raises(UsageError, match="cannot be read"):
        read_text(tmp_path / "none.txt")


def test_a_lone_surrogate_of_utf16_spoils_its_line_alone(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff\xfe" + "good\n".encode("utf-16-le") + b"\x00\xd8" + "\nfine".encode("utf-16-le"))
    good, broken, fine = lines_of(path)
    assert (good, fine) == ("good", "fine") and broken and not broken.isprintable()
    with pytest.raises(UsageError, match="surrogate"):
        read_text(path)


def test_a_pipe_is_read_as_a_file(tmp_path):
    read, write = os.pipe()
    os.write(write, "one\ntwo".encode("utf-16"))
    os.close(write)
    assert lines_of(f"/dev/fd/{read}") == ["one", "two"]
    os.close(read)
