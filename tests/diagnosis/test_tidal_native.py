"""Tidal models as `unmask diagnose` sees them: healthy ones pass, blocks of one token are named."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

import unmask
from unmask.data.tidal.dataset import TidalDataset, collate
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import State
from unmask.diagnosis.tidal import tidal_subject
from unmask.diffusion.blocks import block_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for


def examples():
    pairs = [(a, b) for a in range(60) for b in range(60)]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    return [(f"{pairs[i][0]} + {pairs[i][1]} =", f" {pairs[i][0] + pairs[i][1]}") for i in order]


TRAIN, HELD = examples()[:3000], examples()[3000:]


@lru_cache(maxsize=8)
@torch.enable_grad()
def trained(attention="tidal", writes="blocks", blocks="number", steps=250):
    torch.manual_seed(0)
    tokenizer = MixedTokenizer.train([a + b for a, b in TRAIN], 300, blocks=blocks, max_block=6)
    settings = dict(attention=attention, writes=writes, positions="learned", max_length=24)
    net = TidalModel(config_for(tokenizer, dim=48, layers=2, heads=4, ffn_dim=96, **settings))
    data = TidalDataset(tokenizer, TRAIN, attention=attention, writes=writes, length=24)
    g, optimizer = torch.Generator().manual_seed(1), torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(steps):
        rows = [data[i] for i in torch.randint(0, len(data), (64,), generator=g).tolist()]
        loss = block_losses(net, collate(rows), MaskingProcess("count"), g).loss
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 30, 2 - 2 * step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return TidalTextModel(net.eval(), tokenizer, TextModelCard(length=24, tokenizer_identity=tokenizer.identity))


KINDS = [
    ("tidal", "blocks"),
    ("causal", "blocks"),
    ("masked", "blocks"),
    ("causal", "characters"),
    ("causal", "tokens"),
]


@pytest.mark.parametrize(("attention", "writes"), KINDS)
def test_healthy_model_has_no_fault(attention, writes):
    verdict = diagnose(tidal_subject(trained(attention, writes), HELD, TRAIN))
    assert verdict.status in ("pass", "warn"), [(c.finding.check, c.finding.measured) for c in verdict.causes]
    ran = {f.check for f in verdict.findings if f.status != "not_run"}
    assert {"train_inference", "trained_where_sampled", "vocabulary", "target_alignment", "future_invariance"} <= ran
    assert ("cache" in ran) == (attention != "masked") and ("whole_blocks" in ran) == (
        attention != "masked" and writes == "blocks"
    )


def test_blocks_of_one_token_are_named_first():
    verdict = unmask.diagnose(trained(blocks="tokens:1"), HELD)
    assert verdict.status == "fail" and verdict.causes[0].finding.check == "whole_blocks", verdict.headline


@pytest.mark.parametrize(("attention", "writes"), KINDS[:2] + KINDS[3:])
@torch.no_grad()
def test_rows_are_asked_as_training_and_writing_ask(attention, writes):
    """The same numbers from training's view, from the plain forward and from the cache."""
    subject = tidal_subject(trained(attention, writes), HELD)
    batch = subject.data(8)
    view = subject.training_view(batch, 0)
    logp = subject.predict(State(view.x_BL, view.scored_BL, batch.cond)).log_softmax(-1)
    ce = -logp.gather(1, batch.ids_BL[view.scored_BL][:, None])[:, 0]
    assert torch.allclose(ce.double(), view.ce_N, atol=1e-4)
    run = subject.cached(batch.ids_BL[:, :5], 2)
    asked = torch.zeros_like(batch.ids_BL[:, :5], dtype=torch.bool)
    asked[:, 2:] = True
    plain = subject.predict(State(batch.ids_BL[:, :5], asked, None))
    assert torch.allclose(plain, run.logits_NV, atol=1e-4)
    assert run.position_T.tolist() == list(range(2, asked.shape[1]))
