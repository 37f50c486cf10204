"""A trained model as a folder that transformers loads anywhere: weights, tokenizer and one file of code.

The code is this package's own, joined from the modules the model is made of, so there is no second implementation to
keep in step. Whoever loads it needs torch and transformers and says ``trust_remote_code=True``.
"""

from __future__ import annotations

import ast
import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import UsageError
from unmask.core.files import sha256, write_json, write_text
from unmask.models.card import CARD, read_card
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.text_model import Bundle, TextModel
from unmask.models.tidal import TidalModel

FILE = "modeling_unmask.py"
#: what the model is made of, each after what it imports
PARTS = (
    "core.errors",
    "core.condition",
    "core.denoiser",
    "models.bidirectional_cache",
    "models.layers",
    "models.latent",
    "models.bag_of_words",
    "models.corrector",
    "models.length",
    "models.initial",
    "models.denoiser_config",
    "models.denoiser",
)
#: what `unmask.models.network` is there: transformers' own base, which loads, saves and starts the weights
BASE = """
class Network(PreTrainedModel):
    supports_gradient_checkpointing = True

    def __init__(self, config):
        super().__init__(config)
        self.gradient_checkpointing = False
        self.build(config)
"""
ENTRY = '''
class UnmaskForMaskedLM(MaskedDiffusionModel):
    """The denoiser under transformers' convention: logits [B, L, V] at every position, the mask id at -inf."""

    def forward(self, input_ids=None, attention_mask=None, latent=None, **kwargs):
        cond = None if latent is None else Condition.of(latent)
        valid_BL = None if attention_mask is None else attention_mask.bool()
        everywhere_BL = torch.ones_like(input_ids, dtype=torch.bool)
        logits_NV = self.logits(input_ids, everywhere_BL, cond, valid_BL=valid_BL)
        return MaskedLMOutput(logits=logits_NV.unflatten(0, input_ids.shape))
'''


def export(model: TextModel, out: str | Path, dtype: torch.dtype | None = None) -> Path:
    """Write a folder for ``AutoModel.from_pretrained(out, trust_remote_code=True)``; it loads in unmask as well.

    Args:
        model: a model that ``unmask train`` wrote.
        out: made if need be; the model's own folder is refused.
        dtype: precision of the stored weights, fp32 when None.

    Raises:
        UsageError: somebody else's model, or the folder it was loaded from.
    """
    if not isinstance(model, Bundle):
        raise UsageError(f"a {type(model).__name__} is in the format of its authors already: copy its folder instead")
    net = model.denoiser
    if isinstance(net, TidalModel):
        raise UsageError("a tidal model has no export: transformers has no class that writes block by block")
    if not isinstance(net, MaskedDiffusionModel):
        raise UsageError(f"a {type(net).__name__} is already in a format of its authors: copy {model.path!r} instead")
    if net.corrects:
        raise UsageError("a corrector has no export: transformers has no place for its hypothesis")
    folder = Path(out)
    if model.path is not None and folder.resolve() == Path(model.path).resolve():
        raise UsageError(f"{str(out)!r} is the model's own folder: export to another one")
    model.save(folder, dtype)
    write_text(folder / FILE, source())
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    module = FILE.removesuffix(".py")
    config["architectures"] = ["UnmaskForMaskedLM"]
    config["auto_map"] = {
        "AutoConfig": f"{module}.MaskedDiffusionConfig",
        "AutoModel": f"{module}.UnmaskForMaskedLM",
        "AutoModelForMaskedLM": f"{module}.UnmaskForMaskedLM",
    }
    write_json(folder / "config.json", config)
    card = read_card(folder)
    card.checksums |= {name: sha256(folder / name) for name in ("config.json", FILE)}
    write_json(folder / CARD, asdict(card))
    return folder


def source() -> str:
    """The model's code as one module that imports nothing of this package."""
    imports = {"from transformers import PreTrainedModel", "from transformers.modeling_outputs import MaskedLMOutput"}
    bodies: list[str] = [BASE]
    names: set[str] = set()
    for part in PARTS:
        text = Path(str(importlib.import_module(f"unmask.{part}").__file__)).read_text(encoding="utf-8")
        lines, end = text.splitlines(), 0
        for node in ast.parse(text).body:
            start, end = end, node.end_lineno or 0
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or ""
                if module != "__future__" and module.split(".")[0] != "unmask":
                    imports.add(ast.unparse(node))
                continue
            if isinstance(node, ast.Expr):  # docstrings, and what registers the class with a package that is absent
                continue
            own = {t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)}
            own |= {node.name} if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else set()
            assert not own & names, f"{own & names} is defined twice in {PARTS}"
            names |= own
            bodies.append("\n".join(["", *lines[start:end]]))
    head = '"""The denoiser of a model trained with unmask (Apache-2.0); written by `unmask export`."""'
    return "\n".join([head, "", "from __future__ import annotations", "", *sorted(imports), "", *bodies, ENTRY])
