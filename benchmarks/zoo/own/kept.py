"""What the zoo trains is kept: one folder a network in ``$UNMASK_ZOO/own``, its weights beside its record."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unmask.diagnosis.record import Record, read, record_of
from unmask.diagnosis.subject import Subject

#: steps of a training, after which the healthy subjects write well (1,500 were too few); fewer, by
#: ``$UNMASK_ZOO_STEPS``, only to try the zoo itself, in folders of their own
STEPS = int(os.environ.get("UNMASK_ZOO_STEPS", "5000"))


@dataclass(frozen=True)
class Recipe:
    """How a subject of the zoo is trained; a fault of training is another recipe.

    Attributes:
        steps, dim, seed: of the training and the network.
        rows: training rows used; all when None.
        shuffled: share of the training texts whose words are shuffled.
        leaked: share of the held-out rows that stand in training.
        cap: the largest share of a row that is masked.
        strangers: share of the training rows that come with another row's vector.
        canvas: positions of the canvas; the language's when None.
        lengths: draw the length first, instead of writing EOS and padding.
    """

    steps: int = STEPS
    dim: int = 64
    seed: int = 0
    rows: int | None = None
    shuffled: float = 0.0
    leaked: float = 0.0
    cap: float = 1.0
    strangers: float = 0.0
    canvas: int | None = None
    lengths: bool = False

    @property
    def slug(self) -> str:
        """What is not as usual, for a folder's name."""
        usual = Recipe()
        odd = [(n, getattr(self, n)) for n in self.__dataclass_fields__ if getattr(self, n) != getattr(usual, n)]
        return "_".join(f"{name}{value}" for name, value in odd) or "usual"


def folder() -> Path:
    """Where everything is kept."""
    return Path(os.environ.get("UNMASK_ZOO", "runs/zoo/subjects")) / "own"


def place_of(name: str) -> Path:
    """The folder of one network."""
    return folder() / (name if STEPS == 5000 else f"trial{STEPS}_{name}")


def weights_of(name: str, network: torch.nn.Module, train: Callable[[torch.nn.Module], Any]) -> torch.nn.Module:
    """The network with the weights kept under ``name``; trained and kept where there are none."""
    place = place_of(name) / "weights.safetensors"
    if not place.exists():
        train(network)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(f".{os.getpid()}")
        save_file({k: v.detach().clone() for k, v in network.state_dict().items()}, part)
        part.replace(place)
    # the file is asked, also on the day of training, so that a record is of what later runs load
    network.load_state_dict(load_file(place))
    return network.eval()


def record_kept(name: str, subject: Subject, **about: Any) -> Record:
    """The record kept under ``name``; made by the subject, which is as training left it, where there is none."""
    place = place_of(name)
    found = read(place)
    if found is None:
        found = record_of(subject, "training", about=about)
        place.mkdir(parents=True, exist_ok=True)
        found.save(place)
    return found


def shuffled_words(text: str, seed: int) -> str:
    """The same words in another order."""
    words = text.split()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed)).tolist()
    return " ".join(words[i] for i in order)


def some(n: int, share: float, seed: int = 0) -> Tensor:
    """True for about this share of ``n`` rows [N], always the same ones."""
    return torch.rand(n, generator=torch.Generator().manual_seed(1000 + seed)) < share
