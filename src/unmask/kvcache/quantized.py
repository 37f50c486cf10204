"""A cache in fewer bits: every token stays, its keys and values are rounded (KIVI, arXiv 2402.02750)."""

from __future__ import annotations

import importlib.util

from unmask.core.errors import MissingExtra, UsageError
from unmask.kvcache.model import attention_modules
from unmask.kvcache.positions import PositionedCache

BITS = (2, 4)


def require_bits(bits: int) -> None:
    """Refuse widths that transformers' quantised cache does not have.

    Raises:
        UsageError: ``bits`` is not 2 or 4.
    """
    if bits not in BITS:
        raise UsageError(f"quantize={bits} must be one of {', '.join(map(str, BITS))} bits")


def require_package() -> None:
    """Say at once that what does the rounding is not installed.

    Raises:
        MissingExtra: there is no optimum-quanto.
    """
    if importlib.util.find_spec("optimum") is None or importlib.util.find_spec("optimum.quanto") is None:
        raise MissingExtra("quantised caches need the package optimum-quanto: pip install optimum-quanto")


def quantized(state: PositionedCache, bits: int) -> PositionedCache:
    """A copy of a cache, stored in ``bits`` bits; the newest tokens (up to 128) later wait in full precision.

    Args:
        state: the cache.
        bits: 2 or 4.

    Raises:
        MissingExtra: optimum-quanto, which does the rounding, is not installed.
        UsageError: another number of bits.
    """
    from transformers import QuantizedCache

    require_bits(bits)
    width = state.keys_values(0)[0].shape[-1]
    group = next((g for g in (64, 32, 16, 8) if width % g == 0), width)
    try:
        cache = QuantizedCache("quanto", state.model.config, nbits=bits, q_group_size=group)
    except ImportError as error:
        raise MissingExtra("quantised caches need the package optimum-quanto: pip install optimum-quanto") from error
    for i in range(len(attention_modules(state.model))):
        cache.layers[i].update(*state.keys_values(i))
    twin = state.clone()
    twin.cache = cache
    return twin
