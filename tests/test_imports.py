"""What is imported, and so waited for: nothing heavy for `unmask` itself, no data science for a small sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.data.tokenizer import train_bpe
from unmask.models.card import TextModelCard
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel

#: what a command waits for when it is imported, and no sample of a native model needs
HEAVY = ("sklearn", "pandas", "datasets", "pyarrow", "matplotlib", "networkx", "nltk", "mauve", "lm_eval", "kvpress")

#: parts of what is imported anyway that take longer to import than a small model takes to write
SLOW = {
    "transformers.modeling_utils",
    "torch._dynamo",
    "scipy",
    "sentence_transformers",
    "accelerate",
    "unmask.training",
}

LOADED = "import sys; print(*sorted(sys.modules))"


def imported(code: str, *words: str) -> set[str]:
    """The packages and modules that a process has imported after some code."""
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    words = train_bpe(["the river runs to the sea"], 270)
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=len(words), max_position_embeddings=8, dim=16, layers=1, heads=2, ffn_dim=16
    )
    TextModel(MaskedDiffusionModel(config).eval(), words, TextModelCard(length=8)).save(place)
    return place


def test_a_small_sample_imports_no_data_science(small: Path) -> None:
    code = "import sys, unmask; unmask.sample(unmask.load(sys.argv[1]), n=1, steps=2, precision='fp32')"
    assert not imported(code, str(small)) & {*HEAVY, *SLOW, "typer"}


def test_the_command_imports_no_more_than_a_sample(small: Path) -> None:
    code = "import sys; from unmask.cli import build; build()(sys.argv[1:], standalone_mode=False)"
    flags = ("--n", "1", "--steps", "2", "--precision", "fp32")
    assert not imported(code, "sample", str(small), *flags) & {*HEAVY, *SLOW, "unmask.search.loop"}


def test_a_network_on_transformers_base_is_the_same(tmp_path: Path) -> None:
    import unmask.models.auto

    config = MaskedDiffusionConfig(vocab_size=9, max_position_embeddings=8, dim=16, layers=1, heads=2, ffn_dim=16)
    found = []
    for kind in (MaskedDiffusionModel, unmask.models.auto.of_transformers(MaskedDiffusionModel)):
        torch.manual_seed(0)
        net = kind(config)
        net.save_pretrained(tmp_path / kind.__module__)
        found.append((net.state_dict(), [p.read_bytes() for p in sorted((tmp_path / kind.__module__).iterdir())]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)
    assert found[0][1] == found[1][1], "the same files"


def test_transformers_finds_our_folders(tmp_path: Path) -> None:
    from transformers import AutoModel

    import unmask.models.auto  # noqa: F401

    config = MaskedDiffusionConfig(vocab_size=9, max_position_embeddings=8, dim=16, layers=1, heads=2, ffn_dim=16)
    MaskedDiffusionModel(config).save_pretrained(tmp_path)
    assert isinstance(AutoModel.from_pretrained(tmp_path), MaskedDiffusionModel)
