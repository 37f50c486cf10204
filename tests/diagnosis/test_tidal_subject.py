"""A TidalTransformer as a subject of one's own, and the faults of the published one, planted one by one."""

from __future__ import annotations

import tempfile
from functools import lru_cache

import pytest
import torch
from torch.nn import functional as F

from unmask.core.condition import Condition
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical
from unmask.data.tidal.mixed_tokenizer import BOB, EOS, FIRST_TOKEN, PAD, MixedTokenizer
from unmask.data.tidal.samples import Segment, layout
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject, TrainingView
from unmask.models import tidal
from unmask.models.tidal import TidalModel
from unmask.models.tidal_attention import Places
from unmask.models.tidal_text import config_for

#: columns of a row: <bob>, the bytes of the answer last first, <eos>, padding
WIDTH, ROOM = 12, 12
PLAIN = str.maketrans("０１２３４５６７８９", "0123456789")
DIGITS = str.maketrans("0123456789", "０１２３４５６７８９")  # three bytes each: an order lost in decoding shows


def problems():
    pairs = [(a, b) for a in range(60) for b in range(60)]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    return [(f"{pairs[i][0]} + {pairs[i][1]} =", f" {pairs[i][0] + pairs[i][1]}".translate(DIGITS)) for i in order]


TOKENIZER = MixedTokenizer.train([a + b for a, b in problems()], 300, blocks="number", max_block=ROOM)


class BlockText:
    """The block's own reading and spelling, as the subject uses them to go from ids to text."""

    def __len__(self):
        return FIRST_TOKEN

    def encode(self, text, add_special_tokens=False):
        return TOKENIZER.encode_block(text)[1:-1]

    def decode(self, ids):
        return TOKENIZER.decode_block(ids)


def rows(examples):
    """Rows of blocks; the prefix of a row is its condition: its token ids, -1 behind them."""
    ids = torch.full((len(examples), WIDTH), PAD)
    prefix = torch.full((len(examples), ROOM), -1.0)
    for b, (prompt, answer) in enumerate(examples):
        block, tokens = TOKENIZER.encode_block(answer, last=True), TOKENIZER.encode(prompt)
        ids[b, : len(block)] = torch.tensor(block)
        prefix[b, : len(tokens)] = torch.tensor(tokens).float()
    return Batch(ids, Condition.of(prefix), texts=tuple(answer for _, answer in examples))


KNOWN = rows(problems()[:3000]), rows(problems()[3000:])


class TidalSubject(Subject):
    """What a user writes: the four methods, and the weights."""

    name, kind, conditional = "tidal", "causal", True
    vocab_size, mask_id, pad_id, eos_id = FIRST_TOKEN, None, PAD, EOS

    def __init__(self, net):
        self.net, self.tokenizer = net.eval(), BlockText()
        self.known = KNOWN

    def data(self, n, split="held_out"):
        return self.known[split == "held_out"].rows(0, n)

    def outputs(self, x_BL, cond):
        """Hidden states of the rows: [B, L, D], the prefix left out."""
        prefixes: list[list[int]] = [[] for _ in x_BL]
        if cond is not None:
            for b in cond.present_B.nonzero()[:, 0].tolist():
                prefixes[b] = [int(i) for i in cond.latent_BZ[b].tolist() if i >= 0]
        batch = layout([[Segment(p, [(len(p), row)])] for p, row in zip(prefixes, x_BL.tolist(), strict=True)])
        h_BLD, _ = self.net.read(batch["input_ids"], self.places(batch))
        return torch.stack([h[len(p) : len(p) + x_BL.shape[1]] for h, p in zip(h_BLD, prefixes, strict=True)])

    def places(self, batch):
        return Places(batch["segment"], batch["token"], batch["character"])

    def scored(self, ids_BL):
        """Columns whose loss is taken: everything behind <bob>, the end included."""
        return (ids_BL != PAD) & (torch.arange(ids_BL.shape[1]) > 0)

    def asked(self, ids_BL):
        """What each column is to learn."""
        return ids_BL

    def training_view(self, batch, seed):
        at_BL = self.scored(batch.ids_BL)
        h_BLD = self.outputs(batch.ids_BL, batch.cond)
        logits_NV = self.net.head(h_BLD.roll(1, 1)[at_BL])
        ce_N = F.cross_entropy(logits_NV, batch.targets[at_BL], reduction="none")
        return TrainingView(batch.ids_BL, at_BL, ce_N, float(ce_N.mean()), logits_NV=logits_NV, cond=batch.cond)

    def predict(self, state):
        return self.net.head(self.outputs(state.x_BL, state.cond).roll(1, 1)[state.at_BL])

    def generate(self, batch, seed, **settings):
        x_BL = torch.full_like(batch.ids_BL, PAD)
        x_BL[:, 0] = BOB
        done_B, steps, row_B = torch.zeros(len(x_BL), dtype=torch.bool), [], torch.arange(len(x_BL))
        for place in range(1, WIDTH):
            at_BL = (torch.arange(WIDTH) == place).expand_as(x_BL)
            # what is not written yet is not there: the row ends at the place that is drawn
            logits_BV = self.predict(State(x_BL[:, : place + 1], at_BL[:, : place + 1], batch.cond))
            drawn_BL = at_BL & ~done_B[:, None]
            steps.append(Step(x_BL.clone(), drawn_BL))
            ids_B = categorical(logits_BV, uniform(seed, row_B, place, Stream.VALUE))
            x_BL[:, place] = torch.where(done_B, PAD, ids_B)
            done_B |= ids_B == EOS
        return Generated(x_BL, tuple(steps))

    def draw(self, logits_NV, seed):
        return categorical(logits_NV, uniform(seed, torch.arange(len(logits_NV)), Stream.VALUE))

    def weights(self):
        return dict(self.net.named_parameters())

    def loading_report(self):
        return {"missing": [], "unexpected": []}

    def reloaded(self):
        with tempfile.TemporaryDirectory() as folder:
            self.net.save_pretrained(folder)
            return dict(TidalModel.from_pretrained(folder).named_parameters())


def trained(subject_class=TidalSubject, steps=250, **network):
    """The subject's own loss, minimised: what it does not score it does not learn."""
    torch.manual_seed(0)
    settings = dict(positions="learned", dim=48, layers=2, heads=4, ffn_dim=96)
    net = TidalModel(config_for(TOKENIZER, **{**settings, **network}))
    subject = subject_class(net)
    net.train()
    batch, g = subject.data(3000, "train"), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(steps):
        pick = torch.randint(0, 3000, (64,), generator=g)
        part = Batch(batch.ids_BL[pick], batch.cond[pick])
        at_BL = subject.scored(part.ids_BL)
        logits_NV = net.head(subject.outputs(part.ids_BL, part.cond).roll(1, 1)[at_BL])
        loss = F.cross_entropy(logits_NV, subject.asked(part.ids_BL)[at_BL])
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 30, 2 - 2 * step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    return subject


@lru_cache(maxsize=1)
def healthy():
    return trained()


def first_cause(subject):
    verdict = diagnose(subject)
    assert verdict.status == "fail", verdict.headline
    return verdict.causes[0].finding.check


def test_healthy_subject_has_no_fault():
    verdict = diagnose(healthy())
    assert verdict.status in ("pass", "warn"), [(c.finding.check, c.finding.measured) for c in verdict.causes]


class FirstNeverTrained(TidalSubject):
    """Loss from start_pos on leaves out the first character, which is predicted at start_pos - 1; its logits are filled
    with zeros, so it is drawn uniformly."""

    def scored(self, ids_BL):
        return super().scored(ids_BL) & (torch.arange(ids_BL.shape[1]) > 1)

    def predict(self, state):
        first_N = state.at_BL.nonzero()[:, 1] == 1
        return super().predict(state).masked_fill(first_N[:, None], 0.0)


class StartNotMoved(TidalSubject):
    """Rows were cut from the left and start_pos was not: scoring begins three characters late."""

    def scored(self, ids_BL):
        return super().scored(ids_BL) & (torch.arange(ids_BL.shape[1]) > 3)


class LengthPositions(TidalSubject):
    """Offsets are divided by what the row holds, and it holds less while it is written than in training."""

    def places(self, batch):
        at = super().places(batch)
        last_B1 = at.character.max(1, keepdim=True).values
        stretched = (at.character * (WIDTH - 1) / last_B1.clamp(min=1)).round().long()
        return Places(at.segment, at.token, torch.where(at.character >= 0, stretched, at.character))


class OffByOne(TidalSubject):
    """Targets are shifted twice: each place learns the character after the next."""

    def asked(self, ids_BL):
        return torch.cat([ids_BL[:, 1:], torch.full_like(ids_BL[:, :1], PAD)], 1)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (FirstNeverTrained, "trained_where_sampled"),
        (StartNotMoved, "trained_where_sampled"),
        (OffByOne, "target_alignment"),
        # what was drawn looks warm too: it was drawn from answers to shorter rows
        (LengthPositions, "future_invariance"),
    ],
)
def test_fault_of_training_is_named_first(fault, check):
    assert first_cause(trained(fault)) == check


class DecodedTooEarly(BlockText):
    """Bytes are decoded as they were written and the text is turned round: nothing but ASCII survives."""

    def decode(self, ids):
        data = bytes(i - 5 for i in ids if 5 <= i < FIRST_TOKEN)
        return data.decode("utf-8", errors="replace")[::-1]


class AnotherMapping(BlockText):
    """A second tokenizer, in which every character has another id."""

    def decode(self, ids):
        return super().decode([5 + (i - 5 + 7) % 256 for i in ids if i >= 5])

    def encode(self, text, add_special_tokens=False):
        return [5 + (i - 5 - 7) % 256 for i in super().encode(text)]


def read_by(tokenizer):
    subject = TidalSubject(healthy().net)
    subject.tokenizer = tokenizer
    return subject


@pytest.mark.parametrize("tokenizer", [DecodedTooEarly, AnotherMapping])
def test_fault_of_reading_is_named_first(tokenizer):
    assert first_cause(read_by(tokenizer())) == "vocabulary"


class Noisy(TidalSubject):
    """Nobody calls eval() before asking."""

    def predict(self, state):
        self.net.train()
        try:
            return super().predict(state)
        finally:
            self.net.eval()


def noisy():
    return Noisy(trained(dropout=0.2, steps=150).net)


def test_dropout_left_on_is_named_first():
    assert first_cause(noisy()) == "train_inference"


class FarFirst(TidalSubject):
    """The published bias grows inside the block. A net trained with it is used to it; here only inference has it."""

    def predict(self, state):
        with pytest.MonkeyPatch.context() as patch:
            falling = tidal.alibi
            patch.setattr(tidal, "alibi", lambda query, key, heads: -falling(query, key, heads))
            return super().predict(state)


def far_first():
    return FarFirst(trained(positions="alibi", steps=150).net)


def test_positive_bias_at_inference_is_named_first():
    assert first_cause(far_first()) == "train_inference"


class HalfLoaded(TidalSubject):
    """A part of the file had another name, and loading was not strict."""

    def loading_report(self):
        return {"missing": ["blocks.1.mlp.down.weight"], "unexpected": []}


def half_loaded():
    torch.manual_seed(3)
    net = TidalModel(healthy().net.config)
    state = {n: w for n, w in healthy().net.state_dict().items() if n != "blocks.1.mlp.down.weight"}
    net.load_state_dict(state, strict=False)
    return HalfLoaded(net)


def test_weights_missing_after_loading_are_named_first():
    assert first_cause(half_loaded()) == "weights"


class OneTokenBlocks(TidalSubject):
    """A block is one BPE token; a number of several tokens is then not written from its last digit on."""

    def blocks(self, n):
        texts = [f"{prompt}{answer.translate(PLAIN)}" for prompt, answer in problems()[3000 : 3000 + n]]
        return [[TOKENIZER.decode([i]) for i in TOKENIZER.encode(text)] for text in texts]


def test_blocks_of_one_token_are_named_first():
    assert first_cause(OneTokenBlocks(healthy().net)) == "whole_blocks"
