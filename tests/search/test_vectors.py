"""Vectors from elsewhere: read, refused, warned about."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from unmask.core.errors import UsageError
from unmask.models.latent import Whitening
from unmask.search.vectors import checked, read_vectors, stored_as


@pytest.fixture
def z():
    found = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) + 2
    return found / found.norm(dim=1, keepdim=True)


def test_every_kind_of_file(tmp_path, z):
    np.save(tmp_path / "z.npy", z.numpy())
    cells = pa.array(z.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": list(range(40)), "vector": cells}), tmp_path / "z.parquet")
    save_file({"a": z, "b": z[:2].clone()}, tmp_path / "z.safetensors")
    for name, column in (("z.npy", None), ("z.parquet", None), ("z.parquet", "vector"), ("z.safetensors", "a")):
        assert torch.equal(read_vectors(tmp_path / name, column), z)


def test_fixed_size_lists_and_half_precision(tmp_path, z):
    flat = pa.array(z.half().flatten().numpy())
    pq.write_table(pa.table({"v": pa.FixedSizeListArray.from_arrays(flat, 6)}), tmp_path / "z.parquet")
    found = read_vectors(tmp_path / "z.parquet")
    assert torch.equal(found, z.half()) and stored_as(found) == "fp16"


@pytest.mark.parametrize("kind, stored", [(torch.float64, "fp32"), (torch.int8, "int8"), (torch.bfloat16, "bf16")])
def test_how_vectors_are_stored(z, kind, stored):
    assert stored_as(read_vectors((100 * z).to(kind))) == stored


def refused(tmp_path, z):
    np.save(tmp_path / "flat.npy", z[0].numpy())
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    (tmp_path / "broken.npy").write_bytes(b"no array")
    pq.write_table(pa.table({"a": z.tolist(), "b": z.tolist()}), tmp_path / "two.parquet")
    pq.write_table(pa.table({"a": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"a": [[1.0], None]}), tmp_path / "empty.parquet")
    yield tmp_path / "flat.npy", None, "shape"
    yield tmp_path / "words.npy", None, "words.npy"
    yield tmp_path / "broken.npy", None, "cannot be read"
    yield tmp_path / "two.parquet", None, "column="
    yield tmp_path / "two.parquet", "c", "'c'"
    yield tmp_path / "ragged.parquet", None, "2 widths"
    yield tmp_path / "empty.parquet", None, "1 empty"
    yield tmp_path / "none.npy", None, "no file"
    yield tmp_path / "x.csv", None, ".npy"
    yield tmp_path / "flat.npy", "a", "no effect"
    yield [[1, 2]], None, "int64"
    yield [["a"]], None, "numbers"
    yield z, "a", "goes with a file"


def test_refused_in_one_sentence(tmp_path, z):
    for source, column, why in refused(tmp_path, z):
        with pytest.raises(UsageError, match=why) as error:
            read_vectors(source, column)
        assert "\n" not in str(error.value), source


@pytest.mark.parametrize("spoil, why", [("nan", "vector 3 holds NaN"), ("zero", "vector 3 is all zeros")])
def test_no_vector_of_a_text(z, spoil, why):
    z[3] = float("nan") if spoil == "nan" else 0.0
    with pytest.raises(UsageError, match=why):
        checked(z, 6, None, None)


def test_another_width(z):
    with pytest.raises(UsageError, match="width 6 .* 8"):
        checked(z, 8, None, None)


def statistics(z):
    whiten = Whitening(6)
    whiten.fit(z)
    return whiten.mean_Z, whiten.map_ZZ


def test_training_like_vectors_bring_no_warning(z):
    assert checked(z, 6, *statistics(z))[1] == []


def test_vectors_of_another_norm_are_scaled(z):
    found, notes = checked(5 * z, 6, *statistics(z))
    assert len(notes) == 1 and "norm is 5" in notes[0] and torch.allclose(found, z, atol=1e-6)


def test_vectors_of_another_encoder_are_noticed(z):
    notes = checked(z.flip(1).roll(1, 1) * torch.tensor([1, -1, 1, -1, 1, -1]), 6, *statistics(z))[1]
    assert any("mean lies" in note for note in notes)
