"""A denoiser that knows which puzzle it solves: relations read from the board, saved and loaded as one folder.

A folder holds ``config.json`` and ``model.safetensors`` (the network), ``puzzle.json`` (the puzzle with its settings,
what was hidden in training, how long it was trained) and, where it was committed, a model card ``README.md``.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import CheckpointError, UsageError
from unmask.core.files import write_json
from unmask.core.renamed import current
from unmask.data.puzzles import MASK, PUZZLES, Puzzle
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

FILE = "puzzle.json"


@dataclass(frozen=True)
class Shape:
    """Size of a puzzle's denoiser.

    Attributes:
        dim, layers, heads, ffn_dim, loops, input_injection, deep_supervision: see
            :class:`unmask.models.denoiser.MaskedDiffusionConfig`.
        relations: structure-aware, with learned per-head weights for the puzzle's relations; else plain.
        relation_start: the weight with which head h starts on relation h mod (R + 1), the last being none. At zero all
            heads start alike, and the weights, which must reach about 4 to matter among 81 cells, are long on the way.
    """

    dim: int = 96
    layers: int = 4
    heads: int = 4
    ffn_dim: int = 384
    loops: int = 2
    input_injection: bool = False
    deep_supervision: bool = False
    relations: bool = True
    relation_start: float = 3.0


class PuzzleDenoiser(nn.Module, Denoiser):
    """A :class:`MaskedDiffusionModel` for one kind of puzzle.

    Where relations differ from board to board (zebra clues) they are read from the canvas at every call; the given
    tokens settle them, so hidden answers do not matter.

    Args:
        puzzle: what is solved.
        net: the network; a vocabulary, canvas and number of relations that fit the puzzle.
    """

    def __init__(self, puzzle: Puzzle, net: MaskedDiffusionModel) -> None:
        super().__init__()
        self.puzzle, self.net = puzzle, net
        self.vocab_size, self.mask_id, self.max_length = puzzle.vocab_size, MASK, puzzle.length
        blank = torch.full((1, puzzle.length), MASK)
        self._read_relations = net.config.relations > 0 and puzzle.relations(blank).ndim == 4
        self._seen = puzzle.related if net.config.relations else puzzle.length

    @classmethod
    def fresh(cls, puzzle: Puzzle, shape: Shape, seed: int) -> PuzzleDenoiser:
        """A denoiser with random weights that depend on the seed alone."""
        torch.manual_seed(seed)
        count = len(puzzle.relation_names) if shape.relations else 0
        config = MaskedDiffusionConfig(
            vocab_size=puzzle.vocab_size,
            mask_token_id=MASK,
            pad_token_id=None,
            eos_token_id=None,
            max_position_embeddings=puzzle.related if count else puzzle.length,
            dim=shape.dim,
            layers=shape.layers,
            heads=shape.heads,
            ffn_dim=shape.ffn_dim,
            loops=shape.loops,
            input_injection=shape.input_injection,
            deep_supervision=shape.deep_supervision,
            rope=False,
            relations=count,
        )
        net = MaskedDiffusionModel(config)
        if count:
            with torch.no_grad():
                for block in net.blocks:
                    for head in range(shape.heads):
                        if head % (count + 1) < count:
                            block.attn.relation[head, head % (count + 1)] = shape.relation_start  # type: ignore[union-attr,index,operator]
        model = cls(puzzle, net)
        if count and not model._read_relations:
            net.set_relations(puzzle.relations(torch.full((1, puzzle.length), MASK)).float())
        return model

    def used(self) -> dict[str, Tensor]:
        """Weights and buffers by name, without the table of relations where they are read from the board."""
        state = self.net.state_dict()
        return {name: w for name, w in state.items() if not (self._read_relations and name == "relations_RLL")}

    @property
    def parameters_count(self) -> int:
        """The number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        relations = self.puzzle.relations(x_BL) if self._read_relations else None
        # positions behind what relations are about are not read, and nobody asks for their states: they are given
        seen, rest = self._seen, x_BL.shape[1] - self._seen
        valid_BL = None if valid_BL is None else valid_BL[:, :seen]
        out = self.net.body(x_BL[:, :seen], None, t_B, valid_BL=valid_BL, relations_RLL=relations)
        if not rest:
            return out
        h_BLD, *earlier = (nn.functional.pad(h, (0, 0, 0, rest)) for h in (out.h_BLD, *out.earlier_BLD))
        return replace(out, h_BLD=h_BLD, earlier_BLD=tuple(earlier))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.net.project(h_ND)

    def head(self, h_ND: Tensor) -> Tensor:
        # in fp32 whatever the body ran in: confidences that differ by less than bf16 can say must not tie
        with torch.autocast(h_ND.device.type, enabled=False):
            features_ND, weight_VD, bias_V = self.project(h_ND.float())
            return self.forbid(nn.functional.linear(features_ND, weight_VD.float(), bias_V))

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, each of which is compiled."""
        return self.net.blocks

    def loops(self, times: int) -> None:
        """Apply the stack this often from now on (a looped denoiser may think longer at inference).

        Raises:
            UsageError: fewer than once.
        """
        if times < 1:
            raise UsageError(f"loops={times} must be at least 1")
        self.net.config.loops = times


@dataclass
class PuzzleCard:
    """The metadata of a puzzle checkpoint.

    Attributes:
        puzzle: spec of the puzzle it was trained on.
        hide: what training hid: ``unknown`` (never a given) or ``all``.
        trained: steps, boards, minutes and settings of the run.
    """

    puzzle: str
    hide: str
    trained: dict[str, Any] = field(default_factory=dict)


def save(model: PuzzleDenoiser, card: PuzzleCard, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
    """Write the folder; ``dtype`` is what the trained weights are stored in, their own when None."""
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    model.net.config.save_pretrained(where)
    weights = {n: w.detach().cpu().contiguous() for n, w in model.net.state_dict().items()}
    if dtype is not None:
        weights |= {n: weights[n].to(dtype) for n, _ in model.net.named_parameters()}
    save_file(weights, str(where / "model.safetensors"), metadata={"format": "pt"})
    write_json(where / FILE, vars(card))
    return where


def load(folder: str | Path, device: str | torch.device = "cpu") -> tuple[PuzzleDenoiser, PuzzleCard]:
    """The denoiser and the card of a folder that :func:`save` wrote.

    Raises:
        UsageError: no such folder. CheckpointError: it holds no puzzle model, or one whose parts do not fit.
    """
    where = Path(folder)
    if not where.is_dir():
        raise UsageError(
            f"there is no folder {str(folder)!r}: give a puzzle model, such as checkpoints/sudoku_relations"
        )
    try:
        card = PuzzleCard(**json.loads((where / FILE).read_text(encoding="utf-8")))
        card = replace(card, trained=current(card.trained))
        net = MaskedDiffusionModel(MaskedDiffusionConfig.from_pretrained(where))
        net.load_state_dict(load_file(str(where / "model.safetensors")))
    except FileNotFoundError as error:
        raise CheckpointError(f"{where} is no puzzle model: it has no {FILE}") from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{where} is damaged: {str(error).splitlines()[0]}") from error
    puzzle = PUZZLES.make(card.puzzle)
    seen = puzzle.related if net.config.relations else puzzle.length
    if (net.config.vocab_size, net.config.max_position_embeddings) != (puzzle.vocab_size, seen):
        raise CheckpointError(f"{where} holds a network that does not fit its puzzle {card.puzzle!r}")
    return PuzzleDenoiser(puzzle, net).to(device).eval(), card


def shipped(kind: str) -> Path:
    """The folder of a checkpoint that solves a kind of puzzle: in ``./checkpoints``, the package's, or its checkout's.

    Args:
        kind: a name out of :data:`unmask.data.puzzles.PUZZLES`.

    Raises:
        UsageError: no such puzzle, or there is none.
    """
    wanted, package = PUZZLES.get(kind), Path(str(resources.files("unmask")))
    for root in (Path("checkpoints"), package / "checkpoints", package.parents[1] / "checkpoints"):
        for file in sorted(root.glob(f"*/{FILE}")):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, UsageError):
                if isinstance(PUZZLES.make(json.loads(file.read_text(encoding="utf-8"))["puzzle"]), wanted):
                    return file.parent
    raise UsageError(f"no checkpoint here solves {kind}: give --model, a folder that `unmask experiment` wrote")
