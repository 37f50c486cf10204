"""A TidalModel with the one tokenizer that it is trained and read with, saved and loaded as one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unmask.core.errors import CheckpointError
from unmask.data.tidal.mixed_tokenizer import BOB, EOB, EOS, FIRST_TOKEN, MASK, PAD, MixedTokenizer
from unmask.models.card import check_files, read_card, run_of
from unmask.models.hub import find
from unmask.models.text_model import Bundle
from unmask.models.tidal import TidalConfig, TidalModel
from unmask.models.weights import load_weights


class TidalTextModel(Bundle):
    """What ``unmask train`` saves for a recipe with ``family: tidal``.

    Args:
        denoiser: the network; it fills blocks as a denoiser with ``attention="masked"``, else character by character.
        tokenizer: its ids.
        card: length and recipe.
        path: where it was loaded from.
    """

    denoiser: TidalModel
    tokenizer: MixedTokenizer

    @property
    def room(self) -> int:
        """Most tokens of a prefix beside the widest block; older ones are cut off, in training too."""
        return self.card.length - self.tokenizer.max_block - 2

    def canvas(self, prefixes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prefix tokens, ``<bob>`` and a masked block for each text, for the samplers of masked diffusion.

        Returns:
            ids [B, L] and ``valid_BL``, False in the padding on the left.
        """
        block = [BOB] + [MASK] * (self.denoiser.config.max_block + 1)
        rows = [tokens[-self.room :] + block for tokens in self.tokenizer.encode_batch(list(prefixes))]
        length = max(map(len, rows))
        ids_BL = torch.tensor([[PAD] * (length - len(row)) + row for row in rows], device=self.device)
        short_B1 = torch.tensor([[length - len(row)] for row in rows], device=self.device)
        return ids_BL, torch.arange(length, device=self.device) >= short_B1

    def decode(self, ids_NL: Tensor) -> list[str]:
        """Texts of rows of tokens and blocks, each up to its ``<eos>``."""
        return [self.tokenizer.decode(row) for row in ids_NL.tolist()]


def config_for(
    tokenizer: MixedTokenizer, *, writes: str = "blocks", **settings: int | float | str | bool
) -> TidalConfig:
    """A configuration whose ids are the tokenizer's; the head covers what can be written.

    Args:
        writes: see :class:`TidalConfig`.
        settings: others of :class:`TidalConfig`.
    """
    return TidalConfig(
        vocab_size=len(tokenizer),
        outputs=len(tokenizer) if writes == "tokens" else FIRST_TOKEN,
        writes=writes,
        pad_token_id=PAD,
        eos_token_id=EOS,
        mask_token_id=MASK,
        bob_token_id=BOB,
        eob_token_id=EOB,
        max_block=tokenizer.max_block,
        **settings,  # type: ignore[arg-type]
    )


def is_tidal(path: str | Path) -> bool:
    """Whether a folder's configuration is a :class:`TidalModel`'s."""
    file = Path(path) / "config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8")).get("model_type") == TidalConfig.model_type  # type: ignore[no-any-return]
    except (OSError, ValueError, AttributeError):
        return False


def load_tidal(path: str | Path, device: str | torch.device | None = None) -> TidalTextModel:
    """Load what :meth:`TidalTextModel.save` wrote.

    Raises:
        CheckpointError: unfinished, weights missing, left over or of another shape, a tokenizer with other ids.
    """
    folder = find(path)
    home = run_of(folder)
    card = read_card(home)
    net = load_weights(folder, TidalModel)
    tokenizer = MixedTokenizer.from_pretrained(home)
    c = net.config
    if (len(tokenizer), tokenizer.max_block) != (c.vocab_size, c.max_block):
        raise CheckpointError(
            f"the tokenizer in {str(path)!r} has {len(tokenizer)} ids and blocks of {tokenizer.max_block}, the model "
            f"{c.vocab_size} and {c.max_block}: they do not belong together"
        )
    if card.tokenizer_identity not in (None, tokenizer.identity):
        raise CheckpointError(
            f"the tokenizer in {str(path)!r} ({tokenizer.identity}) is not the one this model was trained with "
            f"({card.tokenizer_identity}): its ids would mean something else"
        )
    if home == folder:
        check_files(folder, card)
    model = TidalTextModel(net, tokenizer, card, path=str(path))
    return model.to(device) if device is not None else model
