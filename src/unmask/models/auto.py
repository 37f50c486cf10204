"""``import unmask.models.auto``, and transformers' ``AutoModel.from_pretrained`` knows the folders of our networks.

Apart from the networks: transformers' table of models imports scikit-learn and pandas, for which `unmask sample` would
wait.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoModel, PreTrainedModel

from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.network import Network
from unmask.models.tidal import TidalModel


def of_transformers(kind: type[Network]) -> type[PreTrainedModel]:
    """The class of the same networks that transformers loads and saves by itself."""

    def init(self: Any, config: Any) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config)

    own = {"config_class": kind.config_class, "_init_weights": kind._init_weights, "__init__": init}
    return type(kind.__name__, (PreTrainedModel, kind), {**own, "supports_gradient_checkpointing": True})


for _kind in (MaskedDiffusionModel, TidalModel):
    AutoConfig.register(_kind.config_class.model_type, _kind.config_class, exist_ok=True)
    AutoModel.register(_kind.config_class, of_transformers(_kind), exist_ok=True)
