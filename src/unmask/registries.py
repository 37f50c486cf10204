"""Every registry of leaves by its plural name: what `unmask list`, the docs and the contract tests walk over."""

from __future__ import annotations

import importlib
from typing import Any

from unmask.core.registry import Registry

_PLACES = {
    "schedules": "unmask.diffusion.schedule:schedules",
    "orders": "unmask.decoding.order:orders",
    "quotas": "unmask.decoding.quota:quotas",
    "samplers": "unmask.decoding.rule:samplers",
    "remaskers": "unmask.decoding.remask:remaskers",
    "caches": "unmask.decoding.cache:caches",
    "checks": "unmask.diagnosis.check:checks",
    "lesions": "unmask.diagnosis.lesion:lesions",
}


def registries() -> dict[str, Registry[Any]]:
    """Plural name to registry."""
    found = {}
    for name, place in _PLACES.items():
        module, attribute = place.split(":")
        found[name] = getattr(importlib.import_module(module), attribute)
    return found
