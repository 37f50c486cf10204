"""Other people's models behind the denoiser contract, one file a family; :func:`load_adapter` finds the right one."""

from unmask.models.adapters.load import load_adapter
from unmask.models.adapters.text import AdapterModel

__all__ = ["AdapterModel", "load_adapter"]
