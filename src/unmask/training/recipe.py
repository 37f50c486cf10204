"""Recipes: YAML keys = command-line flags = Python names. An unknown one is refused with the nearest known."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from unmask.core.errors import WrongUse, did_you_mean
from unmask.data.encodings import read_text
from unmask.training.arguments import DataArguments, ModelArguments, TrainArguments, field_names

#: what TrainingArguments raises on values that do not fit: eval_steps: inf overflows, a configuration file is missing
_ILL_FITTING = (ValueError, TypeError, ArithmeticError, OSError, LookupError, AttributeError)
_CLASSES = (ModelArguments, DataArguments, TrainArguments)


@dataclass
class Recipe:
    """A training run's settings, and the plain ones that were given (for the model's card)."""

    model: ModelArguments
    data: DataArguments
    train: TrainArguments
    given: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """What a model's card says: all of the data's settings (the split must be found again), the rest as given."""
        data = {name: value for name, value in asdict(self.data).items() if value is not None}
        return {**data, **self.given}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        WrongUse: no such file, not YAML, or not a mapping.
    """
    file = Path(path)
    if not file.is_file():
        shipped = sorted(p.stem for p in Path("recipes").glob("*.yaml"))
        raise WrongUse(f"there is no recipe {str(path)!r}; {did_you_mean(file.stem, shipped)}")
    try:
        tree = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise WrongUse(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or not all(isinstance(k, str) for k in tree):
        raise WrongUse(f"{str(path)!r} must hold one 'name: value' a line, got {type(tree).__name__}")
    return tree


class _Parser(HfArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> Any:
        raise WrongUse(message)


def parse(settings: dict[str, Any] | None = None, flags: Sequence[str] = ()) -> Recipe:
    """Settings from a mapping, overridden by command-line flags.

    Args:
        settings: names and values, as from :func:`read_recipe`.
        flags: such as ``["--max_steps", "100", "--bf16", "false"]``.

    Raises:
        WrongUse: an unknown name (with the nearest known) or a value that does not fit.
    """
    settings = dict(settings or {})
    known = field_names(*_CLASSES)
    for name in settings:
        if name not in known:
            raise _no_setting(name, known)
    given = {**settings, **_read_flags(flags, known)}
    words: list[str] = []
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, (dict, list)):
            raise WrongUse(f"{name} must be a single value, got {value!r}")
        words += [f"--{name}", str(value)]
    parser = _Parser(_CLASSES, allow_abbrev=False)
    try:
        # argparse may print before it raises; the one sentence is ours
        with contextlib.redirect_stderr(io.StringIO()):
            model, data, train = parser.parse_args_into_dataclasses(words)
    except WrongUse:
        raise
    except (*_ILL_FITTING, argparse.ArgumentTypeError, ImportError) as error:
        raise WrongUse(f"the settings do not fit: {' '.join(str(error).split())}") from error
    _check(model, data, train)
    return Recipe(model, data, train, given)


def _read_flags(flags: Sequence[str], known: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(flags):
        flag = flags[position]
        if not flag.startswith("--"):
            raise WrongUse(f"{flag!r} is not a flag: write --name value")
        name, equals, value = flag[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise _no_setting(name, known)
        if not equals:
            position += 1
            if position == len(flags) or flags[position].startswith("--"):
                raise WrongUse(f"--{name} needs a value: write --{name} value")
            value = flags[position]
        values[name] = value
        position += 1
    return values


def _no_setting(name: str, known: list[str]) -> WrongUse:
    hint = did_you_mean(name, known)
    if hint.startswith("known"):  # all of Trainer's settings among them: too many for a sentence
        hint = f"they are ModelArguments', DataArguments' and TrainArguments' fields, such as {', '.join(known[:6])}"
    return WrongUse(f"no setting is called {name[:60]!r}: {hint}")


def _check(model: ModelArguments, data: DataArguments, train: TrainArguments) -> None:
    if data.task not in ("reconstruction", "paraphrase", "unconditional"):
        raise WrongUse(f"task={data.task!r} must be 'reconstruction', 'paraphrase' or 'unconditional'")
    if model.family not in ("denoiser", "tidal"):
        raise WrongUse(f"family={model.family!r} must be 'denoiser' or 'tidal'")
    if model.family == "tidal" and model.conditioning != "none":
        raise WrongUse(
            f"family='tidal' takes no semantic vector: conditioning must be 'none', not {model.conditioning!r}"
        )
    if (data.task == "unconditional") != (model.conditioning == "none"):
        raise WrongUse(f"task={data.task!r} does not go with conditioning={model.conditioning!r}")
    if model.whiten not in ("none", "center", "full"):
        raise WrongUse(f"whiten={model.whiten!r} must be 'none', 'center' or 'full'")
    if model.embedding_init not in ("random", "encoder"):
        raise WrongUse(f"embedding_init={model.embedding_init!r} must be 'random' or 'encoder'")
    if data.over_long not in ("drop", "truncate"):
        raise WrongUse(f"over_long={data.over_long!r} must be 'drop' or 'truncate'")
    if train.weighting not in ("maskgit", "llada", "nelbo"):
        raise WrongUse(f"weighting={train.weighting!r} must be 'maskgit', 'llada' or 'nelbo'")
    if model.family == "tidal" and train.diagnose_every:
        raise WrongUse("diagnose_every has no effect with family='tidal': run `unmask diagnose` on its folder")
    if train.probe_guidance != 1 and model.conditioning == "none":
        raise WrongUse(f"probe_guidance={train.probe_guidance} has no effect with conditioning='none'")
    if train.output_dir is None:
        raise WrongUse("output_dir is missing: the run folder, such as runs/my_run")
