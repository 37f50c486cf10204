"""One id space of BPE tokens and characters, and the way between a text and its blocks.

A character here is a byte of UTF-8. Any text of any script is then spelled with 256 ids: there is no alphabet to
train, to save or to mismatch, and no unknown character. The price is two to four steps for a character outside ASCII.
A block is written last byte first; the bytes are put back in order *before* they are decoded, or nothing but ASCII
would survive.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.core.errors import CheckpointError, UsageError, did_you_mean
from unmask.core.files import write_text
from unmask.data.tokenizer import train_bpe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = ("<pad>", "<eos>", "<mask>", "<bob>", "<eob>")
PAD, EOS, MASK, BOB, EOB = range(5)
#: the byte b has id FIRST_CHARACTER + b, the BPE id k has id FIRST_TOKEN + k
FIRST_CHARACTER = len(SPECIALS)
FIRST_TOKEN = FIRST_CHARACTER + 256

FILE = "mixed_tokenizer.json"
FORMAT = 1

# a block takes the white space before it, as byte-level BPE does; each pattern covers every text without a gap
_WORD = re.compile(r"\s*\S+|\s+")
_NUMBER = re.compile(r"\s*-?\d+|\s*[^\s\d]+|\s+")
_TOKENS = re.compile(r"tokens:(\d+)")


class MixedTokenizer:
    """A tokenizer with BPE tokens and characters in one vocabulary, which also splits texts into blocks.

    Args:
        bpe: any ``tokenizers`` tokenizer; a byte-level one gives every text back exactly.
        blocks: ``word`` (up to white space), ``number`` (a whole number with its sign, or what stands between numbers
            and white space) or ``tokens:k`` (k BPE tokens, fewer at the end).
        reverse: spell a block last character first.
        max_block: most characters of a block; a longer one is cut between code points.

    Raises:
        UsageError: an unknown kind of block, or ``max_block`` below 4, which some code points need.
    """

    #: what ends a block
    ends = (EOB, EOS)

    def __init__(self, bpe: Tokenizer, *, blocks: str = "word", reverse: bool = True, max_block: int = 24) -> None:
        tokens = _TOKENS.fullmatch(blocks)
        if blocks not in ("word", "number") and (tokens is None or int(tokens[1]) < 1):
            hint = did_you_mean(blocks, ("word", "number", "tokens:4"))
            raise UsageError(f"blocks={blocks!r} must be 'word', 'number' or 'tokens:k' with k >= 1; {hint}")
        if max_block < 4:
            raise UsageError(f"max_block={max_block} must be at least 4: a code point takes up to four bytes")
        self.bpe, self.blocks, self.reverse, self.max_block = bpe, blocks, reverse, max_block
        # a text that says "<eos>" is spelled, never obeyed
        self.bpe.encode_special_tokens = True
        # an encoder's file may ask for rows of one length
        self.bpe.no_truncation()
        self.bpe.no_padding()
        self._per_block = int(tokens[1]) if tokens else 0

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, *, split_digits: bool = False, **settings: Any
    ) -> MixedTokenizer:
        """A tokenizer whose byte-level BPE (:func:`unmask.data.tokenizer.train_bpe`) is trained on ``texts``.

        Args:
            vocab_size: of the BPE ids alone.
            split_digits: no token holds two digits.
            settings: others of this class.
        """
        return cls(train_bpe(texts, vocab_size, split_digits=split_digits).backend_tokenizer, **settings)

    @classmethod
    def from_file(cls, path: str | Path, **settings: Any) -> MixedTokenizer:
        """A tokenizer with the BPE of a ``tokenizer.json``.

        Raises:
            UsageError: there is no such file, or it is not one of the ``tokenizers`` library.
        """
        from tokenizers import Tokenizer

        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"no tokenizer can be read from {str(path)!r}: give a tokenizer.json") from error
        return cls(_from_json(Tokenizer, text, str(path)), **settings)

    def __len__(self) -> int:
        """Ids in all: specials, characters, BPE tokens."""
        return FIRST_TOKEN + self.bpe.get_vocab_size()

    @property
    def identity(self) -> str:
        """A hash of everything that decides what an id means; two tokenizers that agree on it are interchangeable."""
        return hashlib.blake2b(json.dumps(self._tree(), sort_keys=True).encode(), digest_size=8).hexdigest()

    # -- texts and tokens -------------------------------------------------------------------------------------------
    def encode(self, text: str) -> list[int]:
        """The BPE tokens of a text."""
        return [FIRST_TOKEN + i for i in self.bpe.encode(text, add_special_tokens=False).ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of many texts."""
        found = self.bpe.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[FIRST_TOKEN + i for i in one.ids] for one in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of any mix of tokens and blocks; ``<eos>`` ends it, other specials say nothing."""
        parts: list[str] = []
        tokens: list[int] = []
        characters: list[int] = []

        def flush() -> None:
            if tokens:
                parts.append(self.bpe.decode(tokens, skip_special_tokens=False))
            parts.append(self.decode_block(characters))
            tokens.clear()
            characters.clear()

        for i in ids:
            if i == EOS:
                break
            if i >= FIRST_TOKEN:
                if characters:
                    flush()
                tokens.append(i - FIRST_TOKEN)
            elif i >= FIRST_CHARACTER:
                characters.append(i)
            else:
                flush()
        flush()
        return "".join(parts)

    # -- blocks -----------------------------------------------------------------------------------------------------
    def split(self, text: str) -> list[str]:
        """The blocks of a text; joined they are the text."""
        if not self._per_block:
            found = (_WORD if self.blocks == "word" else _NUMBER).findall(text)
        else:
            # a token may end inside a code point: its offset then covers the whole of it, so cuts fall between
            ends = [end for _, end in self.bpe.encode(text, add_special_tokens=False).offsets][
                self._per_block - 1 :: self._per_block
            ]
            edges = sorted({0, *ends, len(text)})
            found = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
        return [piece for block in found for piece in self._short(block)]

    def spell(self, text: str) -> list[int]:
        """The ids of a text's characters, first to last."""
        return [FIRST_CHARACTER + b for b in text.encode("utf-8")]

    def unspell(self, ids: Iterable[int]) -> str:
        """The text of characters that stand first to last."""
        data = bytes(i - FIRST_CHARACTER for i in ids if FIRST_CHARACTER <= i < FIRST_TOKEN)
        return data.decode("utf-8", errors="replace")

    def encode_block(self, block: str, last: bool = False) -> list[int]:
        """``<bob>``, the characters (last first), ``<eob>``, or ``<eos>`` where the text ends with the block."""
        characters = self.spell(block)
        return [BOB, *(reversed(characters) if self.reverse else characters), EOS if last else EOB]

    def decode_block(self, ids: Iterable[int]) -> str:
        """The text of written characters; specials and tokens among them are left out.

        Bytes that are no UTF-8 (a model may write them) become U+FFFD.
        """
        characters = list(ids)
        return self.unspell(reversed(characters) if self.reverse else characters)

    def read_block(self, ids: Sequence[int]) -> tuple[str, bool]:
        """The text before the first ``<eob>`` or ``<eos>``, and whether the whole text ends there."""
        end = next((at for at, i in enumerate(ids) if i in self.ends), len(ids))
        return self.decode_block(ids[:end]), end < len(ids) and ids[end] == EOS

    def _short(self, block: str) -> list[str]:
        if len(block.encode("utf-8")) <= self.max_block:
            return [block]
        pieces, size = [""], 0
        for letter in block:
            width = len(letter.encode("utf-8"))
            if size + width > self.max_block:
                pieces.append("")
                size = 0
            pieces[-1] += letter
            size += width
        return pieces

    # -- names ------------------------------------------------------------------------------------------------------
    def name(self, i: int) -> str:
        """The text that stands for an id in figures and traces."""
        if i < FIRST_CHARACTER:
            return SPECIALS[i]
        if i < FIRST_TOKEN:
            byte = i - FIRST_CHARACTER
            return chr(byte) if 32 < byte < 127 else {32: "␣", 10: "⏎"}.get(byte, f"x{byte:02X}")
        return self.bpe.decode([i - FIRST_TOKEN], skip_special_tokens=False).replace(" ", "␣")

    # -- files ------------------------------------------------------------------------------------------------------
    def _tree(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "blocks": self.blocks,
            "reverse": self.reverse,
            "max_block": self.max_block,
            "bpe": json.loads(self.bpe.to_str()),
        }

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write everything to one file of a folder, whole or not at all."""
        return write_text(Path(folder) / FILE, json.dumps(self._tree(), ensure_ascii=False))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MixedTokenizer:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, or of another format.
        """
        from tokenizers import Tokenizer

        file = Path(folder) / FILE
        try:
            tree = json.loads(file.read_text(encoding="utf-8"))
            if tree.pop("format") != FORMAT:
                raise ValueError("its format is unknown")
            bpe = _from_json(Tokenizer, json.dumps(tree.pop("bpe")), str(file))
            return cls(bpe, **tree)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the tokenizer {str(file)!r} cannot be read: {error}") from error


def _from_json(kind: type[Tokenizer], text: str, where: str) -> Tokenizer:
    try:
        return kind.from_str(text)
    except Exception as error:  # the library raises bare Exception for every fault of the file
        raise UsageError(f"{where!r} is no file of the tokenizers library: {error}") from error
