"""What training a masked diffusion model needs before its first step: data, tokenizer, latents, network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import set_seed

from unmask.core.errors import UsageError
from unmask.core.family import Prepared
from unmask.data.canvas import CanvasDataset, NarrowCollate, collate
from unmask.data.tokenized_cache import Side, both_sides
from unmask.data.tokenizer import tokenizer_for
from unmask.diffusion.bag_loss import tokens_held
from unmask.models.denoiser import MaskedDiffusionModel, special_ids
from unmask.models.fresh import fresh
from unmask.models.text_model import TextModel, TextModelCard, load_native
from unmask.training.correction import CorrectionTrainer, corrector_of
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer
from unmask.training.recipe import Recipe

#: texts that the prior of a bag of words is counted in, at most
COUNTED = 50_000


@dataclass(kw_only=True)
class MaskedPrepared(Prepared):
    """A prepared masked diffusion run: canvases, and a new network or one with another's weights.

    Attributes:
        held_out: rows with their texts, for the probe.
        decoder: writes a corrector's first drafts.
    """

    held_out: Side
    decoder: TextModel | None = None


def prepare(recipe: Recipe, say: Callable[[str], None] = print) -> MaskedPrepared:
    """The prepared run of a recipe: data read, tokenizer trained or loaded, latents encoded (cached), network built.

    Args:
        recipe: from :func:`unmask.training.recipe.parse`.
        say: where one-line reports go.

    Raises:
        UsageError, CheckpointError: data, a start or settings that do not fit.
    """
    m, d, t = recipe.model, recipe.data, recipe.train
    set_seed(t.seed)
    data = recipe.texts(say)
    if d.task == "paraphrase" and data.train_pairs is None:
        raise UsageError(
            f"task='paraphrase' needs pairs, and {d.data!r} holds single texts: try 'kjv-web' or two columns"
        )
    start, decoder = _start(recipe)
    said = start.card if start else TextModelCard(m.length, m.encoder if m.conditioning != "none" else None, m.pooling)
    card = replace(said, length=m.length, task=d.task, recipe=recipe.settings(), scores={}, checksums={})
    encoder: Any = None
    if card.encoder is not None:
        encoder = card.load_encoder(card.recipe["encoder_precision"])
        card.encoder_identity = encoder.identity
        say(f"encoding in {encoder.precision}")
    tokenizer = start.tokenizer if start else tokenizer_for(m.tokenizer, m.vocab_size, data.train, encoder)
    train, held_out = both_sides(
        data,
        tokenizer,
        encoder,
        m.length,
        over_long=d.over_long,
        ends=not (start.denoiser.models_length if start else m.length_model),
        folder=Path(str(t.output_dir)) / "canvases",
        cache_dir=d.cache_dir,
        say=say,
    )
    if start is None:
        net = fresh(m, tokenizer, encoder, train.rows)
        if net.bag is not None:
            net.bag.fit_prior(*_shares_of_texts(train.rows, net))
    else:
        net = corrector_of(start.denoiser) if decoder else start.denoiser  # type: ignore[arg-type,assignment]
        say(f"weights from {m.start_from}; the recipe's model settings are its own")
    model = TextModel(net, tokenizer, card, encoder=encoder)
    trainer: Any = MaskedDiffusionTrainer
    if decoder is not None:
        train.rows.numbered = True
        trainer = partial(CorrectionTrainer, written_by=model, decoder=decoder, drafts=d.drafts)
    return MaskedPrepared(
        recipe=recipe,
        model=model,
        train=train.rows,
        validation=held_out.rows,
        # a model that draws lengths writes no padding: a batch is as wide as its longest text
        collate=NarrowCollate(net.config.max_position_embeddings) if net.models_length else collate,
        trainer=trainer,
        head=(net.config.dim, net.vocab_size),
        positions=float(np.mean(train.rows.lengths)) if net.models_length else None,
        held_out=held_out,
        decoder=decoder,
    )


def _start(recipe: Recipe) -> tuple[TextModel | None, TextModel | None]:
    """The model that a recipe starts from, and the one that writes a corrector's first drafts.

    Raises:
        UsageError: settings that do not go with it, or a decoder without vectors or with another encoder's.
    """
    named, d = recipe.model.start_from, recipe.data
    if not named:
        return None, None
    start = load_native(named)
    net: Any = start.denoiser
    if net.conditional != (d.task != "unconditional"):
        has = "a" if net.conditional else "no"
        raise UsageError(f"task={d.task!r} does not go with start_from={named!r}: it takes {has} semantic vector")
    wanted, draws = recipe.model.length_model, net.models_length
    if "length_model" in recipe.given and wanted != draws:
        raise UsageError(f"length_model={wanted} does not go with start_from={named!r}, which has length_model={draws}")
    if draws and "pad_weight" in recipe.given:
        raise UsageError(f"pad_weight={recipe.train.pad_weight} has no effect: start_from={named!r} writes no padding")
    if "bag_weight" in recipe.given and not net.config.bag_of_words:
        raise UsageError(f"bag_weight={recipe.train.bag_weight} has no effect: {named!r} has no bag_of_words")
    if d.task != "correction":
        return start, None
    folder = d.drafts_from or named
    decoder = load_native(folder, recipe.train.device)
    if not decoder.denoiser.conditional or decoder.card.encoder_identity != start.card.encoder_identity:
        raise UsageError(f"drafts_from={folder!r} must write from the vectors of start_from's encoder")
    return start, decoder


def _shares_of_texts(rows: CanvasDataset, net: MaskedDiffusionModel) -> tuple[Tensor, int]:
    """In which share of the texts each token stands, and how many texts those are."""
    texts = min(len(rows), COUNTED)
    count_V = torch.zeros(net.vocab_size, dtype=torch.float64)
    for start in range(0, texts, 1024):
        part = slice(start, min(start + 1024, texts))
        ids, lengths = (torch.from_numpy(np.asarray(x[part], dtype=np.int64)) for x in (rows.ids, rows.lengths))
        count_V += tokens_held(ids, lengths, special_ids(net), net.vocab_size).sum(0)
    return count_V / texts, texts
