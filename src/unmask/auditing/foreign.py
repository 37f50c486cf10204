"""Somebody else's sampler with a law in the model's place: what it is handed, and what it was seen to do."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unmask.auditing.exact import ExactLaw
from unmask.auditing.subject import Sampled
from unmask.core.errors import UsageError
from unmask.core.registry import Leaf, Registry
from unmask.diagnosis.subject import Batch, Generated, NotProvided, Step

Sampler = Callable[..., Any]


class WatchedModel(nn.Module):
    """The law as a model of transformers is called: ids in, an object with ``logits`` [B, L, V] out; calls are kept.

    Args:
        law: the law.
        shifted: logits at a place are for the place behind it, as Dream's are.
    """

    def __init__(self, law: ExactLaw, shifted: bool = False) -> None:
        super().__init__()
        self.law, self.shifted = law, shifted
        self.register_buffer("anchor", torch.zeros(()))
        self.config = SimpleNamespace(mask_token_id=law.mask_id, vocab_size=law.vocab_size, is_encoder_decoder=False)
        self.calls: list[Tensor] = []
        self.rows = 0

    @property
    def device(self) -> torch.device:
        return self.anchor.device  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def forward(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(input_ids.clone())
        self.rows += len(input_ids)
        wide_BLV = self.law.body(input_ids).h_BLD
        logits_BLV = self.law.head(wide_BLV.flatten(0, 1)).view(*input_ids.shape, -1)
        if self.shifted:
            logits_BLV = torch.cat([logits_BLV[:, 1:], logits_BLV[:, -1:]], 1)
        return SimpleNamespace(logits=logits_BLV)


class Signature(Leaf):
    """How a kind of sampler is called.

    Attributes:
        settings: settings it takes beside the batch, each with values to try.
        prefix_only: whether what is given stands in front.
        shifted: whether the model is to answer for the place behind.
    """

    settings: ClassVar[dict[str, tuple[Any, ...]]] = {"temperature": (1.0, 0.5), "steps": (2, 8)}
    prefix_only: ClassVar[bool] = True
    shifted: ClassVar[bool] = False

    def write(self, sampler: Sampler, model: WatchedModel, x_BL: Tensor, steps: int, temperature: float) -> Tensor:
        """Finished ids [B, L].

        Args:
            sampler: the function. model: what it asks.
            x_BL: the canvas, given tokens in front where ``prefix_only``.
            steps: forwards that it is told. temperature: of the draw.
        """
        raise NotImplementedError


signatures: Registry[Signature] = Registry("signature", "unmask.auditing.signatures", Signature)


@dataclass(frozen=True)
class Called:
    """Keywords that a function takes, out of those that a signature has for it."""

    sampler: Sampler

    def __call__(self, *positional: Any, **offered: Any) -> Any:
        """The function's answer; keywords that it does not take are left out.

        Raises:
            UsageError: it needs one that the signature does not have.
        """
        parameters = inspect.signature(self.sampler).parameters
        names = list(parameters)[len(positional) :]
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        missing = [
            n
            for n in names
            if parameters[n].default is inspect.Parameter.empty
            and parameters[n].kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
            and n not in offered
        ]
        if missing:
            raise UsageError(f"the sampler needs {', '.join(missing)}, which this signature does not give: try another")
        return self.sampler(*positional, **{k: v for k, v in offered.items() if takes_all or k in names})


class Foreign(Sampled):
    """A sampler of somebody else's.

    Args:
        law: the perfect denoiser.
        sampler: the function. signature: how it is called.
        seed: of the law's texts.
    """

    def __init__(self, law: ExactLaw, sampler: Sampler, signature: Signature, seed: int = 0) -> None:
        super().__init__(law, None, seed)
        self.law_, self.sampler, self.signature = law, sampler, signature
        self.settings, self.skipped = dict(signature.settings), {}
        self.takes_steps = "steps" in signature.settings
        self.prefix_only = signature.prefix_only

    def _run(self, x_BL: Tensor, seed: int, steps: int | None, temperature: float) -> tuple[Tensor, WatchedModel]:
        model = WatchedModel(self.law_, self.signature.shifted)
        torch.manual_seed(seed)
        masked = int((x_BL == self.law_.mask_id).sum(1).max())
        ids_BL = self.signature.write(self.sampler, model, x_BL.clone(), steps or masked, temperature)
        if not isinstance(ids_BL, Tensor) or ids_BL.shape != x_BL.shape:
            what = tuple(ids_BL.shape) if isinstance(ids_BL, Tensor) else type(ids_BL).__name__
            raise UsageError(f"the sampler gave {what} where ids of shape {tuple(x_BL.shape)} were asked for")
        return ids_BL, model

    def fill(
        self,
        x_BL: Tensor,
        seed: int,
        temperature: float | None = None,
        steps: int | None = None,
        first_row: int = 0,
    ) -> Tensor:
        return self._run(x_BL, seed, steps, 1.0 if temperature is None else temperature)[0]

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """What the function writes, its steps read off what the model was shown."""
        x_BL = torch.full_like(batch.ids_BL, self.law_.mask_id)
        steps, temperature = settings.pop("steps", None), settings.pop("temperature", 1.0)
        if settings:
            raise NotProvided(f"the setting {next(iter(settings))!r} of generate")
        ids_BL, model = self._run(x_BL, seed, steps, temperature)
        return Generated(
            ids_BL=ids_BL,
            steps=_steps(model, ids_BL, self.law_.mask_id),
            temperature=temperature,
            any_order=True,
            forwards=model.rows,
        )

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        raise NotProvided("draw(logits, seed)")


def _steps(model: WatchedModel, ids_BL: Tensor, mask_id: int) -> tuple[Step, ...] | None:
    """States that the model was shown and what changed after each; None where calls are not of whole canvases."""
    if not model.calls or any(call.shape != ids_BL.shape for call in model.calls):
        return None
    after = [*model.calls[1:], ids_BL]
    return tuple(
        Step(x_BL, (x_BL == mask_id) & (next_BL != mask_id)) for x_BL, next_BL in zip(model.calls, after, strict=True)
    )


def foreign(sampler: Any, signature: str | None) -> tuple[Callable[[ExactLaw], Foreign], str]:
    """What puts somebody else's sampler on a law, and its name.

    Args:
        sampler: a function, ``"package.module:function"`` or ``"file.py:function"``.
        signature: its signature, with settings behind a colon.

    Raises:
        UsageError: no such function, or no signature.
    """
    if signature is None:
        known = ", ".join(signatures.names())
        raise UsageError(f"signature is needed: how the function is called, one of {known}")
    leaf, found = signatures.make(signature), sampler
    if isinstance(sampler, str):
        found = _function(sampler)
    if not callable(found):
        raise UsageError(f"{sampler!r} is no function that could be called")
    name = sampler if isinstance(sampler, str) else getattr(sampler, "__qualname__", type(sampler).__name__)
    return lambda law: Foreign(law, found, leaf), name


def _function(path: str) -> Any:
    place, _, name = path.partition(":")
    if not name:
        raise UsageError(f"{path!r} must be PACKAGE.MODULE:FUNCTION or FILE.py:FUNCTION")
    try:
        if place.endswith(".py"):
            made = importlib.util.spec_from_file_location(Path(place).stem, place)
            if made is None or made.loader is None or not Path(place).is_file():
                raise UsageError(f"there is no file {place!r}")
            module = importlib.util.module_from_spec(made)
            made.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return operator.attrgetter(name)(module)
    except (ImportError, SyntaxError, AttributeError) as error:
        raise UsageError(f"{path!r} cannot be imported: {error}") from error
