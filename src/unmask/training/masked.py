"""What training a masked diffusion model needs before its first step: data, tokenizer, latents, network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import set_seed

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.family import Prepared
from unmask.data.canvas import CanvasDataset, NarrowCollate, collate
from unmask.data.latents import cached_latents
from unmask.data.text import TextData, evenly, load_texts
from unmask.data.tokenized_cache import stored_canvases
from unmask.data.tokenizer import Canvases, from_encoder, train_bpe
from unmask.diffusion.bag_loss import tokens_held
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel, special_ids
from unmask.models.text_model import TextModel, TextModelCard, load_native
from unmask.training.correction import CorrectionTrainer, corrector_of
from unmask.training.drafts import Drafter
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer
from unmask.training.recipe import Recipe


@dataclass(kw_only=True)
class MaskedPrepared(Prepared):
    """A prepared masked diffusion run: canvases, and a new network or one with another's weights.

    Attributes:
        validation_texts: some of what is held out, for the probe; ``validation_sources`` what the encoder reads for it.
        data: the texts and the report on them.
    """

    validation_texts: list[str]
    validation_sources: list[str]
    data: TextData


def prepare(recipe: Recipe, say: Callable[[str], None] = print) -> MaskedPrepared:
    """The prepared run of a recipe: data read, tokenizer trained or loaded, latents encoded (cached), network built.

    Args:
        recipe: from :func:`unmask.training.recipe.parse`.
        say: where one-line reports go.
    """
    m, d, t = recipe.model, recipe.data, recipe.train
    set_seed(t.seed)
    data = load_texts(
        d.data,
        column=_columns(d.column),
        limit=d.limit,
        seed=d.split_seed,
        validation=d.validation,
        crops=d.crops,
        crop_words=(d.crop_min_words, d.crop_max_words),
        near_duplicates=d.near_duplicates,
    )
    say(str(data.report))
    if d.task == "paraphrase" and data.train_pairs is None:
        raise UsageError(
            f"task='paraphrase' needs pairs, and {d.data!r} holds single texts: try 'kjv-web' or two columns"
        )
    if not len(data.validation):
        raise UsageError(f"validation={d.validation} holds out nothing of {d.data!r}: raise it")
    start = load_native(m.start_from) if m.start_from else None
    if start and start.denoiser.conditional != (d.task != "unconditional"):
        has = "a" if start.denoiser.conditional else "no"
        raise UsageError(
            f"task={d.task!r} does not go with start_from={m.start_from!r}: it takes {has} semantic vector"
        )
    lengths = m.length_model if start is None else start.denoiser.models_length
    if start is not None:
        _goes_on(recipe, start)
    encoder = _encoder(recipe, start)
    if encoder is not None:
        say(f"encoding in {encoder.precision}")
    if start:
        tokenizer = start.tokenizer
    else:
        made = _tokenizer(m.tokenizer, m.vocab_size, data.train, encoder) if distributed.is_main_process() else None
        tokenizer = distributed.broadcast_object(made)
    parts = []
    for name, texts in (("train", data.train), ("validation", data.validation)):
        canvases = stored_canvases(
            tokenizer,
            texts,
            m.length,
            over_long=d.over_long,
            fingerprint=f"{name} {data.fingerprint}",
            folder=Path(str(t.output_dir)) / "canvases",
            ends=not lengths,
        )
        say(str(canvases))
        if not len(canvases):
            raise UsageError(f"length={m.length}: no text of {d.data!r} fits; raise it")
        parts.append(canvases)
    sources = [data.train, data.validation]
    if data.train_pairs is not None and data.validation_pairs is not None:
        sources = [data.train_pairs.sources, data.validation_pairs.sources]
    latents: list[Any] = [None, None]
    if encoder is not None:
        latents = [cached_latents(_Rows(s, p.rows), encoder, d.cache_dir) for s, p in zip(sources, parts, strict=True)]
    card = TextModelCard(
        length=m.length,
        encoder=(m.encoder if start is None else start.card.encoder) if encoder is not None else None,
        pooling=m.pooling if start is None else start.card.pooling,
        encoder_identity=encoder.identity if encoder is not None else None,
        task=d.task,
        recipe=recipe.settings(),
    )
    if start is None:
        net = _fresh(recipe, tokenizer, encoder, latents[0], parts[0].lengths)
        if net.bag is not None:
            net.bag.fit_prior(*_shares_of_texts(parts[0], net))
    else:
        net = corrector_of(start.denoiser) if d.task == "correction" else start.denoiser  # type: ignore[arg-type,assignment]
        say(f"weights from {m.start_from}; the recipe's model settings are its own")
        if "bag_weight" in recipe.given and not net.config.bag_of_words:
            raise UsageError(f"bag_weight={t.bag_weight} has no effect: {m.start_from!r} has no bag_of_words")
    shown = [int(parts[1].rows[i]) for i in evenly(len(parts[1]), t.probe_texts)]
    model, train = TextModel(net, tokenizer, card, encoder=encoder), _dataset(parts[0], latents[0])
    trainer: Any = MaskedDiffusionTrainer
    if d.task == "correction":
        train.numbered = True
        decoder = _decoder(recipe, start, encoder)
        trainer = partial(CorrectionTrainer, drafter=Drafter(model, decoder, train, d.drafts, t.seed))
    return MaskedPrepared(
        model=model,
        train=train,
        validation=_dataset(parts[1], latents[1]),
        # a model that draws lengths writes no padding: a batch is as wide as its longest text
        collate=NarrowCollate(net.config.max_position_embeddings) if net.models_length else collate,
        trainer=trainer,
        head=(net.config.dim, net.vocab_size),
        positions=float(np.mean(train.lengths)) if net.models_length else None,
        validation_texts=[data.validation[i] for i in shown],
        validation_sources=[sources[1][i] for i in shown],
        data=data,
    )


def _columns(column: str | None) -> str | list[str] | None:
    return column if column is None or "," not in column else [c.strip() for c in column.split(",")]


class _Rows(Sequence[str]):
    """Some rows of a sequence of texts, read when asked for."""

    def __init__(self, texts: Sequence[str], rows: Any) -> None:
        self.texts, self.rows = texts, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self.texts[int(i)] for i in self.rows[at]]
        return self.texts[int(self.rows[at])]


def _dataset(canvases: Canvases, latents: Any) -> CanvasDataset:
    return CanvasDataset(canvases.ids, canvases.lengths, latents)


def _shares_of_texts(canvases: Canvases, net: MaskedDiffusionModel) -> tuple[Tensor, int]:
    """In which share of the (first 50,000) texts each token stands, and how many texts those are."""
    texts = min(len(canvases), 50_000)
    count_V = torch.zeros(net.vocab_size, dtype=torch.float64)
    for start in range(0, texts, 1024):
        rows = slice(start, min(start + 1024, texts))
        ids, lengths = (torch.from_numpy(np.asarray(x[rows], dtype=np.int64)) for x in (canvases.ids, canvases.lengths))
        count_V += tokens_held(ids, lengths, special_ids(net), net.vocab_size).sum(0)
    return count_V / texts, texts


def _decoder(recipe: Recipe, start: TextModel | None, encoder: Any) -> TextModel:
    """The model that writes a corrector's first drafts, as it stands in its folder.

    Raises:
        UsageError: it takes no semantic vector, or another encoder's.
    """
    folder = recipe.data.drafts_from or recipe.model.start_from
    found = load_native(str(folder), recipe.train.device)
    if start is None or not found.denoiser.conditional or found.card.encoder_identity != start.card.encoder_identity:
        raise UsageError(f"drafts_from={folder!r} must write from the vectors of start_from's encoder")
    return found


def _encoder(recipe: Recipe, start: TextModel | None) -> Any:
    if recipe.model.conditioning == "none" or (start is not None and not start.denoiser.conditional):
        return None
    if start is not None:
        return start.load_encoder(recipe.data.encoder_precision)
    from unmask.models.encoders import SentenceEncoder

    return SentenceEncoder.load(recipe.model.encoder, pooling=recipe.model.pooling, dtype=recipe.data.encoder_precision)


def _tokenizer(name: str, size: int, texts: Sequence[str], encoder: Any) -> Any:
    if name == "bpe":
        return train_bpe(texts, size)
    if name == "encoder":
        if encoder is None:
            raise UsageError("tokenizer='encoder' needs an encoder, and conditioning='none' has none: use 'bpe'")
        return from_encoder(encoder.tokenizer)
    return from_encoder(name)


def _goes_on(recipe: Recipe, start: TextModel) -> None:
    """Refuse what a model that training starts from lays out in another way.

    Raises:
        UsageError: it draws lengths and is not to, or the other way round.
    """
    named, wanted, has = recipe.model.start_from, recipe.model.length_model, start.denoiser.models_length
    if "length_model" in recipe.given and wanted != has:
        raise UsageError(f"length_model={wanted} does not go with start_from={named!r}, which has length_model={has}")
    if has and "pad_weight" in recipe.given:
        raise UsageError(f"pad_weight={recipe.train.pad_weight} has no effect: start_from={named!r} writes no padding")


def _fresh(recipe: Recipe, tokenizer: Any, encoder: Any, latents: Any, lengths: Any) -> MaskedDiffusionModel:
    m = recipe.model
    config = MaskedDiffusionConfig(
        vocab_size=len(tokenizer),
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=m.length,
        dim=m.dim,
        layers=m.layers,
        heads=m.heads,
        ffn_dim=m.ffn_dim,
        loops=m.loops,
        input_injection=m.input_injection,
        deep_supervision=m.deep_supervision,
        gated=m.gated,
        dropout=m.dropout,
        rope=m.rope,
        absolute=m.absolute,
        conditioning=m.conditioning,
        latent_dim=0 if encoder is None else encoder.width,
        latent_tokens=0 if encoder is None else m.latent_tokens,
        bottleneck=0 if encoder is None else m.bottleneck,
        bag_of_words=0 if encoder is None else m.bag_of_words,
        time_embedding=m.time_embedding,
        self_conditioning=m.self_conditioning,
        length_model=m.length_model,
    )
    net = MaskedDiffusionModel(config)
    if net.lengths is not None:
        net.lengths.fit(torch.from_numpy(np.asarray(lengths, np.int64)))
    if net.latent is not None and m.whiten != "none":
        rows = np.asarray(latents[:50_000], dtype=np.float32)
        net.latent.whiten.fit(torch.from_numpy(rows), full=m.whiten == "full")
    if m.embedding_init == "encoder":
        net.init_embeddings(_encoder_embeddings(m.tokenizer, tokenizer, encoder))
    return net


def _encoder_embeddings(kind: str, tokenizer: Any, encoder: Any) -> Tensor:
    """One vector a token id: the encoder's word embedding if the vocabulary is its own, else its spelling encoded."""
    if encoder is None:
        raise UsageError("embedding_init='encoder' needs an encoder, and conditioning='none' has none: use 'random'")
    size = len(tokenizer)
    special = set(tokenizer.all_special_ids)
    if kind == "encoder":
        words = encoder.word_embeddings().float()
        grown = torch.full((size, words.shape[1]), float("nan"))
        grown[: len(words)] = words[:size]
    else:
        spelled = [tokenizer.decode([i]) for i in range(size)]
        grown = torch.from_numpy(np.array(encoder.encode(spelled), dtype=np.float32))
    grown[sorted(special)] = float("nan")
    return grown
