"""What training scored is kept, and a model that no longer scores it is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.core.condition import Condition
from unmask.core.errors import CheckpointError
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.record import FILE, Record, read, record_of
from unmask.diagnosis.subject import Batch, NotProvided, Split, State, Subject, Wrapped
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel


def model(conditional: bool = True) -> MaskedDiffusionModel:
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=40, mask_token_id=2, pad_token_id=0, eos_token_id=1, max_position_embeddings=12, dim=32, layers=2,
        heads=2, ffn_dim=64, conditioning="adaln" if conditional else "none", latent_dim=8 if conditional else 0,
        latent_tokens=2 if conditional else 0, bottleneck=0, time_embedding=True,
    )  # fmt: skip
    net = MaskedDiffusionModel(config).eval()
    with torch.no_grad():  # a network that has learned something has weights that matter
        for name, p in net.named_parameters():
            if p.ndim > 1:
                p.add_(torch.randn_like(p) * (0.5 if "embed" in name else 0.2))
        if net.latent is not None:
            net.latent.whiten.mean_Z.fill_(0.3)
            net.latent.whiten.map_ZZ.copy_(2 * torch.eye(8))
    return net


def rows(n: int = 24, conditional: bool = True) -> Batch:
    noise = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 40, (n, 12), generator=noise)
    ids[:, 8] = 1
    ids[:, 9:] = 0
    latents = torch.randn(n, 8, generator=noise)
    texts = tuple(" ".join(str(int(i)) for i in row[:8]) for row in ids)
    return Batch(ids, Condition.of(latents) if conditional else None, texts=texts)


class Reads(Wrapped):
    """A subject that has a record, and lays texts out: a number a token."""

    def __init__(self, inner: NativeSubject, record: Record, shift: int = 0) -> None:
        super().__init__(inner)
        self.kept, self.shift = record, shift

    def record(self) -> Record:
        return self.kept

    def encode(self, texts: Any) -> tuple[torch.Tensor, None]:
        ids = torch.zeros(len(texts), 12, dtype=torch.long)
        for i, text in enumerate(texts):
            words = [int(w) + self.shift for w in text.split()]
            ids[i, : len(words)] = torch.tensor(words)
            ids[i, len(words)] = 1
        return ids, None


def subject(net: MaskedDiffusionModel) -> NativeSubject:
    conditional = net.conditional
    return NativeSubject(net, rows(24, conditional), rows(20, conditional))


def finding(one: Any) -> Any:
    return diagnose(one, only=["record"]).findings[0]


@pytest.mark.parametrize("conditional", [True, False])
def test_a_record_survives_disk(tmp_path: Path, conditional: bool) -> None:
    made = record_of(
        subject(model(conditional)), "training", about={"data": "numbers"}, curve=[{"step": 1.0, "loss": 2}]
    )
    made.save(tmp_path)
    found = read(tmp_path)
    assert found is not None and found.about == {"data": "numbers"} and found.curve == [{"step": 1.0, "loss": 2}]
    for split in ("held_out", "train"):
        one, other = made.splits[split], found.splits[split]
        assert torch.equal(one.ce_SB, other.ce_SB) and torch.equal(one.batch.ids_BL, other.batch.ids_BL)
        assert torch.equal(one.hidden_SBL, other.hidden_SBL) and one.batch.texts == other.batch.texts
        if conditional:
            assert torch.equal(one.batch.cond.latent_BZ, other.batch.cond.latent_BZ)
    assert read(tmp_path / "nothing") is None


def test_record_masks_the_shares_it_says() -> None:
    made = record_of(subject(model()), "training")
    for ratio, hidden in zip(made.ratios, made.splits["held_out"].hidden_SBL, strict=True):
        assert hidden.sum(1).tolist() == [round(ratio * 12)] * 24
    assert bool((made.splits["held_out"].asked_SBL.sum(2) >= 1).all()), "each row is asked about its text"


@pytest.mark.parametrize("where", ["ce", "text"])
def test_a_changed_record_is_refused(tmp_path: Path, where: str) -> None:
    path = record_of(subject(model()), "training").save(tmp_path)
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        said = dict(file.metadata())
    tensors = load_file(path)
    if where == "ce":
        tensors["held_out.ce"][0, 0] += 1e-3
    else:
        said["record"] = said["record"].replace('"when": "training"', '"when": "later"')
    save_file(tensors, str(tmp_path / FILE), metadata=said)
    with pytest.raises(CheckpointError, match="seal"):
        read(tmp_path)


def test_the_same_model_is_as_recorded() -> None:
    net = model()
    found = finding(Reads(subject(net), record_of(subject(net), "training")))
    assert found.status == "pass" and found.numbers["apart_nats"] < 1e-6


def _rotary(net: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import unmask.models.denoiser as module

    whole = module.rotary
    monkeypatch.setattr(
        module, "rotary", lambda L, size, device: tuple(part.flip(-1) for part in whole(L, size, device))
    )


def _whitening(net: MaskedDiffusionModel, _: Any) -> None:
    net.latent.whiten.map_ZZ.copy_(torch.eye(8))
    net.latent.whiten.mean_Z.zero_()


def _layer(net: MaskedDiffusionModel, _: Any) -> None:
    fresh = model()
    net.blocks[1].load_state_dict({k: torch.randn_like(v) * 0.02 for k, v in fresh.blocks[1].state_dict().items()})


def _swapped(net: MaskedDiffusionModel, _: Any) -> None:
    with torch.no_grad():
        net.embed.weight.copy_(net.embed.weight.roll(1, 0))


def _coarse(net: MaskedDiffusionModel, _: Any) -> None:
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((p / 0.25).round() * 0.25)


@pytest.mark.parametrize("damage", [_rotary, _whitening, _layer, _swapped, _coarse])
def test_damage_on_loading_is_named(damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path of the loaded model is wrong alike: no comparison of it with itself can see this."""
    net = model()
    record = record_of(subject(net), "training")
    hurt = copy.deepcopy(net)
    with torch.no_grad():
        damage(hurt, monkeypatch)
    found = finding(Reads(subject(hurt), record))
    assert found.status == "fail" and found.repair == "weights.loaded" and found.own


def test_other_ids_for_recorded_texts_are_named() -> None:
    net = model()
    found = finding(Reads(subject(net), record_of(subject(net), "training"), shift=1))
    assert found.status == "fail" and found.repair == "tokenizer" and "other ids" in found.fault


def test_a_later_record_is_never_a_pass() -> None:
    net = model()
    record = record_of(subject(net), "later")
    assert finding(Reads(subject(net), record)).status == "not_run"
    hurt = copy.deepcopy(net)
    with torch.no_grad():
        _swapped(hurt, None)
    assert finding(Reads(subject(hurt), record)).status == "fail"


def test_no_record_is_not_a_pass() -> None:
    found = finding(subject(model()))
    assert found.status == "not_run" and "not recorded" in found.why
    with pytest.raises(NotProvided):
        subject(model()).record()


def test_rows_without_their_vectors_are_left_out() -> None:
    net = model()
    bare = NativeSubject(net, rows(), replace(rows(20), cond=None))
    assert set(record_of(bare, "training").splits) == {"held_out"}


class ByColumn(Subject):
    """Answers of a table by column, read some places off."""

    name, kind, vocab_size, mask_id, pad_id = "by column", "masked", 20, 19, 0

    def __init__(self, off: int = 0) -> None:
        self.off, self.kept = off, None

    def data(self, n: int, split: Split = "held_out") -> Batch:
        noise = torch.Generator().manual_seed(0 if split == "train" else 1)
        # column j holds the ids j + 1 and j + 2
        return Batch((torch.arange(12) + torch.randint(1, 3, (64, 12), generator=noise))[:n])

    def predict(self, state: State) -> torch.Tensor:
        column_N = state.at_BL.nonzero()[:, 1] + self.off
        near_NV = (torch.arange(20) - column_N[:, None] - 1.5).abs()
        return -3 * near_NV

    def record(self) -> Record:
        return record_of(ByColumn(), "training")


@pytest.mark.parametrize("off", [1, -1, 2])
def test_positions_some_places_off_are_named(off: int) -> None:
    found = finding(ByColumn(off))
    assert found.repair == "network.positions" and found.numbers["places_off"] == off
    assert finding(ByColumn()).status == "pass"


class Repeats(Subject):
    """Rows that repeat one id; answers with the id that it reads in sight, no further away than ``reach``."""

    name, kind, vocab_size, mask_id, pad_id = "repeats", "masked", 12, 11, None

    def __init__(self, reach: int = 99, moved: int = 0) -> None:
        self.reach, self.moved = reach, moved

    def data(self, n: int, split: Split = "held_out") -> Batch:
        return Batch((torch.arange(60) % 10)[:n, None].repeat(1, 16))

    def predict(self, state: State) -> torch.Tensor:
        row_N, column_N = state.at_BL.nonzero(as_tuple=True)
        near_NL = (torch.arange(16) - column_N[:, None]).abs() <= self.reach
        seen_NL = near_NL & (state.x_BL[row_N] != 11)
        read_NL = torch.where(state.x_BL[row_N] < 10, (state.x_BL[row_N] + self.moved) % 10, 11)
        counts_NV = torch.zeros(len(row_N), 12).scatter_add_(1, read_NL, seen_NL.float())
        # with little in sight it is less sure; the mask is never an answer
        return (counts_NV + 0.1 + 0.01 * column_N[:, None] / self.reach).log().index_fill(1, torch.tensor(11), -30.0)

    def record(self) -> Record:
        return record_of(Repeats(), "training")


@pytest.mark.parametrize(
    ("subject", "repair"),
    [(Repeats(moved=1), "tokenizer"), (Repeats(reach=2), "network.attention")],
)
def test_damage_is_told_by_what_it_leaves_right(subject: Subject, repair: str) -> None:
    found = finding(subject)
    assert found.status == "fail" and found.repair == repair, found.measured


class Told(Wrapped):
    """Rows whose vectors went through a change."""

    def __init__(self, inner: Any, change: Any, record: Record) -> None:
        super().__init__(inner)
        self.change, self.kept = change, record

    def record(self) -> Record:
        return self.kept

    def data(self, n: int, split: Split = "held_out") -> Batch:
        batch = self.inner.data(n, split)
        return replace(batch, cond=Condition.of(self.change(batch.cond.latent_BZ)))


@pytest.mark.parametrize(
    ("change", "repair"),
    [
        (lambda z: z.roll(1, 0), "condition.rows"),
        (lambda z: 3 * z, "condition.scale"),
        (lambda z: z + 1, "condition.scale"),
    ],
)
def test_rows_with_other_vectors_than_recorded_are_named(change: Any, repair: str) -> None:
    inner = subject(model())
    record = record_of(inner, "training")
    found = finding(Told(inner, change, record))
    assert found.status == "fail" and found.repair == repair, found.measured
    assert finding(Told(inner, lambda z: z.clone(), record)).status == "pass"
