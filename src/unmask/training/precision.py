"""The precision of a run: chosen once for the machine it starts on, and kept wherever it is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from unmask.core import distributed
from unmask.core.precision import MatmulShape, fastest
from unmask.training.arguments import TrainArguments


@dataclass(eq=False)
class KeptPrecision(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Writes the run's precision into each checkpoint's ``trainer_state.json``."""

    precision: str

    def state(self) -> dict[str, Any]:
        return {"args": {"precision": self.precision}, "attributes": {}}


def resolve_precision(
    args: TrainArguments,
    net: torch.nn.Module,
    positions: int,
    head: MatmulShape | None,
    checkpoint: str | None,
    say: Callable[[str], None],
) -> KeptPrecision:
    """Replace ``precision: auto`` by that of the checkpoint the run goes on from, else by the faster one here.

    Args:
        args: of the run; changed.
        net: what is trained.
        positions: rows times positions of a micro-batch.
        head: (rows, inputs, outputs) of an output head that multiplies with a table of embeddings.
        checkpoint: folder that the run goes on from, or None.
        say: where the one line goes.

    Returns:
        What keeps it, for the trainer.
    """
    if args.precision == "auto":
        kept = None if checkpoint is None else _of(Path(checkpoint))
        if kept is not None:
            say(f"precision {kept} (the run's own)")
        else:
            choice = distributed.broadcast_object(
                fastest(net, positions, args.device, head=head, backward=True)
                if distributed.is_main_process()
                else None
            )
            say(str(choice))
            kept = choice.precision
        args.precision, args.bf16 = kept, kept == "bf16"
        args.mixed_precision = "bf16" if args.bf16 else "no"
    return KeptPrecision(args.precision)


def _of(checkpoint: Path) -> str:
    tree = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    kept = (tree.get("stateful_callbacks") or {}).get(KeptPrecision.__name__)
    # checkpoints of before do not say; bf16 was the default
    return str(kept["args"]["precision"]) if isinstance(kept, dict) else "bf16"
