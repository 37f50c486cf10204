"""Muon for the blocks' matrices, AdamW for everything else, as one optimiser that Trainer can save and resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from unmask.training.arguments import TrainArguments
from unmask.training.muon import muon


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimisers behind one face: one list of groups, one state, so that schedulers and checkpoints see one.

    Args:
        matrices: 2-D weights of the blocks, for Muon (kellerjordan.github.io/posts/muon).
        others: embeddings, norms, biases, for AdamW.
        args: ``muon_lr``, ``learning_rate``, ``adam_beta1``, ``adam_beta2``, ``adam_epsilon``, ``weight_decay``.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], args: TrainArguments) -> None:
        dtype = torch.bfloat16 if args.bf16 else torch.float32
        self.muon = muon(matrices, args.muon_lr, args.weight_decay, dtype, whole=not args.sharded)
        self.adamw = torch.optim.AdamW(
            others,
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
            fused=True,
        )
        super().__init__([{"params": matrices}, {"params": others}], {"lr": args.learning_rate})
        # the very same dictionaries: a scheduler that changes a group's lr changes the inner optimiser's
        self.param_groups = self.muon.param_groups + self.adamw.param_groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        self.muon.step()
        self.adamw.step()
        return None

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = self.muon.param_groups + self.adamw.param_groups


def muon_and_adamw(net: nn.Module, args: TrainArguments) -> MuonAndAdamW:
    """An optimiser that steps the blocks' matrices (modulation excepted) by Muon and the other parameters by AdamW."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, p in net.named_parameters():
        is_matrix = name.startswith("blocks.") and p.ndim == 2 and "modulation" not in name and "relation" not in name
        (matrices if is_matrix else others).append(p)
    return MuonAndAdamW(matrices, others, args)
