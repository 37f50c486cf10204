"""``--model unmask`` for lm-eval (EleutherAI's lm-evaluation-harness): any model that :func:`unmask.load` gives.

    python -m unmask.evaluation.lm_eval_model --model unmask --model_args pretrained=GSAI-ML/LLaDA-8B-Base --tasks ...

is lm-eval's own command with this model known to it. In Python, import this module and call ``simple_evaluate``.
Log-likelihoods are lower bounds (negative NELBO of the hidden text given the visible), not values: the numbers of a
masked diffusion model and of a causal model are comparable only with that in mind (arXiv 2502.09992).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import MissingExtra, UsageError
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.evaluation.likelihood import bound, scoring
from unmask.models.hub import find, read_config
from unmask.models.kind import kind_of
from unmask.models.text_model import TextModel, is_native, load_native

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise MissingExtra("lm-eval is not installed: pip install 'unmask[eval]'") from error

#: hidden counts drawn a text, spread evenly over 1..L (the estimator of arXiv 2502.09992)
SAMPLES = 128


@register_model("unmask")
class UnmaskLM(LM):  # type: ignore[misc]
    """What lm-eval asks of a model.

    Args:
        pretrained: a run folder, a checkpoint's folder, a hub id, or a loaded model.
        device: where to put it; CUDA where there is one when None, the CPU where CUDA is asked for and absent.
        batch_size: rows a forward pass when scoring.
        samples: corruptions a text for its bound.
        order, steps, block_length, cache, temperature: how answers are written; steps None writes one token a step.
        max_gen_toks: tokens of an answer where a task does not say.
        seed: of corruptions and answers; a request's numbers do not depend on the requests beside it.

    Raises:
        UsageError: no such model, or a setting out of range.
    """

    def __init__(
        self,
        pretrained: str | Path | TextModel,
        device: str | None = None,
        batch_size: int | str = 32,
        max_batch_size: int | None = None,
        samples: int = SAMPLES,
        order: str = "top_prob",
        steps: int | None = None,
        block_length: int | None = None,
        cache: str | None = None,
        temperature: float = 0.0,
        max_gen_toks: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(pretrained, (str, Path, TextModel)):
            raise UsageError(f"pretrained takes a masked model from unmask.load, not a {type(pretrained).__name__}")
        self.model = pretrained if isinstance(pretrained, TextModel) else _load(str(pretrained), device)
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise UsageError(f"batch_size={batch_size!r} must be a whole number of at least 1")
        self.rows = int(batch_size) if max_batch_size is None else min(int(batch_size), max_batch_size)
        self.samples, self.seed, self.max_gen_toks = samples, seed, max_gen_toks
        self.order, self.steps, self.block_length, self.temperature = order, steps, block_length, temperature
        self.cache = cache
        self._device = self.model.device
        # a native model's canvas is as long as it was trained on; an adapter's is all its positions
        self.limit = self.model.denoiser.max_length or (self.model.card.length if self.model.own_canvas else 4096)

    # -- what lm-eval calls -----------------------------------------------------------------------------------------
    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """A bound on log p(continuation | context) in nats, and whether greedy writing gives the continuation."""
        answers = []
        for request in _progress(requests, disable_tqdm):
            context, continuation = request.args
            before, after = self._pair(context, continuation)
            room = self._room()
            if len(after) > room:
                raise UsageError(f"a continuation of {len(after)} tokens does not fit the model's {room} positions")
            before = before[max(0, len(before) + len(after) - room) :]
            answers.append((self._score(before, after), self._greedy(before, after)))
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """A bound on log p(text) in nats; a long text in pieces, each given what fits of the text before it."""
        answers = []
        for request in _progress(requests, disable_tqdm):
            ids, room = self._ids(request.args[0]), self._room()
            total = 0.0
            for start in range(0, len(ids), room):
                end = min(start + room, len(ids))
                total += self._score(ids[max(0, end - room) : start], ids[start:end])
            answers.append(total)
        return answers

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers, cut at the first of the request's ``until`` strings."""
        answers = []
        for request in _progress(requests, disable_tqdm):
            context, settings = request.args
            until = settings.get("until") or []
            text = self.write(context, int(settings.get("max_gen_toks", self.max_gen_toks)), self._heat(settings))
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

    # -- how ----------------------------------------------------------------------------------------------------------
    def write(self, context: str, length: int, temperature: float | None = None) -> str:
        """A continuation of ``length`` tokens at most, up to its EOS."""
        room = self._room()
        length = min(length, max(1, room // 2))
        before = self._ids(context)[-(room - length) :] if room > length else []
        hidden = torch.tensor([self._framed(before, [self.model.denoiser.mask_id] * length)], device=self.model.device)
        plan = DecodingPlan(
            order=self.order,
            quota="linear",
            steps=self.steps or length,
            block_length=self.block_length,
            cache=self.cache,
            temperature=self.temperature if temperature is None else temperature,
            seed=self.seed,
        )
        with scoring(self.model.denoiser):
            found = generate(self.model.denoiser, hidden, plan, trace=None).sequences
        start = len(self._frame()[0]) + len(before)
        return self.model.decode(found[:, start : start + length])[0]

    def _score(self, before: list[int], after: list[int]) -> float:
        ids_1L = torch.tensor([self._framed(before, after)], device=self.model.device)
        start = len(self._frame()[0]) + len(before)
        open_1L = torch.zeros_like(ids_1L, dtype=torch.bool)
        open_1L[:, start : start + len(after)] = True
        found = bound(
            self.model.denoiser,
            ids_1L,
            samples=self.samples,
            batch_size=self.rows,
            seed=self.seed,
            open_NL=open_1L,
        )
        return -float(found.nelbo_N[0])

    def _greedy(self, before: list[int], after: list[int]) -> bool:
        hidden = [self.model.denoiser.mask_id] * len(after)
        x_1L = torch.tensor([self._framed(before, hidden)], device=self.model.device)
        plan = DecodingPlan(order="top_prob", quota="linear", steps=len(after), temperature=0.0)
        with scoring(self.model.denoiser):
            found = generate(self.model.denoiser, x_1L, plan, trace=None).sequences[0].tolist()
        return bool(found == self._framed(before, after))

    def _frame(self) -> tuple[list[int], list[int]]:
        return self.model.frame

    def _framed(self, before: list[int], after: list[int]) -> list[int]:
        first, last = self._frame()
        return [*first, *before, *after, *last]

    def _room(self) -> int:
        return self.limit - sum(map(len, self._frame()))

    def _ids(self, text: str) -> list[int]:
        return list(self.model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of both, split as the joined text is; blanks at the end of a context belong to what follows."""
        bare = context.rstrip()
        before, whole = self._ids(bare), self._ids(context + continuation)
        cut = min(len(before), len(whole) - 1)
        if not continuation or cut < 0:
            raise UsageError(f"the continuation {continuation!r} has no token")
        return whole[:cut], whole[cut:]

    def _heat(self, settings: dict[str, Any]) -> float | None:
        if settings.get("do_sample") is False:
            return 0.0
        return None if settings.get("temperature") is None else float(settings["temperature"])


def _load(name: str, device: str | None) -> TextModel:
    # lm-eval's command says cuda:0 when nobody asked for a device
    where = device if device and (torch.cuda.is_available() or not device.startswith("cuda")) else None
    where = where or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = find(name)
    kind = kind_of(read_config(folder)) if (folder / "config.json").is_file() else None
    if kind is not None and kind.family in ("tidal", "causal"):
        own = "lm-eval's own --model hf takes it" if kind.family == "causal" else "`unmask evaluate` scores it"
        raise UsageError(f"{name!r} is {kind.said}, and lm-eval's --model unmask takes masked models: {own}")
    if kind is None or is_native(folder):
        return load_native(name, where)
    from unmask.models.adapters import load_adapter

    return load_adapter(name, where)


def _progress(requests: Sequence[Any], quiet: bool) -> Iterable[Any]:
    from tqdm.auto import tqdm

    return tqdm(requests, disable=quiet)


def main() -> None:
    """lm-eval's command with ``--model unmask`` known to it."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
