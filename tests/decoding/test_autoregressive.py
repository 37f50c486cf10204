"""The loop from left to right: noise by name, ends, restrictions, and transformers' own loop as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unmask.core.errors import UsageError
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical, restrict
from unmask.decoding.autoregressive import next_tokens

V, END = 12, 11
LAW_VV = torch.randn(V, V, generator=torch.Generator().manual_seed(0))


def after(ids_B: Tensor, state: int) -> tuple[Tensor, int]:
    return LAW_VV[ids_B], state + 1


def written(first_B: Tensor, rows_B: Tensor, places: range = range(9), **settings: Any) -> Tensor:
    tokens = next_tokens(after, LAW_VV[first_B], 0, (rows_B,), places, **settings)
    return torch.stack([token.ids_B for token in tokens], 1)


@pytest.mark.parametrize("limits", [{}, {"top_k": 3}, {"top_p": 0.5}])
def test_next_tokens_draws_by_row_and_place(limits):
    first_B, rows_B = torch.tensor([1, 5, 1]), torch.tensor([4, 0, 9])
    how = {"temperature": 0.7, "seed": 3, **limits}
    together = written(first_B, rows_B, range(2, 9), **how)
    assert len({tuple(row) for row in together.tolist()}) == 3
    for i in range(3):
        assert torch.equal(written(first_B[i : i + 1], rows_B[i : i + 1], range(2, 9), **how)[0], together[i])
    # the same by hand
    ids_B = first_B
    for column, place in enumerate(range(2, 9)):
        law_BV = restrict(LAW_VV[ids_B], temperature=0.7, **limits)
        ids_B = categorical(law_BV, uniform(3, rows_B, place, Stream.VALUE))
        assert torch.equal(ids_B, together[:, column])


def test_next_tokens_ends_and_reads_no_more_than_it_writes():
    first_B = torch.arange(V - 1)
    tokens = list(next_tokens(after, LAW_VV[first_B], 0, (first_B, 7), range(40), ends=(END,), temperature=1.0))
    ids_BL = torch.stack([token.ids_B for token in tokens], 1)
    assert [token.state for token in tokens] == list(range(len(tokens))) and 1 < len(tokens) < 40
    for i, row in enumerate(ids_BL.tolist()):
        end = row.index(END)
        assert [bool(token.live_B[i]) for token in tokens] == [place <= end for place in range(len(tokens))]
    assert len(written(first_B, first_B, range(5), temperature=1.0)[0]) == 5


def test_next_tokens_at_temperature_0_takes_the_best():
    first_B = torch.tensor([0, 3])
    found = written(first_B, first_B, range(3))
    assert torch.equal(found[:, 0], LAW_VV[first_B].argmax(-1)) and torch.equal(
        found, written(first_B, first_B + 5, range(3))
    )
    with pytest.raises(UsageError, match="temperature=-1"):
        written(first_B, first_B, temperature=-1.0)


def test_next_tokens_of_padded_prompts_equal_generate():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).eval()
    prompts = [torch.tensor([3, 4, 5, 6, 7]), torch.tensor([8, 9])]
    x_BL, seen_BL = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long)
    for i, ids in enumerate(prompts):
        x_BL[i, 5 - len(ids) :], seen_BL[i, 5 - len(ids) :] = ids, 1

    @torch.inference_mode()
    def read(fed_B: Tensor, state: tuple[Any, Tensor]) -> tuple[Tensor, tuple[Any, Tensor]]:
        fed_BS, (cache, seen_BK) = fed_B.view(2, -1), state
        position = (seen_BK.cumsum(1) - 1).clamp(min=0)[:, -fed_BS.shape[1] :]
        out = model(fed_BS, attention_mask=seen_BK, position_ids=position, past_key_values=cache, use_cache=True)
        return out.logits[:, -1], (out.past_key_values, torch.nn.functional.pad(seen_BK, (0, 1), value=1))

    tokens = next_tokens(read, *read(x_BL, (None, seen_BL)), (torch.arange(2),), range(12))
    found = torch.stack([token.ids_B for token in tokens], 1)
    theirs = model.generate(
        x_BL, attention_mask=seen_BL, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert torch.equal(found, theirs[:, 5:])
