"""Any ``AutoModelForMaskedLM`` (BERT, RoBERTa, ModernBERT, DistilBERT ...) as a denoiser.

Shapes: B batch, L length, N gathered rows, D width, V vocabulary.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import CheckpointError, first_line
from unmask.models.hub import silenced
from unmask.models.weights import require_safetensors

#: what checkpoints carry beside a masked language model, and it has no use for
SPARE = re.compile(r"(^|\.)(pooler|seq_relationship|sop_classifier|position_ids)(\.|$)")


class MaskedLmDenoiser(nn.Module, Denoiser):
    """A masked language model whose head runs only on the rows asked for.

    The model's own code makes the logits: its forward pass runs once for the body, and, with the body and the last
    linear map taken out, once more on the gathered rows. That the parts give the whole is checked when it is made.

    Args:
        model: from ``AutoModelForMaskedLM``, in evaluation mode.
        mask_id, pad_id, eos_id: the tokenizer's.

    Raises:
        CheckpointError: the model's parts do not give the model's logits.
    """

    def __init__(self, model: Any, mask_id: int, pad_id: int | None, eos_id: int | None) -> None:
        super().__init__()
        self.model = model
        self.mask_id, self.pad_id, self.eos_id = mask_id, pad_id, eos_id
        self.vocab_size = int(model.config.vocab_size)
        self.max_length = _positions(model)
        # not a submodule: it shares all its parameters with the model
        self._head = SimpleNamespace(module=_head_only(model))
        # whoever scores it puts its own mode back, not a fresh module's: dropout would come on
        self.eval()
        self._check()

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        mask_BL = torch.ones_like(x_BL) if valid_BL is None else valid_BL.long()
        return Body(self.model.base_model(input_ids=x_BL, attention_mask=mask_BL)[0])

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        decoder = self.model.get_output_embeddings()
        if not len(h_ND):
            return h_ND.new_zeros(0, decoder.weight.shape[1]), decoder.weight, decoder.bias
        features_1ND = self._head.module(inputs_embeds=h_ND[None], return_dict=True).logits
        return features_1ND[0], decoder.weight, decoder.bias

    @torch.no_grad()
    def _check(self) -> None:
        name = type(self.model).__name__
        x_BL = torch.arange(6, device=self.model.device)[None] % self.vocab_size
        whole_NV = self.model(input_ids=x_BL, attention_mask=torch.ones_like(x_BL)).logits[0].clone()
        try:
            parts_NV = self.logits(x_BL, torch.ones_like(x_BL, dtype=torch.bool))
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{name} cannot be split into body and head ({first_line(error)}): it needs an adapter of its own"
            ) from error
        whole_NV[:, self.mask_id] = float("-inf")
        rough = 1e-4 if whole_NV.dtype == torch.float32 else 5e-2
        if whole_NV.shape != parts_NV.shape or not torch.allclose(whole_NV, parts_NV, rtol=rough, atol=rough):
            raise CheckpointError(f"the head of {name} is no linear map of its rows: it needs an adapter of its own")


class _PassThrough(nn.Module):
    """Stands where the body was and hands on what comes in."""

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> Any:
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds)


def _head_only(model: Any) -> Any:
    """The model with its body and last linear map taken out; everything else is shared, nothing is copied."""
    decoder = model.get_output_embeddings()
    found = [name for name, part in model.named_modules() if part is decoder]
    if decoder is None or not found or not hasattr(decoder, "bias"):
        raise CheckpointError(f"{type(model).__name__} shows no output embeddings: it needs an adapter of its own")
    shell = _twin(model)
    shell._modules[model.base_model_prefix] = _PassThrough()
    at = shell
    *path, last = found[0].split(".")
    for name in path:
        at._modules[name] = _twin(at._modules[name])
        at = at._modules[name]
    at._modules[last] = nn.Identity()
    return shell


def _twin(module: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _positions(model: Any) -> int | None:
    limit = getattr(model.config, "max_position_embeddings", None)
    table = next((m for n, m in model.named_modules() if n.endswith("position_embeddings")), None)
    # RoBERTa counts from the padding id on
    first = getattr(table, "padding_idx", None)
    return limit if limit is None or first is None else limit - first - 1


def load(folder: Path, tokenizer: Any, dtype: torch.dtype | None) -> MaskedLmDenoiser:
    """The denoiser of a folder that ``AutoModelForMaskedLM`` reads.

    Raises:
        CheckpointError: weights missing, left over or of another shape, no mask token, or a head that cannot be split.
    """
    from transformers import AutoModelForMaskedLM

    if tokenizer.mask_token_id is None:
        raise CheckpointError(f"the tokenizer in {str(folder)!r} has no mask token, so there is nothing to fill")
    require_safetensors(folder)
    with silenced():
        try:
            model, said = AutoModelForMaskedLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype="auto" if dtype is None else dtype,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"the model in {str(folder)!r} cannot be loaded: {first_line(error)}") from error
    faults = {
        "missing": sorted(said["missing_keys"]),
        "unexpected": sorted(name for name in said["unexpected_keys"] if not SPARE.search(name)),
        "of another shape": sorted(str(fault[0]) for fault in said["mismatched_keys"]),
    }
    listed = [f"{what}: {', '.join(names[:4])}" for what, names in faults.items() if names]
    if listed:
        raise CheckpointError(f"the weights in {str(folder)!r} do not fit their configuration ({'; '.join(listed)})")
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return MaskedLmDenoiser(model.eval().requires_grad_(False), tokenizer.mask_token_id, tokenizer.pad_token_id, end)
