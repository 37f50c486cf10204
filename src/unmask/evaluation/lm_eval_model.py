"""``--model unmask`` for lm-eval (EleutherAI's lm-evaluation-harness): any model that :func:`unmask.load` gives.

    python -m unmask.evaluation.lm_eval_model --model unmask --model_args pretrained=GSAI-ML/LLaDA-8B-Base --tasks ...

is lm-eval's own command with this model known to it. In Python, import this module and call ``simple_evaluate``.
Log-likelihoods of a masked diffusion model are lower bounds (negative NELBO of the masked text given the visible), not
values: its numbers and those of a causal model are comparable only with that in mind (arXiv 2502.09992).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unmask.core.door import load
from unmask.core.errors import MissingExtra, UsageError
from unmask.core.model import ContinuationScore, Model
from unmask.evaluation.answering import answer_config

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise MissingExtra("lm-eval is not installed: pip install 'unmask[eval]'") from error

log = logging.getLogger("unmask")


@register_model("unmask")
class UnmaskLM(LM):  # type: ignore[misc]
    """What lm-eval asks of a model. Contexts and continuations are literal: a mask word in one is a word of the text.

    Args:
        pretrained: a run folder, a checkpoint's folder, a hub id, or a model from :func:`unmask.load`.
        device: where to put it; CUDA where there is one when None, the CPU where CUDA is asked for and absent.
        batch_size: rows a forward pass when scoring.
        samples: corruptions a text, for a model whose likelihoods are bounds; 128 when None.
        max_gen_toks: tokens of an answer where a task does not say.
        settings: how answers are written (:class:`unmask.core.sampling_config.SamplingConfig`), on top of the model's
            default plan. What neither says is one token a step, the most probable first, at temperature 0. ``seed`` is
            also that of the corruptions; a request's numbers do not depend on the requests beside it.

    Raises:
        UsageError: no such model, one that cannot be asked, or a setting out of range or without effect.
    """

    def __init__(
        self,
        pretrained: str | Path | Model,
        device: str | None = None,
        batch_size: int | str = 32,
        max_batch_size: int | None = None,
        samples: int | None = None,
        max_gen_toks: int = 128,
        **settings: Any,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise UsageError(f"batch_size={batch_size!r} must be a whole number of at least 1")
        if samples is not None and samples < 1:
            raise UsageError(f"samples={samples} must be at least 1")
        if not isinstance(pretrained, (str, Path, Model)):
            raise UsageError(f"pretrained takes a model from unmask.load, not a {type(pretrained).__name__}")
        self.model = pretrained if isinstance(pretrained, Model) else _load(str(pretrained), device)
        self.rows = int(batch_size) if max_batch_size is None else min(int(batch_size), max_batch_size)
        self.samples, self.max_gen_toks = samples, max_gen_toks
        self.config = answer_config(self.model, settings, order="top_prob")
        # who cannot be asked says so now, and not at the first request
        self._scored([], greedy=False)
        self.model.fill([], [], [], self.config)
        log.info("lm-eval: %s writes with %s", self.model.path, self.config)
        self._device = self.model.device

    # -- what lm-eval calls -----------------------------------------------------------------------------------------
    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log p(continuation | context) in nats or a bound on it, and whether greedy writing gives the continuation."""
        found = [self._scored([request.args], greedy=True)[0] for request in _progress(requests, disable_tqdm)]
        return [(score.nats, bool(score.greedy)) for score in found]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log p(text) in nats or a bound on it; a long text in pieces, each given what fits of the text before it."""
        texts = (request.args[0] for request in _progress(requests, disable_tqdm))
        # nothing is to be scored of an empty text
        return [self._scored([("", text)], greedy=False)[0].nats if text else 0.0 for text in texts]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers, cut at the first of the request's ``until`` strings."""
        answers = []
        for request in _progress(requests, disable_tqdm):
            context, settings = request.args
            until = settings.get("until") or []
            text = self.write(context, int(settings.get("max_gen_toks", self.max_gen_toks)), _temperature(settings))
            for stop in [until] if isinstance(until, str) else until:
                text = text.split(stop)[0] if stop else text
            answers.append(text)
        return answers

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The tokenizer's own template."""
        return str(
            self.model.tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    @property
    def tokenizer_name(self) -> str:
        return str(self.model.path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return str(self.model.tokenizer.chat_template) if chat_template else ""

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval keeps beside its results: how answers were written, and of how many samples bounds are."""
        return {"plan": str(self.config), "samples": self.samples, "seed": self.config.seed}

    # -- how ----------------------------------------------------------------------------------------------------------
    def write(self, context: str, length: int, temperature: float | None = None) -> str:
        """A continuation of ``length`` tokens at most, up to its EOS."""
        config = self.config if temperature is None else replace(self.config, temperature=temperature)
        (text,) = self.model.fill([context], [""], [length], config, cut=True)
        assert text is not None  # what does not fit is cut
        return text

    def _scored(self, pairs: Sequence[tuple[str, str]], greedy: bool) -> list[ContinuationScore]:
        return self.model.log_likelihood(
            [context for context, _ in pairs],
            [continuation for _, continuation in pairs],
            samples=self.samples,
            greedy=greedy,
            batch_size=self.rows,
            seed=self.config.seed,
        )


def _temperature(settings: dict[str, Any]) -> float | None:
    if settings.get("do_sample") is False:
        return 0.0
    return None if settings.get("temperature") is None else float(settings["temperature"])


def _load(name: str, device: str | None) -> Model:
    # lm-eval's command says cuda:0 when nobody asked for a device
    where = device if device and (torch.cuda.is_available() or not device.startswith("cuda")) else None
    return load(name, where)


def _progress(requests: Sequence[Any], quiet: bool) -> Iterable[Any]:
    from tqdm.auto import tqdm

    return tqdm(requests, disable=quiet)


def main() -> None:
    """lm-eval's command with ``--model unmask`` known to it."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
