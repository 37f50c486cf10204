"""The ways up of a batch of searches: every hypothesis that was better than all before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.files import write_json
from unmask.core.model import Model, Output
from unmask.core.sampling_config import SamplingConfig
from unmask.search.loop import SearchResult
from unmask.search.verifier import named

FORMAT = "unmask-search-trace-1"


@dataclass(frozen=True)
class SearchStep:
    """A hypothesis that rose above all before it.

    Attributes:
        text, score: what it says, and the verifier of it.
        source: what proposed it.
        parent: the text that it is an edit of; None for one that was written whole.
        calls: of the verifier until then.
    """

    text: str
    score: float
    source: str
    parent: str | None
    calls: int


@dataclass(frozen=True)
class SearchTrace:
    """One way up a row.

    Attributes:
        rows: the steps of each row.
        ends: why each row ended.
        verifier: what checked them.
    """

    rows: list[list[SearchStep]]
    ends: list[str]
    verifier: str = "cosine"

    @classmethod
    def of(cls, found: Sequence[SearchResult], verifier: str) -> SearchTrace:
        """Of what searches ended with."""
        steps = [
            [SearchStep(h.text, h.score, h.source, h.parent.text if h.parent else None, h.calls) for h in one.path]
            for one in found
        ]
        return cls(steps, [one.stopped for one in found], verifier)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [[vars(step) for step in steps] for steps in self.rows]
        return {"format": FORMAT, "verifier": self.verifier, "ends": self.ends, "rows": rows}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        return write_json(path, self.to_dict())


def output_of(
    found: Sequence[SearchResult],
    config: SamplingConfig,
    *,
    texts: list[str],
    sequences: Tensor,
    model: Model,
    prompts: list[Any] | None = None,
    written: SamplingConfig | None = None,
    precision: str = "fp32",
    trace: Any = False,
    seconds: float = 0.0,
) -> Output:
    """What searches ended with, as every model gives it.

    Args:
        found: one a row.
        config: which verifier was asked.
        written: the settings that are reported; ``config`` when None.
        trace: keep the ways up; or a trace of another kind.
        texts, sequences, model, prompts, precision, seconds: of the output.
    """
    name = named(config)
    return Output(
        texts,
        sequences,
        sum(one.forwards for one in found),
        model,
        prompts=prompts,
        config=written or config,
        precision=precision,
        trace=SearchTrace.of(found, name) if trace is True or isinstance(trace, str) else trace or None,
        verified=[one.verified for one in found],
        score=[one.score for one in found],
        calls=sum(one.calls for one in found),
        seconds=seconds,
        row_calls=[one.calls for one in found],
        row_forwards=[one.forwards for one in found],
        stopped=[one.stopped for one in found],
    )
