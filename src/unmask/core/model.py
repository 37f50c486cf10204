"""The contract above the denoiser: what `unmask.load` gives, whatever the model is.

A :class:`Model` writes, is scored, is diagnosed and is saved. What a kind of model cannot do it refuses in one
sentence; nothing above the families asks for a model's kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from unmask.core.errors import UsageError
from unmask.core.files import write_json
from unmask.core.render import page_of, save_page
from unmask.core.sampling_config import SamplingConfig
from unmask.core.task import ContinuationScore, EvaluationRequest, SamplingRequest

if TYPE_CHECKING:  # the contracts are read at once, torch when a model is
    import torch
    from torch import Tensor

__all__ = [
    "ContinuationScore",
    "Diagnosable",
    "EvaluationRequest",
    "Model",
    "Output",
    "RecordedTrace",
    "EvaluationResult",
    "SamplingRequest",
]


class RecordedTrace(Protocol):
    """A trace: who was unmasked when. What draws it is found by its class (:mod:`unmask.core.render`)."""

    def save(self, path: str | Path) -> Path:
        """Write it as JSON that can be read back."""
        ...


class EvaluationResult(Protocol):
    """Scores of a model with their tables and page, as :meth:`Model.evaluate` returns them."""

    @property
    def metrics(self) -> dict[str, float]: ...
    def tables(self, samples: int = 5) -> Sequence[Any]: ...
    def save(self, path: str | Path, title: str = "Evaluation") -> Path: ...


class Diagnosable:
    """Base of what can be diagnosed; :class:`unmask.diagnosis.subject.Subject` is the contract."""


@dataclass
class Output:
    """Generated texts with their token ids, cost and settings.

    Attributes:
        texts: one a row, without the prompt it was written behind.
        sequences: ids [B, L].
        forwards: passes through the network; of a search, rows through it.
        prompts: what each row was written from or behind; None for free samples.
        config: the settings it was written with.
        precision: what the network ran in.
        trace: who was unmasked when, or None.
        ended: whether each row wrote its end before the limit; None where rows have a fixed length.
        verified: whether a verifier accepted each row; None where none was asked for.
        score: of each row by the verifier, 1 being wholly right; None where none was asked for.
        cosine: of each row's re-encoded text to the vector that it was written from; None where nothing was encoded.
        calls: calls of the verifier, all rows together.
        row_calls, row_forwards: the same and rows through the network, for each row of a search; else None.
        stopped: why the search for each row ended: ``verified``, or what ran out; None where there was no search.
        seconds: of the whole generation.
        model: what wrote it.
    """

    texts: list[str]
    sequences: Tensor
    forwards: int
    model: Model
    prompts: list[Any] | None = None
    config: SamplingConfig = field(default_factory=SamplingConfig)
    precision: str = "fp32"
    trace: RecordedTrace | None = None
    ended: list[bool] | None = None
    verified: list[bool] | None = None
    cosine: list[float] | None = None
    calls: int = 0
    seconds: float = 0.0
    row_calls: list[int] | None = None
    row_forwards: list[int] | None = None
    stopped: list[str] | None = None
    score: list[float] | None = None

    def pieces(self, token: int) -> str:
        """The text that stands for one token id in a trace."""
        return self.model.piece(token)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without ids and trace."""
        names = [
            "texts",
            "prompts",
            "forwards",
            "precision",
            "ended",
            "verified",
            "score",
            "cosine",
            "calls",
            "seconds",
        ]
        names += ["row_calls", "row_forwards", "stopped"]
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None} | {"config": self.config.to_dict()}

    def save(self, path: str | Path) -> Path:
        """Write texts, figures and settings as ``.json``.

        Raises:
            UsageError: the name has another ending.
        """
        if Path(path).suffix != ".json":
            raise UsageError(f"an output is written as .json, not {Path(path).name!r}; save_trace draws")
        return write_json(path, self.to_dict())

    def save_trace(self, path: str | Path) -> Path:
        """Write the trace as ``.json`` (replayable) or ``.html`` (a page).

        Raises:
            UsageError: there is no trace, or the name has another ending.
        """
        path = Path(path)
        if self.trace is None:
            raise UsageError(self.model.why_no_trace)
        if path.suffix not in (".json", ".html"):
            raise UsageError(f"a trace is written as .html or .json, not {path.name!r}")
        return self.trace.save(path) if path.suffix == ".json" else save_page(path, page_of(self.trace, output=self))


class Model(ABC):
    """A model with what it takes to go from text to text.

    Attributes:
        honours: names of the settings of :class:`SamplingConfig` that change what it writes; the others are refused.
        words: what it is, for sentences: ``a causal model, which writes left to right``.
        why_no_trace: the sentence for who asks for a trace that there is not.
        path: where it was loaded from; None in memory.
        tokenizer: text to ids and back.
        config: its default plan.
    """

    honours: ClassVar[frozenset[str]]
    words: ClassVar[str]
    why_no_trace: ClassVar[str] = "there is no trace: sample with trace=True"

    #: causal model that scores what it writes on the command line, where none is named; None where nothing is judged
    judge: ClassVar[str | None] = "smollm2"
    #: whether its outputs have ``save_attention``
    draws_attention: ClassVar[bool] = False
    #: whether who is unmasked when can be traced and shown live
    traces: ClassVar[bool] = True

    path: str | None = None
    tokenizer: Any = None
    config: SamplingConfig = SamplingConfig()

    def piece(self, token: int) -> str:
        """The text that stands for one token id in a trace."""
        return f"{token} "

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def limit(self) -> int | None:
        """The context length: most tokens of a text together with its prompt; None where nothing limits it."""

    @abstractmethod
    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        """Write; ``config`` holds nothing that has no effect here. :meth:`sample` is what is called."""

    def sample(self, task: SamplingRequest, config: SamplingConfig | None = None) -> Output:
        """Generated texts for a request, under a config or the model's default plan.

        Raises:
            UsageError: a setting that has no effect on this model, or values that do not fit.
        """
        return self.write(task, (self.config if config is None else config).only(self.honours, self.words))

    @property
    def reads_chats(self) -> bool:
        """Whether a prompt may be a chat: its tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def token_count(self, text: str) -> int:
        """The number of tokens of a text, without special tokens around it."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def fill(
        self,
        before: Sequence[Any],
        after: Sequence[str],
        lengths: Sequence[int],
        config: SamplingConfig | None = None,
        *,
        rows: Sequence[int] | None = None,
        cut: bool = False,
    ) -> list[str | None]:
        """The texts written between given ones, or behind them where nothing follows.

        What is given is literal: a mask word in it is a word of the text. The network runs in fp32 unless the config
        says ``bf16``, so that an answer does not depend on the machine.

        Args:
            before: texts, or chats for a model that :attr:`reads_chats`.
            after: what stands behind each hole; "" for an answer or a continuation.
            lengths: tokens of each, at most.
            config: how; the model's default plan when None.
            rows: names of the texts in the noise; 0, 1 ... when None. One text is written the same among any others.
            cut: leave out the beginning of what does not fit the model's positions; else None is returned for it.

        Raises:
            UsageError: it cannot, or a setting that has no effect on this model.
        """
        raise UsageError(f"tasks with answers or holes are for masked and causal models, this is {self.words}")

    def log_likelihood(
        self,
        contexts: Sequence[str],
        continuations: Sequence[str],
        *,
        samples: int | None = None,
        greedy: bool = True,
        batch_size: int = 32,
        seed: int = 0,
    ) -> list[ContinuationScore]:
        """The log-probability of each continuation given its context, in nats, or a lower bound on it.

        Both are literal, and cut into tokens as the joined text is. A context that is too long loses its beginning; a
        continuation that does not fit the model's positions is scored in pieces, each behind what fits of the text
        before it.

        Args:
            contexts: "" for none.
            continuations: at least one token each.
            samples: corruptions a text, where the likelihood is estimated; the model's own choice when None.
            greedy: also ask whether greedy writing gives the continuation.
            batch_size: rows a forward pass.
            seed: of what is drawn.

        Raises:
            UsageError: it cannot, a continuation without a token, or ``samples`` where nothing is estimated.
        """
        raise UsageError(f"continuations are scored by masked and causal models, this is {self.words}")

    def evaluate(self, what: EvaluationRequest, config: SamplingConfig | None = None) -> EvaluationResult:
        """Scores of the model on held-out texts.

        Raises:
            UsageError: there is nothing to score it by.
        """
        raise UsageError(f"evaluate has no scores for {self.words}")

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
        config: SamplingConfig | None = None,
    ) -> Diagnosable:
        """It, with texts and with the plan that it writes under, for the diagnosis.

        Args:
            data, column: texts, or where they are; what training held out when None.
            length: positions of the canvas.
            config: how it writes; the model's default plan when None. What is left open is chosen as :meth:`sample`
                chooses it.

        Raises:
            UsageError: there is nothing to ask it.
        """
        raise UsageError(f"diagnose has no questions for {self.words}")

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
        """Texts for semantic vectors, by search against a verifier.

        Args:
            vectors_NZ: the vectors.
            config: bounds, seed, precision, and the verifier; the cosine when None.
            rows: their numbers, which name the noise: a row alone is written as among others; 0 to N - 1 when None.
            on_progress: called with what has risen or ended.
            trace: keep each step up.
            stored: the precision in which the vectors were kept, which the threshold of *verified* follows.

        Raises:
            UsageError: it takes no vectors, or they do not fit.
        """
        raise UsageError(f"invert writes the texts of vectors, and {self.words} takes none")

    def vector_statistics(self) -> tuple[int, Tensor | None, Tensor | None]:
        """Width, mean [Z] and whitening [Z, Z] of the vectors that it was trained on; None where it keeps none.

        Raises:
            UsageError: it takes no vectors.
        """
        raise UsageError(f"invert writes the texts of vectors, and {self.words} takes none")

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write a folder that ``unmask.load`` reads.

        Raises:
            UsageError: it is somebody else's model, whose own folder is the one to copy.
        """
        raise UsageError(f"{self.words} is not saved again: copy {self.path!r}, which is in its authors' format")

    def export(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write a folder that transformers loads without unmask.

        Raises:
            UsageError: it has no such format.
        """
        raise UsageError(f"{self.words} has no format to export to: copy {self.path!r}")
