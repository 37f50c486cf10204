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
ZEBRA_ITEMS = (
    "same attribute",
    "same house",
    "other house",
    "just left of",
    "just right of",
    "left of",
    "right of",
    "beside",
    "one between",
)
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


#: relation of x to y, and of y to x, by kind of clue (see unmask.data.puzzles.zebra.rules.KINDS); kind 0 says nothing
_SAID, _BACK = (-1, 1, 2, 3, 5, 7, 8), (-1, 1, 2, 4, 6, 7, 8)


def clue_relations(attribute_BC: Tensor, clue_BK3: Tensor) -> Tensor:
    """[B, 9, C, C] between zebra items.

    Args:
        attribute_BC: the attribute of each item, -1 where there is none.
        clue_BK3: (kind, x, y) of each clue, x and y being positions; a kind below 1 fills unused slots.
    """
    items, device = attribute_BC.shape[1], attribute_BC.device
    out = torch.zeros(len(attribute_BC), len(ZEBRA_ITEMS), items, items, dtype=torch.bool, device=device)
    out[:, 0] = (attribute_BC[:, :, None] == attribute_BC[:, None, :]) & (attribute_BC >= 0)[:, :, None]
    kind_BK, x_BK, y_BK = clue_BK3.unbind(-1)
    legal_BK = (kind_BK > 0) & (kind_BK < len(_SAID)) & (clue_BK3[..., 1:] >= 0).all(-1)
    legal_BK &= (clue_BK3[..., 1:] < items).all(-1)
    row_K, at_K = legal_BK.nonzero(as_tuple=True)
    kind_K, x_K, y_K = (part[row_K, at_K] for part in (kind_BK, x_BK, y_BK))
    out[row_K, torch.tensor(_SAID, device=device)[kind_K], x_K, y_K] = True
    out[row_K, torch.tensor(_BACK, device=device)[kind_K], y_K, x_K] = True
    return out & ~torch.eye(items, dtype=torch.bool, device=device)
