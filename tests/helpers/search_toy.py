"""A small world for searches: an encoder that adds up words and pairs of them, and an untrained denoiser."""

import random
from functools import cache

import numpy as np
import torch

from unmask.data.tokenizer import train_bpe
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.denoiser_config import MaskedDiffusionConfig
from unmask.models.text_model import TextModel, TextModelCard
from unmask.search.lexicon import Lexicon
from unmask.search.units import split_units

WIDTH = 24
NAMES = "Anna Boris Clara David Emma Felix".split()
VERBS = "sees likes calls paints follows".split()
THINGS = "the river, the old bridge, a lantern, the harbour, a grey sparrow, the garden".split(", ")


def texts(count=400, seed=0):
    """Sentences of a small grammar."""
    draw = random.Random(seed)
    found = {f"{draw.choice(NAMES)} {draw.choice(VERBS)} {draw.choice(THINGS)}." for _ in range(4 * count)}
    return sorted(found)[:count]


class ToyEncoder:
    """Vectors of words and of pairs of neighbours, added and normalised; capitals are not read."""

    width, identity = WIDTH, "toy"

    def __init__(self):
        self.encoded = []

    def encode(self, texts, batch_size=64, progress=False):
        self.encoded += list(texts)
        return np.stack([self._vector(text) for text in texts])

    @staticmethod
    def _vector(text):
        units = split_units(text.lower())
        found = sum((_drawn(unit) for unit in units), np.zeros(WIDTH))
        found = found + sum((0.4 * _drawn(f"{a}_{b}") for a, b in zip(units, units[1:], strict=False)), np.zeros(WIDTH))
        return (found / max(np.linalg.norm(found), 1e-9)).astype(np.float32)


@cache
def _drawn(word):
    return np.random.default_rng(int.from_bytes(word.encode(), "little") % 2**63).normal(size=WIDTH)


@cache
def lexicon():
    encoder = ToyEncoder()
    return Lexicon.made(texts(), lambda part: torch.from_numpy(encoder.encode(part)), uncased=True)


@cache
def model(**more):
    """An untrained text model that is conditioned on the toy's vectors."""
    torch.manual_seed(0)
    tokenizer = train_bpe(texts(), 300)
    config = MaskedDiffusionConfig(
        vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, max_position_embeddings=32, dim=16, layers=1, heads=2, ffn_dim=16,
        conditioning="adaln", latent_dim=WIDTH, **more,
    )  # fmt: skip
    net = MaskedDiffusionModel(config).eval()
    return TextModel(
        net, tokenizer, TextModelCard(length=32, encoder="toy", encoder_identity="toy"), encoder=ToyEncoder()
    )
