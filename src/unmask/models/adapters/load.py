"""Which adapter a folder or hub id needs, said by its config.json; no code from a checkpoint is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unmask.core.device import device_of
from unmask.core.errors import CheckpointError, first_line
from unmask.data.tokenizer_files import require_tokenizer, require_words
from unmask.models.adapters import dream, llada, masked_lm
from unmask.models.adapters.text import AdapterModel
from unmask.models.card import TextModelCard
from unmask.models.hub import find, read_config, silenced
from unmask.models.kind import kind_of, require_masked

#: canvas length to write on where nothing else is said: other people's models have positions, but no canvas
CANVAS = 128


def load_adapter(
    path_or_id: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> AdapterModel:
    """A public masked model behind the denoiser contract: LLaDA, Dream, or any ``AutoModelForMaskedLM``.

    Args:
        path_or_id: a folder with config.json, safetensors (sharded or not) and a tokenizer, or a hub id.
        device: where to put it; where it was read (the CPU) when None.
        dtype: of the weights; fp32 on a CPU and the checkpoint's own elsewhere when None.

    Raises:
        UsageError: nothing is found under that name, or it is a causal language model.
        CheckpointError: an unknown architecture, weights or a tokenizer that do not fit.
    """
    where = device_of(device or "cpu")
    if dtype is None and where.type == "cpu":
        dtype = torch.float32
    folder = find(path_or_id)
    raw = read_config(folder)
    kind = kind_of(raw)
    require_masked(kind, str(path_or_id))
    tokenizer = _tokenizer(folder, str(path_or_id), dream.tokenizer if kind.family == "dream" else None)
    if kind.family == "masked":
        denoiser: Any = masked_lm.load(folder, tokenizer, dtype)
    else:
        denoiser = (llada if kind.family == "llada" else dream).load(folder, raw, dtype)
    _belong(str(path_or_id), denoiser, tokenizer)
    denoiser.eos_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else denoiser.eos_id
    denoiser.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else denoiser.pad_id
    card = TextModelCard(length=min(CANVAS, denoiser.max_length or CANVAS), task="adapter")
    return AdapterModel(denoiser.to(where), tokenizer, card, path=str(path_or_id))


def _tokenizer(folder: Path, name: str, own: Any) -> Any:
    from transformers import AutoTokenizer

    require_tokenizer(folder, name)
    with silenced():
        try:
            tokenizer = own(folder) if own else AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # tokenizers says of a damaged file no more than Exception
            raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be read: {first_line(error)}") from error
    require_words(tokenizer, name)
    if tokenizer.eos_token is None and tokenizer.sep_token is not None:
        tokenizer.eos_token = tokenizer.sep_token  # BERT ends texts with [SEP]
    return tokenizer


def _belong(name: str, denoiser: Any, tokenizer: Any) -> None:
    V, mask = denoiser.vocab_size, tokenizer.mask_token_id
    # padding the embedding to a round number is common; fewer rows than tokens is a fault
    highest = max(tokenizer.get_vocab().values())
    if highest >= V:
        raise CheckpointError(f"the tokenizer of {name!r} has ids up to {highest}, its model has {V}: no pair")
    if not 0 <= denoiser.mask_id < V:
        raise CheckpointError(f"{name!r} has mask id {denoiser.mask_id} outside its vocabulary of {V}")
    if mask is not None and mask != denoiser.mask_id:
        raise CheckpointError(
            f"the tokenizer of {name!r} has mask id {mask}, its config.json {denoiser.mask_id}: they do not agree"
        )
