"""``import unmask.models.auto``, and transformers' ``AutoModel.from_pretrained`` knows the folders of our networks.

Apart from the networks: transformers' table of models imports scikit-learn and pandas, for which `unmask sample` would
wait.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.tidal import TidalConfig, TidalModel

for _config, _model in ((MaskedDiffusionConfig, MaskedDiffusionModel), (TidalConfig, TidalModel)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
