"""Every setting of a training run. A recipe's YAML keys, the command line's flags and these names are the same."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import accelerate
import torch
from transformers import TrainingArguments

from unmask.core.errors import UsageError
from unmask.core.precision import PRECISIONS
from unmask.training.loggers import loggers
from unmask.training.parts import check_parts
from unmask.training.ranking import greater_is_better
from unmask.training.settings import refuse
from unmask.training.standin import direct_schedule

#: settings and the least and most that they may be
_BETWEEN = (
    ("condition_dropout", 0, 1),
    ("self_conditioning_rate", 0, 1),
    ("pad_weight", 0, 1),
    ("ema", 0, 1),
    ("free_bits", 0, 1e9),
    ("vib_beta", 0, 1e9),
    ("bag_weight", 0, 1e9),
    ("latent_noise", 0, 1e3),
    ("without_hypothesis", 0, 1),
    ("learning_rate", 0, 1e3),
    ("muon_lr", 0, 1e3),
    ("weight_decay", 0, 1e3),
    ("adam_beta1", 0, 1),
    ("adam_beta2", 0, 1),
    ("adam_epsilon", 0, 1),
    ("max_grad_norm", 0, 1e9),
    ("eval_delay", 0, 1e12),
    ("warmup_steps", 0, 1e12),
)

_AT_LEAST = (
    ("eval_texts", 1),
    ("probe_texts", 0),
    ("show_texts", 0),
    ("diagnose_every", 0),
    ("draft_rounds", 1),
    ("per_device_train_batch_size", 1),
    ("gradient_accumulation_steps", 1),
    ("seed", 0),
    ("dataloader_num_workers", 0),
)


#: steps of a run that time ends: more than any has
UNBOUNDED = 10**9

#: measured with tests/integration/test_processes.py: 1.6 to 1.12 train another curve when sharded, 1.3 cannot shard
ACCELERATE_SHARDS = tuple(int(part) for part in accelerate.__version__.split(".")[:2]) >= (1, 15)


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """Settings of the network and its conditioning."""

    tokenizer: str = _help(
        "'bpe' trains one on the corpus, 'encoder' takes the encoder's, else a name or folder", "bpe"
    )
    vocab_size: int = _help("size of a trained BPE vocabulary, special ids included", 4096)
    length: int = _help("canvas length in tokens, EOS included; with length_model the longest text", 64)
    dim: int = _help("width D", 192)
    layers: int = _help("transformer blocks", 4)
    heads: int = _help("attention heads", 4)
    ffn_dim: int = _help("hidden width of the feed-forward part", 768)
    loops: int = _help("times the stack is applied, weights shared", 1)
    input_injection: bool = _help("add the embedded canvas again before each further loop", False)
    deep_supervision: bool = _help("train every loop's answer, not the last one's alone", False)
    gated: bool = _help("SwiGLU instead of GELU", False)
    dropout: float = _help("residual dropout", 0.0)
    rope: bool = _help("rotary positions", True)
    absolute: bool = _help("learned absolute positions (an all-masked canvas needs them)", True)
    conditioning: str = _help("'none', 'adaln' or 'cross'", "adaln")
    latent_tokens: int = _help("latent tokens: a prefix with adaln, the keys with cross", 8)
    bottleneck: int = _help("width of the variational bottleneck, 0 for none", 0)
    bag_of_words: int = _help(
        "width of the head that biases the logits to the tokens that the vector speaks of, 0 for none", 0
    )
    time_embedding: bool = _help("feed the masked fraction", False)
    self_conditioning: bool = _help("feed the previous pass's hidden states", False)
    length_model: bool = _help("a head says how many tokens a text has; no EOS, and no compute for padding", False)
    whiten: str = _help("'none', 'center' (mean and one scale) or 'full' (decorrelate) for the latents", "full")
    embedding_init: str = _help("'random' or 'encoder': start the embeddings from the encoder's", "random")
    encoder: str = _help("sentence encoder: any hub id or folder; 'minilm' is found in its package offline", "minilm")
    pooling: str | None = _help("'mean' or 'cls'; the encoder's own when not given", None)
    start_from: str | None = _help("folder of a trained model whose weights and tokenizer are the start", None)

    family: str = _help("'denoiser' or 'tidal' (tokens behind, the next block in characters)", "denoiser")
    # the rest is read with family 'tidal' alone
    attention: str = _help("'tidal', 'masked' (a block in any order) or 'causal'", "tidal")
    positions: str = _help("'alibi', 'rope' or 'learned', each on two axes", "alibi")
    writes: str = _help("'blocks', or plain 'tokens' or 'characters' (causal baselines)", "blocks")
    blocks: str = _help("what a block is: 'word', 'number' or 'tokens:k'", "word")
    reverse: bool = _help("spell a block last character first", True)
    max_block: int = _help("most characters of a block", 24)
    packed: bool = _help("samples of a batch share rows of up to length positions; not with 'masked'", False)
    split_digits: bool = _help("a trained BPE joins no digits: each is a token of its own", False)


@dataclass
class DataArguments:
    """Settings of the data: what is read, how it is split and encoded."""

    data: str = _help(
        "hub name, load_from_disk folder, jsonl/csv/txt file, an offline corpus such as 'verses', or 'arithmetic'",
        "verses",
    )
    task: str = _help(
        "'reconstruction', 'paraphrase' (pairs), 'unconditional', or 'correction' (of what start_from writes)",
        "reconstruction",
    )
    drafts_from: str | None = _help("correction: folder of the model that writes the drafts; start_from if none", None)
    drafts: int = _help("correction: texts with a draft; the others are written from their vector alone; 0 is all", 0)
    column: str | None = _help("column that holds the text", None)
    limit: int | None = _help("use at most this many texts", None)
    validation: float = _help("share held out", 0.03)
    split_seed: int = _help("seed of the split", 0)
    crops: str = _help(
        "texts cut out of texts, each with a vector of its own: any of whole, sentences, clauses, windows (of "
        "sentences), runs (of clauses), with commas; or 'none'",
        "none",
    )
    crop_min_words: int = _help("words of a crop at least", 3)
    crop_max_words: int = _help("words of a crop at most, whole texts too", 32)
    near_duplicates: float | None = _help(
        "texts to train on are left out if more than this share of their word 6-grams stands in one held-out text", None
    )
    over_long: str = _help("texts longer than the canvas: 'drop' or 'truncate'", "drop")
    encoder_precision: str = _help("'fp32', 'bf16' or 'auto' (the faster here) for encoding the latents", "auto")
    cache_dir: str | None = _help("where latents are cached; $UNMASK_CACHE or ~/.cache/unmask when not given", None)


@dataclass
class TrainArguments(TrainingArguments):
    """Hugging Face's TrainingArguments and what a masked diffusion model needs beside them."""

    output_dir: str | None = _help("run folder", None)
    estimator: str = _help("how many positions are hidden: 'count' (n ~ U{1..L}), 'time' or 'grid'", "count")
    schedule: str = _help("schedule for 'time' and 'grid'", "linear")
    time_power: float = _help("t = u ** (1 / time_power); 2 is sqrt(u), more high masks", 2.0)
    word_dropout: float = _help("hide visible tokens too, keeping their loss", 0.0)
    weighting: str = _help("training loss: 'maskgit', 'llada' or 'nelbo'", "maskgit")
    pad_weight: float = _help("weight of a PAD position's loss (above 0: lengths must be learned)", 0.1)
    condition_dropout: float = _help("share of rows whose condition is replaced by the trained null", 0.1)
    self_conditioning_rate: float = _help("share of batches that see a first pass, with self_conditioning", 0.5)
    vib_beta: float = _help("weight of the bottleneck's KL, in the cross-entropy's units (nats a token)", 1e-3)
    bag_weight: float = _help("weight of the bag of words' loss, nats a distinct token of the text", 0.3)
    latent_noise: float = _help("training noise on the vector: its norm as a share of the vector's own", 0.0)
    draft_rounds: int = _help("correction: rounds of drafts; from the second on half are the corrector's own", 2)
    without_hypothesis: float = _help("correction: share of rows that are trained without their draft", 0.1)
    free_bits: float = _help("nats a dimension below which the KL costs nothing", 0.0)
    ema: float = _help("decay of the weight average that is evaluated and saved; 0 for none", 0.999)
    optimizer: str = _help("'adamw' or 'muon' (Muon for the blocks' matrices, AdamW for the rest)", "adamw")
    muon_lr: float = _help("learning rate of Muon's matrices", 0.02)
    eval_texts: int = _help("held-out texts scored at each evaluation", 256)
    probe_texts: int = _help("held-out texts written at each evaluation (the generation metric)", 32)
    probe_steps: int = _help("decoding steps of the probe", 16)
    probe_order: str = _help("decoding order of the probe", "margin")
    probe_guidance: float = _help("guidance gamma of the probe", 1.0)
    show_texts: int = _help("samples printed at each evaluation", 2)
    diagnose_every: int = _help("steps between quick diagnoses, logged as scalars; 0 for never", 0)
    resume: bool = _help("go on from the last complete checkpoint of the run folder", True)
    minutes: float | None = _help(
        "train this long, evaluations and checkpoints included (reading and encoding the data is not), instead of a "
        "number of steps; steps below 1 (warmup_steps, eval_steps, save_steps) are then shares of the time",
        None,
    )
    max_tokens: int | None = _help(
        "positions of a process and micro-batch at most, padding counted, instead of a number of rows: short texts "
        "make batches of many rows; with length_model",
        None,
    )
    compile_blocks: bool = _help(
        "compile the blocks for at most six shapes of batches: minutes of compiling, once a machine, then faster steps",
        False,
    )
    bad_batches: int = _help("consecutive non-finite losses after which training stops", 5)

    # other defaults than Hugging Face's, for small models on any machine
    learning_rate: float = _help("peak learning rate", 1e-3)
    per_device_train_batch_size: int = _help("rows a process and micro-batch", 64)
    max_steps: int = _help("optimiser steps; 1000 where num_train_epochs is not given either", None)
    num_train_epochs: float = _help("passes over the data, instead of max_steps", None)
    warmup_steps: float = _help("steps of linear warm-up (below 1: a share)", 0.05)
    lr_scheduler_type: str = _help("shape of the decay", "cosine")
    weight_decay: float = _help("AdamW's decay", 0.01)
    adam_beta2: float = _help("AdamW's second beta", 0.98)
    max_grad_norm: float = _help("gradient clipping", 1.0)
    logging_steps: float = _help("steps between log lines", 50)
    eval_strategy: str = _help("when to evaluate", "steps")
    eval_steps: float | None = _help("steps between evaluations", 500)
    save_strategy: str = _help("when to save", "steps")
    save_steps: float = _help("steps between checkpoints", 500)
    save_total_limit: int | None = _help("checkpoints kept beside the best one", 2)
    metric_for_best_model: str | None = _help("which metric keeps the best checkpoint", "generation")
    greater_is_better: bool | None = _help("its direction; follows from the metric when not given", None)
    load_best_model_at_end: bool | None = _help("save the best checkpoint's weights as the model", True)
    report_to: str | None = _help("loggers", "tensorboard")
    precision: str = _help("'fp32', 'bf16' (autocast), or 'auto': the faster one on this machine", "auto")
    bf16: bool | None = _help("true is precision=bf16, false is precision=fp32", None)
    remove_unused_columns: bool | None = _help("must stay off: latents are not arguments of forward", False)
    dataloader_num_workers: int = _help("loader processes; the arrays are memory-mapped, 0 is fastest when small", 0)
    dataloader_pin_memory: bool = _help("pin batches; of use with a GPU only", False)
    disable_tqdm: bool | None = _help("lines instead of a progress bar; without a terminal when not given", None)

    def __post_init__(self) -> None:
        refuse(self)
        for name, low, high in _BETWEEN:
            value = getattr(self, name)
            if value is None or not low <= float(value) <= high:
                raise UsageError(f"{name}={value} must lie in [{low}, {high:g}]")
        for name, least in _AT_LEAST:
            value = getattr(self, name)
            if value is None or value < least:
                raise UsageError(f"{name}={value} must be at least {least}")
        for name in ("logging_steps", "save_steps", "eval_steps", "num_train_epochs"):
            value = getattr(self, name)
            if not (value is None and name in ("eval_steps", "num_train_epochs")) and not (value and value > 0):
                raise UsageError(f"{name}={value} must be above 0")
        self._count_steps()
        self.report_to = loggers(self.report_to)  # type: ignore[assignment]
        if self.optimizer not in ("adamw", "muon"):
            raise UsageError(f"optimizer={self.optimizer!r} must be 'adamw' or 'muon'")
        if self.save_total_limit is not None and self.save_total_limit < 2:
            raise UsageError(
                "save_total_limit must be at least 2: a checkpoint is dropped only after the next is whole"
            )
        if self.metric_for_best_model is not None and self.greater_is_better is None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        self._resume_from()
        self._before_sharding()
        self._one_precision()
        # Trainer refuses bf16 on a machine without an accelerator unless told that the CPU is meant
        self.use_cpu: bool = bool(self.use_cpu) or not torch.accelerator.is_available()
        with self._any_step_saved():
            super().__post_init__()
        check_parts(self)
        direct_schedule(self)

    @contextmanager
    def _any_step_saved(self) -> Iterator[None]:
        """Inside, Trainer does not ask for a multiple of ``eval_steps`` in ``save_steps``: a new best is saved at once.

        Raises:
            UsageError: ``load_best_model_at_end`` where nothing is evaluated or saved.
        """
        best = self.load_best_model_at_end
        for name, what in (("eval_strategy", "evaluates"), ("save_strategy", "saves")):
            if best and str(getattr(getattr(self, name), "value", getattr(self, name))) == "no":
                raise UsageError(
                    f"load_best_model_at_end={best} does not go with {name}=no, which {what} nothing: write "
                    f"load_best_model_at_end=false, or {name}=steps"
                )
        if best and self.metric_for_best_model is None:
            self.metric_for_best_model, self.greater_is_better = "loss", False
        self.load_best_model_at_end = False
        yield
        self.load_best_model_at_end = best

    def _one_precision(self) -> None:
        """Trainer's own word and the launcher's are other names for ``precision``."""
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision={self.precision!r} must be 'auto', 'fp32' or 'bf16'")
        said: dict[str, str] = {} if self.bf16 is None else {f"bf16={self.bf16}": "bf16" if self.bf16 else "fp32"}
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
        if launched is not None:
            if launched not in ("no", "bf16"):
                raise UsageError(f"mixed_precision={launched!r} of the launcher must be 'no' or 'bf16'")
            said[f"mixed_precision={launched!r} of the launcher"] = "bf16" if launched == "bf16" else "fp32"
        for words, wanted in said.items():
            if self.precision not in ("auto", wanted):
                raise UsageError(f"{words} does not go with precision={self.precision!r}: leave one out")
            self.precision = wanted
        self.bf16 = self.precision == "bf16"

    def _count_steps(self) -> None:
        """Minutes, steps or epochs, one of them; Trainer would let the epochs be and say nothing."""
        if self.minutes is not None:
            self._count_minutes(self.minutes)
        elif self.max_steps is None:
            self.max_steps = 1000 if self.num_train_epochs is None else -1
        elif self.max_steps == 0 or self.max_steps < -1:
            raise UsageError(f"max_steps={self.max_steps} must be at least 1, or -1 to count epochs (num_train_epochs)")
        elif self.max_steps > 0 and self.num_train_epochs is not None:
            raise UsageError(
                f"max_steps={self.max_steps} and num_train_epochs={self.num_train_epochs:g} both say how long to "
                "train: leave one out"
            )
        if self.num_train_epochs is None:
            self.num_train_epochs = 3.0

    def _count_minutes(self, minutes: float) -> None:
        """Time alone says how long; what else counts in steps must be a share of it."""
        if not 0 < minutes < math.inf:
            raise UsageError(f"minutes={minutes} must be above 0")
        for name in ("max_steps", "num_train_epochs"):
            if (value := getattr(self, name)) is not None:
                raise UsageError(f"minutes={minutes:g} and {name}={value:g} both say how long to train: leave one out")
        if self.warmup_steps >= 1:
            raise UsageError(
                f"warmup_steps={self.warmup_steps:g} must be a share of the time, below 1, where minutes says how long "
                "and no max_steps of the recipe of how many steps they are: 0.05 is usual"
            )
        self.max_steps = UNBOUNDED

    def _resume_from(self) -> None:
        """True is the setting ``resume``; a path stays."""
        asked = self.resume_from_checkpoint
        if asked is None or str(asked).lower() == "true":
            self.resume_from_checkpoint: Any = None
        elif str(asked).lower() == "false":
            raise UsageError("resume_from_checkpoint=False: leave it out, or --resume false to start over")
        if not self.resume and asked is not None:
            raise UsageError(f"resume=False does not go with resume_from_checkpoint={asked!r}: leave one out")

    def _before_sharding(self) -> None:
        """FSDP's short forms; only its second version works here, as the tested accelerate has it."""
        self.fsdp: Any = {"true": True, "false": None}.get(str(self.fsdp).lower(), self.fsdp)
        if self.sharded and not ACCELERATE_SHARDS:
            raise UsageError(
                f"accelerate {accelerate.__version__} shards weights (fsdp) in another way than the tested one, "
                "and its loss curve leaves that of whole copies: take accelerate 1.15 or later, or leave fsdp out"
            )
        if self.fsdp_config and not self.fsdp and not self.sharded:
            raise UsageError(f"fsdp_config={self.fsdp_config!r:.60} has no effect without fsdp")
        if self.fsdp and (self.fsdp_config is None or isinstance(self.fsdp_config, dict)):
            given: dict[str, Any] = self.fsdp_config or {}
            self.fsdp_config: Any = given if "fsdp_version" in given else {"version": 2, **given}

    @property
    def sharded(self) -> bool:
        """Whether the weights are spread over the processes (FSDP), asked for here or by ``accelerate launch``."""
        return bool(self.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")


def field_names(*classes: type) -> list[str]:
    """Every setting's name."""
    return [f.name for c in classes for f in dataclasses.fields(c) if f.init]
