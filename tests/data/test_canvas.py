"""Canvases as a data set."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from unmask.core.errors import UsageError
from unmask.data.canvas import CanvasDataset, collate

IDS = np.arange(60, dtype=np.int32).reshape(12, 5)
LENGTHS = np.arange(12, dtype=np.int32) % 5 + 1
LATENTS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float16)
ROWS = np.arange(12)[::-1].copy() + 4


def test_a_batch_holds_the_rows_asked_for():
    data = CanvasDataset(IDS, LENGTHS, LATENTS, ROWS)
    batch = collate(data.__getitems__([7, 2, 7]))
    assert batch["input_ids"].tolist() == IDS[[7, 2, 7]].tolist() and batch["input_ids"].dtype == torch.int64
    assert batch["length"].tolist() == LENGTHS[[7, 2, 7]].tolist()
    np.testing.assert_array_equal(batch["latent"].numpy(), LATENTS[ROWS[[7, 2, 7]]].astype(np.float32))


def test_one_row_and_many_rows_agree():
    data = CanvasDataset(IDS, LENGTHS, LATENTS, ROWS)
    one = data[3]
    assert one["input_ids"].tolist() == IDS[3].tolist() and one["length"] == LENGTHS[3] and one["latent"].shape == (3,)
    seen = torch.cat([b["input_ids"] for b in DataLoader(data, batch_size=5, shuffle=True, collate_fn=collate)])
    assert sorted(seen[:, 0].tolist()) == IDS[:, 0].tolist()


def test_without_latents_there_is_no_latent():
    assert "latent" not in collate([CanvasDataset(IDS, LENGTHS)[0]])


def test_a_memory_map_is_not_read_into_memory(tmp_path):
    np.save(tmp_path / "ids.npy", IDS)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    data = CanvasDataset(mapped, LENGTHS)
    assert data.ids is mapped and data[11]["input_ids"].tolist() == IDS[11].tolist()
    data[11]["input_ids"].zero_()
    assert mapped[11].tolist() == IDS[11].tolist()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ((IDS, LENGTHS[:3]), r"lengths \[N\]"),
        ((IDS[0], LENGTHS), r"ids \[N, L\]"),
        ((IDS, LENGTHS, LATENTS), "20 latents do not fit 12"),
        ((IDS, LENGTHS, LATENTS[:5], ROWS), "do not fit"),
        ((IDS, LENGTHS, None, ROWS), "none were given"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, says):
    with pytest.raises(UsageError, match=says):
        CanvasDataset(*arrays)
