"""What is imported, and so waited for: nothing heavy for `unmask` itself, no data science for a small sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.data.tokenizer import train_bpe
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard

#: what a command waits for when it is imported, and no sample of a native model needs
HEAVY = ("sklearn", "pandas", "datasets", "pyarrow", "matplotlib", "networkx", "nltk", "mauve", "lm_eval", "kvpress")

LOADED = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def imported(code: str, *words: str) -> set[str]:
    """The packages that a process has imported after some code."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import unmask",
        "from unmask.cli import build; build()",
    ],
)
def test_the_package_and_its_help_wait_for_no_network(code: str) -> None:
    assert not imported(code) & {*HEAVY, "torch", "transformers", "numpy", "scipy", "accelerate"}


def test_a_small_sample_imports_no_data_science(tmp_path: Path) -> None:
    words = train_bpe(["the river runs to the sea"], 270)
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=len(words), max_position_embeddings=8, dim=16, layers=1, heads=2, ffn_dim=16
    )
    TextModel(MaskedDiffusionModel(config).eval(), words, TextModelCard(length=8)).save(tmp_path)
    code = "import sys, unmask; unmask.sample(unmask.load(sys.argv[1]), n=1, steps=2, precision='fp32')"
    assert not imported(code, str(tmp_path)) & {*HEAVY, "typer"}


def test_transformers_finds_our_folders(tmp_path: Path) -> None:
    from transformers import AutoModel

    import unmask.models.auto  # noqa: F401

    config = MaskedDiffusionConfig(vocab_size=9, max_position_embeddings=8, dim=16, layers=1, heads=2, ffn_dim=16)
    MaskedDiffusionModel(config).save_pretrained(tmp_path)
    assert isinstance(AutoModel.from_pretrained(tmp_path), MaskedDiffusionModel)
