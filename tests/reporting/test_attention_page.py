"""The page of attention weights: a cell for each weight, names as text."""

import re
import xml.etree.ElementTree as ET
from html import unescape

import pytest
import torch

from unmask.core.errors import UsageError
from unmask.core.render import save_page
from unmask.data.tidal.mixed_tokenizer import BOB, MixedTokenizer
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import config_for
from unmask.reporting.attention import attention_page, attention_svg

TOKENIZER = MixedTokenizer.train(["1 + 2 = 3", "40 - 9 = 31", "7 - 9 = -2"] * 4, 270, blocks="number", max_block=6)


def test_attention_page_shows_every_head(tmp_path):
    torch.manual_seed(0)
    net = TidalModel(config_for(TOKENIZER, writes="blocks", attention="tidal", dim=32, layers=2, heads=2, ffn_dim=32))
    ids = TOKENIZER.encode("40 - 9 =") + TOKENIZER.encode_block(" 31<&>")
    weights = net.eval().attention_weights(torch.tensor([ids]))[:, 0]
    names = [TOKENIZER.name(i) for i in ids]
    start = ids.index(BOB)
    page = save_page(tmp_path / "a.html", attention_page(weights, names, block_from=start)).read_text("utf-8")
    figures = re.findall(r"<svg.*?</svg>", page)
    assert len(figures) == 4
    root = ET.fromstring(figures[3])
    cells = [e for e in root.iter() if e.tag.endswith("rect")]
    # a cell for each weight: tokens see tokens, the block sees the tokens and its own past
    n, m = start, len(ids) - start
    assert len(cells) == n * n + m * n + m * (m + 1) // 2
    shown = {e[0].text: float(e.get("fill-opacity")) for e in cells}
    want = weights[1, 1, start + 1, start]
    assert shown[f"{names[start + 1]} looks at <bob>: {want:.3f}"] == pytest.approx(float(want), abs=6e-4)
    assert f"{float(weights[0, 0, start:, start:].sum(-1).mean()):.0%} of the block's attention" in unescape(page)
    with pytest.raises(UsageError, match="do not fit"):
        attention_svg(weights[0, 0], names[1:])
