"""In which direction a figure that ranks checkpoints is better."""

from __future__ import annotations

#: parts of the names of figures of which smaller is better
_SMALLER = ("loss", "nelbo", "perplexity", "ppl", "kl", "bits", "entropy", "error", "length_nats")


def greater_is_better(metric: str) -> bool:
    """Whether more of a figure is better, by its name."""
    return not any(part in metric for part in _SMALLER)
