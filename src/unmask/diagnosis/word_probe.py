"""What a semantic vector holds of a text's words, read by a linear probe: what the model could have used.

Shapes: N training texts, M texts asked for, Z latent, W words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.native import TRAIN_VECTORS
from unmask.diagnosis.statistics import Mean, plain_mean
from unmask.diagnosis.subject import NotProvided
from unmask.metrics.words import word_tokens

#: training texts a written text that the probe is fitted on, as many as the writing's yardstick asks for
TEXTS_EACH = 8


@dataclass(frozen=True)
class Held:
    """Share of a text's different words that are found.

    Attributes:
        probe: among as many that a linear probe of its vector finds most probable.
        model: in what the model writes from it.
        unused: the first minus the second, text by text.
    """

    probe: Mean
    model: Mean
    unused: Mean


def word_probe(context: CheckContext) -> Held:
    """Fit the probe on training texts and read the vectors that were written from.

    Raises:
        NotProvided: there are no vectors, or too few training texts with them.
    """
    asked = context.prompts
    if asked.cond is None:
        raise NotProvided("vectors to write from")
    train = context.subject.data(min(TEXTS_EACH * len(asked), TRAIN_VECTORS), "train")
    if train.cond is None or len(train) < 32:
        raise NotProvided("32 training texts with their vectors")
    known = [set(word_tokens(t)) for t in _spelled(context, train.texts, train.ids_BL)]
    wanted = [set(word_tokens(t)) for t in _spelled(context, asked.texts, asked.ids_BL)]
    written = [set(word_tokens(t)) for t in _spelled(context, None, context.samples().ids_BL)]
    often = Counter(w for text in known for w in text)
    vocabulary = sorted(w for w, times in often.items() if times > 1)
    has_NW = np.array([[w in text for w in vocabulary] for text in known], dtype=np.float64)
    if not has_NW.size:
        raise NotProvided("words that two training texts share")
    score_MW = ridge(train.cond.latent_BZ.double().cpu().numpy(), has_NW, asked.cond.latent_BZ.double().cpu().numpy())
    found = []
    for text, score_W, own in zip(wanted, score_MW, written, strict=True):
        if text:
            best = {vocabulary[i] for i in np.argsort(-score_W)[: len(text)]}
            found.append((len(best & text) / len(text), len(own & text) / len(text)))
    both_M2 = torch.tensor(found, dtype=torch.float64).view(-1, 2)
    return Held(plain_mean(both_M2[:, 0]), plain_mean(both_M2[:, 1]), plain_mean(both_M2[:, 0] - both_M2[:, 1]))


def _spelled(context: CheckContext, texts: tuple[str, ...] | None, ids_BL: torch.Tensor) -> list[str]:
    return list(texts) if texts is not None else context.spelled(context.sequences(ids_BL))


def ridge(z_NZ: NDArray[np.float64], y_NW: NDArray[np.float64], new_MZ: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge predictions [M, W] at new points; the penalty with the least error when one text is left out (closed form).

    The closed form is that of Golub, Heath & Wahba 1979 for generalised cross-validation.
    """
    centre_Z, mean_W = z_NZ.mean(0), y_NW.mean(0)
    left, size, right = np.linalg.svd(z_NZ - centre_Z, full_matrices=False)
    seen_KW = left.T @ (y_NW - mean_W)
    whole = float(((y_NW - mean_W) ** 2).sum())
    energy_K = (seen_KW**2).sum(1)

    def error(penalty: float) -> float:
        kept_K = size**2 / (size**2 + penalty)
        residual = whole - float((energy_K * (1 - (1 - kept_K) ** 2)).sum())
        return residual / (1 - (1 + float(kept_K.sum())) / len(z_NZ)) ** 2

    penalties = [float((size**2).mean()) * 10.0**power for power in range(-3, 4)]
    penalty = min(penalties, key=error)
    weight_ZW = right.T @ (seen_KW * (size / (size**2 + penalty))[:, None])
    predicted: NDArray[np.float64] = (new_MZ - centre_Z) @ weight_ZW + mean_W
    return predicted
