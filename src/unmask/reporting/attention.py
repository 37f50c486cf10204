"""Who looks at whom: attention weights as one page of SVG, a square for each layer and head.

Rows are queries, columns are keys; a line stands where the tokens end and the block begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.reporting.page import Figure, Gallery, Section, render_page

_CELL = 14
_MARGIN = 78


def attention_svg(weights_LL: Tensor, names: Sequence[str], block_from: int | None = None) -> Markup:
    """One head as SVG: the darker a cell, the more its query (row) looks at its key (column).

    Args:
        weights_LL: rows that sum to one.
        names: what the positions hold.
        block_from: first position of the block; a line is drawn before it.

    Raises:
        UsageError: names that do not fit the weights.
    """
    size = len(names)
    if tuple(weights_LL.shape) != (size, size):
        raise UsageError(f"{size} names do not fit weights of shape {tuple(weights_LL.shape)}")
    side = size * _CELL
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + _MARGIN} {side + _MARGIN}" '
        f'width="{side + _MARGIN}" role="img" fill="var(--ink)" font-size="10" font-family="ui-monospace, monospace">'
    ]
    for i, name in enumerate(names):
        middle = _MARGIN + i * _CELL + _CELL * 0.7
        parts.append(f'<text x="{_MARGIN - 4}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<text transform="translate({middle:.1f} {_MARGIN - 4}) rotate(-60)" text-anchor="start">'
            f"{escape(name)}</text>"
        )
    parts.append('<g fill="var(--series-1)">')
    for i, row in enumerate(weights_LL.tolist()):
        for j, weight in enumerate(row):
            if weight > 0:
                parts.append(
                    f'<rect x="{_MARGIN + j * _CELL}" y="{_MARGIN + i * _CELL}" width="{_CELL}" height="{_CELL}" '
                    f'fill-opacity="{weight:.3f}"><title>{escape(names[i])} looks at {escape(names[j])}: '
                    f"{weight:.3f}</title></rect>"
                )
    parts.append("</g>")
    if block_from is not None:
        at, end = _MARGIN + block_from * _CELL, _MARGIN + side
        parts.append(f'<path d="M{at} {_MARGIN}V{end}M{_MARGIN} {at}H{end}" stroke="var(--series-2)"/>')
    return Markup("".join([*parts, "</svg>"]))  # every name in it was escaped


def attention_page(
    weights_KHLL: Tensor, names: Sequence[str], *, block_from: int | None = None, title: str = "Who looks at whom"
) -> str:
    """A page with every layer and head, and how much of a block's attention stays inside the block.

    Args:
        weights_KHLL: weights of K layers and H heads, as :meth:`TidalModel.attention_weights` gives them for one row.
        names, block_from: see :func:`attention_svg`.
        title: heading.
    """
    sections = []
    for k, layer in enumerate(weights_KHLL):
        figures = []
        for h, head in enumerate(layer):
            inside = ""
            if block_from is not None:
                share = float(head[block_from:, block_from:].sum(-1).mean())
                inside = f": {share:.0%} of the block's attention is on the block"
            figures.append(Figure(attention_svg(head, names, block_from), f"layer {k}, head {h}{inside}"))
        sections.append(Section(f"Layer {k}", [Gallery(figures)]))
    how = (
        "A row is a position that looks, a column one that is looked at; the line is where the block begins. "
        "Hover over a cell for its weight."
    )
    return render_page(title, sections, subtitle=how)
