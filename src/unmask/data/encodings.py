"""Bytes of a file as UTF-8, whatever it was saved in: UTF-16 and UTF-32 are decoded, packed files are unpacked, what is
no text is refused by its name.

Every text that a user names is opened here. A file in UTF-8 is read where it lies; another is copied once into a
temporary file that vanishes with it (see ``TMPDIR``). Bytes in an older encoding (Windows-1252 ...) are never guessed
at: nothing in them says which letters they mean.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unmask.core.errors import UsageError

#: bytes that are looked at to see what a file is
HEAD = 2**20
_BLOCK = 2**20
#: a file with a larger share of control characters is no UTF-8 text; below it they are taken out and counted
_CONTROL_SHARE = 0.1

PARQUET, ARROW = "a Parquet file", "an Arrow file"
_UNPACK = "unpack it first"
# what a file begins with, what it then is, and what to do
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", PARQUET, "name it .parquet"),
    (b"ARROW1\0\0", ARROW, "name it .arrow"),
    (b"PK\x03\x04", "a zip archive or an Office document", "unpack it, or save the sheet or text as .csv or .txt"),
    (b"%PDF-", "a PDF", "take its text out first, such as with pdftotext"),
    (b"{\\rtf", "an RTF document", "save it as plain text"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save it as .csv or .txt"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a rar archive", _UNPACK),
    (b"\x93NUMPY", "a NumPy array", "write its texts to a .txt or .jsonl file"),
    (b"\x89HDF", "an HDF5 file", "write its texts to a .txt or .jsonl file"),
    (b"SQLite format 3", "an SQLite database", "write its texts to a .csv file"),
    (b"\x89PNG", "an image", "a file of texts is wanted"),
    (b"\xff\xd8\xff", "an image", "a file of texts is wanted"),
    (b"GIF8", "an image", "a file of texts is wanted"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run `git lfs pull` where it was cloned"),
)
_PACKERS: dict[str, tuple[re.Pattern[bytes], Callable[[Any], Any]]] = {
    "gzip": (re.compile(rb"\x1f\x8b\x08"), gzip.open),
    "bzip2": (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.open),
    "xz": (re.compile(rb"\xfd7zXZ\0"), lzma.open),
}
# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Opened:
    """A file's bytes in UTF-8.

    Attributes:
        file: open at its first byte, with a file descriptor; a byte order mark of UTF-8 still stands there.
        note: what was done to get there (``unpacked from gzip``); "" for a file that is read where it lies.
    """

    file: BinaryIO
    note: str = ""


def signature(path: str | Path) -> str:
    """The file format by its magic bytes, such as :data:`PARQUET`; "" for none that is known."""
    if not Path(path).is_file():
        return ""
    with _open(path) as file:
        return _signature(file.read(512))[0]


def open_utf8(path: str | Path, strict: bool = False) -> Opened:
    """A file's bytes in UTF-8: unpacked (gzip, bzip2, xz) and decoded from UTF-16 or UTF-32 where needed.

    Args:
        path: a file, or a pipe.
        strict: refuse the first byte that is not UTF-8, rather than a file of which many lines are not.

    Raises:
        UsageError: the file cannot be read, is no text, or is in another encoding, which the message names.
    """
    file, notes = _open(path), []
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file = _copy(lambda copy: shutil.copyfileobj(file, copy, _BLOCK))
    packer = _packer(_head(file))
    if packer:
        file = _unpacked(file, packer, path)
        notes.append(f"unpacked from {packer}")
    head = _head(file)
    what, instead = _signature(head)
    if what:
        raise UsageError(f"{path} is {what}{' inside' if notes else ''}: {instead}")
    if _packer(head):
        raise UsageError(f"{path} is packed twice: {_UNPACK}")
    codec, marked = _encoding(head, len(head) < HEAD, path)
    if codec != "utf-8":
        wide = file
        file = _copy(lambda copy: _recode(wide, copy, codec, path))
        notes.append(f"decoded from {codec.upper()}{'' if marked else ', which it does not say'}")
    elif strict:
        _strict(file, path)
    else:
        _mostly_utf8(head, len(head) < HEAD, path)
    file.seek(0)
    return Opened(file, ", ".join(notes))


def read_text(path: str | Path) -> str:
    """The whole text of a file, without a byte order mark, its line ends as ``\\n``.

    Raises:
        UsageError: see :func:`open_utf8`; every byte must be UTF-8.
    """
    with open_utf8(path, strict=True).file as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is damaged: it holds half of a surrogate pair") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _open(path: str | Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _packer(head: bytes) -> str:
    return next((name for name, (mark, _) in _PACKERS.items() if mark.match(head)), "")


def _unpacked(file: BinaryIO, packer: str, path: str | Path) -> BinaryIO:
    unpack = _PACKERS[packer][1]
    try:
        return _copy(lambda copy: shutil.copyfileobj(unpack(file), copy, _BLOCK))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"{path} is packed with {packer} and damaged: {error}") from error


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return head


def _copy(write: Callable[[BinaryIO], object]) -> BinaryIO:
    copy: Any = tempfile.TemporaryFile()
    try:
        write(copy)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy  # type: ignore[no-any-return]


def _signature(head: bytes) -> tuple[str, str]:
    for begins, what, instead in _SIGNATURES:
        if head.startswith(begins):
            return what, instead
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    return "", ""


def _encoding(head: bytes, whole: bool, path: str | Path) -> tuple[str, bool]:
    """The codec of a file, ``utf-8`` unless it is a wide one, and whether the file says so itself."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, True
    controls = len(_NO_TEXT.findall(head))
    suspect = controls > _CONTROL_SHARE * len(head)
    if suspect or (b"\0" in head and not _decodes(head, "utf-8", whole)):
        for codec in _WIDE:
            if _plausible(head, codec, whole):
                return codec, False
    if suspect:
        raise UsageError(f"{path} is not text: {controls:,} of its first {len(head):,} bytes are control characters")
    return "utf-8", True


def _decodes(data: bytes, codec: str, whole: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(data, whole)
    except UnicodeDecodeError:
        return None


def _plausible(head: bytes, codec: str, whole: bool) -> bool:
    """Whether the bytes read well in a wide encoding: nearly all characters print, and white space has its zeros."""
    text = _decodes(head, codec, whole)
    if not text:
        return False
    if sum(c.isprintable() or c in "\t\n\v\f\r" for c in text) < 0.95 * len(text):
        return False
    spaces = sum(head.count(space) for space in (b" ", b"\n", b"\r"))
    return sum(text.count(space) for space in " \n\r") >= 0.5 * spaces


def _recode(wide: BinaryIO, copy: BinaryIO, codec: str, path: str | Path) -> None:
    # a lone surrogate, which Windows lets pass, spoils its own row and no other
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass")
    try:
        while block := wide.read(_BLOCK):
            copy.write(decoder.decode(block).encode("utf-8", "surrogatepass"))
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is damaged {codec.upper()}: {error.reason}") from error


def _strict(file: BinaryIO, path: str | Path) -> None:
    decoder, before = codecs.getincrementaldecoder("utf-8")("strict"), 0
    try:
        while block := file.read(_BLOCK):
            decoder.decode(block)
            before += len(block)
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        file.seek(0)
        raise UsageError(_foreign(path, f"byte 0x{error.object[error.start]:02x} is not", file.read(HEAD))) from error


def _mostly_utf8(head: bytes, whole: bool, path: str | Path) -> None:
    """Refuse a file in another encoding; a few damaged lines of a UTF-8 file are for whoever counts rows.

    Raises:
        UsageError: more of its lines with a byte above 127 are wrong than right, and they are many.
    """
    if head.isascii():
        return
    lines = [line for line in re.split(rb"[\r\n]+", head) if line]
    if not whole and len(lines) > 1:
        lines.pop()
    other = [line for line in lines if not line.isascii()]
    foreign = sum(_decodes(line, "utf-8", whole or len(lines) > 1) is None for line in other)
    many = 2 * foreign > len(lines) or (foreign >= 3 and 100 * foreign > len(lines))
    if 2 * foreign > len(other) and many:
        raise UsageError(_foreign(path, f"{foreign:,} of its first {len(lines):,} lines are not", head))


def _foreign(path: str | Path, what: str, head: bytes) -> str:
    high = [byte for byte in head if byte > 127]
    letters = sum(chr(byte).isalpha() for byte in head if byte < 128)
    if sum(byte < 0xA0 for byte in high) > len(high) / 2:
        seems, codec = "in an encoding of old Macs or of DOS", "MACINTOSH"
    elif letters > len(high):
        seems, codec = "Windows-1252 or Latin-1", "WINDOWS-1252"
    else:
        seems, codec = "in an older encoding (Windows-1251, GBK, Shift JIS ...)", "THAT_ENCODING"
    return (
        f"{path} cannot be read as UTF-8 ({what}): it seems to be {seems}; convert it, such as with "
        f"`iconv -f {codec} -t UTF-8`"
    )
