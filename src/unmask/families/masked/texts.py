"""Masked models as texts are laid out for them: unmask's own, also under a search, and somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.model import Output, SamplingRequest
from unmask.core.sampling_config import SamplingConfig
from unmask.families.masked.model import MaskedModel
from unmask.models.adapters.text import AdapterModel
from unmask.search.verifier import named, verifier_of
from unmask.search.verifiers.cosine import CosineVerifierKind


class MaskedText(MaskedModel):
    """A masked diffusion model of unmask's own: texts are written from their meaning, or freely."""

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        if not isinstance(verifier_of(config), CosineVerifierKind):
            return super().write(task, config)
        task.without("a search against a verifier, which lays out its own canvases", "canvas")
        if task.texts is None and task.condition is None:
            raise UsageError(f"verify={named(config)!r} needs texts or vectors to compare with: give one of them")
        cond = self.laid_out(task.texts, task.n, None, None, task.condition).cond
        assert cond is not None
        if not bool(cond.present_B.all()):
            raise UsageError(f"verify={named(config)!r} compares with a vector, and a row of the condition has none")
        out = self._searched(cond.latent_BZ, config, None, task.callback, bool(task.trace), task.share)
        if task.texts is not None:
            out.prompts = [text for text in task.texts for _ in range(task.n or 1)]
        return out

    def invert(
        self,
        vectors_NZ: Tensor,
        config: SamplingConfig | None = None,
        *,
        rows: Sequence[int] | None = None,
        on_progress: Callable[[Any], None] | None = None,
        trace: bool = False,
        stored: str = "fp32",
    ) -> Output:
        config = config or SamplingConfig()
        config = replace(config, verify=config.verify or "cosine")
        return self._searched(vectors_NZ, config, rows, on_progress, trace, False, stored)

    def vector_statistics(self) -> tuple[int, Tensor | None, Tensor | None]:
        if not self.denoiser.conditional:
            raise UsageError("invert writes the texts of vectors, and this model was trained without any")
        whiten = self.denoiser.latent.whiten  # type: ignore[attr-defined]
        return int(whiten.mean_Z.shape[0]), whiten.mean_Z.detach().float().cpu(), whiten.map_ZZ.detach().float().cpu()

    def _searched(
        self,
        vectors_NZ: Tensor,
        config: SamplingConfig,
        rows: Sequence[int] | None,
        on_progress: Callable[[Any], None] | None,
        trace: bool,
        share: bool,
        stored: str = "fp32",
    ) -> Output:
        from unmask.search.from_vectors import HONOURED, write_from_vectors
        from unmask.search.trace import output_of

        own = self.config.changed()
        asked = {k: v for k, v in config.changed().items() if k not in own or own[k] != v}
        SamplingConfig.of(asked).only(HONOURED, "a search against a verifier, which plans its own writing")
        found, precision, seconds = write_from_vectors(
            self, vectors_NZ, config, rows=rows, on_progress=on_progress, share=share, stored=stored
        )
        texts = [one.text for one in found]
        out = output_of(
            found,
            config,
            texts=texts,
            sequences=self.tokenize(texts),
            model=self,
            precision=precision,
            trace=trace,
            seconds=seconds,
        )
        out.cosine = out.score
        return out


class AdaptedText(AdapterModel, MaskedModel):
    """Somebody else's masked model: prompts are answered, holes in texts are filled in."""
