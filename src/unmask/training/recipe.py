"""Recipes: YAML keys = command-line flags = Python names. An unknown one is refused with the nearest known."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.family import families
from unmask.core.renamed import RENAMED, current
from unmask.data.crops import Crops
from unmask.data.encodings import read_text
from unmask.data.split import split_texts
from unmask.data.text import TextData
from unmask.training.arguments import DataArguments, ModelArguments, TrainArguments, field_names
from unmask.training.budget import in_shares
from unmask.training.effect import refuse_useless, useless
from unmask.training.figures import check_metric
from unmask.training.names import no_setting
from unmask.training.passes import check_delay
from unmask.training.settings import refuse_given
from unmask.training.shapes import Kinds, read_flags, shaped
from unmask.training.standin import check_optimizer, check_schedule

log = logging.getLogger("unmask")

#: what TrainingArguments raises on values that do not fit: eval_steps: inf overflows, a configuration file is missing
_ILL_FITTING = (ValueError, TypeError, ArithmeticError, OSError, LookupError, AttributeError)
#: questions that a flag may answer anew, and what a recipe says to the same question
_ANSWERS = {
    "max_steps": "num_train_epochs minutes",
    "num_train_epochs": "max_steps minutes",
    "minutes": "max_steps num_train_epochs",
    "max_tokens": "per_device_train_batch_size",
    "per_device_train_batch_size": "max_tokens",
    "bf16": "precision",
    "precision": "bf16",
    "optim": "optimizer optim_args",
    "optimizer": "optim optim_args",
    "lr_scheduler_type": "lr_scheduler_kwargs",
    "metric_for_best_model": "greater_is_better",
    "resume": "resume_from_checkpoint",
    "resume_from_checkpoint": "resume",
}
#: what a flag may switch off, and what of a recipe goes with it: Trainer itself refuses one without the other
_OFF = {
    "dataloader_num_workers": "dataloader_prefetch_factor dataloader_multiprocessing_context",
    "fsdp": "fsdp_config",
}
_OLD_FLAG = re.compile(rf"--({'|'.join(RENAMED)})(?=$|=)")
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

    def texts(self, say: Callable[[str], None] = print) -> TextData:
        """The data's texts, split as its settings say; one line about them goes to ``say``.

        Raises:
            UsageError: they cannot be read, or none is held out.
        """
        data = split_texts(self.settings())
        say(str(data.report))
        if not len(data.validation):
            raise UsageError(f"validation={self.data.validation} holds out nothing of {self.data.data!r}: raise it")
        return data


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which 1e-4 is a number (YAML 1.1 wants 1.0e-4) and no name may stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]} stands twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The settings in a recipe's YAML file.

    Raises:
        UsageError: no such file, not YAML, or not a mapping.
    """
    file = Path(path)
    if not file.is_file():
        shipped = sorted(p.stem for p in Path("recipes").glob("*.yaml"))
        raise UsageError(f"there is no recipe {str(path)!r}; {did_you_mean(file.stem, shipped)}")
    try:
        tree = yaml.load(read_text(file), _Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or not all(isinstance(k, str) for k in tree):
        raise UsageError(f"{str(path)!r} must hold one 'name: value' a line, got {type(tree).__name__}")
    return tree


class _Parser(HfArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> Any:
        """argparse's message in our words: 'argument --dim/--dim: invalid int value: ...'."""
        found = re.match(r"argument --(\w+)[^:]*: (.*)", message, re.DOTALL)
        name, what = found.groups() if found else ("a flag", message)
        if kind := re.fullmatch(r"invalid (int|float) value: (.*)", what, re.DOTALL):
            raise UsageError(f"{name}={kind[2]} must be a {'whole number' if kind[1] == 'int' else 'number'}")
        if choice := re.fullmatch(r"invalid choice: '(.*)' \(choose from (.*)\)", what, re.DOTALL):
            hint = did_you_mean(choice[1], [one.strip("' ") for one in choice[2].split(",")])
            if (name, choice[1]) == ("optim", "muon"):
                hint = "write optimizer=muon"
            raise UsageError(f"{name}={choice[1]!r} is no choice: {hint}")
        raise UsageError(f"{name}: {what}")


def parse(settings: dict[str, Any] | None = None, flags: Sequence[str] = ()) -> Recipe:
    """The checked recipe of a mapping of settings, overridden by command-line flags.

    Args:
        settings: names and values, as from :func:`read_recipe`.
        flags: such as ``["--max_steps", "100", "--bf16", "false"]``.

    Raises:
        UsageError: an unknown name (with the one meant), a value that does not fit, or a setting that would have
            no effect (:mod:`unmask.training.settings`).
    """
    known = field_names(*_CLASSES)
    kinds = Kinds(*_CLASSES)
    below, flags = _by_todays_names(settings or {}, flags)
    for name, value in below.items():
        if name not in known:
            if isinstance(value, Mapping):
                raise UsageError(
                    f"{name} holds a mapping: settings stand side by side in a recipe, 'name: value' a line"
                )
            raise no_setting(name, known)
    above = read_flags(flags, known, kinds)
    if "minutes" in {*below, *above}:
        below = in_shares(below, above)
    below = _without(below, above)
    found = _parsed({**below, **above}, kinds)
    useless_found = useless(found.model, found.data, found.train, found.given)
    # what a flag switches off may stand in the recipe: it is left out
    off = {name for name, need in useless_found if name not in above and any(by in above for by in need.by)}
    refuse_useless([(name, need) for name, need in useless_found if name not in off], found.given)
    if off:
        return parse({name: value for name, value in below.items() if name not in off}, flags)
    check_metric(found.train.metric_for_best_model, found.train.greater_is_better, found.model, found.data.task)
    check_optimizer(found.train, above if {"optim", "optimizer"} & above.keys() else found.given)
    check_schedule(found.train, above if "lr_scheduler_type" in above else found.given)
    return found


def _by_todays_names(settings: Mapping[str, Any], flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """A recipe and flags without old names; whoever wrote one is told the new one."""
    words = [_OLD_FLAG.sub(lambda found: f"--{RENAMED[found[1]]}", word) for word in flags]
    for old, new in RENAMED.items():
        if old in settings or any(_OLD_FLAG.match(word) and word[2:].startswith(old) for word in flags):
            log.warning("%s is called %s now: it is read as before", old, new)
    return current(settings), words


def _without(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings without those that flags answer in another way, or switch off."""
    gone: set[str] = set()
    for name, others in _ANSWERS.items():
        if name in above and str(above[name]) != str(below.get(name)):
            gone |= {*others.split()} - above.keys()
    for name, others in _OFF.items():
        if name in above and str(above[name]).lower() in ("0", "none", "false"):
            gone |= {*others.split()} - above.keys()
    return {name: value for name, value in below.items() if name not in gone}


def _parsed(given: dict[str, Any], kinds: Kinds) -> Recipe:
    refuse_given(given)
    words, values = [], {}
    for name, value in given.items():
        value = shaped(name, value, kinds)
        if isinstance(value, str):
            words.append(f"--{name}={value}")
        else:
            values[name] = value
    parser = _Parser(_CLASSES, allow_abbrev=False)
    parser.set_defaults(**values)
    try:
        # argparse may print before it raises; the one sentence is ours
        with contextlib.redirect_stderr(io.StringIO()):
            model, data, train = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except UsageError:
        raise
    except (*_ILL_FITTING, argparse.ArgumentTypeError, ImportError) as error:
        raise UsageError(f"the settings do not fit: {' '.join(str(error).split())}") from error
    recipe = Recipe(model, data, train, given)
    families.training(model.family).check(recipe)
    _check(model, data, train)
    if train.max_tokens is not None and "per_device_train_batch_size" in given:
        raise UsageError(
            f"max_tokens={train.max_tokens} and per_device_train_batch_size={train.per_device_train_batch_size} both "
            "say how large a batch is: leave one out"
        )
    return recipe


def _check(model: ModelArguments, data: DataArguments, train: TrainArguments) -> None:
    if data.task not in ("reconstruction", "paraphrase", "unconditional", "correction"):
        raise UsageError(f"task={data.task!r} must be 'reconstruction', 'paraphrase', 'unconditional' or 'correction'")
    if (data.task == "unconditional") != (model.conditioning == "none"):
        raise UsageError(f"task={data.task!r} does not go with conditioning={model.conditioning!r}")
    if data.task == "correction" and not model.start_from:
        raise UsageError("task='correction' needs start_from, the folder of a trained decoder")
    if data.task == "correction" and train.sharded:
        raise UsageError("task='correction' does not go with fsdp: a sharded model writes no drafts")
    if data.drafts < 0:
        raise UsageError(f"drafts={data.drafts} must be at least 0, which is one for each text")
    if model.whiten not in ("none", "center", "full"):
        raise UsageError(f"whiten={model.whiten!r} must be 'none', 'center' or 'full'")
    if model.embedding_init not in ("random", "encoder"):
        raise UsageError(f"embedding_init={model.embedding_init!r} must be 'random' or 'encoder'")
    if data.over_long not in ("drop", "truncate"):
        raise UsageError(f"over_long={data.over_long!r} must be 'drop' or 'truncate'")
    Crops.read(data.crops, data.crop_min_words, data.crop_max_words)
    if data.near_duplicates is not None and not 0 <= data.near_duplicates < 1:
        raise UsageError(
            f"near_duplicates={data.near_duplicates} must lie in [0, 1): the share above which one is left out"
        )
    if data.task == "paraphrase" and (data.crops != "none" or data.near_duplicates is not None):
        raise UsageError("task='paraphrase' reads pairs: crops and near_duplicates are of single texts")
    if train.weighting not in ("maskgit", "llada", "nelbo"):
        raise UsageError(f"weighting={train.weighting!r} must be 'maskgit', 'llada' or 'nelbo'")
    if train.probe_guidance != 1 and model.conditioning == "none":
        raise UsageError(f"probe_guidance={train.probe_guidance} has no effect with conditioning='none'")
    if train.max_steps > 0 and train.eval_strategy == "steps":
        check_delay(train.eval_delay, train.max_steps, train.eval_strategy)
    if train.max_tokens is not None and train.max_tokens < model.length and not model.start_from:
        raise UsageError(f"max_tokens={train.max_tokens} must be at least length={model.length}, one row")
    if train.compile_blocks and (train.torch_compile or train.gradient_checkpointing or train.sharded):
        other = "torch_compile" if train.torch_compile else "fsdp" if train.sharded else "gradient_checkpointing"
        raise UsageError(f"compile_blocks=True does not go with {other}: leave one out")
    if train.output_dir is None:
        raise UsageError("output_dir is missing: the run folder, such as runs/my_run")
