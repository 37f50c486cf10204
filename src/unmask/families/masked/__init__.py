"""Masked models: unmask's own (with or without a semantic vector), LLaDA, Dream, and transformers' masked models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unmask.core.errors import UsageError
from unmask.core.family import Family, Place, Prepared
from unmask.core.model import Model
from unmask.decoding.plan import DecodingPlan
from unmask.families.masked.model import MaskedModel
from unmask.families.masked.texts import AdaptedText, MaskedText
from unmask.models.adapters import load_adapter
from unmask.models.adapters.text import AdapterModel
from unmask.models.text_model import TextModel, is_native, load_native

__all__ = ["AdaptedText", "MaskedFamily", "MaskedText"]


@dataclass(frozen=True)
class MaskedFamily(Family):
    """Any-order models: masked positions are predicted from both sides."""

    reference: ClassVar[str] = "arXiv 2406.07524"
    trains: ClassVar[str] = "denoiser"
    reads: ClassVar[tuple[str, ...]] = (
        "loops", "input_injection", "deep_supervision", "rope", "absolute", "time_embedding", "self_conditioning",
        "length_model", "pad_weight", "condition_dropout", "self_conditioning_rate", "vib_beta", "free_bits",
        "probe_order", "probe_steps", "bag_of_words", "bag_weight", "latent_noise", "max_tokens", "compile_blocks",
    )  # fmt: skip

    @classmethod
    def detect(cls, place: Place) -> str | None:
        if place.folder is not None and is_native(place.folder):
            return "it holds unmask.json"
        return "nothing else reads it" if place.folder is not None else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        own = str(place.config.get("model_type", "")).startswith("unmask")  # a checkpoint of a run has no card itself
        if place.folder is None or own or is_native(place.folder) or not place.config:
            return _behind(load_native(place.name, device))  # says what is missing
        return _behind(load_adapter(place.name, device))

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        return _behind(found) if isinstance(found, TextModel) else None

    @classmethod
    def check(cls, recipe: Any) -> None:
        t = recipe.train
        if t.probe_texts:
            try:
                DecodingPlan(order=t.probe_order, steps=t.probe_steps, quota="linear")
            except UsageError as error:
                raise UsageError(f"probe_order={t.probe_order!r}, probe_steps={t.probe_steps}: {error}") from error

    @classmethod
    def figures(cls, model: Any, task: str) -> list[str]:
        from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer

        return MaskedDiffusionTrainer.figures(model, task)

    @classmethod
    def prepare(cls, recipe: Any, say: Callable[[str], None] = print) -> Prepared:
        from unmask.training.masked import prepare

        return prepare(recipe, say)

    @classmethod
    def probes(cls, prepared: Any) -> list[Any]:
        from unmask.diagnosis.callback import quick_probe
        from unmask.families.masked.probes import correction_probe, generation_probe

        t = prepared.recipe.train
        probe = generation_probe if prepared.decoder is None else correction_probe
        found = [probe(_behind(prepared.model), prepared)] if t.probe_texts else []
        if t.diagnose_every:
            found.append(quick_probe(prepared.model, prepared.validation, every=t.diagnose_every))
        return found


def _behind(found: TextModel) -> MaskedModel:
    """A network with its tokenizer behind the contract of every model."""
    own = AdaptedText if isinstance(found, AdapterModel) else MaskedText
    return own(found.denoiser, found.tokenizer, found.card, found.path, found._encoder)
