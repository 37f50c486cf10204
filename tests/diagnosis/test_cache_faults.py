"""The cache check says which mistake with a key-value cache was made, and passes what is no mistake."""

from __future__ import annotations

import pytest
import torch

from diagnosis_subjects import make_causal
from unmask.core.errors import UsageError
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.fault import faults
from unmask.diagnosis.faults._cached import CacheFault, evicted

NAMES = {
    "stuck_positions": "stuck positions",
    "shrunken_positions": "shrunken positions",
    "compounding_ratio": "compounding ratio",
    "kept_removed": "kept what was to go",
    "untouched_copy": "nothing evicted",
    "reused_cache": "foreign entries",
    "evicted_sink": "sink evicted",
    "evicted_recent": "recent evicted",
    "stale_mask": "other answers",
    "wrong_sign": "worse than chance",
}


def test_every_fault_of_a_cache_has_its_name():
    assert {name for name in faults if faults.get(name).caught_by == "cache"} == set(NAMES)


@pytest.mark.parametrize("name", list(NAMES))
def test_the_mistake_is_named(name):
    verdict = diagnose(faults.make(name).inject(make_causal()), only=["cache"])
    finding = verdict.causes[0].finding
    assert finding.check == "cache" and finding.numbers["faults"][0] == NAMES[name], finding.measured
    assert finding.measured.startswith(NAMES[name])


def test_compounding_ratio_at_an_interval():
    verdict = diagnose(faults.make("compounding_ratio:interval=4").inject(make_causal()), only=["cache"])
    assert verdict.causes[0].finding.numbers["faults"][0] == "compounding ratio"
    with pytest.raises(UsageError, match="interval=0 must be at least 1"):
        faults.make("compounding_ratio:interval=0")


def test_a_cache_compressed_as_it_should_be_passes():
    class Right(CacheFault):
        def cached(self, model, ids_BL, start):
            held = torch.tensor([0, *range(start - round(0.75 * start) + 1, start)])
            return evicted(model, ids_BL, start, held, 0.75)

    assert diagnose(Right().inject(make_causal()), only=["cache"]).status == "pass"
