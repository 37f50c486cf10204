"""How a search goes about it: how wide, which moves, what weighs how much, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig

#: calls of the verifier a text where nobody says how many
CALLS = 2000


@dataclass(frozen=True)
class RankingWeights:
    """What a word at a place is ranked by before it is tried, in units of log odds.

    Fitted once (listwise) on texts in which one, two or four words had been replaced by what the denoiser draws there.

    Attributes:
        denoiser: ln p of the word at its place, given the rest.
        order: ln p of the trigrams that it would make.
        order_lost: those that it would take away.
        word: log odds that the vector holds the word.
        missing: how much less the hypothesis' own vector holds it.
        foreign: the same of the word that would go.
        gain: hundredths of cosine that adding and taking words should bring.
    """

    denoiser: float = 0.6
    order: float = 0.31
    order_lost: float = 0.35
    word: float = 0.14
    missing: float = 1.7
    foreign: float = 0.5
    gain: float = 0.48


@dataclass(frozen=True)
class SearchPlan:
    """Settings of a search.

    Attributes:
        calls, forwards: of the verifier and rows through the network, a text, at most; None has no bound.
        seconds: of the whole search.
        proposals: names of the sources of new texts (``unmask list proposals``); all when None.
        drafts: whole texts that a search starts from.
        waves: rounds of whole texts rewritten towards the best ones, before words are edited.
        beam: different hypotheses that are edited at a time.
        tries: edits of a hypothesis that are tried at a time.
        visits: how often a hypothesis is edited while nothing better comes of it.
        fluency: weight of the mean ln p a word in the ranking, one for each place in the beam.
        join: try several edits in one whose measured changes add up.
        bias: share of the probe's log odds that the denoiser's logits are raised by when it writes.
        elite: what the logits of the words of the best hypotheses are raised by.
        weights: of the ranking of edits.
        seed: same seed, same text.
    """

    calls: int | None = CALLS
    forwards: int | None = None
    seconds: float | None = None
    proposals: tuple[str, ...] | None = None
    drafts: int = 48
    waves: int = 1
    beam: int = 3
    tries: int = 24
    visits: int = 6
    fluency: tuple[float, ...] = (0.003, 0.02)
    join: bool = True
    bias: float = 0.6
    elite: float = 2.5
    weights: RankingWeights = field(default_factory=RankingWeights)
    seed: int = 0

    @classmethod
    def of(cls, config: SamplingConfig, own: SearchPlan | None = None) -> SearchPlan:
        """A plan with the bounds and the seed of a config; :data:`CALLS` where it says nothing of calls."""
        return replace(
            own or cls(),
            calls=config.calls or CALLS,
            forwards=config.forwards,
            seconds=config.seconds,
            seed=config.seed,
        )

    def __post_init__(self) -> None:
        for name in ("calls", "forwards", "drafts", "beam", "tries", "visits"):
            value, least = getattr(self, name), int(name != "drafts")
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise UsageError(f"{name}={value!r} must be a whole number of at least {least}")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"seconds={self.seconds!r} must be above 0")
