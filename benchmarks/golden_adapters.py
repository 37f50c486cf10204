"""Logits of the public modelling code of LLaDA and Dream on a tiny formula checkpoint: vectors that keep our parity.

    python benchmarks/golden_adapters.py --peers <folder> --write tests/models/adapters/golden/logits.json

``<folder>`` holds files that this script does not fetch and the project does not ship, from github.com/ZHZisZZ/dllm
(which carries the files of the hub repositories GSAI-ML/LLaDA-8B-Instruct and Dream-org/Dream-v0-Instruct-7B):

    modeling_llada.py, configuration_llada.py     dllm/pipelines/llada/models/
    modeling_dream.py, configuration_dream.py     dllm/pipelines/dream/models/

Weights are a formula (tests/helpers/tiny_checkpoints.py), everything runs in fp64. Dream's logits are stored as its
code gives them, *before* the shift that its sampler applies. Without ``--write`` the script only compares.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import tiny_checkpoints as tiny

GOLDEN = Path(__file__).parents[1] / "tests" / "models" / "adapters" / "golden" / "logits.json"
CASES: dict[str, dict[str, Any]] = {
    "llada": tiny.LLADA,
    "llada_tied_bias": tiny.LLADA | {"weight_tying": True, "include_qkv_bias": True, "n_kv_heads": 4},
    "dream": tiny.DREAM,
}


def package(folder: Path) -> None:
    """Make ``folder`` importable as a package, with stand-ins for what the tensors do not need."""
    peers = types.ModuleType("peers")
    peers.__path__ = [str(folder)]
    sys.modules["peers"] = peers
    sampler = types.ModuleType("peers.generation_utils")
    sampler.DreamGenerationMixin, sampler.DreamGenerationConfig = type("M", (), {}), type("C", (), {})  # type: ignore[attr-defined]
    sys.modules["peers.generation_utils"] = sampler
    import transformers.utils as tools

    for name in ("add_start_docstrings", "add_start_docstrings_to_model_forward"):
        if not hasattr(tools, name):
            setattr(tools, name, lambda *a, **k: lambda thing: thing)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    # older versions of transformers carried the plain rotary rates under this name
    ROPE_INIT_FUNCTIONS.setdefault("default", plain_rates)


def plain_rates(config: Any, device: Any = None, **kwargs: Any) -> tuple[Tensor, float]:
    width = config.hidden_size // config.num_attention_heads
    return config.rope_theta ** (-torch.arange(0, width, 2, device=device).float() / width), 1.0


def llada(config: dict[str, Any]) -> Tensor:
    settings = importlib.import_module("peers.configuration_llada")
    module = importlib.import_module("peers.modeling_llada")
    c = settings.LLaDAConfig(**config)
    c.effective_n_kv_heads = settings.ModelConfig(n_heads=c.n_heads, n_kv_heads=c.n_kv_heads).effective_n_kv_heads
    c.init_device = "cpu"
    model = module.LLaDAModel(c, init_params=False).double().eval()
    found = {n.removeprefix("model."): t for n, t in tiny.llada_weights(config).items()}
    model.load_state_dict(found)
    return run(model, config)


def dream(config: dict[str, Any]) -> Tensor:
    settings = importlib.import_module("peers.configuration_dream")
    module = importlib.import_module("peers.modeling_dream")
    c = settings.DreamConfig(**config)
    model = module.DreamModel(c).double().eval()
    model.load_state_dict(tiny.dream_weights(config))
    return run(model, config)


@torch.no_grad()
def run(model: Any, config: dict[str, Any]) -> Tensor:
    whole = model(tiny.ids()).logits
    padded = model(tiny.ids(), attention_mask=tiny.valid()).logits
    return torch.stack([whole, padded])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--commit", default="", help="commit of the peers' repository, kept with the vectors")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    package(args.peers)
    # a few columns identify a row of logits; their sum over the vocabulary guards the rest
    tree: dict[str, Any] = {"source": "github.com/ZHZisZZ/dllm", "commit": args.commit, "columns": 7, "cases": {}}
    for name, config in CASES.items():
        logits = (dream if config["model_type"] == "Dream" else llada)(config)
        kept = torch.cat([logits[..., ::64], logits.sum(-1, keepdim=True)], dim=-1)
        tree["cases"][name] = {"config": config, "logits": [round(v, 9) for v in kept.flatten().tolist()]}
    if args.write:
        args.write.write_text(json.dumps(tree) + "\n")
    old = json.loads(GOLDEN.read_text())["cases"]
    worst = max(
        abs(a - b) for n, case in tree["cases"].items() for a, b in zip(case["logits"], old[n]["logits"], strict=True)
    )
    print(json.dumps({"cases": len(old), "largest difference from the kept vectors": worst}))


if __name__ == "__main__":
    main()
