"""What could not be measured is said, never left out of a table or a file without a word."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from oracles import JointDenoiser
from unmask.evaluation.evaluate import evaluate
from unmask.reporting.tables import likelihood_table, ratio_table


class Never(JointDenoiser):
    """Gives the first word no probability."""

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        h_ND, weight_VD, bias_V = super().project(h_ND)
        bias_V = torch.zeros(len(weight_VD)) if bias_V is None else bias_V.clone()
        bias_V[0] = -math.inf
        return h_ND, weight_VD, bias_V


def made(kind: type[JointDenoiser]) -> JointDenoiser:
    joint = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return kind(joint / joint.sum())


def test_an_infinite_bound_is_named() -> None:
    found = evaluate(made(Never), torch.tensor([[0, 1, 2], [1, 1, 2]]), samples=4)
    assert "nelbo_bits_per_token" not in found.metrics
    assert found.not_measured["nelbo_bits_per_token"].startswith("infinite: a token has no probability")
    table = likelihood_table(found.likelihood, False)
    assert "inf" in dict(table.rows)["NELBO, bits/token"] and "no probability at all" in table.note
    assert not any("nan" in cell for row in [*table.rows, *ratio_table(found.likelihood, None).rows] for cell in row)


def test_an_empty_bin_is_a_dash_with_a_reason() -> None:
    found = evaluate(made(JointDenoiser), torch.tensor([[0, 1, 2]]), samples=1)
    table = ratio_table(found.likelihood, None)
    assert "\u2013" in {row[1] for row in table.rows} and "nothing to measure it on" in table.note
    assert set(found.not_measured) == {"latent_use", "generation"}


@pytest.mark.parametrize("samples", [1, 4])
def test_full_tables_need_no_reason(samples: int) -> None:
    found = evaluate(made(JointDenoiser), torch.tensor([[0, 1, 2]] * 8), samples=samples)
    assert "nothing to measure" not in likelihood_table(found.likelihood, False).note
