"""An exported folder loads where unmask does not exist, and gives the same logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import unmask
from unmask.cli import build
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.data.tokenizer import train_bpe
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.export import export, source
from unmask.models.text_model import TextModel, TextModelCard

#: run in a process of its own; importing unmask fails there as if it were not installed
ELSEWHERE = """
import json, sys
sys.modules["unmask"] = None
import torch
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
words = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
given = json.loads(sys.argv[2])
with torch.no_grad():
    out = model(
        input_ids=torch.tensor(given["ids"]),
        attention_mask=torch.tensor(given["mask"]),
        latent=torch.tensor(given["latent"]) if given["latent"] else None,
    )
logits = out.logits
print(json.dumps({
    "class": type(model).__name__,
    "shape": list(logits.shape),
    "hidden": bool((logits[..., words.mask_token_id] == float("-inf")).all()),
    "logits": logits[..., :9].tolist(),
    "text": words.decode(given["ids"][0], skip_special_tokens=True),
}))
"""


def tiny(conditioning: str = "none", **more: Any) -> TextModel:
    words = train_bpe(["the river runs to the sea"], 270)
    latent = {} if conditioning == "none" else {"latent_dim": 5, "latent_tokens": 2, "bottleneck": 3, **more}
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=len(words),
        max_position_embeddings=12,
        dim=16,
        layers=2,
        heads=2,
        ffn_dim=24,
        conditioning=conditioning,
        **latent,
    )
    net = MaskedDiffusionModel(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TextModel(net, words, TextModelCard(length=12))


def elsewhere(folder: Path, given: dict[str, Any], tmp: Path) -> dict[str, Any]:
    env = os.environ | {"HF_MODULES_CACHE": str(tmp / "modules"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), json.dumps(given)], env=env, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("conditioning, bag", [("none", 0), ("adaln", 0), ("adaln", 4)])
def test_round_trip_without_unmask(tmp_path: Path, conditioning: str, bag: int) -> None:
    model = tiny(conditioning, bag_of_words=bag)
    folder = export(model, tmp_path / "out")
    ids_BL = model.tokenize(["the river", "sea"])
    ids_BL[:, 1:3] = model.denoiser.mask_id
    valid_BL = ids_BL != model.denoiser.pad_id
    latent = torch.randn(2, 5) if conditioning != "none" else None
    cond = None if latent is None else Condition.of(latent)
    given = {
        "ids": ids_BL.tolist(),
        "mask": valid_BL.int().tolist(),
        "latent": [] if latent is None else latent.tolist(),
    }
    found = elsewhere(folder, given, tmp_path)
    with torch.no_grad():
        want_NV = model.denoiser.logits(ids_BL, torch.ones_like(valid_BL), cond, valid_BL=valid_BL)
    got = torch.tensor(found["logits"])
    want = want_NV.unflatten(0, ids_BL.shape)[..., :9]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert found["shape"] == [2, 12, model.denoiser.vocab_size] and found["hidden"]
    assert found["class"] == "UnmaskForMaskedLM"
    assert found["text"] == model.tokenizer.decode(ids_BL[0], skip_special_tokens=True)


def test_an_exported_folder_is_still_ours(tmp_path: Path) -> None:
    model = tiny()
    again = unmask.load(export(model, tmp_path / "out"), device="cpu")
    x_BL = model.canvas(1)
    assert torch.equal(model.denoiser.logits(x_BL), again.denoiser.logits(x_BL))
    with pytest.raises(UsageError, match="the model's own folder"):
        export(again, tmp_path / "out")


def test_the_code_stands_alone() -> None:
    assert "import unmask" not in source() and "from unmask" not in source()
    compile(source(), "modeling_unmask.py", "exec")


def test_the_command_writes_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny().save(tmp_path / "run")
    build()(args=["export", str(tmp_path / "run"), str(tmp_path / "out")], standalone_mode=False)
    assert "trust_remote_code=True" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_unmask.UnmaskForMaskedLM"
    with pytest.raises(UsageError, match="--precision"):
        build()(args=["export", str(tmp_path / "run"), str(tmp_path / "o"), "--precision", "x"], standalone_mode=False)
