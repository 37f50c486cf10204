"""Every setting of a generation, in one frozen object that serialises: API, command line, evaluation, diagnosis, pages.

A model folder may hold a default plan: the key ``unmask`` of ``generation_config.json``, a file that transformers'
``GenerationConfig`` reads and keeps.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError, UsageError, did_you_mean
from unmask.core.files import write_json
from unmask.core.registry import Leaf, spec_of

#: what may be said of the precision that a network runs in (:mod:`unmask.core.precision`)
PRECISIONS = ("auto", "fp32", "bf16")
#: the file and the key in it that hold a model's default plan
FILE, KEY = "generation_config.json", "unmask"
#: what belongs to a run on a machine and never to a model's default plan
_OF_A_RUN = ("seed", "batch_size", "precision")


def _setting(text: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class SamplingConfig:
    """Every setting of a generation. ``None`` is the model's own choice; what a model has no use for is refused.

    Attributes:
        order, quota, sampler, remasking, cache: names as ``unmask list`` shows them, ``"margin:noise=0.5"``, or
            instances.
        steps: denoising steps for the row; ``None`` is one a token, ``auto`` 16 where quota and sampler count steps.
        block_length: write in blocks of this many tokens, left to right.
        stop_at_eos: a row ends with its first end of text.
        guidance: gamma in ``gamma * l_c + (1 - gamma) * l_u``; 1 is off; SGDD's w is gamma - 1.
        temperature: 0 takes the most probable token; None is 0 for one text a condition, prompt or canvas, else 1:
            several samples at 0 would be one text again and again.
        top_k, top_p: keep the k best values, or the smallest set with this much mass.
        repetition_penalty: above 1, ids that the row shows already become less likely.
        length: canvas length, or that of an answer to a prompt; the model's own when None.
        loops: times a looped network's stack is applied; as trained when None.
        verify: a verifier (``unmask list verifiers``), or an object of your own that keeps to
            :class:`unmask.core.verifier.Verifier`: what it refuses is written again, or mended by search.
        pattern: regular expression that the whole text is to match, with ``verify="regex"``.
        schema: a JSON schema, as a mapping or the name of its file, with ``verify="json"``.
        calls, forwards: calls of the verifier and rows through the network a text, at most.
        seconds: a search ends after so long.
        seed: same seed, same texts, whatever the batch size.
        batch_size: rows at a time.
        precision: what the network runs in; ``auto`` is bf16 on a GPU and whichever multiplies faster on a CPU
            (:func:`unmask.core.precision.choose_precision`). In bf16 rounding depends on the batch: the promise that a
            row alone equals the row in a batch, and that every machine writes the same, holds for ``fp32``.
    """

    order: Any = _setting("Which position next (unmask list orders); margin.")
    steps: Any = _setting(
        "Denoising steps, or none for one a token; 16 where the quota or sampler counts steps.", "auto"
    )
    quota: Any = _setting("How many positions a step (unmask list quotas); cosine.")
    sampler: Any = _setting("What makes the steps (unmask list samplers).", "maskgit")
    remasking: Any = _setting("Mask unmasked tokens again (unmask list remaskers).")
    block_length: int | None = _setting("Write in blocks of this many tokens, left to right.")
    cache: Any = _setting("Remember keys (unmask list caches): faster, not exact.")
    stop_at_eos: bool = _setting("A row ends with its first end of text.", False)
    guidance: Any = _setting("gamma in gamma*l_c + (1-gamma)*l_u; 1 is off, SGDD's w is gamma-1.", 1.0)
    temperature: float | None = _setting(
        "0 takes the most probable token; 0 for one text a prompt, else 1, when not given."
    )
    top_k: int | None = _setting("Draw among the k most probable.")
    top_p: float | None = _setting("Draw within this much probability.")
    repetition_penalty: float = _setting("Above 1: tokens that a row shows already become less likely.", 1.0)
    length: int | None = _setting("Tokens to write; the model's own when not given.")
    loops: int | None = _setting("Times a looped network's stack is applied; as trained when not given.")
    verify: Any = _setting("Mend what this verifier refuses (unmask list verifiers): cosine, regex, json, rules ...")
    pattern: str | None = _setting("Regular expression that the whole text is to match, with --verify regex.")
    schema: Any = _setting("File of the JSON schema that the text is to keep to, with --verify json.")
    calls: int | None = _setting("Calls of the verifier a text, at most.")
    forwards: int | None = _setting("Rows through the network a text, at most, where a verifier is asked.")
    seconds: float | None = _setting("Seconds for all texts together, where a verifier is asked.")
    seed: int = _setting("Same seed, same text.", 0)
    batch_size: int = _setting("Rows at a time.", 64)
    precision: str = _setting("fp32, bf16, or auto: the one this machine is faster in.", "auto")

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision={self.precision!r} must be 'auto', 'fp32' or 'bf16'")
        if self.seconds is not None and not (isinstance(self.seconds, (int, float)) and self.seconds > 0):
            raise UsageError(f"seconds={self.seconds!r} must be a number above 0")
        for name in ("batch_size", "length", "loops", "calls", "forwards"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"{name}={value!r} must be a whole number of at least 1")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not -(2**63) <= self.seed < 2**63:
            raise UsageError(f"seed={self.seed!r} must be a whole number of at most 64 bits")

    @classmethod
    def of(cls, settings: Mapping[str, Any], base: SamplingConfig | None = None) -> SamplingConfig:
        """A config from names and values, on top of another's; steps may be text, ``"none"`` or ``"16"``.

        Raises:
            UsageError: an unknown name, or a value out of range.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                raise UsageError(f"no setting of a generation is called {name!r}: {did_you_mean(name, known)}")
        steps = {"steps": _steps(settings["steps"])} if "steps" in settings else {}
        return dataclasses.replace(base or cls(), **{**settings, **steps})

    def __str__(self) -> str:
        """The plan in one line: ``order=margin, steps=16, temperature=0.0``; what belongs to a run is left out."""
        said = {name: value for name, value in self.to_dict().items() if name not in _OF_A_RUN}
        return ", ".join(f"{name}={value}" for name, value in said.items()) or "defaults"

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as they are."""
        values = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {f.name: value for f, value in values if value is not f.default and value != f.default}

    def only(self, honoured: Iterable[str], who: str) -> SamplingConfig:
        """This config, if a model that honours these settings alone has use for all that are set.

        Args:
            honoured: names of settings.
            who: the model in words, with the reason: ``a causal model, which writes left to right``.

        Raises:
            UsageError: naming the first that would have no effect.
        """
        vain = [name for name in self.changed() if name not in {*honoured, *_OF_A_RUN}]
        if vain:
            raise UsageError(f"{vain[0]}={self.changed()[vain[0]]!r} has no effect on {who}")
        return self

    def beside(self, other: SamplingConfig) -> dict[str, Any]:
        """Plain values of the settings that differ from another config's, without those of a run on a machine."""
        mine, theirs = ({f.name: _plain(getattr(c, f.name)) for f in dataclasses.fields(c)} for c in (self, other))
        return {name: v for name, v in mine.items() if name not in _OF_A_RUN and v != theirs[name]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what differs from the defaults, leaves by their names with settings."""
        return {name: _plain(value) for name, value in self.changed().items()}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> SamplingConfig:
        """The config that :meth:`to_dict` serialised."""
        return cls.of(dict(tree))

    # -- a model's default plan -------------------------------------------------------------------------------------
    def save(self, folder: str | Path) -> Path:
        """Make this the default plan of a model folder; what else the file says is kept.

        Settings of a run on a machine (seed, batch size, precision) are left out.
        """
        file = Path(folder) / FILE
        tree = _read(file)
        tree[KEY] = {name: value for name, value in self.to_dict().items() if name not in _OF_A_RUN}
        write_json(file, tree)
        return file

    @classmethod
    def load(cls, folder: str | Path) -> SamplingConfig:
        """The default plan of a model folder; all defaults where it has none.

        Raises:
            CheckpointError: the file cannot be read, or holds a plan that does not fit.
        """
        file = Path(folder) / FILE
        plan = _read(file).get(KEY) or {}
        try:
            return cls.from_dict(plan)
        except (UsageError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the default plan in {str(file)!r} cannot be used: {error}") from error


def _steps(value: Any) -> Any:
    if not isinstance(value, str) or value == "auto":
        return value
    if value.lower() == "none":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise UsageError(f"steps={value!r} must be a whole number, 'none' (one a token) or 'auto'") from error


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(file)!r} is no JSON: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{str(file)!r} holds no JSON object")
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, Leaf):
        return spec_of(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return type(value).__name__ if callable(getattr(value, "check", None)) else value  # a verifier of the user's own
