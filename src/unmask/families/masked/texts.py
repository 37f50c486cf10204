"""Masked models as texts are laid out for them: unmask's own, also under a search, and somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.model import Output, SamplingRequest
from unmask.core.sampling_config import SamplingConfig
from unmask.families.masked.model import SEARCHED, MaskedModel
from unmask.models.adapters.text import AdapterModel


class MaskedText(MaskedModel):
    """A masked diffusion model of unmask's own: texts are written from their meaning, or freely."""

    honours: ClassVar[frozenset[str]] = MaskedModel.honours | SEARCHED

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        if config.verify is None:
            vain = [name for name in ("calls", "forwards", "seconds") if getattr(config, name) is not None]
            if vain:
                raise UsageError(f"{vain[0]}={getattr(config, vain[0])!r} has no effect without verify='cosine'")
            return super().write(task, config)
        task.without("a search against a verifier, which lays out its own canvases", "canvas")
        if task.texts is None and task.condition is None:
            raise UsageError(f"verify={config.verify!r} needs texts or vectors to compare with: give one of them")
        cond = self.laid_out(task.texts, task.n, None, None, task.condition).cond
        assert cond is not None
        if not bool(cond.present_B.all()):
            raise UsageError(f"verify={config.verify!r} compares with a vector, and a row of the condition has none")
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
        config = SamplingConfig(verify="cosine") if config is None else config
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
        from unmask.search.trace import SearchTrace

        own = self.config.changed()
        asked = {k: v for k, v in config.changed().items() if k not in own or own[k] != v}
        SamplingConfig.of(asked).only(HONOURED, "a search against a verifier, which plans its own writing")
        found, precision, seconds = write_from_vectors(
            self, vectors_NZ, config, rows=rows, on_progress=on_progress, share=share, stored=stored
        )
        texts = [one.text for one in found]
        return Output(
            texts,
            self.tokenize(texts),
            sum(one.forwards for one in found),
            self,
            config=config,
            precision=precision,
            trace=SearchTrace.of(found, config.verify or "cosine") if trace else None,
            verified=[one.verified for one in found],
            cosine=[one.score for one in found],
            calls=sum(one.calls for one in found),
            seconds=seconds,
            row_calls=[one.calls for one in found],
            row_forwards=[one.forwards for one in found],
            stopped=[one.stopped for one in found],
        )


class AdaptedText(AdapterModel, MaskedModel):
    """Somebody else's masked model: prompts are answered, holes in texts are filled in."""
