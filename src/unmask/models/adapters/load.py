"""Which adapter a folder or hub id needs, said by its config.json; no code from a checkpoint is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from unmask.core.device import device_of
from unmask.core.errors import CheckpointError, WrongUse, did_you_mean
from unmask.models.adapters import dream, llada, masked_lm
from unmask.models.adapters.text import AdapterModel
from unmask.models.quiet import quiet
from unmask.models.text_model import Card, first_line

#: what is fetched of a hub's repository: never pickles, never code
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
#: canvas length to write on where nothing else is said: other people's models have positions, but no canvas
CANVAS = 128


def load_adapter(
    path_or_id: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> AdapterModel:
    """Load somebody else's masked model: LLaDA, Dream, or any ``AutoModelForMaskedLM``.

    Args:
        path_or_id: a folder with config.json, safetensors (sharded or not) and a tokenizer, or a hub id.
        device: where to put it; where it was read (the CPU) when None.
        dtype: of the weights; fp32 on a CPU and the checkpoint's own elsewhere when None.

    Raises:
        WrongUse: nothing is found under that name, or it is a causal language model.
        CheckpointError: an unknown architecture, weights or a tokenizer that do not fit.
    """
    where = device_of(device or "cpu")
    if dtype is None and where.type == "cpu":
        dtype = torch.float32
    folder = find(path_or_id)
    raw = read_config(folder)
    kind = str(raw.get("model_type"))
    family = next((f for f in (llada, dream) if f.MODEL_TYPE == kind), None)
    names = [str(name) for name in raw.get("architectures") or []]
    if family is None and not any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names):
        _refuse(str(path_or_id), kind, names)
    tokenizer = _tokenizer(folder, dream.tokenizer if family is dream else None)
    if family is None:
        denoiser: Any = masked_lm.load(folder, tokenizer, dtype)
    else:
        denoiser = family.load(folder, raw, dtype)
    _belong(str(path_or_id), denoiser, tokenizer)
    denoiser.eos_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else denoiser.eos_id
    denoiser.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else denoiser.pad_id
    card = Card(length=min(CANVAS, denoiser.max_length or CANVAS), task="adapter")
    return AdapterModel(denoiser.to(where), tokenizer, card, path=str(path_or_id))


def find(path_or_id: str | Path) -> Path:
    """The folder itself, or the hub's files in the local cache.

    Raises:
        WrongUse: neither exists, or the hub cannot be reached.
    """
    folder = Path(path_or_id)
    name = str(path_or_id)
    if folder.is_dir():
        return folder
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise WrongUse(f"there is no model folder {name!r}: give a run folder, a checkpoint's folder or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        raise WrongUse(
            f"there is no model folder {name!r}, and no hub id of that name can be reached from here "
            f"({type(error).__name__})"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The tree of a folder's config.json.

    Raises:
        CheckpointError: it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(folder)!r} holds no readable config.json: {first_line(error)}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"config.json in {str(folder)!r} is no JSON object")
    return raw


def _refuse(name: str, kind: str, architectures: list[str]) -> None:
    said = architectures[0] if architectures else kind
    if kind.startswith("unmask"):
        raise CheckpointError(f"{name!r} holds no unmask.json: it is not a finished unmask model folder")
    if said.endswith(("ForCausalLM", "LMHeadModel")):
        raise WrongUse(
            f"{name!r} is a causal language model ({said}), which has no masks to fill: compress its cache with "
            "`unmask kv`, judge texts with it (judge=...), or load it with unmask.models.causal.load_causal"
        )
    hint = did_you_mean(kind, [llada.MODEL_TYPE, dream.MODEL_TYPE])
    raise CheckpointError(
        f"{name!r} is a {said} (model_type {kind!r}), which no adapter reads: masked language models, LLaDA and Dream "
        f"are; {hint}"
    )


def _tokenizer(folder: Path, own: Any) -> Any:
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokenizer = own(folder) if own else AutoTokenizer.from_pretrained(folder, local_files_only=True)
            known = len(tokenizer("a", add_special_tokens=False)["input_ids"])
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise CheckpointError(f"the tokenizer in {str(folder)!r} cannot be read: {first_line(error)}") from error
    if not known:
        # transformers makes an empty tokenizer of the right class where the files are missing
        raise CheckpointError(f"{str(folder)!r} holds no tokenizer")
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
