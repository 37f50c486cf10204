"""The precision that a machine is faster in is measured, said, remembered, and can be said instead."""

import json

import pytest
import torch
from torch import nn

from unmask.core import precision
from unmask.core.errors import UsageError
from unmask.core.precision import choose_precision, fastest, measured_gflops, shapes_of

SHAPES = [(64, 32, 48)]


@pytest.fixture
def auto(monkeypatch, tmp_path):
    """`auto` measures, and remembers in a folder of the test's own; what it measures is counted."""
    monkeypatch.delenv("UNMASK_PRECISION", raising=False)
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    precision._remembered.cache_clear()
    asked = []
    speeds = {"fp32": 100.0, "bf16": 50.0}

    def measured(shapes, *, backward=False):
        asked.append((tuple(shapes), backward))
        return speeds["fp32"], speeds["bf16"]

    monkeypatch.setattr(precision, "measured_gflops", measured)
    yield speeds, asked, tmp_path
    precision._remembered.cache_clear()


@pytest.mark.parametrize(("fp32", "bf16", "right"), [(145, 83, "fp32"), (83, 145, "bf16"), (90, 90, "fp32")])
def test_auto_takes_the_faster_one_and_says_both(auto, fp32, bf16, right):
    auto[0].update(fp32=fp32, bf16=bf16)
    found = choose_precision("auto", SHAPES)
    assert found.precision == right and f"{fp32} GFLOP/s in fp32, {bf16} in bf16" in str(found)
    assert found.dtype == (torch.bfloat16 if right == "bf16" else torch.float32)


def test_a_measurement_is_kept_by_machine_shapes_and_direction(auto):
    speeds, asked, folder = auto
    assert choose_precision("auto", SHAPES).precision == "fp32"
    speeds["bf16"] = 500.0
    assert choose_precision("auto", SHAPES).precision == "fp32" and len(asked) == 1
    precision._remembered.cache_clear()  # a new process reads the file
    assert choose_precision("auto", SHAPES).precision == "fp32" and len(asked) == 1
    assert choose_precision("auto", SHAPES, backward=True).precision == "bf16" and asked[1:] == [((SHAPES[0],), True)]
    assert choose_precision("auto", [(64, 32, 64)]).precision == "bf16" and len(asked) == 3
    kept = [json.loads(file.read_text()) for file in (folder / "precision").glob("*.json")]
    assert len(kept) == 3 and all(torch.__version__ in k["of"] for k in kept)


def test_a_damaged_or_unwritable_cache_only_costs_time(auto, monkeypatch, tmp_path):
    choose_precision("auto", SHAPES)
    for file in (tmp_path / "precision").glob("*.json"):
        file.write_text("{")
    precision._remembered.cache_clear()
    assert choose_precision("auto", SHAPES).precision == "fp32" and len(auto[1]) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "file"))
    precision._remembered.cache_clear()
    assert choose_precision("auto", SHAPES).precision == "fp32" and len(auto[1]) == 3


def test_what_is_said_is_taken_and_nothing_measured(auto, monkeypatch):
    assert [choose_precision(word, SHAPES).precision for word in ("fp32", "bf16")] == ["fp32", "bf16"]
    monkeypatch.setenv("UNMASK_PRECISION", "bf16")
    assert choose_precision("auto", SHAPES).precision == "bf16" and choose_precision("fp32", SHAPES).precision == "fp32"
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.delenv("UNMASK_PRECISION")
    assert choose_precision("auto", SHAPES).precision == "fp32" and not auto[1]
    with pytest.raises(UsageError, match="precision='fp8' must be 'auto', 'fp32' or 'bf16'"):
        choose_precision("fp8", SHAPES)


def test_largest_distinct_shapes_are_timed(auto):
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 24))
    assert shapes_of(net, 10) == [(10, 8, 8), (10, 8, 8), (10, 8, 24)]
    fastest(net, 5000, "cpu", head=(2500, 8, 50_000))
    assert auto[1] == [(((1024, 8, 2048), (1024, 8, 24), (1024, 8, 8)), False)]


def test_measuring_is_quick_and_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    fp32, bf16 = measured_gflops([(256, 64, 128), (256, 128, 64)], backward=True, budget=0.05)
    assert fp32 > 0 and bf16 > 0
    assert torch.equal(state, torch.random.get_rng_state())


def test_autocast_is_on_for_bf16_alone():
    x, layer = torch.randn(2, 8), nn.Linear(8, 8)
    for word, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with choose_precision(word, []).autocast("cpu"):
            assert layer(x).dtype == dtype
