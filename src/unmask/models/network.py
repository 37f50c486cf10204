"""What our own networks share: built from a configuration, read from a folder and written to one.

The methods are those of transformers' ``PreTrainedModel`` that we use, under its names and with its files. It is not
the base class because importing it takes longer than writing a text with a small model does (decision 0013);
:mod:`unmask.models.auto` and an exported folder put the same networks on top of it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unmask.models.weights import load_weights

if TYPE_CHECKING:
    from typing_extensions import Self


class Network(nn.Module):
    """Base of the native networks. A subclass defines :meth:`build` and ``_init_weights``.

    Args:
        config: its configuration; None only for a class that builds it by itself (:mod:`unmask.models.auto`).
    """

    config_class: ClassVar[Any] = None
    config: Any
    main_input_name = "input_ids"

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        #: set by ``gradient_checkpointing_enable`` (the recipe's key ``gradient_checkpointing``)
        self.gradient_checkpointing = False
        if config is not None:
            self.config = config
            self.build(config)

    def build(self, config: Any) -> None:
        """Make the modules and start their weights (:meth:`post_init`)."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def post_init(self) -> None:
        """Start the weights, a module's after those inside it."""
        self.apply(self._init_weights)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Keep only what goes into each block; the backward pass runs it once more."""
        self.gradient_checkpointing = True
        self._gradient_checkpointing_func = partial(
            checkpoint, **(gradient_checkpointing_kwargs or {"use_reentrant": False})
        )

    def gradient_checkpointing_disable(self) -> None:
        self.gradient_checkpointing = False

    def save_pretrained(self, folder: str | Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``, which transformers reads too."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # a sharded network (FSDP2) is of a class of torch's making
        self.config.architectures = [type(self).__name__.removeprefix("FSDP")]
        self.config.dtype = str(self.dtype).removeprefix("torch.")
        self.config.save_pretrained(folder)
        state = self.state_dict() if state_dict is None else state_dict
        whole = {name: value.contiguous() for name, value in state.items()}
        save_file(whole, str(folder / "model.safetensors"), metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The network of a folder, in evaluation mode.

        Raises:
            CheckpointError: its files are missing, damaged, or do not fit each other.
        """
        return load_weights(folder, cls)
