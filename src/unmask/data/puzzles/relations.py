"""Which positions of a puzzle belong together, as boolean stacks [R, L, L] for relation-aware denoisers.

Entry [r, i, j] says that position i stands in relation r to position j. They tell of places and clues, never of
hidden values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.data.puzzles.sudoku.layout import Layout

SUDOKU = ("same row", "same column", "same box")
ZEBRA = ("same attribute", "same house", "same clue", "clue about attribute", "clue about house", "same item")
INCIDENCE = ("reads latent", "is read by", "read together")


def sudoku_relations(layout: Layout) -> Tensor:
    """[3, C, C]: same row, same column, same box; a cell is not related to itself."""
    unit_3C = torch.from_numpy(layout.unit_of)
    return (unit_3C[:, :, None] == unit_3C[:, None, :]) & ~torch.eye(layout.cells, dtype=torch.bool)


def incidence_relations(incidence_PN: Tensor) -> Tensor:
    """[3, N + P, N + P] for N latents followed by P observations.

    The relations are: an observation reads a latent, a latent is read by an observation, two latents are read by the
    same observation.

    Args:
        incidence_PN: True where observation p depends on latent n.
    """
    observed, latents = incidence_PN.shape
    out = torch.zeros(3, latents + observed, latents + observed, dtype=torch.bool)
    out[0, latents:, :latents] = incidence_PN
    out[1, :latents, latents:] = incidence_PN.T
    together = incidence_PN.T.float() @ incidence_PN.float() > 0
    out[2, :latents, :latents] = together & ~torch.eye(latents, dtype=torch.bool)
    return out


def zebra_relations(attribute_BL: Tensor, house_BL: Tensor, clue_BL: Tensor, item_BL: Tensor) -> Tensor:
    """[B, 6, L, L] from what is known of each position; -1 where a property does not apply.

    Args:
        attribute_BL: the attribute of an answer cell, or of the item that a clue token names.
        house_BL: the house of an answer cell, or the house that a clue token names.
        clue_BL: the number of the clue a token belongs to; -1 for answer cells.
        item_BL: the item that a clue token names; -1 for answer cells.
    """

    def same(value_BL: Tensor) -> Tensor:
        return (value_BL[:, :, None] == value_BL[:, None, :]) & (value_BL >= 0)[:, :, None]

    cell_BL = clue_BL < 0
    cells = cell_BL[:, :, None] & cell_BL[:, None, :]
    mixed = cell_BL[:, :, None] ^ cell_BL[:, None, :]
    attribute, house = same(attribute_BL), same(house_BL)
    out = torch.stack(
        [attribute & cells, house & cells, same(clue_BL), attribute & mixed, house & mixed, same(item_BL)], dim=1
    )
    return out & ~torch.eye(attribute_BL.shape[1], dtype=torch.bool, device=out.device)
