"""Training a TidalTransformer or one of its baselines: its data, its network, its loss on the common trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import set_seed

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.family import Prepared
from unmask.core.random import Stream, generator
from unmask.data.tidal.arithmetic import arithmetic
from unmask.data.tidal.dataset import Example, TidalDataset, batches, collate, examples_of
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.diffusion.blocks import bits_per_character, block_losses
from unmask.diffusion.objective import TokenLosses
from unmask.diffusion.process import MaskingProcess
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for, load_tidal
from unmask.training.base_trainer import BaseTrainer
from unmask.training.recipe import Recipe

#: ``data: arithmetic`` in a recipe
ARITHMETIC = "arithmetic"


@dataclass(kw_only=True)
class TidalPrepared(Prepared):
    """A prepared run of a tidal model, whose rows are packed samples.

    Attributes:
        longer: problems with longer operands than any trained on; empty for texts.
    """

    longer: list[Example]


def prepare_tidal(recipe: Recipe, say: Callable[[str], None] = print) -> TidalPrepared:
    """The prepared run of a recipe: examples read or made, tokenizer trained or loaded, network built.

    Args:
        recipe: with ``family: tidal``.
        say: where one-line reports go.
    """
    m, d = recipe.model, recipe.data
    if m.packed and m.attention == "masked":
        raise UsageError(
            "packed=True needs attention='tidal' or 'causal': a canvas that is filled in any order is one row"
        )
    if m.writes == "blocks" and m.length <= m.max_block + 2:
        raise UsageError(
            f"length={m.length} has no room for a prefix beside a block: it must be above max_block + 2 = "
            f"{m.max_block + 2}"
        )
    set_seed(recipe.train.seed)
    train, held_out, longer = tidal_examples(recipe, say)
    start = load_tidal(m.start_from) if m.start_from else None
    if start is None:
        tokenizer = distributed.broadcast_object(_tokenizer(recipe, train) if distributed.is_main_process() else None)
        config = config_for(
            tokenizer,
            writes=m.writes,
            attention=m.attention,
            positions=m.positions,
            max_length=m.length,
            dim=m.dim,
            layers=m.layers,
            heads=m.heads,
            ffn_dim=m.ffn_dim,
            gated=m.gated,
            dropout=m.dropout,
        )
        net = TidalModel(config)
    else:
        tokenizer, net = start.tokenizer, start.denoiser
        say(f"weights from {m.start_from}; the recipe's model settings are its own")
    parts = [
        TidalDataset(tokenizer, e, attention=net.config.attention, writes=net.config.writes, length=m.length)
        for e in (train, held_out)
    ]
    for name, part in zip(("train", "held out"), parts, strict=True):
        say(f"{name}: {len(part):,} rows of {len(part.examples):,} examples; {part.over_long:,} over-long")
    card = TextModelCard(length=m.length, task=d.task, recipe=recipe.settings(), tokenizer_identity=tokenizer.identity)
    rows = partial(collate, length=m.length) if m.packed else collate
    return TidalPrepared(
        recipe=recipe,
        model=TidalTextModel(net, tokenizer, card),
        train=parts[0],
        validation=parts[1],
        collate=rows,
        trainer=TidalTrainer,
        longer=longer,
    )


def tidal_examples(
    recipe: Recipe, say: Callable[[str], None] = print
) -> tuple[list[Example], list[Example], list[Example]]:
    """(to train on, held out, with longer operands) of a recipe's data; texts are written from nothing.

    Raises:
        UsageError: nothing is held out.
    """
    d = recipe.data
    if d.data == ARITHMETIC:
        count = d.limit or 100_000
        problems = arithmetic(count, max(1, round(d.validation * count)), 1_000, seed=d.split_seed)
        say(f"{count:,} problems to train on, {len(problems.held_out):,} held out")
        return examples_of(problems.train), examples_of(problems.held_out), examples_of(problems.longer)
    data = recipe.texts(say)
    if data.train_pairs is not None:
        raise UsageError(f"family='tidal' writes single texts, and {d.data!r} is read as pairs: name one column")
    return [("", text) for text in data.train], [("", text) for text in data.validation], []


def _tokenizer(recipe: Recipe, examples: Sequence[Example]) -> MixedTokenizer:
    m = recipe.model
    settings: dict[str, Any] = {"blocks": m.blocks, "reverse": m.reverse, "max_block": m.max_block}
    if m.tokenizer == "bpe":
        texts = (prompt + text for prompt, text in examples)
        return MixedTokenizer.train(texts, m.vocab_size, split_digits=m.split_digits, **settings)
    path = Path(m.tokenizer)
    return MixedTokenizer.from_file(path / "tokenizer.json" if path.is_dir() else path, **settings)


class TidalTrainer(BaseTrainer):
    """Trains a :class:`TidalModel` on rows of samples.

    Args:
        law: how a block is hidden, for a model that fills it in any order.
        others: see :class:`BaseTrainer`; the datasets are :class:`TidalDataset`.
    """

    def __init__(self, *, law: MaskingProcess, **others: Any) -> None:
        super().__init__(**others)
        self.law = law
        self._sums = torch.zeros(2, dtype=torch.float64)

    def weigh(self, batch: Mapping[str, Tensor], rows: tuple[int, int]) -> Tensor:
        """Written characters; with blocks in any order the hidden ones, or under a bound all that could be hidden."""
        if not self._net.any_order:
            return (batch["target"] >= 0).sum()[None]
        open_BL = batch["character"] > 0
        if self.args.weighting != "maskgit":
            return open_BL.sum()[None]
        hidden = self.law.corrupt(batch["input_ids"], self._net.mask_id, self._noise(), open_BL, rows)
        return hidden.masked_BL.sum()[None]

    def _noise(self) -> torch.Generator:
        return generator(self.args.seed, self.state.global_step, Stream.CORRUPT)

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, Any]:
        weighting: Any = self.args.weighting

        def run(net: TidalModel) -> TokenLosses:
            return block_losses(net, inputs, self.law, self._noise(), part=self.part.rows, weighting=weighting)

        losses: TokenLosses = model(run=run)
        self._sums += torch.tensor([float(losses.hit_N.sum()), len(losses.hit_N)], dtype=torch.float64)
        loss = losses.loss * float(self.part.share_K[0])
        return (loss, losses) if return_outputs else loss

    def since_last_log(self) -> dict[str, float]:
        """Share of characters that were most probable."""
        hits, count = self.over_processes(self._sums).tolist()
        self._sums.zero_()
        return {"accuracy": hits / count} if count else {}

    @staticmethod
    def figures() -> list[str]:
        """Names of what every evaluation reports."""
        return ["generation", "loss", "bits_per_character", "accuracy"]

    def held_out(self, net: TidalModel) -> dict[str, float]:
        """Bits a character, and loss (nats) and accuracy a written id, on the first ``eval_texts`` examples."""
        rows, characters = self.eval_dataset.rows_of(self.args.eval_texts)
        figures = bits_per_character(net, batches(rows), characters, self.law, seed=self.args.seed, device=net.device)
        return {"generation": -figures["bits_per_character"], **figures}
