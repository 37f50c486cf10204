"""A corrector model as a search asks it: whole texts from the best hypotheses and what their vectors lack."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unmask.decoding.corrections import corrections
from unmask.search.context import SearchContext
from unmask.search.hypothesis import Hypothesis

#: texts from each hypothesis, how they are drawn, and the most steps of a text
EACH, TEMPERATURE, STEPS = 2, 0.8, 8


class LearnedCorrector:
    """The :class:`unmask.search.corrector.Corrector` that is a denoiser (``corrects``), the search's own."""

    def rows(self, search: SearchContext, best: Sequence[Hypothesis]) -> tuple[list[list[int]], int]:
        """Rows of ids, written whole, from hypotheses whose vectors the verifier gave; and the forwards they took."""
        told = [h for h in best if h.vector_Z is not None]
        if search.z_Z is None or not told:
            return [], 0
        writer = search.writer
        end = [] if writer.exact else [writer.eos]
        ids = [[i for piece in search.tokens(h.units) for i in piece][: writer.longest] + end for h in told]
        width = max(len(row) for row in ids)
        hypothesis_BL = torch.tensor([[*row, *[writer.pad] * (width - len(row))] for row in ids])
        z_h_BZ = torch.stack([torch.as_tensor(h.vector_Z) for h in told]).float()
        found = writer.corrected(
            lambda net, device: corrections(
                net,
                search.z_Z.expand_as(z_h_BZ).to(device),  # type: ignore[union-attr]
                z_h_BZ.to(device),
                hypothesis_BL.to(device),
                EACH,
                seed=search.rng.getrandbits(40),
                temperature=TEMPERATURE,
                steps=STEPS,
            )
        )
        forwards = len(found) * EACH * STEPS
        writer.forwards += forwards
        layout = {writer.pad, writer.eos}
        rows = [[i for i in row if i not in layout] for row in _before_end(found.flatten(0, 1).tolist(), writer.eos)]
        return [row for row in rows if row], forwards


def _before_end(rows: list[list[int]], end: int) -> list[list[int]]:
    return [row[: row.index(end)] if end in row else row for row in rows]
