"""Hypotheses that a corrector is trained on: a decoder's drafts, texts with wrong words, then its own corrections.

Shapes: N rows of the data set, L positions, Z width of the vectors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unmask.core import distributed
from unmask.core.condition import Condition
from unmask.core.errors import CheckpointError
from unmask.core.random import Stream, hashed, uniform
from unmask.data.text import evenly
from unmask.decoding.corrections import corrections, sampled_drafts
from unmask.models.text_model import TextModel

FILE = "drafts.safetensors"
#: temperature and steps of what is written, one of them a text
DRAWS = ((0.0, 8), (0.7, 8), (1.0, 8), (1.0, 4))
#: share of the first hypotheses that are the text itself with wrong words, and how many edits those have at most
EDITED, EDITS = 0.25, 6
#: share of the hypotheses that a further round writes anew
CORRECTED = 0.5
_AT_ONCE = 64


@dataclass
class Drafts:
    """A hypothesis for each row of a data set.

    Attributes:
        ids_NL: int32; padding alone where a row has none.
        vectors_NZ: fp32; of the hypotheses.
        round: how often hypotheses were corrected.
    """

    ids_NL: Tensor
    vectors_NZ: Tensor
    round: int = 0

    def save(self, folder: str | Path) -> None:
        """Write them beside a checkpoint's weights."""
        arrays = {"ids": self.ids_NL, "vectors": self.vectors_NZ}
        save_file(arrays, str(Path(folder) / FILE), metadata={"round": str(self.round)})

    @classmethod
    def load(cls, folder: str | Path) -> Drafts:
        """The drafts saved beside a checkpoint.

        Raises:
            CheckpointError: they are missing or cannot be read.
        """
        try:
            with safe_open(str(Path(folder) / FILE), framework="pt") as file:
                return cls(file.get_tensor("ids"), file.get_tensor("vectors"), int(file.metadata()["round"]))
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise CheckpointError(f"{str(folder)!r} holds no readable {FILE}: a corrector cannot go on") from error


class Drafter:
    """Writes the hypotheses of a data set's rows.

    What is written is a function of the seed, the row, the round and the weights: a run that is resumed writes the
    same again.

    Args:
        model: the corrector with its tokenizer and encoder.
        decoder: writes the first hypotheses.
        dataset: rows of ``input_ids`` and ``latent``.
        rows: how many of them get a hypothesis, spread evenly; 0 for all.
        seed: of the run.
    """

    def __init__(self, model: TextModel, decoder: TextModel, dataset: Any, rows: int, seed: int) -> None:
        self.model, self.decoder, self.dataset, self.seed = model, decoder, dataset, seed
        self.rows = evenly(len(dataset), rows or len(dataset))

    def first(self) -> Drafts:
        """The decoder's drafts at several temperatures and steps; some texts with wrong words instead."""
        pad, width = int(self.model.denoiser.pad_id or 0), self.model.card.length
        drafts = Drafts(
            torch.full((len(self.dataset), width), pad, dtype=torch.int32),
            torch.zeros(len(self.dataset), self.model.encoder.width),
        )
        wrong = uniform(self.seed, torch.tensor(self.rows), Stream.SHUFFLE) < EDITED
        edit = [row for row, yes in zip(self.rows, wrong.tolist(), strict=True) if yes]
        draft = [row for row, yes in zip(self.rows, wrong.tolist(), strict=True) if not yes]
        decoder = self.decoder.denoiser

        def write(rows: list[int], temperature: float, steps: int) -> list[str]:
            cond, named = Condition.of(self._vectors(rows)), torch.tensor(rows)
            ids = sampled_drafts(
                decoder, cond, seed=self.seed, temperature=temperature, steps=steps, row_ids_B=named,
            )  # fmt: skip
            return self.decoder.decode(ids[:, 0])

        self._put(drafts, edit, lambda rows, *_: self._edited(rows), 0)
        self._put(drafts, draft, write, 0)
        return drafts

    def next(self, drafts: Drafts, net: Any) -> Drafts:
        """The same with some of them corrected by the corrector as it is now."""
        made = Drafts(drafts.ids_NL.clone(), drafts.vectors_NZ.clone(), drafts.round + 1)
        held = [row for row in self.rows if bool((drafts.ids_NL[row] != self.model.denoiser.pad_id).any())]
        chosen = uniform(self.seed, torch.tensor(held), made.round, Stream.SHUFFLE) < CORRECTED
        rows = [row for row, yes in zip(held, chosen.tolist(), strict=True) if yes]

        def write(rows: list[int], temperature: float, steps: int) -> list[str]:
            told = (self._vectors(rows), drafts.vectors_NZ[rows], drafts.ids_NL[rows].long())
            z, z_h, ids = (x.to(self.model.device) for x in told)
            found = corrections(
                net, z, z_h, ids, seed=self.seed + made.round, temperature=temperature, steps=steps,
                row_ids_B=torch.tensor(rows),
            )  # fmt: skip
            return self.model.decode(found[:, 0])

        self._put(made, rows, write, made.round)
        return made

    def _put(
        self, drafts: Drafts, rows: list[int], write: Callable[[list[int], float, int], list[str]], round: int
    ) -> None:
        """Write texts for rows, encode them again and enter them; the processes of a launch share the work."""
        part = distributed.split_between_processes(len(rows))
        mine, texts, placed = rows[part.start : part.stop], [], []
        for which, some in self._by_draw(mine, round):
            for start in range(0, len(some), _AT_ONCE):
                batch = some[start : start + _AT_ONCE]
                texts += write(batch, *DRAWS[which])
                placed += batch
        texts, placed = distributed.gather_object(texts), distributed.gather_object(placed)
        at = [i for i, text in enumerate(texts) if text.strip()]
        if not at:
            return
        # the vector is of the text as the corrector sees it: what does not fit the canvas is cut
        ids_NL = self.model.tokenize([texts[i] for i in at])
        rows = [placed[i] for i in at]
        drafts.ids_NL[rows] = ids_NL.cpu().int()
        drafts.vectors_NZ[rows] = self.model.encode(self.model.decode(ids_NL)).cpu()

    def _by_draw(self, rows: list[int], round: int) -> Iterator[tuple[int, list[int]]]:
        drawn = (hashed(self.seed, torch.tensor(rows), round, Stream.ORDER) % len(DRAWS)).tolist() if rows else []
        for which in range(len(DRAWS)):
            yield which, [row for row, one in zip(rows, drawn, strict=True) if one == which]

    def _vectors(self, rows: Sequence[int]) -> Tensor:
        items = self.dataset.__getitems__(list(rows))
        return torch.stack([item["latent"] for item in items]).to(self.model.device)

    def _edited(self, rows: Sequence[int]) -> list[str]:
        names = [int(hashed(self.seed, row, Stream.CORRUPT)) for row in rows]
        others = [name % len(self.dataset) for name in names]
        texts = self.model.decode(torch.stack([self.dataset[row]["input_ids"] for row in (*rows, *others)]))
        pairs = zip(texts[: len(rows)], texts[len(rows) :], names, strict=True)
        return [edited(text, other, random.Random(name)) for text, other, name in pairs]


def edited(text: str, other: str, rng: random.Random, most: int = EDITS) -> str:
    """A text with up to ``most`` words dropped, moved, or added and replaced from another text; perhaps with none."""
    words, strange = text.split(), other.split() or ["the"]
    for _ in range(rng.randint(0, most)):
        at, how = rng.randrange(len(words) + 1), rng.choice(("drop", "add", "replace", "move"))
        if how == "add" or at == len(words):
            words.insert(at, rng.choice(strange))
        elif how == "drop" and len(words) > 1:
            del words[at]
        elif how == "replace":
            words[at] = rng.choice(strange)
        else:
            words.insert(rng.randrange(len(words)), words.pop(at))
    return " ".join(words)
