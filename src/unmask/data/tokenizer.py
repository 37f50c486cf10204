"""Tokenizers with the three ids a canvas needs (mask, end, padding), and texts to canvases of one length and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from unmask.core import distributed
from unmask.core.errors import CheckpointError, UsageError
from unmask.data.hub import local_folder, snapshot
from unmask.data.tokenizer_files import VOCABULARIES, require_tokenizer, require_words

PAD, EOS, MASK = "<pad>", "<eos>", "<mask>"
_BATCH = 4096


def train_bpe(texts: Iterable[str], vocab_size: int, *, split_digits: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on ``texts``.

    Any string survives encoding and decoding exactly, so there is no unknown token. The specials ``<pad>`` 0,
    ``<eos>`` 1 and ``<mask>`` 2 never come from text: a text that says "<mask>" is spelled in ordinary tokens.

    Args:
        texts: read once.
        vocab_size: V, specials and the 256 bytes included; fewer if the texts have no more merges to offer.
        split_digits: every digit is a token of its own, so that a number's tokens say where its digits stand.

    Raises:
        UsageError: ``vocab_size`` leaves no room for the bytes and the specials.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + 3:
        raise UsageError(f"vocab_size={vocab_size} must be at least {len(alphabet) + 3}: 256 bytes and 3 specials")
    bpe = Tokenizer(models.BPE())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, cut]) if split_digits else cut
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PAD, EOS, MASK], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        mask_token=MASK,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def tokenizer_for(name: str, size: int, texts: Iterable[str], encoder: Any) -> Any:
    """The tokenizer that a recipe names, the same one in each process of a launch.

    Args:
        name: ``bpe`` trains one of ``size`` on the texts, ``encoder`` takes the encoder's; else a name or folder.
        size, texts: see :func:`train_bpe`.
        encoder: with a ``tokenizer``, or None.

    Raises:
        UsageError: ``encoder`` without one, and as :func:`train_bpe` and :func:`from_encoder`.
    """
    if name == "encoder" and encoder is None:
        raise UsageError("tokenizer='encoder' needs an encoder, and conditioning='none' has none: use 'bpe'")
    named = encoder.tokenizer if name == "encoder" else name
    made = None
    if distributed.is_main_process():
        made = train_bpe(texts, size) if name == "bpe" else from_encoder(named)
    return distributed.broadcast_object(made)


def from_encoder(tokenizer: PreTrainedTokenizerBase | str | Path) -> PreTrainedTokenizerBase:
    """A copy of an encoder's tokenizer that has a mask, an end and a padding token, for a decoder over its vocabulary.

    RoBERTa and XLM-R have all three. BERT has no end token: its ``[SEP]`` serves as one. GPT-2 lacks mask and padding:
    they are added, so that the vocabulary grows and the decoder's embeddings must be made from ``len(tokenizer)``.
    BERT's tokenizers lower-case and split, so a decoded text equals the normalised text, not the original.

    Args:
        tokenizer: the tokenizer, or the name or folder to load it from.

    Raises:
        UsageError: nothing can be loaded from that name.
    """
    if isinstance(tokenizer, (str, Path)):
        own = _load(str(tokenizer))
    else:
        own = copy.deepcopy(tokenizer)
    if own.eos_token is None and own.sep_token is not None:
        own.eos_token = own.sep_token
    wanted = {"pad_token": PAD, "eos_token": EOS, "mask_token": MASK}
    own.add_special_tokens({name: token for name, token in wanted.items() if getattr(own, name) is None})
    own.split_special_tokens = True
    own.clean_up_tokenization_spaces = False
    return own


def _load(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    folder = local_folder(name, ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json"))
    try:
        # a folder without any of these does not hide the hub's tokenizer of that name
        if folder is None and Path(name).is_dir():
            folder = snapshot(name, ("*.json", "*.jinja", "*.txt", *VOCABULARIES))
        if folder is not None:
            require_tokenizer(folder, name)
        own = AutoTokenizer.from_pretrained(name if folder is None else str(folder))
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"no tokenizer can be loaded from {name!r}: give a folder or a hub id") from error
    require_words(own, name)
    return own


@dataclass(frozen=True)
class Canvases:
    """Tokenized texts: ids [N, L] with their lengths, and what was cut or left out.

    Attributes:
        ids: int32 [N, L]; the tokens, EOS (where texts have one), then PAD up to L.
        lengths: int32 [N]; tokens with the EOS, without padding.
        rows: int64 [N]; the text (by its place in the input) that each row came from.
        over_long: texts that did not fit with their EOS, dropped or cut.
        masked: texts that hold the mask, which are no clean texts; dropped, where that was asked for.
        ends: whether texts have their EOS; without one the padding is no part of a canvas.
        empty: texts without any token, which have no canvas without EOS; dropped with those that hold the mask.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    rows: NDArray[np.int64]
    over_long: int
    masked: int = 0
    ends: bool = True
    empty: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __str__(self) -> str:
        """One line for a log."""
        total, width = len(self), self.ids.shape[1]
        mean = float(self.lengths.mean()) if total else 0.0
        masked = f"; {self.masked:,} texts with the mask word left out" if self.masked else ""
        empty = f"; {self.empty:,} texts without any token left out" if self.empty else ""
        long = f"{self.over_long:,} texts over-long{masked}{empty}"
        how = f"{total:,} canvases of {width}, {mean:.1f} tokens each with EOS"
        if not self.ends:
            how = f"{total:,} canvases of up to {width} tokens, {mean:.1f} each"
        return f"{how}; {long}"


def encode_fixed(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    *,
    over_long: str = "truncate",
    drop_masked: bool = False,
    spill: Path | None = None,
    ends: bool = True,
) -> Canvases:
    """Texts as ids [N, ``max_length``]: the tokens, one EOS, then PAD.

    Args:
        tokenizer: has an EOS and a PAD id; its own specials ([CLS], <s>) are not added.
        texts: read in order, in batches.
        max_length: L, the EOS included.
        over_long: ``truncate`` keeps the first L tokens of a text that does not fit, *without* an EOS because it does
            not end there, so that every text has its row; ``drop`` leaves such texts out.
        drop_masked: leave out texts that hold the mask id. Our tokenizers spell a mask word in ordinary tokens, but a
            vocabulary of whole words may hold it as one. Without ``ends``, those without any token too.
        spill: a .npy file to hold the ids instead of memory; it is overwritten.
        ends: give texts their EOS. Without, for a model that draws lengths, a text of L tokens fits, and one without
            any token is refused.

    Raises:
        UsageError: the tokenizer lacks an id, a setting is out of range, or a text is empty where ``ends`` is False.
    """
    if over_long not in ("drop", "truncate"):
        raise UsageError(f"over_long={over_long!r} must be 'drop' or 'truncate'")
    if max_length < 1 + ends:
        raise UsageError(f"max_length={max_length} must be at least {1 + ends}: a token{' and EOS' * ends}")
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if eos is None or pad is None or eos == pad:
        raise UsageError("the tokenizer needs an EOS and a PAD token that differ: prepare it with from_encoder")
    shape = (len(texts), max_length)
    if spill is None:
        ids_NL: NDArray[np.int32] = np.full(shape, pad, np.int32)
    else:
        ids_NL = np.lib.format.open_memmap(spill, mode="w+", dtype=np.int32, shape=shape)
    lengths, rows, long, masked = np.zeros(len(texts), np.int32), np.zeros(len(texts), np.int64), 0, 0
    n, empty = 0, 0
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        for offset, tokens in enumerate(encoded):
            if drop_masked and tokenizer.mask_token_id in tokens:
                masked += 1
                continue
            if not tokens and not ends and drop_masked:
                empty += 1
                continue
            if not tokens and not ends:
                raise UsageError(f"text {start + offset} has no token, and a model of lengths writes at least one")
            if len(tokens) + ends > max_length:
                long += 1
                if over_long == "drop":
                    continue
                tokens = tokens[:max_length]
            elif ends:
                tokens.append(eos)
            ids_NL[n, : len(tokens)] = tokens
            ids_NL[n, len(tokens) :] = pad
            lengths[n], rows[n] = len(tokens), start + offset
            n += 1
    return Canvases(ids_NL[:n], lengths[:n], rows[:n], long, masked, ends, empty)


def decode(
    tokenizer: PreTrainedTokenizerBase, ids_BL: NDArray[Any] | torch.Tensor | Sequence[Sequence[int]]
) -> list[str]:
    """The texts of rows of ids: each is cut at its first EOS, and special tokens (PAD, an open mask) are dropped."""
    eos, specials = tokenizer.eos_token_id, set(tokenizer.all_special_ids)
    rows = ids_BL.tolist() if isinstance(ids_BL, (np.ndarray, torch.Tensor)) else ids_BL
    kept = []
    for row in rows:
        row = list(row)
        row = row[: row.index(eos)] if eos in row else row
        kept.append([token for token in row if token not in specials])
    return tokenizer.batch_decode(kept, clean_up_tokenization_spaces=False)
