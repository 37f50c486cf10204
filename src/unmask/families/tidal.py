"""TidalTransformer and its plain baselines: prompts are continued block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.family import Family, Place, Prepared
from unmask.core.model import Diagnosable, EvaluationRequest, EvaluationResult, Model, Output, SamplingRequest
from unmask.core.precision import fastest
from unmask.core.render import save_page
from unmask.core.sampling_config import SamplingConfig
from unmask.data.text import evenly, load_texts
from unmask.data.tidal.dataset import Example
from unmask.data.tidal.mixed_tokenizer import BOB
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.tidal import BlockEvent, BlockTrace
from unmask.evaluation.tidal import write, writer_for
from unmask.models.causal import load_causal
from unmask.models.tidal_text import TidalTextModel, is_tidal, load_tidal

#: settings of a plan that a block in any order takes
PLAN = ("order", "quota", "steps", "remasking", "sampler")


@dataclass
class BlockOutput(Output):
    """The output of a tidal model; its attention can be drawn."""

    def save_attention(self, path: str | Path, row: int = 0, number: int = -1) -> Path:
        """Draw who looks at whom while a block is written: its prefix and itself, every layer and head.

        Args:
            path: an ``.html`` file.
            row: which text.
            number: which of its blocks; the last when -1.

        Raises:
            UsageError: there is no such block, or the name has another ending.
        """
        from unmask.reporting.attention import attention_page

        model, prompts = self.model, self.prompts or []
        assert isinstance(model, TidalText) and isinstance(self.trace, BlockTrace)
        if Path(path).suffix != ".html":
            raise UsageError(f"attention is drawn as .html, not {Path(path).name!r}")
        events = [event for event in self.trace.events if event.row == row]
        if not -len(events) <= number < len(events):
            raise UsageError(f"row {row} has {len(events)} blocks: there is no block {number}")
        if model.denoiser.config.writes != "blocks":
            raise UsageError("a plain baseline has no blocks whose attention could be drawn")
        event = events[number]
        before = prompts[row] + "".join(e.block for e in events[: events.index(event)])
        tokens = model.tokenizer.encode(before)[-event.tokens :] if event.tokens else []
        ids = [*tokens, BOB, *event.ids]
        weights = model.denoiser.attention_weights(torch.tensor([ids], device=model.device))[:, 0]
        names = [model.tokenizer.name(i) for i in ids]
        return save_page(path, attention_page(weights.cpu(), names, block_from=len(tokens)))


class TidalText(TidalTextModel, Model):
    """A tidal model, or a plain baseline of it, behind the contract of every model."""

    honours: ClassVar[frozenset[str]] = frozenset({"temperature", "top_k", "top_p", "length", *PLAN})
    words: ClassVar[str] = "a tidal model, which continues texts block by block"
    draws_attention: ClassVar[bool] = True

    @property
    def limit(self) -> int | None:
        return self.card.length

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        """``config.length`` counts blocks (64), of a plain baseline ids (256)."""
        task, started = task.without(self.words, "canvas", "condition"), time.perf_counter()
        if task.texts is not None and not all(isinstance(text, str) for text in task.texts):
            raise UsageError("texts must be a list of texts to continue: write [text]")
        given = config.changed()
        settings: dict[str, Any] = {name: given[name] for name in ("top_k", "top_p") if name in given}
        blocks = config.length or 64
        if config.length is not None and self.denoiser.config.writes != "blocks":
            settings["most"], blocks = config.length, 64
        prompts = [text for text in ([""] if task.texts is None else task.texts) for _ in range(task.n or 1)]

        def on_block(event: BlockEvent) -> None:
            if task.live and event.row == 0:
                print(event.block, end="", flush=True)
            if task.callback is not None:
                task.callback(event)

        size = config.batch_size
        rows = min(size, len(prompts))
        chosen = fastest(self.denoiser, rows * self.card.length, self.device, config.precision)
        with chosen.autocast(self.device):
            found = write(
                self,
                prompts,
                max_blocks=blocks,
                temperature=task.temperature(config.temperature),
                plan={name: given[name] for name in PLAN if name in given},
                on_block=on_block,
                seed=config.seed,
                batch_size=size,
                **settings,
            )
        if task.live:
            print()
        return BlockOutput(
            found.texts,
            torch.empty(len(prompts), 0, dtype=torch.long),
            found.forwards,
            self,
            prompts=prompts,
            config=config,
            precision=chosen.precision,
            trace=BlockTrace(found.trace, prompts, found.texts, self.tokenizer.name, found.forwards),
            ended=found.ended,
            seconds=time.perf_counter() - started,
        )

    def evaluate(self, what: EvaluationRequest, config: SamplingConfig | None = None) -> EvaluationResult:
        from unmask.evaluation.tidal_report import evaluate_tidal as score

        config = (self.config if config is None else config).only({"temperature", *PLAN}, self.words)
        given = config.changed()
        if what.texts < 1:
            raise UsageError(f"texts={what.texts} must be at least 1")
        held_out, train = self.examples(what.data, what.column)
        chosen = [held_out[i] for i in evenly(len(held_out), what.texts)]
        own = self.card.recipe.get("data", "given texts")
        return score(
            self,
            chosen,
            training_texts=[prompt + text for prompt, text in train] or None,
            plan={name: given[name] for name in PLAN if name in given},
            about={"model": self.path or "in memory", "data": str(own), "written with": str(config)},
            length=what.length,
            judge=None if what.judge is None else load_causal(what.judge, dtype="auto"),
            seed=config.seed,
            **({"temperature": config.temperature} if config.temperature is not None else {}),
        )

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
        config: SamplingConfig | None = None,
    ) -> Diagnosable:
        from unmask.diagnosis.tidal import tidal_subject

        config = replace(self.config if config is None else config, length=None).only(self.honours, self.words)
        held_out, train = self.examples(data, column)
        known = [train[i] for i in evenly(len(train), 4096)] if train else None
        chosen = [held_out[i] for i in evenly(len(held_out), 4096)]
        # behind prompts it writes one text each, else freely
        task = SamplingRequest(texts=[""] if any(prompt for prompt, _ in chosen) else None)
        config = replace(config, temperature=task.temperature(config.temperature))
        given = config.changed()
        plan = {name: given[name] for name in PLAN if name in given}
        limits = {name: given[name] for name in ("temperature", "top_k", "top_p") if name in given}
        # refuses what has no effect on this kind of tidal model
        writer_for(self, plan=plan, **limits)
        subject = tidal_subject(self, chosen, known, length=length, plan=DecodingPlan(**limits, **plan))
        subject.plan_words, subject.plan_settings = str(config), config.beside(self.config)
        return subject

    def examples(self, data: Any = None, column: str | None = None) -> tuple[list[Example], list[Example]]:
        """Held-out (prompt, text) pairs and those that were trained on.

        Args:
            data: texts or pairs, a source for :func:`unmask.data.text.load_texts`, or None for what training held out.
            column: the text's column.

        Raises:
            UsageError: the card names no data, ``data`` is not made of texts or pairs, or every one was trained on.
        """
        from unmask.evaluation.held_out import relation_of
        from unmask.training.arguments import DataArguments, field_names
        from unmask.training.tidal import ARITHMETIC

        if data is not None and not isinstance(data, (str, Path)):
            rows = [("", row) if isinstance(row, str) else tuple(row) for row in data]
            if not rows or not all(len(row) == 2 and all(isinstance(x, str) for x in row) for row in rows):
                raise UsageError("data must be texts or (prompt, text) pairs, or the name of a corpus, file or folder")
            return rows, []
        own = {k: v for k, v in self.card.recipe.items() if k in field_names(DataArguments)}
        if data is None and "data" not in own:
            raise UsageError("this model's card names no data: say which texts to use with data=")
        if data is None and column is not None and column != own.get("column"):
            raise UsageError(f"column={column!r} goes with data=: the model's own is read as in training")

        relation = "own" if data is None else relation_of(data, column, own) if "data" in own else "other"
        if relation == "own":
            return _split(own)
        try:
            known = _split(own)[1] if "data" in own else []
        except UnmaskError:
            known = []  # its data is not at hand
        if relation == "kin" or data == ARITHMETIC:
            shared: dict[str, Any] = {k: own[k] for k in ("validation", "split_seed") if k in own}
            theirs = _split({"data": str(data), **({} if column is None else {"column": column}), **shared})[0]
        else:
            found = load_texts(str(data), column=column, validation=0.0)
            found.report.announce()
            theirs = [("", text) for text in found.train]
        if relation == "kin":
            return theirs, known
        old = set(known)
        fresh = [example for example in theirs if example not in old]
        if not fresh:
            raise UsageError(f"{str(data)!r}: every one of its texts was trained on")
        return fresh, known


def _split(recipe: Mapping[str, Any]) -> tuple[list[Example], list[Example]]:
    from unmask.training.recipe import parse
    from unmask.training.tidal import tidal_examples

    fixed = {"family": "tidal", "task": "unconditional", "conditioning": "none", "output_dir": "."}
    train, held_out, _ = tidal_examples(parse({**recipe, **fixed}), lambda _: None)
    return held_out, train


@dataclass(frozen=True)
class TidalFamily(Family):
    """Tokens behind, the next block in characters, last character first; and its plain baselines."""

    reference: ClassVar[str] = "this project"
    trains: ClassVar[str] = "tidal"
    reads: ClassVar[tuple[str, ...]] = (
        "attention", "positions", "writes", "blocks", "reverse", "max_block", "packed", "split_digits",
    )  # fmt: skip

    @classmethod
    def detect(cls, place: Place) -> str | None:
        return "its config.json is a tidal model's" if place.folder and is_tidal(place.folder) else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        found = load_tidal(place.name, device)
        return TidalText(found.denoiser, found.tokenizer, found.card, found.path)

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        if isinstance(found, TidalTextModel):
            return TidalText(found.denoiser, found.tokenizer, found.card, found.path)
        return None

    @classmethod
    def check(cls, recipe: Any) -> None:
        if recipe.model.conditioning != "none":
            raise UsageError(
                "family='tidal' takes no semantic vector: conditioning must be 'none', not "
                f"{recipe.model.conditioning!r}"
            )
        if recipe.train.diagnose_every:
            raise UsageError("diagnose_every has no effect with family='tidal': run `unmask diagnose` on its folder")

    @classmethod
    def needs(cls) -> tuple[Any, ...]:
        from unmask.training.effect import Need

        hiding = ("estimator", "schedule", "time_power", "word_dropout", "weighting")
        said = "a model that fills in any order (attention=masked)"
        return (Need(hiding, ("family", "attention"), lambda m, d, t: m.attention == "masked", said),)

    @classmethod
    def figures(cls, model: Any, task: str) -> list[str]:
        from unmask.training.tidal import TidalTrainer

        return TidalTrainer.figures()

    @classmethod
    def prepare(cls, recipe: Any, say: Callable[[str], None] = print) -> Prepared:
        from unmask.training.tidal import prepare_tidal

        return prepare_tidal(recipe, say)

    @classmethod
    def probes(cls, prepared: Any) -> list[Any]:
        from unmask.evaluation.tidal import exact_match_probe, text_probe
        from unmask.training.tidal import ARITHMETIC

        t = prepared.recipe.train
        examples = prepared.validation.examples[: t.probe_texts]
        if not t.probe_texts:
            return []
        if prepared.recipe.data.data == ARITHMETIC:
            return [exact_match_probe(prepared.model, examples, show=t.show_texts)]
        return [text_probe(prepared.model, [text for _, text in examples], show=t.show_texts)]
